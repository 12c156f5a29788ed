//! Curation: every query is sampled, recorded, and dropped when the policy already passes it too often.

use sapo_datasets::Dataset;

use super::{Phase, Step, stretch};
use crate::config::CurateConfig;
use crate::curation::{Curation, decide};
use crate::data::{self, Prompt, Rejected};
use crate::error::{Result, RunError};
use crate::run::Run;
use crate::sample::{ScoredGroup, SeedScope};
use crate::score::ReadyRubric;

/// Curation of all queries in one step.
pub(super) struct Curate {
    name: String,
    config: CurateConfig,
    datasets: Vec<Dataset>,
    rubrics: Vec<ReadyRubric>,
}

/// The sources of a curate phase, each with the queries that it looks at.
///
/// # Errors
/// When a source cannot be used.
pub(super) fn datasets(run: &Run<'_>, name: &str, config: &CurateConfig) -> Result<Vec<Dataset>> {
    let open = |used| {
        let dataset = data::open(run.config, used, stretch(run, name))?;
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
        let judges: Vec<&str> = rubrics.iter().flat_map(|rubric| run.config.judges_of(rubric.name())).collect();
        run.measure_judges(name, &judges)?;
        let datasets = datasets(run, name, config)?;
        let queries: u64 = datasets.iter().filter_map(Dataset::len).sum();
        run.progress.begin(name, queries * config.samples as u64, 0);
        Ok(Self { name: name.to_owned(), config: config.clone(), datasets, rubrics })
    }

    /// Samples and scores some queries of a source.
    fn ask(&self, run: &Run<'_>, prompts: Vec<Prompt>, before: usize) -> Result<Vec<ScoredGroup>> {
        let scope = SeedScope { seed: run.config.run.seed, place: &self.name, samples: self.config.samples };
        let progress = run.progress;
        let ended = &mut |ended: usize| progress.done((before + ended) as u64, "rollouts");
        let (groups, lost) =
            run.generator().sample_and_score(prompts, &self.config.sampling, scope, &self.rubrics, ended)?;
        match lost.first() {
            Some(lost) => Err(RunError::User(format!("query `{}`: {}", lost.query_id, lost.reason))),
            None => Ok(groups),
        }
    }

    fn record(&self, group: &ScoredGroup) -> Curation {
        let outcomes: Vec<Option<u8>> =
            group.rollouts.iter().map(|rollout| rollout.score.passed.map(u8::from)).collect();
        let (passed, scored) = group.passed();
        Curation {
            query_id: group.prompt.query.id.clone(),
            task: group.prompt.query.task.clone(),
            source: self.datasets[group.prompt.part].name().to_owned(),
            index: group.prompt.index,
            decision: decide(passed, scored, outcomes.len(), self.config.drop_never_solved),
            outcomes,
            passed,
            scored,
        }
    }

    /// The rows of a source from one to another; those that cannot be used are listed.
    fn prompts(&self, run: &mut Run<'_>, part: usize, rows: std::ops::Range<u64>) -> Result<Vec<Prompt>> {
        let dataset = &self.datasets[part];
        let (mut prompts, mut rejected) = (Vec::new(), Vec::new());
        for index in rows {
            match data::prompt(&run.processor, dataset, part, index) {
                Ok(prompt) => prompts.push(prompt),
                Err(error) => {
                    rejected.push(Rejected { source: dataset.name().to_owned(), index, reason: error.to_string() });
                }
            }
        }
        run.recorder.rejected(&rejected)?;
        Ok(prompts)
    }
}

impl Phase for Curate {
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step> {
        // Prompts hold pixels, so that only those which are decoded together are in memory.
        let chunk = (run.config.run.decode_rows / self.config.samples.max(1)).max(1) as u64;
        let mut records = Vec::new();
        for part in 0..self.datasets.len() {
            let length = self.datasets[part].len().unwrap_or(0);
            for start in (0..length).step_by(chunk as usize) {
                let prompts = self.prompts(run, part, start..(start + chunk).min(length))?;
                let groups = self.ask(run, prompts, records.len() * self.config.samples)?;
                run.recorder.scores(None, run.state.step, &groups)?;
                records.extend(groups.iter().map(|group| self.record(group)));
            }
        }
        run.rewards.ensure_running()?;
        run.recorder.curation(&self.name, &records)?;
        run.state.curation.add(&records);
        let kept = records.iter().filter(|record| record.is_kept()).count();
        run.say(&format!("{}: {kept} of {} queries kept", self.name, records.len()))?;
        Ok(Step::Last)
    }
}
