//! The data of a run: named sources opened, mixed into batches, encoded one batch ahead, bad rows listed and replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use sapo_datasets::{Dataset, Drawn, Mixture, MixturePart, MixtureState, OpenContext, Query, Split};
use sapo_policies::PolicyInput;
use sapo_policies::processor::Processor;
use serde::{Deserialize, Serialize};

use crate::config::{Config, EvalConfig, GENERATED_QUERIES, SourceUse};
use crate::encode::encode;
use crate::error::{Result, RunError};
use crate::metrics::{Metrics, names};

/// Rows of a source that are read whole before a run begins.
const LOOKED_AT: usize = 8;
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

/// Opens the sources of an evaluation: test queries of generated tasks, as many as it asks for.
///
/// # Errors
/// When a source cannot be used.
pub fn open_eval(config: &Config, eval: &EvalConfig) -> Result<Vec<Dataset>> {
    let open = |used: SourceUse| {
        let dataset = open_split(config, &used, Split::Test, eval.seed)?;
        let most = eval.queries_per_source.or(dataset.len().is_none().then_some(GENERATED_QUERIES));
        let count = most.map(|most| dataset.len().map_or(most as u64, |length| length.min(most as u64)));
        Ok(dataset.slice(None, count)?)
    };
    eval.uses().into_iter().map(open).collect()
}

