//! The check of a run's data before it starts: some rows of every file, through what training does with them.

use std::collections::BTreeSet;

use sapo_datasets::{Dataset, DatasetError, Example};
use sapo_policies::processor::Processor;

use super::remarks::KnownRubrics;
use super::spread::{SAMPLED, spread};
use super::{Limits, in_order, inspect::Inspector, reason::Reason, target::Target};
use crate::config::{Config, SourceUse};
use crate::data;
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// Bad rows that are named.
const NAMED: usize = 3;

/// Looks at rows spread evenly over every file that the phases of a run use, and refuses where more than one of them and
/// more than `run.max_bad_rows_share` cannot be used.
///
/// # Errors
/// When a source has too many bad rows; the first few are named.
pub fn refuse_bad_rows(config: &Config, processor: &Processor, progress: &dyn Progress) -> Result<()> {
    let mut seen = BTreeSet::new();
    for phase in config.run.phases.iter().map(|name| &config.phases[name]) {
        let needs_response = phase.kind().imitates();
        for used in phase.kind().data() {
            let source = config.source(used, "data")?;
            if seen.insert((format!("{source:?}"), needs_response)) {
                look(config, used, processor, needs_response, progress)?;
            }
        }
    }
    Ok(())
}

fn look(
    config: &Config,
    used: &SourceUse,
    processor: &Processor,
    needs_response: bool,
    progress: &dyn Progress,
) -> Result<()> {
    let known = KnownRubrics::of(config.rubrics.keys());
    let dataset = data::open(config, used, 0)?;
    let (None, Some(length)) = (dataset.generated(), dataset.len()) else { return Ok(()) };
    let sampled = spread(length, SAMPLED);
    progress.begin(&format!("rows of {}", used.name), sampled.len() as u64, 0);
    let sample = dataset.picked(sampled);
    let count = sample.len().unwrap_or(0);
    for (index, place) in (0..count).map(|index| (index, sample.place(index))) {
        // One row that asks for what is not there would stop the run in its midst.
        sample.get(index).map_or(Ok(()), |example| known.check(&example, &place))?;
    }
    let bad = bad_rows(sample, processor, needs_response)?;
    let share = config.run.max_bad_rows_share;
    if bad.len() < 2 || bad.len() as f64 <= share * count as f64 {
        return Ok(());
    }
    let named: Vec<String> = bad.iter().take(NAMED).map(|reason| format!("  {reason}")).collect();
    Err(RunError::User(format!(
        "data.{}: {} of {count} rows that were looked at cannot be used, more than run.max_bad_rows_share = {share}:\n{}\n\
         `sapo data check` with the same configuration names all of them",
        used.name,
        bad.len(),
        named.join("\n")
    )))
}

/// Why rows cannot be used, in order. Ground truths are the rewards' own check, and repeats no hindrance.
fn bad_rows(sample: Dataset, processor: &Processor, needs_response: bool) -> Result<Vec<String>> {
    // Above 1, nothing is near.
    let limits = Limits { processor, max_response_tokens: None, near: 2.0, max_bad_share: 0.0 };
    let inspector = Inspector::new(&limits);
    let rows = sample.len().unwrap_or(0);
    let target = Target::to_read(sample, needs_response);
    let look = |index, example: std::result::Result<Example, DatasetError>| inspector.inspect(&target, index, example);
    let mut bad = Vec::new();
    in_order(&target.dataset, rows, &look, &mut |row| {
        let mut found = row.found.into_iter().filter(|found| stops(found.reason));
        bad.extend(found.next().map(|found| match found.detail.starts_with(row.place.as_str()) {
            true => found.detail,
            false => format!("{}: {}", row.place, found.detail),
        }));
        Ok(())
    })?;
    Ok(bad)
}

/// Whether a row with this fault would be left out of batches.
fn stops(reason: Reason) -> bool {
    !matches!(reason, Reason::NoTruth | Reason::NoQuestion)
}
