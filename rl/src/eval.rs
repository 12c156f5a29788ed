//! The held-out evaluation: pass@1 per task with intervals, greedy beside it, gains paired by query.

use std::collections::BTreeMap;

use sapo_datasets::{Query, Split, StopReason, Task, synthetic};
use sapo_policies::Model;
use sapo_rewards::RubricConfig;
use sapo_rollouts::Sampling;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asking::{Answered, Place, ask};
use crate::config::EvalConfig;
use crate::error::Result;
use crate::stats::estimate;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
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

/// One evaluation.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// After which part of the run.
    pub after: String,
    /// One row per task, then `all`.
    pub rows: Vec<EvalRow>,
    /// The queries.
    pub queries: Vec<Query>,
    /// Every sample, as it is stored.
    pub samples: Vec<Value>,
    /// Pass rate of every query, by task.
    rates: BTreeMap<Task, Vec<f64>>,
    greedy: BTreeMap<Task, Vec<f64>>,
    seed: u64,
}

/// Evaluates a model on the held-out queries; `progress(done, total)` counts queries.
///
/// # Errors
/// When a query cannot be encoded.
pub fn evaluate(
    model: &Model,
    config: &EvalConfig,
    rubric: &RubricConfig,
    after: &str,
    decode_rows: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let mut evaluation = Evaluation {
        after: after.to_owned(),
        rows: Vec::new(),
        queries: Vec::new(),
        samples: Vec::new(),
        rates: BTreeMap::new(),
        greedy: BTreeMap::new(),
        seed: config.seed,
    };
    let total = config.tasks.len() * config.queries_per_task;
    for (index, task) in config.tasks.iter().enumerate() {
        let queries: Vec<_> = (0..config.queries_per_task as u64)
            .map(|at| synthetic::query(*task, Split::Test, config.seed, at))
            .collect();
        let before = index * config.queries_per_task;
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: config.max_new_tokens };
        let place = Place { seed: config.seed, name: "eval", samples: config.samples, decode_rows };
        let sampled =
            ask(model, queries.clone(), &sampling, rubric, place, &mut |done| progress(before + done, total))?;
        let greedy_place = Place { name: "greedy", samples: 1, ..place };
        let greedy = ask(model, queries, &Sampling::greedy(config.max_new_tokens), rubric, greedy_place, &mut |_| {})?;
        evaluation.add(*task, &sampled, &greedy);
    }
    evaluation.add_all();
    Ok(evaluation)
}

fn pass_rates(answered: &[Answered]) -> Vec<f64> {
    answered
        .iter()
        .filter_map(|one| {
            let verdicts: Vec<bool> = one.answers.iter().filter_map(|answer| answer.score.passed).collect();
            let passed = verdicts.iter().filter(|passed| **passed).count();
            (!verdicts.is_empty()).then(|| passed as f64 / verdicts.len() as f64)
        })
        .collect()
}

impl Evaluation {
    fn add(&mut self, task: Task, sampled: &[Answered], greedy: &[Answered]) {
        let rates = pass_rates(sampled);
        let greedy_rates = pass_rates(greedy);
        let answers: Vec<_> = sampled.iter().flat_map(|one| &one.answers).collect();
        let share = |count: usize| count as f64 / answers.len().max(1) as f64;
        let scored = answers.iter().filter(|answer| answer.score.passed.is_some()).count();
        let estimated = estimate(std::slice::from_ref(&rates), self.seed);
        self.rows.push(EvalRow {
            after: self.after.clone(),
            task: task.name().to_owned(),
            queries: sampled.len(),
            scored,
            failed: answers.len() - scored,
            pass_at_1: estimated.map_or(0.0, |estimate| estimate.value),
            ci95: estimated.map_or([0.0, 1.0], |estimate| estimate.interval),
            greedy: greedy_rates.iter().sum::<f64>() / greedy_rates.len().max(1) as f64,
            with_working: share(answers.iter().filter(|answer| answer.with_working).count()),
            truncated: share(answers.iter().filter(|answer| answer.rollout.stop == StopReason::Length).count()),
            mean_tokens: answers.iter().map(|answer| answer.rollout.tokens.len()).sum::<usize>() as f64
                / answers.len().max(1) as f64,
        });
        for (one, is_greedy) in sampled.iter().map(|one| (one, false)).chain(greedy.iter().map(|one| (one, true))) {
            for answer in &one.answers {
                self.samples.push(json!({
                    "query_id": one.query.id,
                    "task": task.name(),
                    "sample": answer.rollout.sample,
                    "greedy": is_greedy,
                    "text": answer.text,
                    "stop": answer.rollout.stop,
                    "tokens": answer.rollout.tokens.len(),
                    "score": answer.score,
                }));
            }
        }
        self.queries.extend(sampled.iter().map(|one| one.query.clone()));
        self.rates.insert(task, rates);
        self.greedy.insert(task, greedy_rates);
    }

    fn add_all(&mut self) {
        let lists: Vec<Vec<f64>> = self.rates.values().cloned().collect();
        let Some(estimated) = estimate(&lists, self.seed) else { return };
        let tasks = self.rows.len().max(1) as f64;
        let mean = |value: fn(&EvalRow) -> f64| self.rows.iter().map(value).sum::<f64>() / tasks;
        self.rows.push(EvalRow {
            after: self.after.clone(),
            task: "all".to_owned(),
            queries: self.rows.iter().map(|row| row.queries).sum(),
            scored: self.rows.iter().map(|row| row.scored).sum(),
            failed: self.rows.iter().map(|row| row.failed).sum(),
            pass_at_1: estimated.value,
            ci95: estimated.interval,
            greedy: mean(|row| row.greedy),
            with_working: mean(|row| row.with_working),
            truncated: mean(|row| row.truncated),
            mean_tokens: mean(|row| row.mean_tokens),
        });
    }

    /// Gains over an earlier evaluation of the same queries, per task and `all`. A task with failed queries on either
    /// side is left out, since its queries no longer pair up.
    pub fn gains_over(&self, earlier: &Self) -> Vec<Gain> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut differences = Vec::new();
        let mut greedy = Vec::new();
        let mut gains = Vec::new();
        let mut gain = |task: &str, lists: &[Vec<f64>], greedy_gain: f64| {
            if let Some(estimate) = estimate(lists, self.seed) {
                let (from, to) = (earlier.after.clone(), self.after.clone());
                gains.push(Gain {
                    from,
                    to,
                    task: task.to_owned(),
                    gain: estimate.value,
                    ci95: estimate.interval,
                    greedy_gain,
                });
            }
        };
        for (task, rates) in &self.rates {
            let Some(before) = earlier.rates.get(task).filter(|before| before.len() == rates.len()) else { continue };
            let paired: Vec<f64> = rates.iter().zip(before).map(|(now, before)| now - before).collect();
            let greedy_gain = mean(&self.greedy[task]) - mean(&earlier.greedy[task]);
            gain(task.name(), std::slice::from_ref(&paired), greedy_gain);
            differences.push(paired);
            greedy.push(greedy_gain);
        }
        gain("all", &differences, mean(&greedy));
        gains
    }
}
