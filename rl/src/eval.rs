//! The held-out evaluation: pass@1 per task with intervals, greedy beside it, gains paired by query.

mod line;
mod measured;
mod row;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use sapo_datasets::{Dataset, Query, StopReason};
use sapo_rollouts::Sampling;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::line::Lines;
use self::measured::{means, measured};
pub use self::row::{EvalRow, Gain, nan_of_null};
pub use crate::config::EvalSampling;
use crate::data::{self, Prompt, Rejected};
use crate::error::{Result, RunError};
use crate::guards;
use crate::ledger::LedgerEntry;
use crate::metrics::names;
use crate::sample::{Generator, ScoredGroup, SeedScope, Waited, refuse_not_finite, request};
use crate::score::ReadyRubric;
use crate::stats::{QueryOutcomes, detectable, majority_at_k, mean_interval, mean_pass_at_k, paired_gain};
use sapo_rewards::score::CORRECT;

/// The row that stands for all counted tasks.
pub const ALL: &str = "all";
/// Samples of a query from which on pass@16 is told.
const SIXTEEN: usize = 16;
/// Samples of a query from which on a majority is told.
const LEAST_VOTES: usize = 3;
/// Prompts that are in memory at a time, as a multiple of those that are decoded together: whoever is done makes room for
/// the next.
const CHUNKS_OF_ROWS: usize = 4;

/// What is evaluated on: sources with the rubric of each.
pub struct EvalSet<'a> {
    /// The sources.
    pub datasets: &'a [Dataset],
    /// The rubric of each.
    pub rubrics: &'a [ReadyRubric],
    /// Names of sources or tasks that get a row each, but are no part of `all`.
    pub unaveraged: &'a [String],
}

/// One evaluation. Its queries and samples are kept in files, not in a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Its name in the configuration.
    #[serde(default)]
    pub set: String,
    /// After which part of the run.
    pub after: String,
    /// One row per counted task, one per task apart, then `all`.
    pub rows: Vec<EvalRow>,
    /// The queries.
    #[serde(skip)]
    pub queries: Vec<Arc<Query>>,
    /// Every sample, as it is stored.
    #[serde(skip)]
    pub samples: Vec<Value>,
    /// What the ledger keeps of them.
    #[serde(skip)]
    pub entries: Vec<LedgerEntry>,
    /// Rows that could not be used.
    #[serde(skip)]
    pub rejected: Vec<Rejected>,
    /// Texts of the templates that prompts were made with, by the hashes that samples name.
    #[serde(skip)]
    templates: BTreeMap<String, String>,
    /// Pictures and videos that were left out of prompts that were too long.
    #[serde(default)]
    pub dropped_pictures: usize,
    /// How long was waited for answers and for rewards; the rest of the time is this program's own.
    #[serde(skip)]
    pub waited: Waited,
    /// Tasks in the order of their first query.
    #[serde(skip)]
    order: Vec<String>,
    records: BTreeMap<String, TaskRecord>,
    sampling: EvalSampling,
}

/// What was said to the queries of one task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct TaskRecord {
    counted: bool,
    sampled: Vec<QueryOutcomes>,
    greedy: Vec<QueryOutcomes>,
    #[serde(skip)]
    said: Vec<Said>,
}

/// One sampled answer.
#[derive(Clone, Debug)]
struct Said {
    passed: Option<bool>,
    /// What the verifier took for the answer.
    answer: Option<String>,
    /// What the rubric gives in all.
    reward: Option<f64>,
    tokens: usize,
    with_working: bool,
    truncated: bool,
    metrics: Vec<(String, f64)>,
}

