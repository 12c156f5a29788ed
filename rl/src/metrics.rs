//! Metrics of a step: the one list of their names, and the map that is written as a line.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sapo_datasets::hex;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Names of metrics, `subject/statistic`.
pub mod names {
    /// Mean negative log-prob of a demonstration's tokens, weighted as the loss is.
    pub const SFT_LOSS: &str = "train/loss";
    /// Mean distance from the teacher over the trained tokens, in nats (`distill`).
    pub const DISTANCE: &str = "train/distance";
    /// The loss that spreads rows over experts, before its coefficient: as many as a row has experts when all are used
    /// alike.
    pub const BALANCE_LOSS: &str = "train/balance_loss";
    /// Mean total reward of the scored rollouts.
    pub const REWARD_MEAN: &str = "train/reward/mean";
    /// What the names of the parts of a reward begin with; `/<part>/` follows, then: `mean`, `std` (population), `at_min`
    /// and `at_max` (shares of values at the ends of the reward's range), `no_spread` (share of groups whose values are all
    /// equal), and where there are any, counts of rollouts as `skipped` and `failed/<kind>`.
    pub const REWARD: &str = "train/reward";
    /// What a part of a reward measured beside its value, the mean over the rollouts for which it told: `train/reward/<part>/`,
    /// this, then the name that the reward gave it. Rows of evaluations have the same in `metrics`.
    pub const MORE: &str = "metric";
    /// Share of scored rollouts that pass.
    pub const PASSED: &str = "train/reward/passed";
    /// Rollouts whose reward failed.
    pub const REWARD_FAILED: &str = "train/reward/failed";
    /// The same as a share of all.
    pub const REWARD_FAILED_SHARE: &str = "train/reward/failed_share";
    /// Rows with a known verdict that the judge was asked beside the answers; they are in no reward.
    pub const JUDGE_CANARIES: &str = "judge/canaries";
    /// Those of them that were judged wrongly.
    pub const JUDGE_CANARY_FAILURES: &str = "judge/canary_failures";
    /// Judged answers that an exact rule can tell as well.
    pub const JUDGE_RULED: &str = "judge/ruled";
    /// Share of them of which judge and rule say the same.
    pub const JUDGE_RULE_AGREEMENT: &str = "judge/rule_agreement";
    /// Rollouts of the step that were drawn for the audit; they are those of the next four counts together.
    pub const AUDIT_DRAWN: &str = "audit/drawn";
    /// Those of which both graders say the same.
    pub const AUDIT_AGREED: &str = "audit/agreed";
    /// Those that the trained rubric passes and the second fails.
    pub const AUDIT_LENIENT: &str = "audit/lenient";
    /// Those that the trained rubric fails and the second passes.
    pub const AUDIT_STRICT: &str = "audit/strict";
    /// Those of which one of them has no verdict.
    pub const AUDIT_FAILED: &str = "audit/failed";
    /// Those that the trained rubric passes, of all with both verdicts.
    pub const AUDIT_PASSED: &str = "audit/passed";
    /// Of what the trained rubric passes, the share that the second fails: over the phase so far,
    /// each query alike.
    pub const AUDIT_LENIENT_SHARE: &str = "audit/lenient_share";
    /// Of what the trained rubric fails, the share that the second passes: over the phase so far,
    /// each query alike.
    pub const AUDIT_STRICT_SHARE: &str = "audit/strict_share";
    /// Evidence so far in the phase that the trained rubric is laxer than tolerated; at `1 / false_alarm` the alarm comes.
    pub const AUDIT_E_VALUE: &str = "audit/e_value";
    /// 1 from the alarm on, until the end of the phase.
    pub const AUDIT_ALARM: &str = "audit/alarm";
    /// Groups without signal: all rewards equal, or fewer than two scored.
    pub const NO_SIGNAL: &str = "train/groups/no_signal";
    /// Groups above the pass-rate limit.
    pub const TOO_EASY: &str = "train/groups/too_easy";
    /// Groups that were sampled to take the place of others without signal or above the limit (`filter.refill`).
    pub const REFILLED: &str = "train/groups/refilled";
    /// Groups that were trained on.
    pub const TRAINED: &str = "train/groups/trained";
    /// Mean number of sampled tokens.
    pub const LENGTH_MEAN: &str = "rollout/length/mean";
    /// Share of rollouts cut by the token limit.
    pub const TRUNCATED: &str = "rollout/truncated";
    /// Share of rollouts with reasoning before the answer.
    pub const REASONED: &str = "rollout/reasoned";
    /// Pictures and videos that were left out of prompts that were too long (`policy.too_long`).
    pub const DROPPED_PICTURES: &str = "rollout/dropped_pictures";
    /// Queries that the engine could not answer; they are in no batch.
    pub const FAILED_REQUESTS: &str = "rollout/failed_requests";
    /// Groups that were broken off because enough others were whole (`oversample_prompts`); they are in no batch.
    pub const STOPPED_GROUPS: &str = "rollout/stopped_groups";
    /// Rollouts of theirs that had ended, and were scored in vain.
    pub const STOPPED_ROLLOUTS: &str = "rollout/stopped_rollouts";
    /// Rows that could not be used so far in this phase; `data/rejected.jsonl` lists them.
    pub const REJECTED_ROWS: &str = "data/rejected";
    /// Queries that were not drawn because of their last pass rate (`filter.revisit_steps`, `filter.curriculum`).
    pub const PASSED_OVER: &str = "data/passed_over";
    /// Seconds that a step waited for its data.
    pub const DATA_SECS: &str = "time/data_secs";
    /// Mean entropy of the sampled distributions, in nats.
    pub const ENTROPY: &str = "policy/entropy/mean";
    /// Mean of sampler minus trainer log-prob over the tokens of the mini-batches before a step's first update: the
    /// policy that is trained is then the one that sampled. Later ones are in the ratio.
    pub const MISMATCH_KL: &str = "policy/mismatch_kl";
    /// Largest absolute difference of sampler and trainer log-probs.
    pub const LOGPROB_GAP: &str = "policy/logprob_gap_max";
    /// Share of the trained tokens on which that gap was measured: those of mini-batches before the first update.
    pub const GAP_MEASURED: &str = "policy/logprob_gap_share";
    /// Mean estimated KL of the trained tokens from the reference, in nats (`kl`).
    pub const KL: &str = "policy/kl/mean";
    /// Mean weight of the tokens that another engine sampled (`importance`).
    pub const IMPORTANCE: &str = "policy/importance/mean";
    /// Share of tokens whose weight is at its cap.
    pub const IMPORTANCE_CAPPED: &str = "policy/importance/capped";
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
    /// Updates of this step that were left out because a number on their way was not finite.
    pub const SKIPPED_STEPS: &str = "optim/skipped_steps";
    /// Learning rate.
    pub const LR: &str = "optim/lr";
    /// Seconds of sampling.
    pub const ROLLOUT_SECS: &str = "time/rollout_secs";
    /// Seconds that scoring took beyond sampling.
    pub const REWARD_SECS: &str = "time/reward_secs";
    /// Milliseconds that a part of a reward took for one rollout: `/<part>/p50_ms`, `p95_ms`, `p99_ms` follow. It waits for
    /// others beside it, and in line.
    pub const REWARD_LATENCY: &str = "time/reward";
    /// Seconds that a step waited for its audit, beyond its update.
    pub const AUDIT_SECS: &str = "time/audit_secs";
    /// Seconds of reading rollouts again, with the reference or with the trainer before its update.
    pub const READ_AGAIN_SECS: &str = "time/read_again_secs";
    /// Seconds of updating.
    pub const UPDATE_SECS: &str = "time/update_secs";
    /// Sampled tokens a second of sampling.
    pub const ROLLOUT_SPEED: &str = "perf/rollout_tokens_per_sec";
    /// Trained answer tokens a second of updating.
    pub const TRAIN_SPEED: &str = "perf/train_tokens_per_sec";
    /// Kernels that were compiled since the step before, on a GPU.
    pub const KERNELS: &str = "perf/kernels_compiled";
    /// Seconds that compiling them took, and reading those that were kept.
    pub const KERNEL_SECS: &str = "time/kernel_secs";
    /// What the names of held-out results begin with; `/<set>` follows, for the rows of single tasks `/<task>`, and then
    /// `/pass@1` with the ends of its interval as `/pass@1/low` and `/pass@1/high`, `/greedy`, `/cut` and `/tokens`. Their
    /// lines have no `phase`, but `evaluation` (the set) and `after`.
    pub const EVAL: &str = "eval";
    /// Seconds that an evaluation took.
    pub const EVAL_SECS: &str = "time/eval_secs";
    /// Those of them that it waited for the engine's answers; what is in neither this nor the next is the program's own.
    pub const EVAL_ANSWER_SECS: &str = "time/eval_answer_secs";
    /// Those that it waited for rewards, beyond that.
    pub const EVAL_REWARD_SECS: &str = "time/eval_reward_secs";
}

