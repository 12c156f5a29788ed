//! Metrics of each part of a reward: how often it is at an end of its range, whether it tells rollouts of a group apart,
//! what it skips, how it fails, how long it takes.

use std::collections::BTreeMap;

use sapo_rewards::Outcome;

use crate::metrics::{Metrics, names, quantile};
use crate::sample::ScoredGroup;

/// What was seen of one part.
#[derive(Default)]
struct Seen {
    values: Vec<f64>,
    at_min: usize,
    at_max: usize,
    groups: usize,
    without_spread: usize,
    skipped: usize,
    failed: BTreeMap<String, usize>,
    secs: Vec<f64>,
    /// What the reward measured beside its value: sum and count of each number.
    more: BTreeMap<String, (f64, usize)>,
}

/// Records the metrics of every part over a batch, each under `train/reward/<part>` (and `time/reward/<part>`).
pub fn record(batch: &[ScoredGroup], metrics: &mut Metrics) {
    let mut parts: BTreeMap<&str, Seen> = BTreeMap::new();
    for group in batch {
        let ranges: BTreeMap<&str, (f64, f64)> =
            group.rubric.rewards().map(|(part, reward)| (part, reward.spec().range)).collect();
        let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (rollout, asked) in group.rollouts.iter().flat_map(|one| one.calls.iter().map(move |asked| (one, asked))) {
            let seen = parts.entry(&asked.part).or_default();
            for (name, value) in rollout.score.part(&asked.part).iter().flat_map(|part| &part.score.metrics) {
                let (sum, count) = seen.more.entry(name.clone()).or_default();
                *sum += value;
                *count += 1;
            }
            seen.secs.extend(asked.secs);
            match &asked.outcome {
                Outcome::Value(value) => {
                    seen.values.push(*value);
                    let (least, greatest) = ranges.get(asked.part.as_str()).copied().unwrap_or((0.0, 1.0));
                    seen.at_min += usize::from(*value <= least);
                    seen.at_max += usize::from(*value >= greatest);
                    groups.entry(&asked.part).or_default().push(*value);
                }
                Outcome::Skip(_) => seen.skipped += 1,
                Outcome::Failed { kind, .. } => {
                    let kind = serde_json::to_value(kind).unwrap_or_default();
                    *seen.failed.entry(kind.as_str().unwrap_or_default().to_owned()).or_default() += 1;
                }
            }
        }
        for (part, values) in groups.into_iter().filter(|(_, values)| values.len() > 1) {
            let seen = parts.entry(part).or_default();
            seen.groups += 1;
            seen.without_spread += usize::from(values.iter().all(|value| *value == values[0]));
        }
    }
    for (part, seen) in parts {
        seen.write(part, metrics);
    }
}

impl Seen {
    fn write(mut self, part: &str, metrics: &mut Metrics) {
        let name = |statistic: &str| format!("{}/{part}/{statistic}", names::REWARD);
        let count = self.values.len() as f64;
        let mean = self.values.iter().sum::<f64>() / count;
        metrics.set(name("mean"), mean);
        metrics.set(name("std"), (self.values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt());
        metrics.set(name("at_min"), self.at_min as f64 / count);
        metrics.set(name("at_max"), self.at_max as f64 / count);
        metrics.set(name("no_spread"), self.without_spread as f64 / self.groups as f64);
        // What hardly ever happens has no column of zeros.
        if self.skipped > 0 {
            metrics.set(name("skipped"), self.skipped as f64);
        }
        for (kind, failed) in self.failed {
            metrics.set(name(&format!("failed/{kind}")), failed as f64);
        }
        for (key, (sum, count)) in self.more {
            metrics.set(format!("{}/{part}/{}/{key}", names::REWARD, names::MORE), sum / count as f64);
        }
        self.secs.sort_by(f64::total_cmp);
        // A part that nobody asked took no time.
        let quantiles = [("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)];
        for (statistic, share) in quantiles.into_iter().filter(|_| !self.secs.is_empty()) {
            metrics.set(format!("{}/{part}/{statistic}", names::REWARD_LATENCY), 1e3 * quantile(&self.secs, share));
        }
    }
}
