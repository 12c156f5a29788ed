//! The held-out evaluation: pass@1 per task with intervals, greedy beside it, gains paired by query.

use std::collections::{BTreeMap, BTreeSet};

use sapo_datasets::{Query, Split, StopReason, synthetic};
use sapo_policies::Model;
use sapo_rollouts::Sampling;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asking::{Answered, Place, ask};
use crate::config::EvalConfig;
use crate::error::{Result, RunError};
use crate::ledger::Account;
use crate::scoring::{Rubrics, Scorer};
use crate::stats::{QueryOutcomes, mean_interval, mean_pass_at_k, paired_gain};

/// The row that stands for all counted tasks.
pub const ALL: &str = "all";
/// Samples of a query from which on pass@16 is told.
const SIXTEEN: usize = 16;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// Which evaluation; absent in runs that had one without a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub set: String,
    /// After which part of the run.
    pub after: String,
    /// The task, or `all`.
    pub task: String,
    /// Queries.
    pub queries: usize,
    /// Scored samples.
    pub scored: usize,
    /// Samples whose score failed.
    pub failed: usize,
    /// Mean over queries of the share of samples that pass, at temperature 1.
    pub pass_at_1: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// The same for one greedy answer a query.
    pub greedy: f64,
    /// Chance that at least one of 16 samples passes, without bias; absent with fewer samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_at_16: Option<f64>,
    /// Share of samples with working before the answer.
    pub with_working: f64,
    /// Share of samples cut by the token limit.
    pub truncated: f64,
    /// Mean tokens of a sample.
    pub mean_tokens: f64,
}

/// A difference between two evaluations of the same queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Which evaluation; absent in runs that had one without a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub set: String,
    /// The earlier evaluation.
    pub from: String,
    /// The later one.
    pub to: String,
    /// The task, or `all`.
    pub task: String,
    /// Difference of pass@1.
    pub gain: f64,
    /// Its 95 % interval, paired by query.
    pub ci95: [f64; 2],
    /// Difference of the greedy pass rate.
    pub greedy_gain: f64,
}

/// The queries of one task, generated or read from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskQueries {
    /// The name that its row has.
    pub task: String,
    /// What is asked.
    pub queries: Vec<Query>,
    /// Whether it is part of `all`.
    pub counted: bool,
}

/// How answers are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalSampling {
    /// Samples of each query at temperature 1; one greedy answer comes on top.
    pub samples: usize,
    /// Token limit.
    pub max_new_tokens: usize,
    /// Seed of samples and intervals.
    pub seed: u64,
    /// Rows that are decoded together at most.
    pub decode_rows: usize,
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
    pub queries: Vec<Query>,
    /// Every sample, as it is stored.
    #[serde(skip)]
    pub samples: Vec<Value>,
    /// What the ledger keeps of them.
    #[serde(skip)]
    pub accounts: Vec<Account>,
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
    tokens: usize,
    with_working: bool,
    truncated: bool,
}

/// Evaluates a model on held-out queries of generated tasks; `progress` is told how many sampled rollouts have ended.
///
/// # Errors
/// When a query cannot be encoded.
pub fn evaluate(
    model: &Model,
    config: &EvalConfig,
    scorer: &Scorer,
    rubrics: &Rubrics,
    after: &str,
    decode_rows: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let sampling =
        EvalSampling { samples: config.samples, max_new_tokens: config.max_new_tokens, seed: config.seed, decode_rows };
    evaluate_queries(model, &heldout(config), sampling, scorer, rubrics, after, progress)
}

/// Evaluates a model on lists of queries; `progress` is told how many sampled rollouts have ended.
///
/// # Errors
/// When a query cannot be encoded.
pub fn evaluate_queries(
    model: &Model,
    lists: &[TaskQueries],
    sampling: EvalSampling,
    scorer: &Scorer,
    rubrics: &Rubrics,
    after: &str,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::new(after, sampling);
    let EvalSampling { samples, max_new_tokens, seed, decode_rows } = sampling;
    let random = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens };
    let place = Place { seed, name: "eval", samples, decode_rows };
    let greedy_place = Place { name: "greedy", samples: 1, ..place };
    for list in lists {
        // Prompts hold pixels, so that only those which are decoded together are in memory.
        for chunk in list.queries.chunks((decode_rows / samples.max(1)).max(1)) {
            let before = evaluation.queries.len() * samples;
            let sampled = ask(model, chunk.to_vec(), &random, scorer, rubrics, place, &mut |ended| {
                progress(before + ended);
            })?;
            let greedy = Sampling::greedy(max_new_tokens);
            let greedy = ask(model, chunk.to_vec(), &greedy, scorer, rubrics, greedy_place, &mut |_| {})?;
            evaluation.add(list, &sampled, &greedy);
        }
    }
    evaluation.close(lists);
    Ok(evaluation)
}

