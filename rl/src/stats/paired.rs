//! Two evaluations of the same queries: the difference paired by query, exact and resampled tests of it, and what is left of many
//! tests at once.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::QueryOutcomes;
use super::interval::{Estimate, binomial_tail, moments, student_975, wilson};

/// Draws of a bootstrap.
const DRAWS: usize = 2000;

/// A difference between two evaluations of the same queries, paired by query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedGain {
    /// The later rate less the earlier one.
    pub estimate: Estimate,
    /// The chance of a difference as large where there is none, by Student's test; where all queries differ by the same, by
    /// which way they do.
    pub p_value: f64,
    /// Queries rated in both.
    pub paired: usize,
    /// Queries of either evaluation that have no rated partner in the other.
    pub unpaired: usize,
}

/// The gain from one evaluation to a later one of the same queries: the mean over tasks of the mean over queries of what the
/// later rate has more. `None` without pairs.
///
/// The interval is Student's over queries, tasks put together after Welch and Satterthwaite. Where all queries of a task differ by
/// the same, as where none does, others might not: that they are as many as Wilson's bound of 0 of n widens it.
pub fn paired_gain(before: &[QueryOutcomes], after: &[QueryOutcomes]) -> Option<PairedGain> {
    let tasks = differences(before, after);
    let paired = tasks.iter().map(Vec::len).sum::<usize>();
    if paired == 0 {
        return None;
    }
    let count = tasks.len() as f64;
    let (mut value, mut variance, mut squares, mut unseen) = (0.0, 0.0, 0.0, 0.0_f64);
    for task in &tasks {
        let (mean, spread) = moments(task);
        value += mean / count;
        let of_mean = spread / task.len() as f64 / (count * count);
        if of_mean > 0.0 {
            variance += of_mean;
            squares += of_mean * of_mean / (task.len() as f64 - 1.0);
        } else if let Some([_, most]) = wilson(0, task.len()) {
            unseen = unseen.hypot(most / count);
        }
    }
    let freedom = variance * variance / squares;
    let (half, p_value) = match variance > 0.0 {
        true => ((student_975(freedom) * variance.sqrt()).hypot(unseen), two_sided(value / variance.sqrt(), freedom)),
        false => (unseen, sign_test(&tasks)),
    };
    let interval = [value - half, value + half].map(|bound| bound.clamp(-1.0, 1.0));
    let unpaired = (before.len() - paired) + (after.len() - paired);
    Some(PairedGain { estimate: Estimate { value, interval }, p_value, paired, unpaired })
}

fn two_sided(t: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |student| (2.0 * student.sf(t.abs())).min(1.0))
}

/// Which way how many differ, where all of a task differ by the same.
fn sign_test(tasks: &[Vec<f64>]) -> f64 {
    let count = |is_so: fn(f64) -> bool| tasks.iter().flatten().filter(|value| is_so(**value)).count();
    mcnemar(count(|value| value < 0.0), count(|value| value > 0.0))
}

/// What the later rate of each query has more, by task, sorted: in which order queries stand does not matter.
fn differences(before: &[QueryOutcomes], after: &[QueryOutcomes]) -> Vec<Vec<f64>> {
    let key = |query: &QueryOutcomes| (query.task.clone(), query.query_id.clone());
    let earlier: BTreeMap<_, f64> =
        before.iter().filter_map(|query| query.rate().map(|rate| (key(query), rate))).collect();
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for query in after {
        if let (Some(now), Some(then)) = (query.rate(), earlier.get(&key(query))) {
            tasks.entry(&query.task).or_default().push(now - then);
        }
    }
    tasks.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
    tasks.into_values().collect()
}

/// What a paired bootstrap by query says of a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Its 95 % interval: the quantiles of the means of resampled queries.
    pub interval: [f64; 2],
}

