//! What a report says, as data: the JSON twin of the page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::against::Against;
use super::audited::AuditSection;
use super::pooled::Seeds;
use crate::eval::heat_map::HeatMap;
use crate::eval::nan_of_null;
use crate::score::judge::JudgeRecord;

/// A run, ready to be shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Version of this record.
    pub v: u32,
    /// What ran, where and how long.
    pub run: RunFacts,
    /// What came of it, in words.
    pub verdict: Verdict,
    /// What went wrong without ending the run.
    pub warnings: Vec<Warning>,
    /// The sets of held-out queries, each with its evaluations.
    pub sets: Vec<EvalSet>,
    /// Whether the algorithm's gate did anything, per phase.
    pub gates: Vec<GateFacts>,
    /// Curves over the steps.
    pub curves: Vec<Curve>,
    /// What curation dropped and kept.
    pub curation: Vec<CurationFacts>,
    /// How far each judge can be trusted.
    pub judges: Vec<JudgeRecord>,
    /// What second graders said of slices of the rollouts, by phase.
    pub audits: Vec<AuditSection>,
    /// Where the time went.
    pub time: Vec<PhaseTime>,
    /// A group of the first and the last step of each phase that samples.
    pub groups: Vec<TrainingGroup>,
    /// Answers one by one, to be filtered in the page.
    pub sample: Sample,
    /// What several runs come to that differ in their seed alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Seeds>,
    /// The resolved configuration.
    pub config: Option<String>,
    /// Another run or evaluation that it is shown beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
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
    /// Whether this is an evaluation alone, and no run.
    pub is_evaluation: bool,
    /// Further facts in order: label and value, as the record has it.
    pub facts: Vec<(String, Value)>,
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

/// What went wrong without ending the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The words.
    pub text: String,
    /// The file of the run that has more to say.
    pub file: Option<String>,
}

/// A set of held-out queries with its evaluations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EvalSet {
    /// Its name in the configuration.
    pub name: String,
    /// Whether some sample has reasoning before its answer.
    pub reasons: bool,
    /// The evaluations in the order of the run.
    pub stages: Vec<Stage>,
    /// Differences between them; those of the first pair are what the run is about.
    pub gains: Vec<GainRow>,
    /// Language mixing, repetition and cut answers before and after.
    pub conduct: Vec<ConductRow>,
    /// Queries with answers before and after, per task.
    pub samples: Vec<TaskSamples>,
}

/// One evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stage {
    /// The phase that it came after, `init` before training, or `PHASE@STEP` within a phase.
    pub after: String,
    /// The step it was made at.
    pub step: u64,
    /// Samples of each query, when recorded.
    pub samples: Option<usize>,
    /// The temperature that they were sampled at, when recorded.
    pub temperature: Option<f64>,
    /// Token limit of an answer, when recorded.
    pub max_new_tokens: Option<usize>,
    /// Tasks that are no part of `all`.
    pub unaveraged: Vec<String>,
    /// One row per task; `all` first.
    pub rows: Vec<TaskRow>,
    /// The heat map of each task whose queries say a length and a depth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heat_maps: Vec<HeatMap>,
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
    #[serde(deserialize_with = "nan_of_null")]
    pub pass_at_1: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
    /// The same for one greedy answer a query.
    pub greedy: Option<f64>,
    /// Its 95 % interval.
    pub greedy_ci95: Option<[f64; 2]>,
    /// At least one of 16 samples passes.
    pub pass_at_16: Option<f64>,
    /// The answer of most samples passes.
    pub maj_at_k: Option<f64>,
    /// The smallest difference that another evaluation of these queries would show.
    pub detectable: Option<f64>,
    /// Share of samples with reasoning before the answer; the name is that of the run's files.
    pub with_working: Option<f64>,
    /// Share of samples cut by the token limit.
    pub truncated: Option<f64>,
    /// Mean tokens of a sample.
    pub mean_tokens: Option<f64>,
}

/// A difference between two evaluations of the same queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GainRow {
    /// The set of queries; empty in summaries of runs that had one without a name.
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
    pub greedy_gain: Option<f64>,
    /// Its 95 % interval.
    pub greedy_ci95: Option<[f64; 2]>,
    /// How the share of samples with reasoning before the answer changed; in rows of `all`, where there is any.
    pub reasoning: Option<ShareChange>,
}

/// A share before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareChange {
    /// The earlier share.
    pub before: f64,
    /// The later share.
    pub after: f64,
    /// 95 % interval of the difference, paired by query.
    pub ci95: [f64; 2],
}

/// Answers that a report carries, query by query, as `sapo view` gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// How they were chosen; empty where there are none.
    pub said: String,
    /// Where they come from: training, a set of queries, or two evaluations of one.
    pub sources: Vec<String>,
    /// The groups.
    pub groups: Vec<Value>,
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
    /// Which look it has: its place among all lines of its kind.
    pub style: usize,
    /// Step and value.
    pub points: Vec<(u64, f64)>,
    /// A running mean of them, where single steps are noisy.
    pub smooth: Vec<(u64, f64)>,
    /// Where several runs are pooled, and the line is their mean: step, the least and the most of them, and of how many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub band: Vec<(u64, f64, f64, usize)>,
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
    /// Queries that were sampled by number of passes: (kept or undecided, dropped).
    pub histogram: Vec<(usize, usize)>,
}

/// Counts of a curation; they add up: `queries = kept + dropped_too_easy + dropped_never_solved + dropped_otherwise`, kept
/// includes undecided.
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
    /// Dropped by filters, since they are solved without their pictures, or since no response is fit to be imitated.
    pub dropped_otherwise: usize,
    /// Kept, since too few samples could be scored.
    pub undecided: usize,
}

/// How often answers stray, evaluation by evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConductRow {
    /// The task, or `all`.
    pub task: String,
    /// What is counted: `language mixing`, `repetition` or `cut by the token limit`.
    pub what: String,
    /// By stage, the share of samples and its 95 % interval; `None` where nothing is known.
    pub shares: Vec<Option<(f64, [f64; 2])>>,
}

/// Where the time of a phase went, or of all evaluations, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: String,
    /// Its steps, or how many evaluations.
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
    /// Earlier turns of the rollout, such as calls of tools and their results.
    pub turns: Vec<TurnView>,
    /// The reasoning before the answer.
    pub reasoning: String,
    /// The answer; `None` when the reasoning was never closed.
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

/// A turn before the last one of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TurnView {
    /// Who speaks.
    pub role: String,
    /// The text.
    pub text: String,
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
    /// The ground truth, when recorded.
    pub ground_truth: Option<String>,
    /// Updates of the policy that sampled, when recorded.
    pub policy_version: Option<u64>,
    /// The answers.
    pub answers: Vec<AnswerView>,
}

impl Stage {
    /// The row of a task.
    pub fn row(&self, task: &str) -> Option<&TaskRow> {
        self.rows.iter().find(|row| row.task == task)
    }

    /// Whether a task is part of `all`.
    pub fn averages(&self, task: &str) -> bool {
        task != "all" && !self.unaveraged.iter().any(|name| name == task)
    }
}

impl EvalSet {
    /// The last evaluation under a label.
    pub fn stage(&self, after: &str) -> Option<&Stage> {
        self.stages.iter().rev().find(|stage| stage.after == after)
    }
}
