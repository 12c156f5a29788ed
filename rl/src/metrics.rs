//! Metrics of a step: the one list of their names, and the map that is written as a line.

use sapo_datasets::hex;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Names of metrics, `subject/statistic`.
pub mod names {
    /// Mean negative log-prob of a demonstration's tokens, weighted as the loss is.
    pub const SFT_LOSS: &str = "train/loss";
    /// The loss that spreads rows over experts, before its coefficient: as many as a row has experts when all are used
    /// alike.
    pub const BALANCE_LOSS: &str = "train/balance_loss";
    /// Mean total reward of the scored rollouts.
    pub const REWARD_MEAN: &str = "train/reward/mean";
    /// What the names of the parts of a reward begin with; `/<part>/` follows, then: `mean`, `std` (population), `at_min`
    /// and `at_max` (shares of values at the ends of the reward's range), `no_spread` (share of groups whose values are all
    /// equal), and where there are any, counts of rollouts as `skipped` and `failed/<kind>`.
    pub const REWARD: &str = "train/reward";
    /// Share of scored rollouts that pass.
    pub const PASSED: &str = "train/reward/passed";
    /// Rollouts whose reward failed.
    pub const REWARD_FAILED: &str = "train/reward/failed";
    /// Rows with a known verdict that the judge was asked beside the answers; they are in no reward.
    pub const JUDGE_CANARIES: &str = "judge/canaries";
    /// Those of them that were judged wrongly.
    pub const JUDGE_CANARY_FAILURES: &str = "judge/canary_failures";
    /// Judged answers that an exact rule can tell as well.
    pub const JUDGE_RULED: &str = "judge/ruled";
    /// Share of them of which judge and rule say the same.
    pub const JUDGE_RULE_AGREEMENT: &str = "judge/rule_agreement";
    /// Groups without signal: all rewards equal, or fewer than two scored.
    pub const NO_SIGNAL: &str = "train/groups/no_signal";
    /// Groups above the pass-rate limit.
    pub const TOO_EASY: &str = "train/groups/too_easy";
    /// Groups that were trained on.
    pub const TRAINED: &str = "train/groups/trained";
    /// Mean number of sampled tokens.
    pub const LENGTH_MEAN: &str = "rollout/length/mean";
    /// Share of rollouts cut by the token limit.
    pub const TRUNCATED: &str = "rollout/truncated";
    /// Share of rollouts that work before they answer.
    pub const WITH_WORKING: &str = "rollout/with_working";
    /// Share of rollouts with reasoning before the answer.
    pub const REASONED: &str = "rollout/reasoned";
    /// Pictures and videos that were left out of prompts that were too long (`policy.too_long`).
    pub const DROPPED_PICTURES: &str = "rollout/dropped_pictures";
    /// Queries that the engine could not answer; they are in no batch.
    pub const FAILED_REQUESTS: &str = "rollout/failed_requests";
    /// Rows that could not be used so far in this phase; `data/rejected.jsonl` lists them.
    pub const REJECTED_ROWS: &str = "data/rejected";
    /// Mean entropy of the sampled distributions, in nats.
    pub const ENTROPY: &str = "policy/entropy/mean";
    /// Mean of sampler minus trainer log-prob over tokens, before the first update of a step.
    pub const MISMATCH_KL: &str = "policy/mismatch_kl";
    /// Largest absolute difference of sampler and trainer log-probs.
    pub const LOGPROB_GAP: &str = "policy/logprob_gap_max";
    /// Mean ratio of the policy to that which sampled.
    pub const RATIO_MEAN: &str = "policy/ratio/mean";
    /// Mean absolute difference of that ratio from 1.
    pub const RATIO_OFF: &str = "policy/ratio/off_mean";
    /// Share of tokens beyond the clip.
    pub const RATIO_CLIPPED: &str = "policy/ratio/clipped";
    /// The SAPO gate where the advantage is positive; `/mean`, `/q05`, `/q95`, `/min` follow.
    pub const GATE_POS: &str = "sapo/gate/pos";
    /// The SAPO gate elsewhere.
    pub const GATE_NEG: &str = "sapo/gate/neg";
    /// Effective sample size of the gated weights, as a share.
    pub const EFFECTIVE_SAMPLES: &str = "sapo/effective_samples";
    /// Global norm of the gradients before clipping (the mean over a step's updates).
    pub const GRAD_NORM: &str = "optim/grad_norm";
    /// Learning rate.
    pub const LR: &str = "optim/lr";
    /// Seconds of sampling.
    pub const ROLLOUT_SECS: &str = "time/rollout_secs";
    /// Seconds that scoring took beyond sampling.
    pub const REWARD_SECS: &str = "time/reward_secs";
    /// Milliseconds that a part of a reward took for one rollout: `/<part>/p50_ms`, `p95_ms`, `p99_ms` follow. It waits for
    /// others beside it, and in line.
    pub const REWARD_LATENCY: &str = "time/reward";
    /// Seconds of updating.
    pub const UPDATE_SECS: &str = "time/update_secs";
    /// Sampled tokens a second of sampling.
    pub const ROLLOUT_SPEED: &str = "perf/rollout_tokens_per_sec";
    /// Trained answer tokens a second of updating.
    pub const TRAIN_SPEED: &str = "perf/train_tokens_per_sec";
}

/// Numbers of one step, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

impl Metrics {
    /// Sets a metric; a value that is not finite is left out, since JSON has no word for it.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.values.insert(name.into(), value);
        }
    }

    /// The value of a metric.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    /// The line of a step for `metrics.jsonl`.
    pub fn line(&self, step: u64, phase: &str, secs: f64) -> Value {
        let mut line = Map::new();
        line.insert("step".to_owned(), Value::from(step));
        line.insert("phase".to_owned(), Value::from(phase));
        line.insert("secs".to_owned(), Value::from(secs));
        line.extend(self.values.iter().map(|(name, value)| (name.clone(), Value::from(*value))));
        Value::Object(line)
    }
}

/// SHA-256 over lines of metrics in step order with sorted keys, without whatever depends on the clock.
pub fn metrics_sha256(lines: &[Value]) -> String {
    let timed = |key: &str| key == "secs" || ["time/", "perf/", "mem/"].iter().any(|prefix| key.starts_with(prefix));
    let mut lines: Vec<&Value> = lines.iter().collect();
    lines.sort_by_key(|line| line["step"].as_u64());
    let mut hash = Sha256::new();
    for line in lines {
        let kept: BTreeMap<&String, &Value> =
            line.as_object().into_iter().flatten().filter(|(key, _)| !timed(key)).collect();
        hash.update(serde_json::to_vec(&kept).unwrap_or_default());
        hash.update(b"\n");
    }
    hex(&hash.finalize())
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The value below which a share of sorted values lies (nearest rank).
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
