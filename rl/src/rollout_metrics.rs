//! Metrics of a batch of rollouts, and of what training makes of their log-probs.

use sapo_datasets::StopReason;

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

/// The ratio of the policy to that which sampled.
pub fn record_ratio(log_probs: &[f32], old_log_probs: &[f32], metrics: &mut Metrics) {
    let count = log_probs.len() as f64;
    let (mut sum, mut off) = (0.0, 0.0);
    for (now, old) in log_probs.iter().zip(old_log_probs) {
        // In single precision, as both were computed.
        let log_ratio = f64::from(now - old);
        sum += log_ratio.exp();
        off += (log_ratio.exp() - 1.0).abs();
    }
    metrics.mean_of(names::RATIO_MEAN, sum, count);
    metrics.mean_of(names::RATIO_OFF, off, count);
}

/// The gap between the log-probs of the sampler and those of the trainer, of one policy. It is measured on some of the
/// trained tokens; for the others there is nothing to measure, and that is counted too.
pub fn record_gap(trainer: &[f32], sampler: &[f32], is_measured: bool, metrics: &mut Metrics) {
    let count = trainer.len() as f64;
    metrics.mean_of(names::GAP_MEASURED, if is_measured { count } else { 0.0 }, count);
    if is_measured {
        let differences = trainer.iter().zip(sampler).map(|(trainer, sampler)| f64::from(trainer - sampler));
        metrics.mean_of(names::MISMATCH_KL, -differences.clone().sum::<f64>(), count);
        metrics.max(names::LOGPROB_GAP, differences.fold(0.0, |largest, one| one.abs().max(largest)));
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
