//! `[run]`: the run as a whole, its checkpoints, its machine and what it checks before it starts.

use std::path::{Path, PathBuf};

use sapo_policies::WeightFormat;
use sapo_rollouts::LocalEngine;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::best::BestBy;
use super::fault::{ConfigError, MOST_ROWS, MOST_STEPS, MOST_TOKENS, count, fault, must, number};
use super::warn::WarnConfig;

/// A month: nobody waits longer for a disk.
const LONGEST_WAIT_SECS: u64 = 31 * 86_400;
/// 16 TiB: more than any machine has for keys and values.
const MOST_CACHE_MIB: u64 = 1 << 24;

/// The run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run and of its folder.
    pub name: String,
    /// Folder that holds runs.
    #[serde(default = "runs")]
    pub dir: PathBuf,
    /// All random seeds of training come from it.
    pub seed: u64,
    /// Names of phases, in order.
    pub phases: Vec<String>,
    /// Where tensors live: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu` (docs/gpu.md).
    #[serde(default = "cpu")]
    pub device: String,
    /// The format that frozen weights are kept in, `f32` or `bf16`; what trains is kept in f32, and all is computed so.
    #[serde(default, skip_serializing_if = "is_f32")]
    #[schemars(extend("default" = "f32"))]
    pub dtype: WeightFormat,
    /// The format that matrices are multiplied in, `f32` or `bf16`: with `bf16` inputs and weights of linear maps are rounded for
    /// it, while what trains, its moments, norms, softmax and log-probs stay f32. It is what tensor cores are fast at; a CPU rounds
    /// alike, to the same loss within its rounding, and gains nothing. On CUDA the library multiplies f32 as TF32 where the GPU
    /// can, which this version of it cannot be told not to do.
    #[serde(default, skip_serializing_if = "is_f32")]
    #[schemars(extend("default" = "f32"))]
    pub matmul: WeightFormat,
    /// Steps between two checkpoints within a phase; every phase and evaluation ends with one as well.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: u64,
    /// Which checkpoints are kept.
    #[serde(default)]
    pub keep: KeepConfig,
    /// An update is skipped when a number on its way is not finite: a log-prob, a derivative, a gradient. More than so many in
    /// a row stop the run (exit code 3) and name its last good checkpoint; 0 stops it at the first.
    #[serde(default = "max_skipped_steps")]
    pub max_skipped_steps: u64,
    /// From where on it warns of what it measures.
    #[serde(default)]
    pub warn: WarnConfig,
    /// How long a full disk is waited for before the run stops, in seconds.
    #[serde(default = "disk_wait_secs")]
    pub disk_wait_secs: u64,
    /// Rows (tokens) of a micro-batch at most; bounds memory.
    #[serde(default = "token_budget")]
    pub token_budget: usize,
    /// Each layer keeps only its input and runs again on the way back: activations take a small part of their memory and a step
    /// about a third more time, with the same gradients to the last bit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub recompute: bool,
    /// Starts a run that is expected to need more memory than this machine has, which is refused otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub allow_over_memory: bool,
    /// Rollouts that are decoded together at most.
    #[serde(default = "decode_rows")]
    pub decode_rows: usize,
    /// Keys and values that are kept while decoding, in MiB at most; rollouts that do not fit wait, and one that never could is
    /// refused.
    #[serde(default = "cache_mib")]
    pub cache_mib: usize,
    /// A run stops when more than this share of a source's rows cannot be used; a few always may be skipped: at least one
    /// of each source. Each is listed in `data/rejected.jsonl` with its reason.
    #[serde(default = "max_bad_rows_share")]
    pub max_bad_rows_share: f64,
    /// The check of the rewards before the first step.
    #[serde(default)]
    pub reward_check: RewardCheckConfig,
}

/// Which checkpoints of a run are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeepConfig {
    /// So many of the newest. The keys below keep further ones.
    pub newest: usize,
    /// The first checkpoint at or behind every multiple of so many steps, for good; 0 keeps none.
    pub every: u64,
    /// The checkpoint at the end of each phase, for good.
    pub phase_ends: bool,
    /// The best checkpoint so far, by a number of an evaluation: `SET/TASK/STATISTIC`, such as `heldout/all/pass_at_1` (or
    /// `greedy`, `pass_at_16`). An evaluation that is better than all before it ends with a checkpoint; `checkpoints/best`
    /// is a link to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub best: Option<BestBy>,
}

impl Default for KeepConfig {
    fn default() -> Self {
        Self { newest: 2, every: 0, phase_ends: true, best: None }
    }
}

/// The check of a run's rewards on a sample of its data, before the first step. Gold answers must score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardCheckConfig {
    /// Rows of each source; 0 turns the check off.
    pub rows_per_source: usize,
    /// The run does not start when a smaller share of a source's gold answers scores.
    pub min_gold_share: f64,
    /// Names of rubrics that are not checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

impl Default for RewardCheckConfig {
    fn default() -> Self {
        Self { rows_per_source: 4, min_gold_share: 1.0, skip: Vec::new() }
    }
}

impl RunConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let plain =
            !self.name.is_empty() && Path::new(&self.name).components().count() == 1 && !self.name.starts_with('.');
        must(plain, "run.name", "must be a plain folder name")?;
        count("run.checkpoint_every", self.checkpoint_every, 1..=MOST_STEPS)?;
        count("run.keep.newest", self.keep.newest, 1..=MOST_ROWS)?;
        count("run.keep.every", self.keep.every, 0..=MOST_STEPS)?;
        count("run.max_skipped_steps", self.max_skipped_steps, 0..=MOST_STEPS)?;
        count("run.disk_wait_secs", self.disk_wait_secs, 0..=LONGEST_WAIT_SECS)?;
        count("run.token_budget", self.token_budget, 2..=MOST_TOKENS)?;
        count("run.decode_rows", self.decode_rows, 1..=MOST_ROWS)?;
        count("run.cache_mib", self.cache_mib, 1..=MOST_CACHE_MIB)?;
        number("run.max_bad_rows_share", self.max_bad_rows_share, 0.0..=1.0)?;
        count("run.reward_check.rows_per_source", self.reward_check.rows_per_source, 0..=MOST_ROWS)?;
        number("run.reward_check.min_gold_share", self.reward_check.min_gold_share, 0.0..=1.0)?;
        self.warn.check()?;
        super::device::check(&self.device).map_err(|reason| fault("run.device", reason))
    }
}

fn runs() -> PathBuf {
    PathBuf::from("runs")
}

fn cpu() -> String {
    "cpu".to_owned()
}

fn checkpoint_every() -> u64 {
    100
}

fn max_skipped_steps() -> u64 {
    3
}

fn disk_wait_secs() -> u64 {
    600
}

fn token_budget() -> usize {
    4096
}

fn decode_rows() -> usize {
    1024
}

fn cache_mib() -> usize {
    LocalEngine::CACHE_MIB
}

fn max_bad_rows_share() -> f64 {
    0.01
}

fn is_f32(format: &WeightFormat) -> bool {
    *format == WeightFormat::F32
}