/// What is known of one metric, kept so that several parts of a batch (or several machines) can be put together.
#[derive(Clone, Debug, PartialEq)]
enum Statistic {
    /// The same everywhere.
    Value(f64),
    /// A count or an amount.
    Sum(f64),
    /// A mean, with what it is the mean of.
    Mean { sum: f64, count: f64 },
    /// The largest.
    Max(f64),
    /// All values, for their distribution: `/mean`, `/min`, `/q05`, `/q95`.
    Samples(Vec<f64>),
    /// The effective sample size of weights, as a share.
    Effective { sum: f64, squares: f64, count: f64 },
}

impl Statistic {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Value(value), Self::Value(other)) => *value = *other,
            (Self::Sum(sum), Self::Sum(other)) => *sum += other,
            (Self::Mean { sum, count }, Self::Mean { sum: more, count: of }) => {
                *sum += more;
                *count += of;
            }
            (Self::Max(max), Self::Max(other)) => *max = max.max(*other),
            (Self::Samples(samples), Self::Samples(more)) => samples.extend(more),
            (Self::Effective { sum, squares, count }, Self::Effective { sum: more, squares: two, count: of }) => {
                *sum += more;
                *squares += two;
                *count += of;
            }
            (this, other) => *this = other.clone(),
        }
    }

    fn write(&self, name: &str, to: &mut dyn FnMut(String, f64)) {
        match self {
            Self::Value(value) | Self::Sum(value) | Self::Max(value) => to(name.to_owned(), *value),
            Self::Mean { sum, count } => to(name.to_owned(), sum / count),
            Self::Effective { sum, squares, count } => to(name.to_owned(), sum * sum / (count * squares)),
            Self::Samples(samples) => {
                let mut sorted = samples.clone();
                sorted.sort_by(f64::total_cmp);
                to(format!("{name}/mean"), sorted.iter().sum::<f64>() / sorted.len() as f64);
                to(format!("{name}/min"), sorted[0]);
                to(format!("{name}/q05"), quantile(&sorted, 0.05));
                to(format!("{name}/q95"), quantile(&sorted, 0.95));
            }
        }
    }
}

