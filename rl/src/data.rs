//! The data of a run: named sources opened, looked at before anything else is done, and rows encoded for the policy.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use sapo_datasets::{Dataset, DatasetError, OpenContext, Query, Split};
use sapo_policies::PolicyInput;
use sapo_policies::processor::Processor;
use serde::{Deserialize, Serialize};

use crate::config::{Config, EvalConfig, GENERATED_QUERIES, SourceUse};
use crate::encode::encode;
use crate::error::{Result, RunError};

/// Rows of a source that are read whole before a run begins.
const LOOKED_AT: u64 = 8;
/// Number of the first query of a generated source that a phase draws: every phase has a stretch of its own, so that none
/// meets the queries of another.
const STRETCH: u64 = 1 << 32;

/// Opens a source as a phase uses it; `stretch` tells the phases of a run apart.
///
/// # Errors
/// When the source cannot be used, with file, row and remedy.
pub fn open(config: &Config, used: &SourceUse, stretch: u64) -> Result<Dataset> {
    let dataset = open_split(config, used, Split::Train, config.run.seed)?;
    Ok(if dataset.len().is_none() { dataset.starting_at(stretch * STRETCH) } else { dataset })
}

fn open_split(config: &Config, used: &SourceUse, default_split: Split, seed: u64) -> Result<Dataset> {
    let source = config.source(used, "data")?;
    let context = OpenContext { seed, base: PathBuf::new(), default_split };
    Ok(Dataset::open(&used.name, &source, &context)?)
}

/// Says which key a source that cannot be opened stands under.
fn at(used: &SourceUse, error: RunError) -> RunError {
    match error {
        RunError::Data(error) => DatasetError::Request(format!("data.{}.source: {error}", used.name)).into(),
        error => error,
    }
}

/// Opens the sources of an evaluation: test queries of generated tasks, as many as it asks for.
///
/// # Errors
/// When a source cannot be used.
pub fn open_eval(config: &Config, eval: &EvalConfig) -> Result<Vec<Dataset>> {
    let open = |used: SourceUse| {
        let dataset = open_split(config, &used, Split::Test, eval.seed).map_err(|error| at(&used, error))?;
        let most = eval.queries_per_source.or(dataset.len().is_none().then_some(GENERATED_QUERIES));
        let count = most.map(|most| dataset.len().map_or(most as u64, |length| length.min(most as u64)));
        Ok(dataset.slice(None, count)?)
    };
    eval.uses().into_iter().map(open).collect()
}

/// Opens every source of a run and reads its first rows whole, before anything else is done. Gives what is worth saying of
/// them.
///
/// # Errors
/// The first fault, with file, row, column and remedy.
pub fn check_all(config: &Config) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let mut notes = BTreeSet::new();
    for name in &config.run.phases {
        for used in config.phases[name].kind().data() {
            if seen.insert(format!("{:?}", config.source(used, "data")?)) {
                let dataset = open(config, used, 0).map_err(|error| at(used, error))?;
                look_at_head(&dataset, config.run.max_bad_rows_share)?;
                notes.extend(notes_of(&dataset));
            }
        }
    }
    for eval in config.eval.values() {
        for dataset in open_eval(config, eval)? {
            look_at_head(&dataset, config.run.max_bad_rows_share)?;
            notes.extend(notes_of(&dataset));
        }
    }
    Ok(notes)
}

/// Reads the first rows of a source whole. One may be bad, as any row may that is listed and replaced later.
fn look_at_head(dataset: &Dataset, max_bad_share: f64) -> Result<()> {
    let count = dataset.len().unwrap_or(LOOKED_AT).min(LOOKED_AT);
    let faults: Vec<_> = (0..count).filter_map(|index| dataset.check_row(index).err()).collect();
    let most = ((max_bad_share * count as f64) as usize).max(1);
    match faults.len() as u64 == count || faults.len() > most {
        true => faults.into_iter().next().map_or(Ok(()), |first| Err(first.into())),
        false => Ok(()),
    }
}

/// Nothing is left out of sight: what is not read of a source is told.
fn notes_of(dataset: &Dataset) -> impl Iterator<Item = String> {
    dataset.notes().into_iter().map(|note| format!("data.{}: {note}", dataset.name()))
}

/// Encodes the first row of every source that can be read, as training will: a processor that cannot take the pictures is
/// told before there is a run directory.
///
/// # Errors
/// When no row among the first of a source can be encoded.
pub fn try_encoding(config: &Config, processor: &Processor) -> Result<()> {
    for used in config.run.phases.iter().flat_map(|name| config.phases[name].kind().data()) {
        let dataset = open(config, used, 0)?;
        let mut last = None;
        for index in 0..dataset.len().unwrap_or(LOOKED_AT).min(LOOKED_AT) {
            match prompt(processor, &dataset, 0, index) {
                Ok(_) => {
                    last = None;
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        if let Some(error) = last {
            return Err(RunError::User(format!("data.{}: no row can be used; the last: {error}", used.name)));
        }
    }
    Ok(())
}

/// A row that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The source.
    pub source: String,
    /// Its number in the source, from 0.
    pub index: u64,
    /// Why.
    pub reason: String,
}

/// A query, ready for the policy.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// What is asked.
    pub query: Arc<Query>,
    /// The response to imitate, where there is one.
    pub response: Option<String>,
    /// Which source of the phase it came from.
    pub part: usize,
    /// Its number in that source.
    pub index: u64,
    /// The policy's input.
    pub input: PolicyInput,
}

/// Reads and encodes rows; those that cannot be used come apart.
pub fn prompts(
    processor: &Processor,
    dataset: &Dataset,
    part: usize,
    rows: std::ops::Range<u64>,
) -> (Vec<Prompt>, Vec<Rejected>) {
    let (mut prompts, mut rejected) = (Vec::new(), Vec::new());
    for index in rows {
        match prompt(processor, dataset, part, index) {
            Ok(prompt) => prompts.push(prompt),
            Err(error) => {
                rejected.push(Rejected { source: dataset.name().to_owned(), index, reason: error.to_string() });
            }
        }
    }
    (prompts, rejected)
}

/// What people should know of pictures that were left out of prompts; `place` is who asked them.
pub fn left_out(place: &str, dropped: usize) -> Option<String> {
    (dropped > 0).then(|| {
        format!(
            "warning: {place}: {dropped} pictures and videos were left out of prompts that were too long \
             (policy.too_long = \"drop_pictures\"); policy.max_prompt_tokens is the limit"
        )
    })
}

/// Reads and encodes one row.
///
/// # Errors
/// When it cannot be used; the message names it.
pub fn prompt(processor: &Processor, dataset: &Dataset, part: usize, index: u64) -> Result<Prompt> {
    let example = dataset.get(index)?;
    let input = encode(processor, &example.query)?;
    let query = Arc::new(example.query);
    Ok(Prompt { query, response: example.response, part, index, input })
}
