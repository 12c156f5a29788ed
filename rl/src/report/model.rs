//! What a report says, as data: the JSON twin of the page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::eval::{EvalRow, Gain};
use crate::judging::JudgeRecord;

/// A run, ready to be shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Version of this record.
    pub v: u32,
    /// What ran, where and how long.
    pub run: RunFacts,
    /// What came of it, in words.
    pub verdict: Verdict,
    /// The evaluations in the order of the run.
    pub stages: Vec<Stage>,
    /// Differences between them.
    pub gains: Vec<GainRow>,
    /// Whether the algorithm's gate did anything, per phase.
    pub gates: Vec<GateFacts>,
    /// Curves over the steps.
    pub curves: Vec<Curve>,
    /// What curation dropped and kept.
    pub curation: Vec<CurationFacts>,
    /// How far the judge can be trusted.
    pub judge: Option<JudgeReport>,
    /// Language mixing and repetition before and after.
    pub conduct: Vec<ConductRow>,
    /// Where the time went.
    pub time: Vec<PhaseTime>,
    /// Held-out queries with answers before and after, per task.
    pub samples: Vec<TaskSamples>,
    /// A group of the first and the last step of each phase that samples.
    pub groups: Vec<TrainingGroup>,
    /// The resolved configuration.
    pub config: Option<String>,
    /// What could not be shown, and why.
    pub missing: Vec<String>,
    /// Pictures by hash, as data URIs; the page shows them, the twin names them.
    #[serde(skip)]
    pub pictures: BTreeMap<String, String>,
}

/// What ran, where and how long. Empty where the run does not say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunFacts {
    /// The run's name.
    pub name: String,
    /// `running`, `finished`, `interrupted`, `failed` or `unknown`.
    pub status: String,
    /// Further facts in order: label and value.
    pub facts: Vec<(String, String)>,
    /// Seconds of the whole run.
    pub wall_secs: Option<f64>,
    /// Steps that are recorded.
    pub steps: usize,
    /// Whether a phase permuted the rewards within each group: a control run.
    pub shuffled: bool,
}

/// Which way a number went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// The interval lies above 0.
    Better,
    /// The interval lies below 0.
    Worse,
    /// The interval holds 0.
    Same,
    /// A statement without direction.
    #[default]
    Note,
}

/// A sentence that the numbers wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sentence {
    /// Which way it points.
    pub tone: Tone,
    /// The words.
    pub text: String,
}

/// What came of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// The first thing to know.
    pub headline: Sentence,
    /// What supports and limits it.
    pub sentences: Vec<Sentence>,
    /// A few numbers: label, value, remark.
    pub figures: Vec<(String, String, String)>,
}

/// One evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stage {
    /// Its set of queries, such as `heldout`.
    pub name: String,
    /// After which part of the run.
    pub after: String,
    /// The step it was made at.
    pub step: u64,
    /// Samples of each query, when recorded.
    pub samples: Option<usize>,
    /// One row per task; `all` among them.
    pub rows: Vec<TaskRow>,
}

/// One task of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskRow {
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
    pub greedy: Option<f64>,
    /// Its 95 % interval.
    pub greedy_ci95: Option<[f64; 2]>,
    /// At least one of 16 samples passes.
    pub pass_at_16: Option<f64>,
    /// Share of samples with working before the answer.
    pub with_working: Option<f64>,
    /// Share of samples cut by the token limit.
    pub truncated: Option<f64>,
    /// Share of samples that leave the prompt's language.
    pub language_mixed: Option<f64>,
    /// Share of samples that repeat themselves.
    pub repetitive: Option<f64>,
    /// Mean tokens of a sample.
    pub mean_tokens: Option<f64>,
}

/// A difference between two evaluations of the same queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GainRow {
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
    pub greedy_gain: Option<f64>,
}

/// The gate of a phase over its steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GateFacts {
    /// The phase.
    pub phase: String,
    /// Steps that recorded it.
    pub steps: usize,
    /// Smallest gate of all tokens and steps.
    pub least: f64,
    /// Mean over steps of the 5 % quantile, the smaller sign.
    pub q05: f64,
    /// Mean over steps of the mean.
    pub mean: f64,
    /// Mean over steps of |ratio - 1|.
    pub ratio_off: Option<f64>,
    /// Mean over steps of the effective sample size, as a share.
    pub effective_samples: Option<f64>,
    /// What that means.
    pub statement: Sentence,
}

/// A chart of lines over steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// What is shown.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Whether the vertical scale is logarithmic.
    pub log: bool,
    /// Whether the values are shares, shown in percent.
    pub share: bool,
    /// The lines.
    pub series: Vec<Series>,
    /// The phases that the steps lie in.
    pub phases: Vec<PhaseSpan>,
}

/// A line of a chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Its name in the legend.
    pub label: String,
    /// Step and value.
    pub points: Vec<(u64, f64)>,
    /// A running mean of them, where single steps are noisy.
    pub smooth: Vec<(u64, f64)>,
}

/// The steps of a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhaseSpan {
    /// The phase.
    pub name: String,
    /// Its first step.
    pub from: u64,
    /// Its last step.
    pub to: u64,
}

/// What became of the queries of one curation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CurationFacts {
    /// The phase.
    pub phase: String,
    /// The counts of each task, then of `all`.
    pub tasks: Vec<CurationRow>,
    /// Queries by number of passes: (kept or undecided, dropped).
    pub histogram: Vec<(usize, usize)>,
}

