//! Pass rates with intervals: seeded bootstrap by query within task, equal weight per task, paired for gains.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Draws of a bootstrap.
const DRAWS: usize = 2000;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean over tasks of the mean over queries.
    pub value: f64,
    /// 95 % percentile interval.
    pub interval: [f64; 2],
}

/// Mean with interval of per-query values, one list per task; `None` without values.
///
/// For a gain, give the differences of the same queries: the pairing is then in the values.
pub fn estimate(tasks: &[Vec<f64>], seed: u64) -> Option<Estimate> {
    let tasks: Vec<&Vec<f64>> = tasks.iter().filter(|values| !values.is_empty()).collect();
    if tasks.is_empty() {
        return None;
    }
    let mean_of =
        |pick: &mut dyn FnMut(&[f64]) -> f64| tasks.iter().map(|values| pick(values)).sum::<f64>() / tasks.len() as f64;
    let value = mean_of(&mut |values| values.iter().sum::<f64>() / values.len() as f64);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = |values: &[f64]| {
        let drawn = (0..values.len()).map(|_| values[rng.random_range(0..values.len())]);
        drawn.sum::<f64>() / values.len() as f64
    };
    let mut draws: Vec<f64> = (0..DRAWS).map(|_| mean_of(&mut resample)).collect();
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| draws[((share * DRAWS as f64) as usize).min(DRAWS - 1)];
    Some(Estimate { value, interval: [at(0.025), at(0.975)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weight_per_task_and_an_interval_of_the_right_width() {
        let half: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let estimate = estimate(&[half.clone(), vec![1.0; 10]], 3).unwrap();
        assert!((estimate.value - 0.75).abs() < 1e-12);
        // One task varies with a standard error of 0.5 / 20, and counts half.
        let width = estimate.interval[1] - estimate.interval[0];
        assert!((width - 2.0 * 1.96 * 0.0125).abs() < 0.01, "{width}");
        let again = || super::estimate(std::slice::from_ref(&half), 3);
        assert_eq!(again(), again());
    }

    #[test]
    fn nothing_has_no_estimate() {
        assert_eq!(estimate(&[vec![], vec![]], 1), None);
    }
}
