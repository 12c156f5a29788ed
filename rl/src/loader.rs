//! Batches of a phase: drawn from a mixture, encoded one batch ahead; bad rows are listed, replaced and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;

use sapo_datasets::{Drawn, Mixture, MixturePart, MixtureState};
use sapo_policies::processor::Processor;

use crate::config::Config;
use crate::data::{Prompt, Rejected, prompt};
use crate::error::{Result, RunError};
use crate::metrics::{Metrics, names};
use crate::pass_rates::PassedOver;

/// Bad rows in a row after which a source without an end is given up.
const TRIES: u64 = 10_000;

/// A batch of prompts, and where the mixture stands behind it.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// The prompts, source by source.
    pub prompts: Vec<Prompt>,
    /// What a checkpoint keeps.
    pub state: MixtureState,
    /// Rows that could not be used and were replaced.
    pub rejected: Vec<Rejected>,
    /// How many queries were not drawn because of their pass rate.
    pub passed_over: usize,
}

/// What a phase wants of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// A response to imitate.
    response: bool,
    /// Tokens of prompt and response at most.
    max_tokens: Option<usize>,
}

impl Wants {
    /// Queries alone.
    pub fn queries() -> Self {
        Self { response: false, max_tokens: None }
    }

    /// Responses to imitate, of so many tokens at most, with their prompts.
    pub fn responses(max_tokens: Option<usize>) -> Self {
        Self { response: true, max_tokens }
    }
}

/// A batch that is being made on a thread; the mixture comes back with it.
type Ahead = JoinHandle<(Mixture, Result<Prompts>)>;

