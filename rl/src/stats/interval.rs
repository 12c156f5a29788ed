//! Intervals of rates: Wilson's, with the samples of a query as one cluster, and of the mean over tasks.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

use super::{QueryOutcomes, by_task};

/// The normal quantile of a two-sided 95 % interval.
pub(super) const NORMAL_975: f64 = 1.959_963_984_540_054;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean over tasks of the mean over queries.
    pub value: f64,
    /// 95 % interval; never a point, since no number of queries proves that none would differ.
    pub interval: [f64; 2],
}

/// The quantile of a two-sided 95 % interval of a mean whose spread is known by so many degrees of freedom.
pub(super) fn student_975(freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(NORMAL_975, |student| student.inverse_cdf(0.975))
}

/// Pass@1 with its interval: the mean over tasks, weighted equally, of the mean over queries of their pass rate.
///
/// The interval of a task is Wilson's for as many independent answers as would spread like its queries (Korn and Graubard
/// 1998); those of tasks are put together by their distances (MOVER: Zou and Donner 2008). Neither the order of queries nor
/// that of tasks matters, to the last bit; `None` when nothing is scored.
pub fn mean_interval(queries: &[QueryOutcomes]) -> Option<Estimate> {
    let tasks: Vec<Estimate> = by_task(queries).iter().map(|task| of_task(task)).collect();
    if tasks.is_empty() {
        return None;
    }
    let count = tasks.len() as f64;
    let value = tasks.iter().map(|task| task.value).sum::<f64>() / count;
    let far = |bound: usize| tasks.iter().map(|task| task.value - task.interval[bound]).fold(0.0, f64::hypot) / count;
    Some(Estimate { value, interval: [(value - far(0)).max(0.0), (value + far(1)).min(1.0)] })
}

/// The rate of one task, whose queries are all rated.
fn of_task(queries: &[&QueryOutcomes]) -> Estimate {
    let mut rates: Vec<f64> = queries.iter().filter_map(|query| query.rate()).collect();
    rates.sort_by(f64::total_cmp);
    let (mean, spread) = moments(&rates);
    let count = rates.len() as f64;
    let samples: usize = queries.iter().map(|query| query.counts().scored).sum();
    // One answer a query is independent of all others; and queries that are all alike count as one answer each.
    let (trials, quantile) = if samples == rates.len() || spread == 0.0 {
        (count, NORMAL_975)
    } else {
        ((mean * (1.0 - mean) * count / spread).min(samples as f64), student_975(count - 1.0))
    };
    Estimate { value: mean, interval: wilson_of(mean, trials, quantile) }
}

/// Mean and variance of values, the variance as of a sample; 0 for one value.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, if values.len() > 1 { squares / (count - 1.0) } else { 0.0 })
}

/// Wilson's 95 % interval of a proportion of independent trials; `None` without trials.
pub fn wilson(passed: usize, trials: usize) -> Option<[f64; 2]> {
    if trials == 0 || passed > trials {
        return None;
    }
    Some(wilson_of(passed as f64 / trials as f64, trials as f64, NORMAL_975))
}

fn wilson_of(share: f64, trials: f64, quantile: f64) -> [f64; 2] {
    let z2 = quantile * quantile;
    let centre = (share + z2 / (2.0 * trials)) / (1.0 + z2 / trials);
    let inner = share * (1.0 - share) / trials + z2 / (4.0 * trials * trials);
    let half = quantile * inner.sqrt() / (1.0 + z2 / trials);
    // Rounding must not push a bound past the proportion itself at 0 and 1.
    [(centre - half).clamp(0.0, share), (centre + half).clamp(share, 1.0)]
}

/// The chance of at least `passed` passes in `trials` independent ones that each pass with chance `rate`.
pub fn binomial_tail(passed: usize, trials: usize, rate: f64) -> f64 {
    if passed == 0 {
        return 1.0;
    }
    Binomial::new(rate, trials as u64).map_or(0.0, |binomial| binomial.sf(passed as u64 - 1))
}
