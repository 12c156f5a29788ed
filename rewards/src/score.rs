//! A score: named parts, each a value, skipped or failed, and what they add up to.

use serde::{Deserialize, Serialize};

/// What one reward says about one transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A number, always finite.
    Value(f64),
    /// The reward does not apply.
    Skip(String),
    /// The reward could not tell. This is not 0.
    Failed(String),
}

/// One part of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartScore {
    /// The part's name in the rubric.
    pub name: String,
    /// Value, skip or failure.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What it counts in the total; penalties are negative.
    pub weight: f64,
    /// The answer that was found in the transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extracted: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// The score of one transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The weighted sum of the parts; `None` when a part failed.
    pub total: Option<f64>,
    /// Whether the `correct` part alone passes; `None` when it failed.
    pub passed: Option<bool>,
    /// The parts.
    pub parts: Vec<PartScore>,
}

impl Score {
    /// Adds up parts, of which the first is `correct`. A skipped part adds nothing; a failed one fails the score.
    pub fn of(parts: Vec<PartScore>) -> Self {
        let values: Vec<f64> = parts
            .iter()
            .filter_map(|part| match part.outcome {
                Outcome::Value(value) => Some(value * part.weight),
                Outcome::Skip(_) | Outcome::Failed(_) => None,
            })
            .collect();
        let failed = parts.iter().any(|part| matches!(part.outcome, Outcome::Failed(_)));
        let total = (!failed && !values.is_empty()).then(|| values.iter().sum());
        let passed = match parts.first().map(|part| &part.outcome) {
            Some(Outcome::Value(value)) if total.is_some() => Some(*value >= 0.5),
            _ => None,
        };
        Self { total, passed, parts }
    }
}