/// Draws batches of a phase. Each is made ahead, while the policy learns from the batch before.
pub struct Loader {
    processor: Arc<Processor>,
    counts: Vec<usize>,
    sources: Vec<String>,
    lengths: Vec<Option<u64>>,
    wants: Wants,
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
        wants: Wants,
        config: &Config,
        processor: &Arc<Processor>,
        state: Option<&MixtureState>,
    ) -> Result<Self> {
        let mut mixture = Mixture::new(parts, config.run.seed)?;
        let counts = mixture.counts(size)?;
        if let Some(state) = state {
            mixture.restore(state)?;
        }
        Ok(Self {
            processor: Arc::clone(processor),
            counts,
            sources: mixture.parts().iter().map(|part| part.name.clone()).collect(),
            lengths: mixture.parts().iter().map(|part| part.dataset.len()).collect(),
            wants,
            mixture: Some(mixture),
            ahead: None,
            rejected: BTreeMap::new(),
            max_bad_share: config.run.max_bad_rows_share,
        })
    }

    /// The names of the sources, in the order of [`Prompt::part`].
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Whether the queries of a source come again.
    pub fn has_end(&self, part: usize) -> bool {
        self.lengths.get(part).is_some_and(Option::is_some)
    }

    /// Begins to make the next batch on a thread, of queries that are not passed over. What a step still refills comes
    /// before it: a run that is resumed behind the step draws the same.
    pub fn prepare(&mut self, passed_over: PassedOver) {
        let Some(mut mixture) = self.mixture.take() else { return };
        let (processor, counts) = (Arc::clone(&self.processor), self.counts.clone());
        let wants = self.wants;
        self.ahead = Some(std::thread::spawn(move || {
            let drawing = Drawing { processor: &processor, passed_over: &passed_over, wants, fills_up: true };
            let batch = drawing.batch(&mut mixture, &counts);
            (mixture, batch)
        }));
    }

    /// The next batch. Rows that cannot be used are replaced by the next of their source.
    ///
    /// # Errors
    /// When too many rows of a source cannot be used.
    pub fn next_batch(&mut self) -> Result<Prompts> {
        if self.ahead.is_none() {
            self.prepare(PassedOver::new());
        }
        let died = || RunError::Internal("the thread that reads data died".to_owned());
        let (mixture, batch) = self.ahead.take().ok_or_else(died)?.join().map_err(|_| died())?;
        self.checked(mixture, batch)
    }

    /// So many more of each source, at once; fewer where a source has no more that are not passed over. It comes before
    /// the next batch is prepared.
    ///
    /// # Errors
    /// When too many rows of a source cannot be used.
    pub fn refill(&mut self, counts: &[usize], passed_over: &PassedOver) -> Result<Prompts> {
        let mut mixture = self
            .mixture
            .take()
            .ok_or_else(|| RunError::Internal("a step is refilled after its next batch was begun".to_owned()))?;
        let wants = self.wants;
        let drawing = Drawing { processor: &self.processor, passed_over, wants, fills_up: false };
        let batch = drawing.batch(&mut mixture, counts);
        self.checked(mixture, batch)
    }

    /// Rows that could not be used so far.
    pub fn rejected(&self) -> usize {
        self.rejected.values().map(BTreeSet::len).sum()
    }

    /// Takes the mixture back, and counts what could not be used.
    fn checked(&mut self, mixture: Mixture, batch: Result<Prompts>) -> Result<Prompts> {
        self.mixture = Some(mixture);
        let batch = batch?;
        for row in &batch.rejected {
            self.rejected.entry(row.source.clone()).or_default().insert(row.index);
        }
        self.refuse_too_many(&batch)?;
        Ok(batch)
    }

    fn refuse_too_many(&self, batch: &Prompts) -> Result<()> {
        for (source, length) in self.sources.iter().zip(&self.lengths) {
            let (Some(rows), Some(length)) = (self.rejected.get(source), length) else { continue };
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

/// How rows are drawn.
struct Drawing<'a> {
    processor: &'a Processor,
    passed_over: &'a PassedOver,
    wants: Wants,
    /// Whether a source all of whose queries are passed over gives the next one all the same.
    fills_up: bool,
}

impl Drawing<'_> {
    /// Draws so many of each source and encodes them.
    fn batch(&self, mixture: &mut Mixture, counts: &[usize]) -> Result<Prompts> {
        let mut batch = Prompts::default();
        for (part, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                batch.prompts.extend(self.prompt(mixture, part, &mut batch.rejected, &mut batch.passed_over)?);
            }
        }
        batch.state = mixture.state();
        Ok(batch)
    }

    /// The next row of a source that can be used; none when there is none.
    fn prompt(
        &self,
        mixture: &mut Mixture,
        part: usize,
        rejected: &mut Vec<Rejected>,
        passed_over: &mut usize,
    ) -> Result<Option<Prompt>> {
        let mut tried = 0;
        while let Some(drawn) = self.draw(mixture, part, passed_over) {
            let source = &mixture.parts()[part];
            let reason = match self.usable(mixture, drawn) {
                Ok(prompt) => return Ok(Some(prompt)),
                Err(error) => error.to_string(),
            };
            tried += 1;
            // A source whose rows are all bad ends: each is tried once at most.
            if tried >= source.dataset.len().unwrap_or(TRIES).max(1) {
                let name = &source.name;
                return Err(RunError::Stopped(format!("data.{name}: no row can be used; the last: {reason}")));
            }
            rejected.push(Rejected { source: source.name.clone(), index: drawn.index, reason });
        }
        Ok(None)
    }

    /// The next row of a source that is not passed over.
    fn draw(&self, mixture: &mut Mixture, part: usize, passed_over: &mut usize) -> Option<Drawn> {
        let length = mixture.parts()[part].dataset.len();
        // Two epochs hold every row from wherever they begin.
        for _ in 0..length.map_or(1, |length| 2 * length) {
            let drawn = mixture.refill(part, 1).pop()?;
            if !self.passed_over.contains(&(part, drawn.index)) {
                return Some(drawn);
            }
            *passed_over += 1;
        }
        if self.fills_up { mixture.refill(part, 1).pop() } else { None }
    }

    fn usable(&self, mixture: &Mixture, drawn: Drawn) -> Result<Prompt> {
        let part = &mixture.parts()[drawn.part];
        let prompt = prompt(self.processor, &part.dataset, drawn.part, drawn.index)?;
        if self.wants.response && prompt.response.is_none() {
            return Err(RunError::User(format!(
                "{} query `{}`: no response to imitate; put it in a column `response`, end `messages` with the assistant, or \
                 name its column: columns = {{ response = \"...\" }}",
                part.name, prompt.query.id
            )));
        }
        if let Some(most) = self.wants.max_tokens {
            let response = self.processor.tokenizer().encode(prompt.response.as_deref().unwrap_or_default())?;
            // The token that ends a turn is one more.
            let tokens = prompt.input.ids().len() + response.len() + 1;
            if tokens > most {
                let id = &prompt.query.id;
                return Err(RunError::User(format!(
                    "{} query `{id}`: prompt and response have {tokens} tokens, and the phase takes {most} (max_tokens)",
                    part.name
                )));
            }
        }
        Ok(prompt)
    }
}

/// Adds to the metrics of a step what was not used, where there is any.
pub fn count(loader: &Loader, batch: &Prompts, metrics: &mut Metrics) {
    let dropped: usize = batch.prompts.iter().map(|prompt| prompt.input.dropped_pictures()).sum();
    for (name, count) in [(names::DROPPED_PICTURES, dropped), (names::PASSED_OVER, batch.passed_over)] {
        if count > 0 {
            metrics.sum(name, count as f64);
        }
    }
    if loader.rejected() > 0 {
        metrics.set(names::REJECTED_ROWS, loader.rejected() as f64);
    }
}

#[cfg(test)]
mod tests;