/// The paired bootstrap of a gain, seeded; `None` without pairs. With few queries its interval is too narrow, which Student's
/// is not: it is given for comparison with other tools.
pub fn bootstrap(before: &[QueryOutcomes], after: &[QueryOutcomes], seed: u64) -> Option<Bootstrap> {
    let tasks = differences(before, after);
    if tasks.is_empty() {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut resample = |values: &Vec<f64>| {
        let drawn = (0..values.len()).map(|_| values[rng.random_range(0..values.len())]);
        drawn.sum::<f64>() / values.len() as f64
    };
    let mut means: Vec<f64> =
        (0..DRAWS).map(|_| tasks.iter().map(&mut resample).sum::<f64>() / tasks.len() as f64).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((share * DRAWS as f64) as usize).min(DRAWS - 1)];
    Some(Bootstrap { interval: [at(0.025), at(0.975)] })
}

/// McNemar's exact test: the chance, where neither is better, that of so many queries that one answers and the other does not,
/// as few belong to either as do. For one answer a query on each side.
pub fn mcnemar(only_before: usize, only_after: usize) -> f64 {
    let (fewer, all) = (only_before.min(only_after), only_before + only_after);
    // As few as `fewer` on one side is as many as the rest on the other.
    (2.0 * binomial_tail(all - fewer, all, 0.5)).min(1.0)
}

/// P-values of many tests at once, corrected (Holm 1979): below 0.05 here, the chance that any of them is so without a difference
/// is at most 0.05.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut most: f64 = 0.0;
    for (rank, place) in order.into_iter().enumerate() {
        most = most.max(p_values[place] * (p_values.len() - rank) as f64).min(1.0);
        corrected[place] = most;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_and_holm_give_what_is_published() {
        // R's binom.test(5, 20), and the worked example of 6 against 16.
        assert!((mcnemar(5, 15) - 0.041_389).abs() < 1e-6, "{}", mcnemar(5, 15));
        assert!((mcnemar(6, 16) - 0.052_479).abs() < 1e-6, "{}", mcnemar(6, 16));
        assert_eq!((mcnemar(0, 0), mcnemar(7, 7)), (1.0, 1.0));
        assert_eq!(mcnemar(2, 9), mcnemar(9, 2));
        // A long table does not overflow.
        assert!(mcnemar(4000, 4400) < 1e-4 && mcnemar(4000, 4400) > 0.0);
        // R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, wanted) in corrected.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - wanted).abs() < 1e-12, "{corrected:?}");
        }
    }

    #[test]
    fn students_interval_is_that_of_a_paired_t_test() {
        // scipy.stats.ttest_1samp([0.25, 0, 0.5, -0.25, 0.25, 0.5], 0): t = 1.7461, p = 0.14124, interval [-0.0983, 0.5150].
        let rates = [1, 2, 3, 1, 2, 4].map(|passed| (0..4).map(|at| Some(at < passed)).collect::<Vec<_>>());
        let before = [0, 2, 1, 2, 1, 2].map(|passed| (0..4).map(|at| Some(at < passed)).collect::<Vec<_>>());
        let list = |all: &[Vec<Option<bool>>]| -> Vec<QueryOutcomes> {
            let named = all.iter().enumerate();
            named
                .map(|(at, passes)| QueryOutcomes {
                    query_id: at.to_string(),
                    task: "geo".to_owned(),
                    passes: passes.clone(),
                })
                .collect()
        };
        let gain = paired_gain(&list(&before), &list(&rates)).unwrap();
        let [low, high] = gain.estimate.interval;
        assert!((gain.estimate.value - 0.208_333).abs() < 1e-5 && (gain.p_value - 0.141_24).abs() < 1e-4, "{gain:?}");
        assert!((low + 0.098_4).abs() < 1e-3 && (high - 0.515_0).abs() < 1e-3, "{gain:?}");
        let drawn = bootstrap(&list(&before), &list(&rates), 1).unwrap().interval;
        assert!(drawn[0] > low && drawn[1] < high && drawn[0] < 0.208 && drawn[1] > 0.209, "{drawn:?}");
    }
}