/// The test queries of a configuration's tasks: first those that count, then those apart.
pub fn heldout(config: &EvalConfig) -> Vec<TaskQueries> {
    let counted = config.tasks.iter().map(|task| (task, true));
    let tasks = counted.chain(config.apart.iter().map(|task| (task, false)));
    let of_task = |(task, counted): (&sapo_datasets::Task, bool)| TaskQueries {
        task: task.name().to_owned(),
        queries: (0..config.queries_per_task as u64)
            .map(|index| synthetic::query(*task, Split::Test, config.seed, index))
            .collect(),
        counted,
    };
    tasks.map(of_task).collect()
}

/// Queries by their task, in the order of appearance; the tasks named by `apart` are no part of `all`.
///
/// # Errors
/// When an id comes twice, a task is called `all`, or no query belongs to a task of `apart`.
pub fn by_task(queries: Vec<Query>, apart: &[String]) -> Result<Vec<TaskQueries>> {
    let mut lists: Vec<TaskQueries> = Vec::new();
    let mut ids = BTreeSet::new();
    for query in queries {
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
        match lists.iter_mut().find(|list| list.task == query.task) {
            Some(list) => list.queries.push(query),
            None => {
                let (task, counted) = (query.task.clone(), !apart.contains(&query.task));
                lists.push(TaskQueries { task, queries: vec![query], counted });
            }
        }
    }
    if let Some(unknown) = apart.iter().find(|name| lists.iter().all(|list| list.task != **name)) {
        let known: Vec<&str> = lists.iter().map(|list| list.task.as_str()).collect();
        return Err(RunError::User(format!(
            "no query belongs to the task `{unknown}`; there are {}",
            known.join(", ")
        )));
    }
    Ok(lists)
}

impl Evaluation {
    fn new(after: &str, sampling: EvalSampling) -> Self {
        let (rows, queries, samples, accounts, records) = Default::default();
        Self { set: String::new(), after: after.to_owned(), rows, queries, samples, accounts, records, sampling }
    }

    fn add(&mut self, list: &TaskQueries, sampled: &[Answered], greedy: &[Answered]) {
        let record = self.records.entry(list.task.clone()).or_default();
        record.counted = list.counted;
        record.sampled.extend(sampled.iter().map(|one| outcomes(&list.task, one)));
        record.greedy.extend(greedy.iter().map(|one| outcomes(&list.task, one)));
        for one in sampled {
            record.said.extend(one.answers.iter().map(|answer| Said {
                passed: answer.score.passed,
                tokens: answer.rollout.tokens.len(),
                with_working: answer.with_working,
                truncated: answer.rollout.stop == StopReason::Length,
            }));
        }
        for (one, is_greedy) in sampled.iter().map(|one| (one, false)).chain(greedy.iter().map(|one| (one, true))) {
            for answer in &one.answers {
                self.samples.push(json!({
                    "query_id": one.query.id,
                    "task": list.task,
                    "sample": answer.rollout.sample,
                    "greedy": is_greedy,
                    "text": answer.text,
                    "stop": answer.rollout.stop,
                    "tokens": answer.rollout.tokens.len(),
                    "token_limit": self.sampling.max_new_tokens,
                    "thinking_open": answer.thinking_open,
                    "score": answer.score,
                }));
                self.accounts.push(Account::of(&one.query, answer, is_greedy));
            }
        }
        self.queries.extend(sampled.iter().map(|one| one.query.clone()));
    }

    /// Writes the rows, once all answers are there.
    fn close(&mut self, lists: &[TaskQueries]) {
        for counted in [true, false] {
            for list in lists.iter().filter(|list| list.counted == counted) {
                let Some(record) = self.records.get(&list.task) else { continue };
                self.rows.push(self.row(&list.task, record));
            }
        }
        self.rows.extend(self.row_of_all());
    }