/// Evaluates a policy on a set of queries; `progress` is told how many rollouts have ended, the greedy ones among
/// them.
///
/// # Errors
/// When an id comes twice, a task is called `all`, no query can be used, the policy gives log-probs that are not finite, or
/// the engine fails.
pub fn evaluate(
    generator: Generator<'_>,
    set: &EvalSet<'_>,
    sampling: EvalSampling,
    after: &str,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::new(after, sampling);
    let EvalSampling { samples, max_new_tokens, seed, decode_rows, .. } = sampling;
    let random = sampling.drawn();
    let greedy = Sampling::greedy(max_new_tokens);
    let scope = SeedScope { seed, place: "eval", samples };
    let greedy_scope = SeedScope { place: "greedy", samples: 1, ..scope };
    let mut ids = BTreeSet::new();
    // Prompts hold pixels, so that only some are in memory.
    let chunk = (CHUNKS_OF_ROWS * decode_rows / (samples + 1)).max(1) as u64;
    for (part, dataset) in set.datasets.iter().enumerate() {
        let (length, mut used) = (dataset.len().unwrap_or(0), 0);
        let lines = Lines::new(&generator, dataset, max_new_tokens, &mut evaluation.templates);
        for start in (0..length).step_by(chunk as usize) {
            let rows = start..(start + chunk).min(length);
            let (prompts, rejected) = data::prompts(generator.processor, dataset, part, rows);
            used += prompts.len();
            evaluation.dropped_pictures += prompts.iter().map(|prompt| prompt.input.dropped_pictures()).sum::<usize>();
            evaluation.rejected.extend(rejected);
            prompts.iter().try_for_each(|prompt| refuse_unclear(prompt, &mut ids))?;
            let before = evaluation.queries.len() * (samples + 1);
            let asked = prompts.iter().map(|prompt| request(prompt, &random, scope));
            let requests = asked.chain(prompts.iter().map(|prompt| request(prompt, &greedy, greedy_scope))).collect();
            let twice = prompts.iter().chain(&prompts).cloned().collect();
            let all = generator.answer_and_score(twice, requests, set.rubrics, &mut |ended| {
                progress(before + ended.rollouts);
                ControlFlow::Continue(())
            })?;
            evaluation.waited += all.waited;
            refuse_not_finite(&all.groups)?;
            let lost: Vec<_> = all.failed.into_iter().filter(|lost| lost.request < prompts.len()).collect();
            let (sampled, greedy) = all.groups.split_at(prompts.len() - lost.len());
            evaluation.rejected.extend(lost.into_iter().map(|lost| lost.of(dataset.name())));
            evaluation.add(set, dataset.name(), sampled, greedy);
            for (groups, is_greedy) in [(sampled, false), (greedy, true)] {
                let of_group = |group| lines.of_group(&generator, group, is_greedy);
                evaluation.samples.extend(groups.iter().flat_map(of_group));
            }
        }
        evaluation.refuse_unusable(dataset.name(), used)?;
    }
    evaluation.close();
    Ok(evaluation)
}

