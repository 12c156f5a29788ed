//! The record of an audit, `audit.jsonl`: a line for every rollout that was drawn, with what both graders said of it.

use std::collections::BTreeMap;

use sapo_rewards::Score;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Result, RunError};

/// The file's name in a run's folder.
pub const FILE: &str = "audit.jsonl";

/// One drawn rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Version of this record.
    pub v: u32,
    /// The phase.
    pub phase: String,
    /// The run's step.
    pub step: u64,
    /// The file of the run that holds the rollout.
    pub file: String,
    /// The query.
    pub query_id: String,
    /// Its task.
    pub task: String,
    /// The number of the sample.
    pub sample: usize,
    /// Sampled tokens.
    pub tokens: usize,
    /// Whether the token limit cut the answer.
    pub truncated: bool,
    /// What came of it.
    pub outcome: Found,
    /// What the trained rubric said.
    pub trained: Trained,
    /// The second rubric.
    pub rubric: String,
    /// What it said, with its evidence; `None` where it was not asked, since the trained rubric had failed.
    pub audit: Option<Score>,
}

/// What two graders said of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// Both pass it, or both fail it.
    Agreed,
    /// The trained rubric passes what the second fails: what a policy finds that pleases its reward.
    Lenient,
    /// The trained rubric fails what the second passes.
    Strict,
    /// One of them has no verdict.
    #[default]
    Failed,
}

/// What the trained rubric said; the rollout's own line has its evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Its verdict; `None` when it failed.
    pub passed: Option<bool>,
    /// Its total.
    pub total: Option<f64>,
    /// The values of its parts, those that have one.
    pub parts: BTreeMap<String, f64>,
}

impl Found {
    /// By the verdicts of the trained rubric and of the second.
    pub fn of(trained: Option<bool>, second: Option<bool>) -> Self {
        match (trained, second) {
            (None, _) | (_, None) => Self::Failed,
            (Some(true), Some(false)) => Self::Lenient,
            (Some(false), Some(true)) => Self::Strict,
            (Some(true), Some(true)) | (Some(false), Some(false)) => Self::Agreed,
        }
    }
}

impl Trained {
    /// What a score says.
    pub fn of(score: &Score) -> Self {
        let value = |part: &sapo_rewards::WeightedPart| Some((part.name.clone(), part.score.outcome.value()?));
        Self { passed: score.passed, total: score.total, parts: score.parts.iter().filter_map(value).collect() }
    }
}

impl AuditLine {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is none of an audit's.
    pub fn read(line: Value) -> Result<Self> {
        serde_json::from_value(line).map_err(|error| {
            RunError::User(format!("{FILE}: a line is not that of an audit: {error}; put the file back as it was"))
        })
    }

    /// Whether the trained rubric passes it, where both have a verdict.
    pub fn trained_passes(&self) -> Option<bool> {
        self.trained.passed.filter(|_| self.outcome != Found::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grader_without_a_verdict_neither_agrees_nor_differs() {
        let found = |trained, second| Found::of(trained, second);
        assert_eq!(found(Some(true), Some(true)), Found::Agreed);
        assert_eq!(found(Some(false), Some(false)), Found::Agreed);
        assert_eq!(found(Some(true), Some(false)), Found::Lenient);
        assert_eq!(found(Some(false), Some(true)), Found::Strict);
        for known in [None, Some(true), Some(false)] {
            assert_eq!((found(None, known), found(known, None)), (Found::Failed, Found::Failed));
        }
    }

    #[test]
    fn a_line_is_read_back_and_another_one_is_refused() {
        let score: Score = serde_json::from_str(
            "{\"total\": 0.0, \"passed\": false, \"parts\": {\"correct\": {\"value\": 0.0, \"weight\": 1.0, \"evidence\": \"7 is not 8\"}}}",
        )
        .unwrap();
        let trained = Trained { passed: Some(true), total: Some(1.0), parts: [("correct".to_owned(), 1.0)].into() };
        assert_eq!(Trained::of(&score).parts["correct"], 0.0);
        let line = AuditLine { v: 1, outcome: Found::Lenient, trained, audit: Some(score), ..AuditLine::default() };
        let written = serde_json::to_value(&line).unwrap();
        assert_eq!(written["outcome"], "lenient");
        assert_eq!(AuditLine::read(written).unwrap(), line);
        let refused = AuditLine::read(serde_json::json!({"v": 1})).unwrap_err().to_string();
        assert!(refused.contains("audit.jsonl") && refused.contains("missing field"), "{refused}");
    }
}
