//! `[run]`: the run as a whole, its checkpoints, its machine and what it checks before it starts.

use std::path::{Path, PathBuf};

use sapo_policies::WeightFormat;
use sapo_rollouts::LocalEngine;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::best::BestBy;
use super::fault::{ConfigError, fault, must};
use super::warn::WarnConfig;

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
    pub dtype: WeightFormat,
    /// Steps between two checkpoints within a phase; every phase and evaluation ends with one as well.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: u64,
    /// How many checkpoints are kept: the newest ones. The keys below keep further ones.
    #[serde(default = "keep_checkpoints")]
    pub keep_checkpoints: usize,
    /// The first checkpoint at or behind every multiple of so many steps is kept for good; 0 keeps none.
    #[serde(default)]
    pub keep_every: u64,
    /// Whether the checkpoint at the end of each phase is kept for good.
    #[serde(default = "yes")]
    pub keep_phase_ends: bool,
    /// The best checkpoint so far is kept, by a number of an evaluation: `SET/TASK/STATISTIC`, such as `heldout/all/pass_at_1`
    /// (or `greedy`, `pass_at_16`). An evaluation that is better than all before it ends with a checkpoint;
    /// `checkpoints/best` is a link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub keep_best: Option<BestBy>,
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
    pub recompute: bool,
    /// Starts a run that is expected to need more memory than this machine has, which is refused otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
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
        let counts = [
            ("run.token_budget", self.token_budget),
            ("run.decode_rows", self.decode_rows),
            ("run.cache_mib", self.cache_mib),
            ("run.keep_checkpoints", self.keep_checkpoints),
            ("run.checkpoint_every", usize::try_from(self.checkpoint_every).unwrap_or(usize::MAX)),
        ];
        for (key, count) in counts {
            must(count > 0, key, "must be at least 1")?;
        }
        let share = |value: f64| (0.0..=1.0).contains(&value);
        must(share(self.max_bad_rows_share), "run.max_bad_rows_share", "must be between 0 and 1")?;
        must(share(self.reward_check.min_gold_share), "run.reward_check.min_gold_share", "must be between 0 and 1")?;
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

fn yes() -> bool {
    true
}

fn keep_checkpoints() -> usize {
    2
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