/// Opens every source of a run and reads its first rows whole, before anything else is done.
///
/// # Errors
/// The first fault, with file, row, column and remedy.
pub fn check_all(config: &Config) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in &config.run.phases {
        for used in config.phases[name].kind().data() {
            if seen.insert(format!("{:?}", config.source(used, "data")?)) {
                open(config, used, 0)?.check_head(LOOKED_AT)?;
            }
        }
    }
    for eval in config.eval.values() {
        for dataset in open_eval(config, eval)? {
            dataset.check_head(LOOKED_AT)?;
        }
    }
    Ok(())
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
        for index in 0..dataset.len().unwrap_or(LOOKED_AT as u64).min(LOOKED_AT as u64) {
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

/// A batch of prompts, and where the mixture stands behind it.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// The prompts, source by source.
    pub prompts: Vec<Prompt>,
    /// What a checkpoint keeps.
    pub state: MixtureState,
    /// Rows that could not be used and were replaced.
    pub rejected: Vec<Rejected>,
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

/// A batch that is being made on a thread; the mixture comes back with it.
type Ahead = JoinHandle<(Mixture, Result<Prompts>)>;

/// Draws batches of a phase. Each is made one ahead, while the batch before is sampled and trained on.
pub struct Loader {
    processor: Arc<Processor>,
    size: usize,
    needs_response: bool,
    mixture: Option<Mixture>,
    ahead: Option<Ahead>,
    rejected: BTreeMap<String, BTreeSet<u64>>,
    max_bad_share: f64,
}

impl Loader {
    /// A loader of batches of `size` from datasets with their shares, going on from `state` if there is one.
    ///
    /// # Errors
    /// When the mixture cannot be made, or the state belongs to another one.
    pub fn new(
        parts: Vec<MixturePart>,
        size: usize,
        needs_response: bool,
        config: &Config,
        processor: &Arc<Processor>,
        state: Option<&MixtureState>,
    ) -> Result<Self> {
        let mut mixture = Mixture::new(parts, config.run.seed)?;
        mixture.counts(size)?;
        if let Some(state) = state {
            mixture.restore(state)?;
        }
        Ok(Self {
            processor: Arc::clone(processor),
            size,
            needs_response,
            mixture: Some(mixture),
            ahead: None,
            rejected: BTreeMap::new(),
            max_bad_share: config.run.max_bad_rows_share,
        })
    }

    /// The next batch. Rows that cannot be used are replaced by the next of their source.
    ///
    /// # Errors
    /// When too many rows of a source cannot be used.
    pub fn next_batch(&mut self) -> Result<Prompts> {
        if self.ahead.is_none() {
            self.start();
        }
        let died = || RunError::Internal("the thread that reads data died".to_owned());
        let (mixture, batch) = self.ahead.take().ok_or_else(died)?.join().map_err(|_| died())?;
        let lengths: BTreeMap<String, Option<u64>> =
            mixture.parts().iter().map(|part| (part.name.clone(), part.dataset.len())).collect();
        self.mixture = Some(mixture);
        let batch = batch?;
        for row in &batch.rejected {
            self.rejected.entry(row.source.clone()).or_default().insert(row.index);
        }
        self.refuse_too_many(&lengths, &batch)?;
        self.start();
        Ok(batch)
    }

    /// Rows that could not be used so far.
    pub fn rejected(&self) -> usize {
        self.rejected.values().map(BTreeSet::len).sum()
    }

    fn start(&mut self) {
        let Some(mut mixture) = self.mixture.take() else { return };
        let (processor, size, needs_response) = (Arc::clone(&self.processor), self.size, self.needs_response);
        self.ahead = Some(std::thread::spawn(move || {
            let batch = draw(&mut mixture, &processor, size, needs_response);
            (mixture, batch)
        }));
    }

    fn refuse_too_many(&self, lengths: &BTreeMap<String, Option<u64>>, batch: &Prompts) -> Result<()> {
        for (source, rows) in &self.rejected {
            let Some(Some(length)) = lengths.get(source) else { continue };
            let most = ((self.max_bad_share * *length as f64).ceil() as usize).max(1);
            if rows.len() > most {
                let last = batch.rejected.iter().rev().find(|row| row.source == *source);
                return Err(RunError::Stopped(format!(
                    "data.{source}: {} of {length} rows cannot be used, more than run.max_bad_rows_share = {}; the last: {}",
                    rows.len(),
                    self.max_bad_share,
                    last.map_or("", |row| row.reason.as_str())
                )));
            }
        }
        Ok(())
    }
}

/// Draws a batch and encodes it.
fn draw(mixture: &mut Mixture, processor: &Processor, size: usize, needs_response: bool) -> Result<Prompts> {
    let mut batch = Prompts::default();
    for drawn in mixture.next_batch(size)? {
        // A source whose rows are all bad ends: each is tried once at most.
        let mut tries = mixture.parts()[drawn.part].dataset.len().unwrap_or(10_000).max(1);
        let mut drawn = drawn;
        loop {
            match usable(mixture, processor, drawn, needs_response) {
                Ok(prompt) => break batch.prompts.push(prompt),
                Err(error) => {
                    let source = mixture.parts()[drawn.part].name.clone();
                    let reason = error.to_string();
                    tries -= 1;
                    if tries == 0 {
                        return Err(RunError::Stopped(format!(
                            "data.{source}: no row can be used; the last: {reason}"
                        )));
                    }
                    batch.rejected.push(Rejected { source, index: drawn.index, reason });
                    drawn = mixture.refill(drawn.part, 1).pop().unwrap_or(drawn);
                }
            }
        }
    }
    batch.state = mixture.state();
    Ok(batch)
}

fn usable(mixture: &Mixture, processor: &Processor, drawn: Drawn, needs_response: bool) -> Result<Prompt> {
    let part = &mixture.parts()[drawn.part];
    let prompt = prompt(processor, &part.dataset, drawn.part, drawn.index)?;
    if needs_response && prompt.response.is_none() {
        return Err(RunError::User(format!(
            "{} query `{}`: no response to imitate; put it in a column `response`, end `messages` with the assistant, or \
             name its column: columns = {{ response = \"...\" }}",
            part.name, prompt.query.id
        )));
    }
    Ok(prompt)
}

/// Adds to the metrics of a step what could not be used, where there is any.
pub fn count(loader: &Loader, batch: &Prompts, metrics: &mut Metrics) {
    let dropped: usize = batch.prompts.iter().map(|prompt| prompt.input.dropped_pictures()).sum();
    for (name, count) in [(names::REJECTED_ROWS, loader.rejected()), (names::DROPPED_PICTURES, dropped)] {
        if count > 0 {
            metrics.sum(name, count as f64);
        }
    }
}