/// Numbers of one step, by name: sums, means and maxima with their counts, finished once when they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    statistics: BTreeMap<String, Statistic>,
}

impl Metrics {
    fn put(&mut self, name: impl Into<String>, statistic: Statistic) {
        match self.statistics.entry(name.into()) {
            Entry::Occupied(mut known) => known.get_mut().add(&statistic),
            Entry::Vacant(new) => _ = new.insert(statistic),
        }
    }

    /// Sets what is the same for all parts of a batch.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.put(name, Statistic::Value(value));
    }

    /// Adds to a sum.
    pub fn sum(&mut self, name: impl Into<String>, value: f64) {
        self.put(name, Statistic::Sum(value));
    }

    /// Adds a value to a mean.
    pub fn mean(&mut self, name: impl Into<String>, value: f64) {
        self.mean_of(name, value, 1.0);
    }

    /// Adds a sum of so many values to a mean; nothing when there are none.
    pub fn mean_of(&mut self, name: impl Into<String>, sum: f64, count: f64) {
        if count > 0.0 {
            self.put(name, Statistic::Mean { sum, count });
        }
    }

    /// Adds a candidate for the largest value.
    pub fn max(&mut self, name: impl Into<String>, value: f64) {
        self.put(name, Statistic::Max(value));
    }

    /// Adds values to a distribution, of which mean, least value and two quantiles are written.
    pub fn samples(&mut self, name: impl Into<String>, values: Vec<f64>) {
        if !values.is_empty() {
            self.put(name, Statistic::Samples(values));
        }
    }

    /// Adds weights to an effective sample size, `(sum w)^2 / (n sum w^2)`.
    pub fn effective(&mut self, name: impl Into<String>, weights: &[f64]) {
        let (sum, squares) = (weights.iter().sum(), weights.iter().map(|weight| weight * weight).sum());
        if !weights.is_empty() {
            self.put(name, Statistic::Effective { sum, squares, count: weights.len() as f64 });
        }
    }

    /// The finished values, by name.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        for (name, statistic) in &self.statistics {
            statistic.write(name, &mut |name, value| _ = values.insert(name, value));
        }
        values
    }

    /// The finished value of a metric.
    pub fn get(&self, name: &str) -> Option<f64> {
        let mut found = None;
        self.statistics.get(name)?.write(name, &mut |_, value| found = found.or(Some(value)));
        found
    }

    /// The line of a step for `metrics.jsonl`. A value that is not finite is `null`, since JSON has no word for it.
    pub fn line(&self, step: u64, phase: &str, secs: f64) -> Value {
        let mut line = Map::new();
        line.insert("step".to_owned(), Value::from(step));
        line.insert("phase".to_owned(), Value::from(phase));
        line.insert("secs".to_owned(), Value::from(secs));
        line.extend(self.values().into_iter().map(|(name, value)| (name, Value::from(value))));
        Value::Object(line)
    }

    /// The names of metrics that are not finite.
    pub fn not_finite(&self) -> Vec<String> {
        self.values().into_iter().filter(|(_, value)| !value.is_finite()).map(|(name, _)| name).collect()
    }
}

/// The numbers of a record by name, whatever else it holds.
pub fn numbers(line: &Value) -> BTreeMap<String, f64> {
    let entries = line.as_object().map(Map::iter).into_iter().flatten();
    entries.filter_map(|(name, value)| value.as_f64().map(|value| (name.clone(), value))).collect()
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
