//! A rubric as a config describes it.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::normalise::Normalise;
use crate::score::CORRECT;

/// How a score is put together: `weight * correct + extras - penalties` behind their gates, clipped, less the penalty for
/// length; the total is always the weighted sum of the parts in the record.
///
/// A reply without an answer gets no extra, and one that says nothing at all, not even in its thinking, gets every penalty
/// in full: silence must not be the way around them. Bonuses (calls of tools) pay only beside a right answer, and less
/// than one. The `correct` part alone decides pass or fail: a value of 0.5 passes. Skipped parts add nothing and weights
/// are not renormalised; a part that fails makes the whole score fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RubricConfig {
    /// The reward that decides pass or fail.
    pub correct: String,
    /// What it counts.
    pub weight: f64,
    /// Further rewards that are added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartConfig>,
    /// Rewards that are taken off: 1 is the whole penalty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub penalties: Vec<PartConfig>,
    /// Conditions under which parts count at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateConfig>,
    /// Least and greatest sum of the parts, before the penalty for length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
    /// A penalty near the length limit, taken off after everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlong: Option<OverlongConfig>,
    /// Whether and when rewards are normalised over their group.
    #[serde(skip_serializing_if = "is_default")]
    pub normalise: Normalise,
    /// What becomes of a rollout whose score failed.
    pub on_failure: OnFailure,
    /// Short for a penalty of this weight: any letter of another script than the prompt's language. 0, the default,
    /// is none.
    pub language_penalty: f64,
    /// Short for a penalty of this weight: text that repeats itself, in responses as short as a line. 0, the
    /// default, is none.
    pub repetition_penalty: f64,
}

impl Default for RubricConfig {
    fn default() -> Self {
        Self {
            correct: "exact".to_owned(),
            weight: 1.0,
            parts: Vec::new(),
            penalties: Vec::new(),
            gates: Vec::new(),
            clip: None,
            overlong: None,
            normalise: Normalise::None,
            on_failure: OnFailure::Mask,
            language_penalty: 0.0,
            repetition_penalty: 0.0,
        }
    }
}

/// A reward and what it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The reward's name; the part has the same.
    pub reward: String,
    /// What it counts, above 0.
    #[serde(default = "one")]
    pub weight: f64,
    /// Least and greatest value, before the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
}

/// The soft penalty for overlong responses of DAPO: none up to `max_tokens - buffer_tokens`, then rising to `weight`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverlongConfig {
    /// Tokens at which the penalty is full; the request's limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Over how many tokens before that it rises.
    pub buffer_tokens: usize,
    /// The whole penalty.
    #[serde(default = "one")]
    pub weight: f64,
    /// Only right answers are shaped: wrong ones all get the same.
    #[serde(default)]
    pub correct_only: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Parts that add nothing unless a reward reaches a value. Pass or fail is not touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The reward that must be reached: one of the rubric's parts, or any other.
    pub reward: String,
    /// The least value that opens the gate.
    #[serde(default = "half")]
    pub min: f64,
    /// The parts behind it.
    #[serde(default = "correct_part")]
    pub parts: Vec<String>,
}

fn one() -> f64 {
    1.0
}

pub(super) fn half() -> f64 {
    0.5
}

fn correct_part() -> Vec<String> {
    vec![CORRECT.to_owned()]
}

/// What becomes of a rollout whose score failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It leaves its group's statistics, gets advantage 0 and no loss.
    #[default]
    Mask,
    /// The run stops at a checkpoint.
    Stop,
}

impl RubricConfig {
    /// The names of the rewards that it uses: those of its parts, penalties and gates. The penalties with a key of their
    /// own (`language_penalty`, `repetition_penalty`) need no reward of the config.
    pub fn rewards(&self) -> BTreeSet<&str> {
        let parts = self.parts.iter().chain(&self.penalties).map(|part| part.reward.as_str());
        // A gate may stand on the part `correct`, which is the name of no reward.
        let gates = self.gates.iter().map(|gate| gate.reward.as_str()).filter(|name| *name != CORRECT);
        parts.chain(gates).chain([self.correct.as_str()]).collect()
    }
}