/// Samples and records are keyed by the id, and rows by the task.
fn refuse_unclear(prompt: &Prompt, ids: &mut BTreeSet<String>) -> Result<()> {
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

impl Evaluation {
    fn new(after: &str, sampling: EvalSampling) -> Self {
        let (rows, queries, samples, entries, records, rejected, order, dropped_pictures) = Default::default();
        let templates = BTreeMap::new();
        Self {
            set: String::new(),
            after: after.to_owned(),
            rows,
            queries,
            samples,
            entries,
            rejected,
            templates,
            dropped_pictures,
            waited: Waited::default(),
            order,
            records,
            sampling,
        }
    }

    /// A source of which no row could be used is a fault, not an empty row of the table.
    fn refuse_unusable(&self, source: &str, used: usize) -> Result<()> {
        match self.rejected.last() {
            Some(last) if used == 0 => {
                Err(RunError::User(format!("{source}: no row can be used; the last: {}", last.reason)))
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, set: &EvalSet<'_>, source: &str, sampled: &[ScoredGroup], greedy: &[ScoredGroup]) {
        for group in sampled {
            let task = &group.prompt.query.task;
            if !self.order.contains(task) {
                self.order.push(task.clone());
            }
            let record = self.records.entry(task.clone()).or_default();
            record.counted = !set.unaveraged.iter().any(|name| name == source || name == task);
            record.sampled.push(outcomes(group));
            record.said.extend(group.rollouts.iter().map(|rollout| Said {
                passed: rollout.score.passed,
                answer: rollout.score.part(CORRECT).and_then(|part| part.score.extracted.clone()),
                reward: rollout.score.total,
                tokens: rollout.rollout.sampled(),
                with_working: rollout.reasoned(),
                truncated: rollout.rollout.stop == StopReason::Length,
                metrics: measured(rollout),
            }));
        }
        for group in greedy {
            self.records.entry(group.prompt.query.task.clone()).or_default().greedy.push(outcomes(group));
        }
        let both = sampled.iter().map(|group| (group, false)).chain(greedy.iter().map(|group| (group, true)));
        for (group, is_greedy) in both {
            for rollout in &group.rollouts {
                self.entries.push(LedgerEntry::of(&group.prompt.query, rollout, is_greedy));
            }
        }
        self.queries.extend(sampled.iter().map(|group| Arc::clone(&group.prompt.query)));
    }

    /// Writes the rows, once all answers are there: what counts first, each kind in the order of its sources.
    fn close(&mut self) {
        for counted in [true, false] {
            for task in &self.order {
                let record = &self.records[task];
                if record.counted == counted {
                    let row = self.row(task, record);
                    self.rows.push(row);
                }
            }
        }
        self.rows.extend(self.row_of_all());
    }

    fn row(&self, task: &str, record: &TaskRecord) -> EvalRow {
        let estimated = mean_interval(&record.sampled);
        let greedy = mean_interval(&record.greedy);
        let scored = record.said.iter().filter(|said| said.passed.is_some()).count();
        let of_said = |value: fn(&Said) -> f64| mean(record.said.iter().map(value)).unwrap_or(0.0);
        EvalRow {
            set: self.set.clone(),
            after: self.after.clone(),
            task: task.to_owned(),
            queries: record.sampled.len(),
            scored,
            failed: record.said.len() - scored,
            pass_at_1: estimated.map_or(f64::NAN, |estimate| estimate.value),
            ci95: estimated.map_or([0.0, 1.0], |estimate| estimate.interval),
            greedy: greedy.map_or(f64::NAN, |estimate| estimate.value),
            greedy_ci95: greedy.map(|estimate| estimate.interval),
            pass_at_16: self.pass_at_16(&record.sampled),
            maj_at_k: self.maj_at_k(record),
            mean_reward: mean(record.said.iter().filter_map(|said| said.reward)),
            detectable: detectable(&record.sampled),
            with_working: of_said(|said| f64::from(u8::from(said.with_working))),
            truncated: of_said(|said| f64::from(u8::from(said.truncated))),
            mean_tokens: of_said(|said| said.tokens as f64),
            metrics: means(record.said.iter().flat_map(|said| said.metrics.clone())),
        }
    }

    /// The mean over counted tasks, each with the same weight.
    fn row_of_all(&self) -> Option<EvalRow> {
        let counted = |task: &str| self.records.get(task).is_some_and(|record| record.counted);
        let rows: Vec<&EvalRow> = self.rows.iter().filter(|row| counted(&row.task)).collect();
        let sampled = self.outcomes(ALL, false);
        let estimated = mean_interval(&sampled)?;
        let mean_of = |value: fn(&EvalRow) -> f64| mean(rows.iter().map(|row| value(row))).unwrap_or(0.0);
        let greedy = mean_interval(&self.outcomes(ALL, true));
        Some(EvalRow {
            set: self.set.clone(),
            after: self.after.clone(),
            task: ALL.to_owned(),
            queries: rows.iter().map(|row| row.queries).sum(),
            scored: rows.iter().map(|row| row.scored).sum(),
            failed: rows.iter().map(|row| row.failed).sum(),
            pass_at_1: estimated.value,
            ci95: estimated.interval,
            greedy: greedy.map_or(f64::NAN, |estimate| estimate.value),
            greedy_ci95: greedy.map(|estimate| estimate.interval),
            pass_at_16: self.pass_at_16(&sampled),
            maj_at_k: mean(rows.iter().filter_map(|row| row.maj_at_k)),
            mean_reward: mean(rows.iter().filter_map(|row| row.mean_reward)),
            detectable: detectable(&sampled),
            with_working: mean_of(|row| row.with_working),
            truncated: mean_of(|row| row.truncated),
            mean_tokens: mean_of(|row| row.mean_tokens),
            metrics: means(rows.iter().flat_map(|row| row.metrics.clone())),
        })
    }

    fn pass_at_16(&self, sampled: &[QueryOutcomes]) -> Option<f64> {
        (self.sampling.samples >= SIXTEEN).then(|| mean_pass_at_k(sampled, SIXTEEN)).flatten()
    }

    /// Samples of a query lie beside each other.
    fn maj_at_k(&self, record: &TaskRecord) -> Option<f64> {
        if self.sampling.samples < LEAST_VOTES {
            return None;
        }
        let votes = |said: &[Said]| {
            majority_at_k(&said.iter().map(|said| (said.answer.as_deref(), said.passed)).collect::<Vec<_>>())
        };
        mean(record.said.chunks(self.sampling.samples).filter_map(votes))
    }

    /// The outcomes of a task, or of all that count.
    fn outcomes(&self, task: &str, greedy: bool) -> Vec<QueryOutcomes> {
        let fits = |name: &str, record: &TaskRecord| if task == ALL { record.counted } else { name == task };
        let records = self.records.iter().filter(|(name, record)| fits(name, record));
        records.flat_map(|(_, record)| if greedy { &record.greedy } else { &record.sampled }).cloned().collect()
    }

    /// What `results.json` holds.
    pub fn results(&self, step: u64) -> Value {
        let EvalSampling { seed, samples, temperature, top_p, top_k, presence_penalty, max_new_tokens, .. } =
            self.sampling;
        json!({"v": 1, "set": self.set, "after": self.after, "step": step, "seed": seed, "samples": samples,
            "temperature": temperature, "top_p": top_p, "top_k": top_k, "presence_penalty": presence_penalty, "max_new_tokens": max_new_tokens,
            "rejected": self.rejected.len(), "dropped_pictures": self.dropped_pictures, "unaveraged": self.unaveraged(), "tasks": self.rows,
            "templates": self.templates})
    }

    /// Gives it, and its rows, the name of its set.
    pub fn belong_to(&mut self, set: &str) {
        set.clone_into(&mut self.set);
        self.rows.iter_mut().for_each(|row| set.clone_into(&mut row.set));
    }

    /// Its line of the metrics; it took `secs` seconds.
    pub fn metrics_line(&self, step: u64, secs: f64) -> Value {
        let mut line = json!({"step": step, "evaluation": self.set, "after": self.after, names::EVAL_SECS: secs,
            names::EVAL_ANSWER_SECS: self.waited.engine.as_secs_f64(), names::EVAL_REWARD_SECS: self.waited.rewards.as_secs_f64()});
        for row in self.rows.iter().filter(|row| row.scored > 0) {
            let of_task = if row.task == ALL { String::new() } else { format!("/{}", row.task) };
            let mut put =
                |name: &str, value: f64| line[format!("{}/{}{of_task}/{name}", names::EVAL, self.set)] = value.into();
            put("pass@1", row.pass_at_1);
            put("pass@1/low", row.ci95[0]);
            put("pass@1/high", row.ci95[1]);
            Some(row.greedy).filter(|greedy| greedy.is_finite()).into_iter().for_each(|value| put("greedy", value));
            put("cut", row.truncated);
            put("tokens", row.mean_tokens);
            row.pass_at_16.into_iter().for_each(|value| put("pass@16", value));
            row.maj_at_k.into_iter().for_each(|value| put("maj@k", value));
            row.mean_reward.into_iter().for_each(|value| put("reward", value));
        }
        line
    }

    /// What to warn of where the token limit has cut more answers than a few; `remedy` names the limit.
    pub fn warning_of_cuts(&self, remedy: &str) -> Option<String> {
        let all = self.rows.iter().find(|row| row.task == ALL)?;
        guards::cut_answers(all.truncated, Some(self.sampling.max_new_tokens), remedy)
    }

    /// The same evaluation under another name: nothing has changed since.
    pub fn under(&self, after: &str) -> Self {
        let mut again = self.clone();
        after.clone_into(&mut again.after);
        again.rows.iter_mut().for_each(|row| after.clone_into(&mut row.after));
        again
    }

    /// The tasks that are no part of `all`.
    fn unaveraged(&self) -> Vec<&String> {
        self.records.iter().filter(|(_, record)| !record.counted).map(|(task, _)| task).collect()
    }

    /// Gains over an earlier evaluation of the same queries, per task and `all`. A query counts where both rate it.
    pub fn gains_over(&self, earlier: &Self) -> Vec<Gain> {
        let gain = |row: &EvalRow| {
            let paired = |greedy| {
                let (before, now) = (earlier.outcomes(&row.task, greedy), self.outcomes(&row.task, greedy));
                paired_gain(&before, &now).map(|gain| gain.estimate)
            };
            let (sampled, greedy) = (paired(false)?, paired(true));
            Some(Gain {
                set: self.set.clone(),
                from: earlier.after.clone(),
                to: self.after.clone(),
                task: row.task.clone(),
                gain: sampled.value,
                ci95: sampled.interval,
                greedy_gain: greedy.map_or(0.0, |gain| gain.value),
                greedy_ci95: greedy.map(|gain| gain.interval),
            })
        };
        self.rows.iter().filter_map(gain).collect()
    }
}

fn outcomes(group: &ScoredGroup) -> QueryOutcomes {
    let query = &group.prompt.query;
    let passes = group.rollouts.iter().map(|rollout| rollout.score.passed).collect();
    QueryOutcomes { query_id: query.id.clone(), task: query.task.clone(), passes }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
pub(crate) mod tests;
