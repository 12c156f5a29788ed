//! The rows of an evaluation, and what one has more than another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Mean over queries of the share of samples that pass; NaN, and null in JSON, where no sample is scored.
    #[serde(deserialize_with = "nan_of_null")]
    pub pass_at_1: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// The same for one greedy answer a query.
    #[serde(deserialize_with = "nan_of_null")]
    pub greedy: f64,
    /// Its 95 % interval; absent where none is scored, and in runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greedy_ci95: Option<[f64; 2]>,
    /// Chance that at least one of 16 samples passes, without bias; absent with fewer samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_at_16: Option<f64>,
    /// Chance that the answer that most samples of a query give is right, over queries of whose samples one at least has an
    /// answer; absent with fewer than three samples, and where rewards tell no answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maj_at_k: Option<f64>,
    /// Mean over samples of what the rubric gives in all; absent where none is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_reward: Option<f64>,
    /// The smallest difference that a comparison with another evaluation of these queries finds four times of five.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectable: Option<f64>,
    /// Share of samples with working before the answer.
    pub with_working: f64,
    /// Share of samples cut by the token limit.
    pub truncated: f64,
    /// Mean tokens of a sample.
    pub mean_tokens: f64,
    /// What the rewards measured beside their values, by `part/name`: means over the samples for which they told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

impl EvalRow {
    /// `pass_at_1`, `greedy` or `pass_at_16`, where it was measured.
    pub fn statistic(&self, name: &str) -> Option<f64> {
        let value = match name {
            "pass_at_1" => Some(self.pass_at_1),
            "greedy" => Some(self.greedy),
            "pass_at_16" => self.pass_at_16,
            _ => None,
        };
        value.filter(|value| value.is_finite())
    }
}

/// A number that was not there is none, not 0.
pub fn nan_of_null<'de, D: serde::Deserializer<'de>>(number: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(number)?.unwrap_or(f64::NAN))
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
    /// Its 95 % interval; absent where none is scored on both sides, and in runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greedy_ci95: Option<[f64; 2]>,
}
