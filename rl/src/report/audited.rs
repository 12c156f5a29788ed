//! What a report says of the audit of a phase, as data.

use serde::Serialize;

use crate::audit::{Counts, Found};

/// The audit of a phase: a slice of its rollouts scored again by a second grader.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuditSection {
    /// The phase.
    pub phase: String,
    /// The second rubric.
    pub rubric: String,
    /// The share of answers that the trained rubric passes and the second may fail, where the configuration says it.
    pub tolerated: Option<f64>,
    /// The chance of a false alarm over the whole phase, where it says it.
    pub false_alarm: Option<f64>,
    /// What became of the drawn rollouts.
    pub counts: Counts,
    /// What the second grader fails of what the trained rubric passes.
    pub lenient: Option<Share>,
    /// What it passes of what the trained rubric fails.
    pub strict: Option<Share>,
    /// The evidence at the last step.
    pub e_value: Option<f64>,
    /// The step of the alarm, if there was one.
    pub alarm_step: Option<u64>,
    /// The first thing to know.
    pub headline: String,
    /// What supports and limits it.
    pub sentences: Vec<String>,
    /// The running numbers.
    pub steps: Vec<AuditStep>,
    /// The same by task, by part and by length.
    pub breakdowns: Vec<Breakdown>,
    /// Why answers could not be audited, and how many each time.
    pub failures: Vec<(String, usize)>,
    /// Some answers on which the graders differ, the last first.
    pub examples: Vec<Example>,
}

/// A share of answers, each query alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Share {
    /// The answers that it is a share of.
    pub answers: usize,
    /// Those on which the graders differ.
    pub differ: usize,
    /// The mean over queries of the share that differs.
    pub share: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
}

/// The phase up to a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AuditStep {
    /// The step.
    pub step: u64,
    /// What the second grader fails of what the trained rubric passes, so far.
    pub lenient_share: Option<f64>,
    /// What it passes of what the trained rubric fails, so far.
    pub strict_share: Option<f64>,
    /// The evidence so far.
    pub e_value: Option<f64>,
}

/// Audited answers in groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Breakdown {
    /// What they are grouped by.
    pub by: String,
    /// The groups.
    pub rows: Vec<BreakdownRow>,
}

/// A group of audited answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BreakdownRow {
    /// Its name.
    pub label: String,
    /// What the second grader fails of what the trained rubric passes.
    pub lenient: Option<Share>,
    /// What it passes of what the trained rubric fails.
    pub strict: Option<Share>,
}

/// An answer on which the graders differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Example {
    /// In which way.
    pub outcome: Found,
    /// The step.
    pub step: u64,
    /// The task.
    pub task: String,
    /// The query.
    pub query_id: String,
    /// The number of the sample.
    pub sample: usize,
    /// The prompt, when recorded.
    pub prompt: Option<String>,
    /// The ground truth, when recorded.
    pub ground_truth: Option<String>,
    /// The reasoning before the answer.
    pub reasoning: String,
    /// The answer, when recorded.
    pub answer: Option<String>,
    /// What the trained rubric said, part by part.
    pub trained: Vec<String>,
    /// What the second one said.
    pub second: Vec<String>,
}
