//! Metrics of a batch of rollouts, and of what training makes of their log-probs.

use sapo_datasets::StopReason;

use crate::algorithm::Sequence;
use crate::metrics::{Metrics, names};
use crate::sample::ScoredGroup;

/// Means over all rollouts of a batch, and the pass rate of each task.
pub fn record(batch: &[ScoredGroup], metrics: &mut Metrics) {
    let rollouts: Vec<_> = batch.iter().flat_map(|group| &group.rollouts).collect();
    let count = rollouts.len() as f64;
    let totals: Vec<f64> = rollouts.iter().filter_map(|rollout| rollout.score.total).collect();
    let passed = rollouts.iter().filter(|rollout| rollout.score.passed == Some(true)).count();
    metrics.mean_of(names::REWARD_MEAN, totals.iter().sum(), totals.len() as f64);
    metrics.mean_of(names::PASSED, passed as f64, totals.len() as f64);
    let failed = (rollouts.len() - totals.len()) as f64;
    metrics.sum(names::REWARD_FAILED, failed);
    metrics.mean_of(names::REWARD_FAILED_SHARE, failed, count);
    let tokens: usize = rollouts.iter().map(|rollout| rollout.rollout.sampled()).sum();
    metrics.mean_of(names::LENGTH_MEAN, tokens as f64, count);
    let cut = rollouts.iter().filter(|rollout| rollout.rollout.stop == StopReason::Length).count();
    metrics.mean_of(names::TRUNCATED, cut as f64, count);
    let reasoned = rollouts.iter().filter(|rollout| rollout.reasoned()).count();
    metrics.mean_of(names::REASONED, reasoned as f64, count);
    let entropy: f64 = rollouts.iter().map(|rollout| f64::from(rollout.rollout.entropy)).sum();
    metrics.mean_of(names::ENTROPY, entropy, count);
    for group in batch {
        let passed = group.rollouts.iter().filter(|rollout| rollout.score.passed == Some(true)).count();
        let name = format!("{}/{}", names::PASSED, group.prompt.query.task);
        metrics.mean_of(name, passed as f64, group.rollouts.len() as f64);
    }
}

/// The ratio of the policy to that which sampled; where it is still the same policy, the gap between sampler and trainer.
/// How many of the trained tokens that gap was measured on is a metric too.
pub fn record_ratio(sequence: &Sequence<'_>, on_policy: bool, metrics: &mut Metrics) {
    let count = sequence.log_probs.len() as f64;
    let (mut sum, mut off, mut difference, mut largest) = (0.0, 0.0, 0.0, 0.0_f64);
    for (now, old) in sequence.log_probs.iter().zip(sequence.old_log_probs) {
        // In single precision, as both were computed.
        let log_ratio = f64::from(now - old);
        sum += log_ratio.exp();
        off += (log_ratio.exp() - 1.0).abs();
        difference -= log_ratio;
        largest = largest.max(log_ratio.abs());
    }
    metrics.mean_of(names::RATIO_MEAN, sum, count);
    metrics.mean_of(names::RATIO_OFF, off, count);
    metrics.mean_of(names::GAP_MEASURED, if on_policy { count } else { 0.0 }, count);
    if on_policy {
        metrics.mean_of(names::MISMATCH_KL, difference, count);
        metrics.max(names::LOGPROB_GAP, largest);
    }
}

/// A few live numbers of a step.
pub fn note(metrics: &Metrics) -> String {
    let get = |metric| metrics.get(metric).unwrap_or(f64::NAN);
    format!(
        "reward {:.3}, passed {:.2}, tokens {:.1}, gap {:.0e}",
        get(names::REWARD_MEAN),
        get(names::PASSED),
        get(names::LENGTH_MEAN),
        get(names::LOGPROB_GAP)
    )
}