/// Counts of a curation; they add up: `queries = kept + dropped_too_easy + dropped_never_solved`, kept includes
/// undecided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CurationRow {
    /// The task, or `all`.
    pub task: String,
    /// All queries.
    pub queries: usize,
    /// Kept ones.
    pub kept: usize,
    /// Passed too often.
    pub dropped_too_easy: usize,
    /// Never passed.
    pub dropped_never_solved: usize,
    /// Kept, since too few samples could be scored.
    pub undecided: usize,
}

/// How far the judge can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JudgeReport {
    /// As the run measured it.
    #[serde(flatten)]
    pub measured: JudgeRecord,
    /// The description task by the exact rule: stage, pass@1 and its interval.
    pub descriptions: Vec<(String, f64, [f64; 2])>,
}

/// How often answers stray, before and after.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConductRow {
    /// The task, or `all`.
    pub task: String,
    /// What is counted: `language mixing`, `repetition` or `cut by the token limit`.
    pub what: String,
    /// The earlier stage and its share.
    pub before: (String, f64),
    /// The later stage and its share.
    pub after: (String, f64),
}

/// Where the time of a phase went, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: String,
    /// Its steps.
    pub steps: usize,
    /// All of it.
    pub total_secs: f64,
    /// Sampling.
    pub rollout_secs: f64,
    /// Scoring.
    pub reward_secs: f64,
    /// Forward, backward and optimizer.
    pub update_secs: f64,
}

/// Held-out queries of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TaskSamples {
    /// The task.
    pub task: String,
    /// The stage before.
    pub before: String,
    /// The stage after.
    pub after: String,
    /// Chosen queries.
    pub queries: Vec<SampledQuery>,
}

/// A held-out query with its answers before and after.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SampledQuery {
    /// The query.
    pub query_id: String,
    /// Why it was chosen: `gained`, `lost`, `still wrong`, `right before and after`.
    pub kind: String,
    /// The prompt, when recorded.
    pub prompt: Option<String>,
    /// Its pictures, by hash.
    pub images: Vec<String>,
    /// The ground truth, when recorded.
    pub ground_truth: Option<String>,
    /// Answers of the stage before; the first is greedy when there is one.
    pub before: Vec<AnswerView>,
    /// Answers of the stage after.
    pub after: Vec<AnswerView>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AnswerView {
    /// Whether it was decoded greedily.
    pub greedy: bool,
    /// What stands before the answer.
    pub working: String,
    /// The answer; `None` when the working was never closed.
    pub answer: Option<String>,
    /// Why generation ended.
    pub stop: String,
    /// Its verdict; `None` when the score failed.
    pub passed: Option<bool>,
    /// Its reward.
    pub total: Option<f64>,
    /// Its advantage, in training.
    pub advantage: Option<f64>,
    /// The parts of the score.
    pub parts: Vec<PartView>,
}

/// One part of a score.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartView {
    /// Its name.
    pub name: String,
    /// Its value; `None` when skipped or failed.
    pub value: Option<f64>,
    /// What it counts.
    pub weight: Option<f64>,
    /// Extracted answer, evidence, or why there is no value.
    pub note: String,
}

/// A group as it was trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrainingGroup {
    /// The phase.
    pub phase: String,
    /// The step.
    pub step: u64,
    /// The query.
    pub query_id: String,
    /// Its task.
    pub task: String,
    /// The prompt, when recorded.
    pub prompt: Option<String>,
    /// Its pictures, by hash.
    pub images: Vec<String>,
    /// The answers.
    pub answers: Vec<AnswerView>,
}

impl Stage {
    /// The row of a task.
    pub fn row(&self, task: &str) -> Option<&TaskRow> {
        self.rows.iter().find(|row| row.task == task)
    }

    /// Rows of several evaluations as stages, in the order in which they appear.
    pub fn of_rows(rows: &[EvalRow]) -> Vec<Self> {
        let mut stages: Vec<Self> = Vec::new();
        for row in rows {
            if stages.last().is_none_or(|stage| stage.after != row.after) {
                stages.push(Self { after: row.after.clone(), ..Self::default() });
            }
            if let Some(stage) = stages.last_mut() {
                stage.rows.push(TaskRow::from(row));
            }
        }
        stages
    }
}

impl From<&EvalRow> for TaskRow {
    fn from(row: &EvalRow) -> Self {
        Self {
            task: row.task.clone(),
            queries: row.queries,
            scored: row.scored,
            failed: row.failed,
            pass_at_1: row.pass_at_1,
            ci95: row.ci95,
            greedy: Some(row.greedy),
            pass_at_16: row.pass_at_16,
            with_working: Some(row.with_working),
            truncated: Some(row.truncated),
            mean_tokens: Some(row.mean_tokens),
            ..Self::default()
        }
    }
}

impl From<&Gain> for GainRow {
    fn from(gain: &Gain) -> Self {
        Self {
            from: gain.from.clone(),
            to: gain.to.clone(),
            task: gain.task.clone(),
            gain: gain.gain,
            ci95: gain.ci95,
            greedy_gain: Some(gain.greedy_gain),
        }
    }
}

/// The name of a stage for people.
pub fn stage_title(after: &str) -> String {
    match after {
        "init" => "before training".to_owned(),
        "careful" => "careful part".to_owned(),
        "cold_start" => "cold start".to_owned(),
        "reasoning" => "Reasoning RL".to_owned(),
        "general" => "General RL".to_owned(),
        other => other.replace('_', " "),
    }
}
