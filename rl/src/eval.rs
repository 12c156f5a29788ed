//! The held-out evaluation: pass@1 per task with intervals, greedy beside it, gains paired by query.

mod asking;
pub mod heat_map;
mod line;
mod measured;
pub mod record;
mod row;

use std::collections::BTreeMap;
use std::sync::Arc;

use sapo_datasets::{Dataset, Query, StopReason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::asking::Answered;
pub use self::asking::evaluate;
use self::heat_map::HeatMap;
use self::line::Answer;
use self::measured::{means, measured};
pub use self::row::{EvalRow, Gain, nan_of_null};
pub use crate::config::EvalSampling;
use crate::data::Rejected;
use crate::error::{Result, RunError};
use crate::guards;
use crate::ledger::LedgerEntry;
use crate::metrics::names;
use crate::sample::Waited;
use crate::score::ReadyRubric;
use crate::stats::{QueryOutcomes, detectable, majority_at_k, mean_interval, mean_pass_at_k, paired_gain};
use sapo_rewards::score::CORRECT;

/// The row that stands for all counted tasks.
pub const ALL: &str = "all";
/// Samples of a query from which on pass@16 is told.
const SIXTEEN: usize = 16;
/// Samples of a query from which on a majority is told.
const LEAST_VOTES: usize = 3;

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

    /// A source of which no row could be used, or none was answered, is a fault, not an empty row of the table.
    fn refuse_unusable(&self, source: &str, used: usize) -> Result<()> {
        match self.rejected.last() {
            Some(last) if used == 0 => {
                Err(RunError::User(format!("{source}: no row can be used; the last: {}", last.reason)))
            }
            _ => Ok(()),
        }
    }

    /// Takes what was said to queries of a source: to each its samples, or its greedy answer.
    fn add(&mut self, set: &EvalSet<'_>, source: &str, answered: Vec<Answered>, greedy: bool) {
        for Answered { query, answers } in answered {
            let task = &query.task;
            if !greedy && !self.order.contains(task) {
                self.order.push(task.clone());
            }
            let record = self.records.entry(task.clone()).or_default();
            let passes = answers.iter().map(|answer| answer.entry.score().passed).collect();
            let outcomes = QueryOutcomes { query_id: query.id.clone(), task: task.clone(), passes };
            if greedy {
                record.greedy.push(outcomes);
            } else {
                record.counted = !set.unaveraged.iter().any(|name| name == source || name == task);
                record.sampled.push(outcomes);
                record.said.extend(answers.iter().map(Said::of));
                self.queries.push(query);
            }
            for Answer { line, entry, .. } in answers {
                self.samples.push(line);
                self.entries.push(entry);
            }
        }
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
        let mut results = json!({"v": 1, "set": self.set, "after": self.after, "step": step, "seed": seed, "samples": samples,
            "temperature": temperature, "top_p": top_p, "top_k": top_k, "presence_penalty": presence_penalty, "max_new_tokens": max_new_tokens,
            "rejected": self.rejected.len(), "dropped_pictures": self.dropped_pictures, "unaveraged": self.unaveraged(), "tasks": self.rows,
            "templates": self.templates});
        let maps = self.heat_maps();
        if !maps.is_empty() {
            results["heat_maps"] = json!(maps);
        }
        results
    }

    /// The heat map of each task whose queries say a length and a depth, in the order of the rows.
    pub fn heat_maps(&self) -> Vec<HeatMap> {
        let asked: BTreeMap<&str, &Query> = self.queries.iter().map(|query| (query.id.as_str(), &**query)).collect();
        self.rows
            .iter()
            .filter_map(|row| HeatMap::of(&row.task, &asked, &self.records.get(&row.task)?.sampled))
            .collect()
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

impl Said {
    fn of(answer: &Answer) -> Self {
        let score = answer.entry.score();
        Self {
            passed: score.passed,
            answer: score.part(CORRECT).and_then(|part| part.score.extracted.clone()),
            reward: score.total,
            tokens: answer.line["tokens"].as_u64().unwrap_or(0) as usize,
            with_working: answer.with_working,
            truncated: answer.line["stop"] == json!(StopReason::Length),
            metrics: measured(score),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
pub(crate) mod tests;