    fn row(&self, task: &str, record: &TaskRecord) -> EvalRow {
        let estimated = mean_interval(&record.sampled, self.sampling.seed);
        let scored = record.said.iter().filter(|said| said.passed.is_some()).count();
        let mean = |value: fn(&Said) -> f64| mean(record.said.iter().map(value)).unwrap_or(0.0);
        EvalRow {
            set: self.set.clone(),
            after: self.after.clone(),
            task: task.to_owned(),
            queries: record.sampled.len(),
            scored,
            failed: record.said.len() - scored,
            pass_at_1: estimated.map_or(0.0, |estimate| estimate.value),
            ci95: estimated.map_or([0.0, 1.0], |estimate| estimate.interval),
            greedy: record.greedy_rate().unwrap_or(0.0),
            pass_at_16: self.pass_at_16(&record.sampled),
            with_working: mean(|said| f64::from(u8::from(said.with_working))),
            truncated: mean(|said| f64::from(u8::from(said.truncated))),
            mean_tokens: mean(|said| said.tokens as f64),
        }
    }

    /// The mean over counted tasks, each with the same weight.
    fn row_of_all(&self) -> Option<EvalRow> {
        let counted = |task: &str| self.records.get(task).is_some_and(|record| record.counted);
        let rows: Vec<&EvalRow> = self.rows.iter().filter(|row| counted(&row.task)).collect();
        let sampled = self.outcomes(ALL, false);
        let estimated = mean_interval(&sampled, self.sampling.seed)?;
        let mean_of = |value: fn(&EvalRow) -> f64| mean(rows.iter().map(|row| value(row))).unwrap_or(0.0);
        let greedy = self.records.values().filter(|record| record.counted).filter_map(TaskRecord::greedy_rate);
        Some(EvalRow {
            set: self.set.clone(),
            after: self.after.clone(),
            task: ALL.to_owned(),
            queries: rows.iter().map(|row| row.queries).sum(),
            scored: rows.iter().map(|row| row.scored).sum(),
            failed: rows.iter().map(|row| row.failed).sum(),
            pass_at_1: estimated.value,
            ci95: estimated.interval,
            greedy: mean(greedy).unwrap_or(0.0),
            pass_at_16: self.pass_at_16(&sampled),
            with_working: mean_of(|row| row.with_working),
            truncated: mean_of(|row| row.truncated),
            mean_tokens: mean_of(|row| row.mean_tokens),
        })
    }

    fn pass_at_16(&self, sampled: &[QueryOutcomes]) -> Option<f64> {
        (self.sampling.samples >= SIXTEEN).then(|| mean_pass_at_k(sampled, SIXTEEN)).flatten()
    }

    /// The outcomes of a task, or of all that count.
    fn outcomes(&self, task: &str, greedy: bool) -> Vec<QueryOutcomes> {
        let fits = |name: &str, record: &TaskRecord| if task == ALL { record.counted } else { name == task };
        let records = self.records.iter().filter(|(name, record)| fits(name, record));
        records.flat_map(|(_, record)| if greedy { &record.greedy } else { &record.sampled }).cloned().collect()
    }

    /// What `results.json` holds.
    pub fn results(&self, step: u64) -> Value {
        let EvalSampling { seed, samples, .. } = self.sampling;
        json!({"v": 1, "after": self.after, "step": step, "seed": seed, "samples": samples, "tasks": self.rows})
    }

    /// Gains over an earlier evaluation of the same queries, per task and `all`. A query counts where both rate it.
    pub fn gains_over(&self, earlier: &Self) -> Vec<Gain> {
        let gain = |row: &EvalRow| {
            let paired = |greedy| {
                let (before, now) = (earlier.outcomes(&row.task, greedy), self.outcomes(&row.task, greedy));
                paired_gain(&before, &now, self.sampling.seed).map(|gain| gain.estimate)
            };
            let sampled = paired(false)?;
            Some(Gain {
                set: self.set.clone(),
                from: earlier.after.clone(),
                to: self.after.clone(),
                task: row.task.clone(),
                gain: sampled.value,
                ci95: sampled.interval,
                greedy_gain: paired(true).map_or(0.0, |gain| gain.value),
            })
        };
        self.rows.iter().filter_map(gain).collect()
    }
}

impl TaskRecord {
    fn greedy_rate(&self) -> Option<f64> {
        mean(self.greedy.iter().filter_map(QueryOutcomes::rate))
    }
}

fn outcomes(task: &str, answered: &Answered) -> QueryOutcomes {
    let passes = answered.answers.iter().map(|answer| answer.score.passed).collect();
    QueryOutcomes { query_id: answered.query.id.clone(), task: task.to_owned(), passes }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests;
