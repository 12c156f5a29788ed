//! Asks a policy all queries of a set, batch by batch: what is on record already is not asked again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use sapo_datasets::Query;
use sapo_rollouts::{Request, Sampling};

use super::line::{Answer, Lines};
use super::record::Record;
use super::{ALL, EvalSampling, EvalSet, Evaluation};
use crate::data::{self, Prompt};
use crate::error::{Result, RunError};
use crate::sample::{FailedRequest, Generator, ScoredGroup, SeedScope, Waited, refuse_not_finite, request};

/// Prompts that are in memory at a time, as a multiple of those that are decoded together: whoever is done makes room for
/// the next.
const CHUNKS_OF_ROWS: usize = 4;

/// What was said to a query.
pub(super) struct Answered {
    pub(super) query: Arc<Query>,
    /// Its samples in their order, or its greedy answer.
    pub(super) answers: Vec<Answer>,
}

/// What came of a batch of prompts.
struct Batch {
    sampled: Vec<Answered>,
    greedy: Vec<Answered>,
    /// Queries whose samples could not be had.
    lost: Vec<FailedRequest>,
    waited: Waited,
}

/// An evaluation that is being made.
struct Asking<'a, 'r> {
    generator: Generator<'a>,
    set: &'a EvalSet<'a>,
    sampling: EvalSampling,
    record: Option<&'a mut Record<'r>>,
    progress: &'a mut dyn FnMut(usize),
    /// Rollouts that have ended.
    ended: usize,
}

/// Evaluates a policy on a set of queries; `progress` is told how many rollouts have ended, the greedy ones among
/// them. What `record` has is not asked, and whatever else is answered is put there as soon as it is scored.
///
/// # Errors
/// When an id comes twice, a task is called `all`, no query can be used, the policy gives log-probs that are not finite,
/// the engine fails, or the record cannot be written.
pub fn evaluate(
    generator: Generator<'_>,
    set: &EvalSet<'_>,
    sampling: EvalSampling,
    after: &str,
    record: Option<&mut Record<'_>>,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::new(after, sampling);
    let mut asking = Asking { generator, set, sampling, record, progress, ended: 0 };
    let mut ids = BTreeSet::new();
    // Prompts hold pixels, so that only some are in memory.
    let chunk = (CHUNKS_OF_ROWS * sampling.decode_rows / (sampling.samples + 1)).max(1) as u64;
    for (part, dataset) in set.datasets.iter().enumerate() {
        let (length, mut used) = (dataset.len().unwrap_or(0), 0);
        let lines = Lines::new(&generator, dataset, sampling.max_new_tokens, &mut evaluation.templates);
        for start in (0..length).step_by(chunk as usize) {
            let rows = start..(start + chunk).min(length);
            let (prompts, rejected) = data::prompts(generator.processor, dataset, part, rows);
            evaluation.dropped_pictures += prompts.iter().map(|prompt| prompt.input.dropped_pictures()).sum::<usize>();
            evaluation.rejected.extend(rejected);
            prompts.iter().try_for_each(|prompt| refuse_unclear(prompt, &mut ids))?;
            let Batch { sampled, greedy, lost, waited } = asking.batch(&prompts, &lines)?;
            evaluation.waited += waited;
            used += sampled.len();
            evaluation.rejected.extend(lost.into_iter().map(|lost| lost.of(dataset.name())));
            evaluation.add(set, dataset.name(), sampled, false);
            evaluation.add(set, dataset.name(), greedy, true);
        }
        evaluation.refuse_unusable(dataset.name(), used)?;
    }
    evaluation.close();
    Ok(evaluation)
}

impl Asking<'_, '_> {
    /// The answers to a batch of prompts, in their order: from the record, and from the policy.
    fn batch(&mut self, prompts: &[Prompt], lines: &Lines) -> Result<Batch> {
        let Self { generator, set, .. } = *self;
        // For each prompt its samples, then for each its greedy answer.
        let mut found: Vec<Option<Vec<Answer>>> = Vec::with_capacity(2 * prompts.len());
        let (mut open, mut asked, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        for greedy in [false, true] {
            for prompt in prompts {
                let on_record = self.record.as_mut().and_then(|record| record.take(&prompt.query.id, greedy));
                if let Some(answers) = &on_record {
                    self.ended += answers.len();
                } else {
                    open.push((greedy, found.len()));
                    asked.push(prompt.clone());
                    requests.push(self.request(prompt, greedy));
                }
                found.push(on_record);
            }
        }
        let (before, record, progress) = (self.ended, &mut self.record, &mut self.progress);
        let mut whole = |request: usize, group: &ScoredGroup| {
            refuse_not_finite(std::slice::from_ref(group))?;
            let (greedy, at) = open[request];
            let answers = lines.answers(&generator, group, greedy);
            if let Some(record) = record {
                record.keep(&group.prompt.query.id, greedy, &answers)?;
            }
            found[at] = Some(answers);
            Ok(())
        };
        let mut ended = |ended: crate::sample::Ended| {
            progress(before + ended.rollouts);
            ControlFlow::Continue(())
        };
        let done = generator.answer_and_tell(asked, &requests, set.rubrics, &mut ended, Some(&mut whole))?;
        self.ended += done.groups.iter().map(|group| group.rollouts.len()).sum::<usize>();
        if let Some(record) = &mut self.record {
            record.sync()?;
        }
        let answered = |(prompt, answers): (&Prompt, Option<Vec<Answer>>)| {
            Some(Answered { query: Arc::clone(&prompt.query), answers: answers? })
        };
        let greedy = found.split_off(prompts.len());
        Ok(Batch {
            sampled: prompts.iter().zip(found).filter_map(answered).collect(),
            greedy: prompts.iter().zip(greedy).filter_map(answered).collect(),
            waited: done.waited,
            lost: done.failed.into_iter().filter(|lost| !open[lost.request].0).collect(),
        })
    }

    /// What asks for a prompt's samples, or for its greedy answer.
    fn request(&self, prompt: &Prompt, greedy: bool) -> Request {
        let EvalSampling { samples, max_new_tokens, seed, .. } = self.sampling;
        match greedy {
            false => request(prompt, &self.sampling.drawn(), SeedScope { seed, place: "eval", samples }),
            true => {
                let scope = SeedScope { seed, place: "greedy", samples: 1 };
                request(prompt, &Sampling::greedy(max_new_tokens), scope)
            }
        }
    }
}

/// Samples and records are keyed by the id, and rows by the task.
pub(super) fn refuse_unclear(prompt: &Prompt, ids: &mut BTreeSet<String>) -> Result<()> {
    let query = &prompt.query;
    if !ids.insert(query.id.clone()) {
        return Err(RunError::User(format!(
            "the id `{}` comes twice; samples and records are keyed by it, so give each query its own",
            query.id
        )));
    }
    if query.task == ALL {
        return Err(RunError::User(format!(
            "query `{}`: its task is called `{ALL}`, as the mean over tasks is; give it another name",
            query.id
        )));
    }
    Ok(())
}
