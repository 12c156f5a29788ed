//! Where a run stands, beside its weights and the optimizer's moments.

use std::collections::BTreeMap;

use sapo_datasets::MixtureState;
use serde::{Deserialize, Serialize};

use super::keep::Best;
use super::skipped::Skipped;
use crate::eval::Evaluation;
use crate::failure::Window;
use crate::pass_rates::PassRates;
use crate::score::judge::JudgeRecord;
use crate::summary::CurationCounts;

/// Where a run stands. What can be made again from the configuration is not kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Steps done, over the whole run.
    pub step: u64,
    /// Place in the list of the run's parts.
    pub part: usize,
    /// Steps done within that part.
    pub step_in_part: u64,
    /// Seconds that the run took so far.
    pub wall_secs: f64,
    /// Largest resident memory so far, child processes included, in bytes.
    pub peak_rss_bytes: u64,
    /// Largest gap between sampler and trainer log-probs so far.
    pub logprob_gap_max: f64,
    /// Updates of the policy so far.
    pub policy_version: u64,
    /// Updates that were left out because a number was not finite.
    #[serde(default)]
    pub skipped: Skipped,
    /// The best checkpoint so far.
    #[serde(default)]
    pub best: Option<Best>,
    /// Where the phase stood that trained last, when it ended.
    #[serde(default)]
    pub left: Option<Left>,
    /// Where the data of this part stand.
    pub data: Option<MixtureState>,
    /// Failed rewards of the last steps of this part.
    pub failures: Window,
    /// Pass rates of the queries of this part.
    #[serde(default)]
    pub pass_rates: PassRates,
    /// Counts over all curations so far.
    pub curation: CurationCounts,
    /// Evaluations so far.
    pub evaluations: Vec<Evaluation>,
    /// Their folders in `eval/`.
    pub evaluated: Vec<String>,
    /// What is known of the judges, by name.
    pub judges: BTreeMap<String, JudgeRecord>,
}

/// Where the phase stood that trained last, when it ended: it can be gone on with from there as long as no other has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// Its place in the list of the run's parts.
    pub part: usize,
    /// Steps that it had.
    pub steps: u64,
    /// Where its data stood.
    pub data: Option<MixtureState>,
}
