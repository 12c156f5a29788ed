//! Curation: rows are filtered, asked, recorded and decided on, some at a time; the record of each is written at once, and a
//! run that was stopped anywhere goes on behind the last one.

mod answers;
mod finish;
mod stages;

use std::ops::Range;

use sapo_datasets::Dataset;

use self::answers::Answers;
use super::{Phase, Step, stretch};
use crate::config::CurateConfig;
use crate::curation::{Curation, Decision};
use crate::data::{self, Prompt, Rejected};
use crate::error::Result;
use crate::ledger::LedgerEntry;
use crate::records::{Records, each_record, read_records};
use crate::run::Run;
use crate::run::record::curation_file;
use crate::score::ReadyRubric;

/// Rows that are looked at together where nothing is sampled.
const UNSAMPLED_ROWS: usize = 64;

/// Curation at work.
pub(super) struct Curate {
    name: String,
    config: CurateConfig,
    datasets: Vec<Dataset>,
    rubrics: Vec<ReadyRubric>,
    /// The rubrics of the filters on queries.
    filters: Vec<ReadyRubric>,
    by: Answers,
    /// Who answers without pictures, where that is another.
    blind_by: Option<Answers>,
    stronger: Records,
    /// The next row of each source.
    next: Vec<u64>,
    done: u64,
    kept: usize,
}

/// A row that is being looked at.
struct Case {
    record: Curation,
    /// What is asked; none where the row cannot be used.
    prompt: Option<Prompt>,
    /// What the ledger keeps of its scores.
    entries: Vec<LedgerEntry>,
}

impl Case {
    /// Whether it is still to be asked about.
    fn is_open(&self) -> bool {
        self.prompt.is_some() && !self.record.is_settled()
    }
}

/// The sources of a curate phase, each with the queries that it looks at.
///
/// # Errors
/// When a source cannot be used.
pub(super) fn datasets(run: &Run<'_>, name: &str, config: &CurateConfig) -> Result<Vec<Dataset>> {
    let open = |used| {
        let dataset = data::open(run.config, used, config.stretch.unwrap_or_else(|| stretch(run, name)))?;
        let most = config.queries_per_source.map(|most| most as u64);
        let count = match (dataset.len(), most) {
            (Some(length), Some(most)) => Some(length.min(most)),
            (length, most) => length.or(most),
        };
        Ok(dataset.slice(None, count)?)
    };
    config.data.iter().map(open).collect()
}

impl Curate {
    pub(super) fn open(name: &str, config: &CurateConfig, run: &mut Run<'_>) -> Result<Self> {
        let rubrics = run.rewards.of_uses(run.config, &config.data, &config.rubric)?;
        let filters: Vec<ReadyRubric> =
            config.query_filters.iter().map(|filter| run.rewards.rubric(&filter.rubric)).collect::<Result<_>>()?;
        let used = rubrics.iter().chain(&filters);
        let judges: Vec<&str> = used.flat_map(|rubric| run.config.judges_of(rubric.name())).collect();
        run.measure_judges(name, &judges)?;
        let blind = config.without_pictures.as_ref().map(|blind| &blind.by).filter(|by| **by != config.by);
        let stronger = config.drop.stronger.as_deref().map(read_records).transpose()?.unwrap_or_default();
        let datasets = datasets(run, name, config)?;
        let mut phase = Self {
            name: name.to_owned(),
            config: config.clone(),
            next: vec![0; datasets.len()],
            datasets,
            rubrics,
            filters,
            by: Answers::open(&config.by, run)?,
            blind_by: blind.map(|by| Answers::open(by, run)).transpose()?,
            stronger,
            done: 0,
            kept: 0,
        };
        phase.go_on(run)?;
        let rows: u64 = phase.datasets.iter().filter_map(Dataset::len).sum();
        run.progress.begin(name, rows, phase.done);
        Ok(phase)
    }

    /// Finds out how far an earlier start of the run came.
    fn go_on(&mut self, run: &mut Run<'_>) -> Result<()> {
        let mut rejected = Vec::new();
        each_record(&run.path().join(curation_file(&self.name)), &mut |record| {
            if let Some(part) = self.datasets.iter().position(|dataset| dataset.name() == record.source) {
                self.next[part] = record.index + 1;
            }
            self.done += 1;
            self.kept += usize::from(record.is_kept());
            rejected.extend(unusable(&record));
            Ok(())
        })?;
        // The list of such rows ends where the checkpoint was.
        run.recorder.rejected(&rejected)?;
        if self.done > 0 {
            run.say(&format!("{}: going on behind {} recorded queries", self.name, self.done))?;
        }
        Ok(())
    }

    /// The next rows: they end where those of a run that nobody stopped end, so that the same rows are asked together.
    fn chunk(&self, decode_rows: usize) -> Option<(usize, Range<u64>)> {
        let part = (0..self.datasets.len()).find(|part| self.next[*part] < self.rows_of(*part))?;
        let sampled = match (&self.by, &self.config.sequential) {
            (Answers::Record(_), _) => 0,
            (_, Some(sequential)) => sequential.round.min(self.config.samples),
            (_, None) => self.config.samples,
        };
        let together = decode_rows.checked_div(sampled).map_or(UNSAMPLED_ROWS, |rows| rows.max(1)) as u64;
        let from = self.next[part];
        Some((part, from..((from / together + 1) * together).min(self.rows_of(part))))
    }

    fn rows_of(&self, part: usize) -> u64 {
        self.datasets[part].len().unwrap_or(0)
    }

    /// Writes the records of some rows down, one after the other.
    fn write(&mut self, run: &mut Run<'_>, part: usize, cases: Vec<Case>) -> Result<()> {
        for Case { mut record, entries, .. } in cases {
            record.ledger_lines = entries.len();
            let rejected: Vec<Rejected> = unusable(&record).into_iter().collect();
            run.recorder.rejected(&rejected)?;
            run.recorder.curation(&self.name, run.state.step, &record, &entries)?;
            self.next[part] = record.index + 1;
            self.done += 1;
            self.kept += usize::from(record.is_kept());
        }
        run.progress.done(self.done, &format!("kept {} of {}", self.kept, self.done));
        Ok(())
    }
}

/// A row that could not be used, as the run lists it.
fn unusable(record: &Curation) -> Option<Rejected> {
    let reason = record.reason.clone().filter(|_| record.decision == Decision::Unusable)?;
    Some(Rejected { source: record.source.clone(), index: record.index, reason })
}

impl Phase for Curate {
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step> {
        let Some((part, rows)) = self.chunk(run.config.run.decode_rows) else {
            self.finish(run)?;
            return Ok(Step::Last);
        };
        let mut cases = self.read(run, part, rows);
        self.by_rules(run, &mut cases)?;
        self.by_filters(run, &mut cases)?;
        self.by_own_response(run, &mut cases)?;
        self.by_blind_answers(run, &mut cases)?;
        self.by_samples(run, &mut cases)?;
        for case in &mut cases {
            self.settle(&mut case.record);
        }
        run.say_notes()?;
        // What a judge that has stopped could not score is no record.
        run.rewards.ensure_running()?;
        self.write(run, part, cases)?;
        Ok(Step::Recorded)
    }
}
