//! Pass rates with intervals: seeded bootstrap by query within task, equal weight per task, paired for gains.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Draws of a bootstrap.
const DRAWS: usize = 2000;

/// The normal quantile of a two-sided 95 % interval.
const NORMAL_975: f64 = 1.959_963_984_540_054;

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean over tasks of the mean over queries.
    pub value: f64,
    /// 95 % interval; never a point, since no number of queries proves that none would differ.
    pub interval: [f64; 2],
}

/// What became of the samples of one query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryOutcomes {
    /// The query.
    pub query_id: String,
    /// Its task.
    pub task: String,
    /// One verdict a sample; `None` where the score failed, which is not a wrong answer.
    pub passes: Vec<Option<bool>>,
}

/// Denominators that add up: `samples = scored + failed`, `queries = rated + unrated`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All queries.
    pub queries: usize,
    /// Queries with at least one scored sample: those that a rate is a mean over.
    pub rated: usize,
    /// Queries without any scored sample.
    pub unrated: usize,
    /// All samples.
    pub samples: usize,
    /// Samples with a verdict.
    pub scored: usize,
    /// Samples whose score failed.
    pub failed: usize,
    /// Samples that pass.
    pub passed: usize,
}

/// A difference between two evaluations of the same queries, paired by query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedGain {
    /// The later rate less the earlier one.
    pub estimate: Estimate,
    /// Queries rated in both.
    pub paired: usize,
    /// Queries of either evaluation that have no rated partner in the other.
    pub unpaired: usize,
}

/// Mean with interval of per-query values, one list per task; `None` without values. Values are rates, or differences of
/// rates: one query moves the mean of its task by at most 1 over their number.
///
/// For a gain, give the differences of the same queries: the pairing is then in the values. In which order they stand does
/// not matter, to the last bit: whoever reads them back from a record gets the same interval.
pub fn estimate(tasks: &[Vec<f64>], seed: u64) -> Option<Estimate> {
    let sorted = |values: &Vec<f64>| {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        values
    };
    let tasks: Vec<Vec<f64>> = tasks.iter().filter(|values| !values.is_empty()).map(sorted).collect();
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
    let [low, high] = [at(0.025).min(value), at(0.975).max(value)];
    let interval = match unseen_spread(&tasks) {
        0.0 => [low, high],
        unseen => [value - (value - low).hypot(unseen), value + (high - value).hypot(unseen)],
    };
    Some(Estimate { value, interval })
}

/// What queries that were not drawn may differ by, in tasks of which all drawn ones are equal: a bootstrap sees no spread
/// there. None of n queries differs, so that at most Wilson's upper bound of 0 of n would; bounds of tasks are added in
/// quadrature (Zou and Donner 2008), as are independent errors.
fn unseen_spread(tasks: &[Vec<f64>]) -> f64 {
    let equal = tasks.iter().filter(|values| values.iter().all(|value| *value == values[0]));
    let bounds = equal.filter_map(|values| wilson(0, values.len())).map(|[_, high]| high / tasks.len() as f64);
    bounds.fold(0.0, f64::hypot)
}

/// An interval within the values that are possible.
fn within(estimate: Estimate, least: f64, greatest: f64) -> Estimate {
    Estimate { interval: estimate.interval.map(|bound| bound.clamp(least, greatest)), ..estimate }
}

/// Pass@1 with its interval: the mean over tasks, weighted equally, of the mean over queries of their pass rate.
///
/// Tasks are taken in order of name, so the order of the queries' tasks does not matter; `None` when nothing is scored.
pub fn mean_interval(queries: &[QueryOutcomes], seed: u64) -> Option<Estimate> {
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for query in queries {
        tasks.entry(&query.task).or_default().extend(query.rate());
    }
    estimate(&tasks.into_values().collect::<Vec<_>>(), seed).map(|estimate| within(estimate, 0.0, 1.0))
}

/// The gain from one evaluation to a later one of the same queries, by paired bootstrap; `None` without pairs.
pub fn paired_gain(before: &[QueryOutcomes], after: &[QueryOutcomes], seed: u64) -> Option<PairedGain> {
    let key = |query: &QueryOutcomes| (query.task.clone(), query.query_id.clone());
    let earlier: BTreeMap<_, f64> =
        before.iter().filter_map(|query| query.rate().map(|rate| (key(query), rate))).collect();
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut paired = 0;
    for query in after {
        if let (Some(now), Some(then)) = (query.rate(), earlier.get(&key(query))) {
            tasks.entry(&query.task).or_default().push(now - then);
            paired += 1;
        }
    }
    let estimate = within(estimate(&tasks.into_values().collect::<Vec<_>>(), seed)?, -1.0, 1.0);
    Some(PairedGain { estimate, paired, unpaired: (before.len() - paired) + (after.len() - paired) })
}

/// Probability that at least one of `k` samples passes, estimated without bias from `scored` samples of which `passed`
/// pass (Chen et al. 2021, arXiv 2107.03374); `None` when fewer than `k` are scored, or `k` is 0.
pub fn pass_at_k(scored: usize, passed: usize, k: usize) -> Option<f64> {
    if k == 0 || k > scored || passed > scored {
        return None;
    }
    let wrong = scored - passed;
    if wrong < k {
        return Some(1.0);
    }
    let none_passes: f64 = (wrong + 1..=scored).map(|n| 1.0 - k as f64 / n as f64).product();
    Some(1.0 - none_passes)
}

/// Pass@k over queries, equal weight per task; `None` when no query has `k` scored samples.
pub fn mean_pass_at_k(queries: &[QueryOutcomes], k: usize) -> Option<f64> {
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for query in queries {
        let counts = query.counts();
        if let Some(value) = pass_at_k(counts.scored, counts.passed, k) {
            tasks.entry(&query.task).or_default().push(value);
        }
    }
    let means = tasks.values().map(|values| values.iter().sum::<f64>() / values.len() as f64);
    (!tasks.is_empty()).then(|| means.sum::<f64>() / tasks.len() as f64)
}

/// Wilson's 95 % interval of a proportion of independent trials; `None` without trials.
pub fn wilson(passed: usize, trials: usize) -> Option<[f64; 2]> {
    if trials == 0 || passed > trials {
        return None;
    }
    let (n, share, z2) = (trials as f64, passed as f64 / trials as f64, NORMAL_975 * NORMAL_975);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = NORMAL_975 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    // Rounding must not push a bound past the proportion itself at 0 and 1.
    Some([(centre - half).clamp(0.0, share), (centre + half).clamp(share, 1.0)])
}

/// The chance of at least `passed` passes in `trials` independent ones that each pass with chance `rate`, summed exactly
/// from the smaller end.
pub fn binomial_tail(passed: usize, trials: usize, rate: f64) -> f64 {
    let chance = |passed: usize| {
        let ways = (0..passed).map(|at| (trials - at) as f64 / (passed - at) as f64).product::<f64>();
        ways * rate.powi(passed as i32) * (1.0 - rate).powi((trials - passed) as i32)
    };
    (passed..=trials).rev().map(chance).sum::<f64>().min(1.0)
}

impl QueryOutcomes {
    /// Share of the scored samples that pass; `None` when none is scored.
    pub fn rate(&self) -> Option<f64> {
        let counts = self.counts();
        (counts.scored > 0).then(|| counts.passed as f64 / counts.scored as f64)
    }

    /// The counts of this query.
    pub fn counts(&self) -> Counts {
        Counts::of(std::slice::from_ref(self))
    }
}

impl Counts {
    /// Counts queries and samples.
    pub fn of(queries: &[QueryOutcomes]) -> Self {
        let mut counts = Self::default();
        for query in queries {
            let scored = query.passes.iter().flatten().count();
            counts.queries += 1;
            counts.rated += usize::from(scored > 0);
            counts.unrated += usize::from(scored == 0);
            counts.samples += query.passes.len();
            counts.scored += scored;
            counts.failed += query.passes.len() - scored;
            counts.passed += query.passes.iter().filter(|pass| **pass == Some(true)).count();
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(task: &str, id: usize, passes: &[Option<bool>]) -> QueryOutcomes {
        QueryOutcomes { query_id: format!("{task}-{id}"), task: task.to_owned(), passes: passes.to_vec() }
    }

    fn evaluations() -> impl Strategy<Value = Vec<QueryOutcomes>> {
        let passes = prop::collection::vec(prop::option::weighted(0.8, any::<bool>()), 0..6);
        prop::collection::vec((0..3_usize, passes), 0..20).prop_map(|queries| {
            let named = queries.iter().enumerate();
            named.map(|(id, (task, passes))| query(["arith", "clock", "logic"][*task], id, passes)).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn denominators_add_up(queries in evaluations()) {
            let counts = Counts::of(&queries);
            prop_assert_eq!(counts.queries, queries.len());
            prop_assert_eq!(counts.queries, counts.rated + counts.unrated);
            prop_assert_eq!(counts.samples, counts.scored + counts.failed);
            prop_assert!(counts.passed <= counts.scored);
        }

        #[test]
        fn an_interval_is_seeded_ordered_and_within_bounds(queries in evaluations(), seed in any::<u64>()) {
            let found = mean_interval(&queries, seed);
            prop_assert_eq!(found, mean_interval(&queries, seed));
            prop_assert_eq!(found.is_some(), Counts::of(&queries).scored > 0);
            if let Some(Estimate { value, interval: [low, high] }) = found {
                prop_assert!(0.0 <= low && low < high && high <= 1.0);
                prop_assert!(low <= value + 1e-12 && value <= high + 1e-12);
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
            }
        }

        #[test]
        fn nothing_is_gained_over_itself(queries in evaluations(), seed in any::<u64>()) {
            if let Some(gain) = paired_gain(&queries, &queries, seed) {
                let Estimate { value, interval: [low, high] } = gain.estimate;
                prop_assert_eq!(value, 0.0);
                prop_assert!(low < 0.0 && low == -high);
                prop_assert_eq!(gain.paired, Counts::of(&queries).rated);
                prop_assert_eq!(gain.unpaired, 2 * Counts::of(&queries).unrated);
            }
        }

        #[test]
        fn what_is_estimated_does_not_depend_on_the_order_of_the_queries(queries in evaluations(), seed in any::<u64>()) {
            let turned: Vec<_> = queries.iter().rev().cloned().collect();
            prop_assert_eq!(mean_interval(&queries, seed), mean_interval(&turned, seed));
            let earlier: Vec<_> = queries.iter().map(|one| QueryOutcomes {
                passes: one.passes.iter().map(|pass| pass.map(|pass| !pass)).collect(), ..one.clone()
            }).collect();
            prop_assert_eq!(paired_gain(&earlier, &queries, seed), paired_gain(&earlier, &turned, seed));
        }

        #[test]
        fn pairing_does_not_depend_on_the_order_of_the_earlier_one(queries in evaluations(), seed in any::<u64>()) {
            let after: Vec<_> = queries.iter().map(|one| QueryOutcomes {
                passes: one.passes.iter().rev().map(|pass| pass.map(|pass| !pass)).collect(), ..one.clone()
            }).collect();
            let reversed: Vec<_> = queries.iter().rev().cloned().collect();
            prop_assert_eq!(paired_gain(&queries, &after, seed), paired_gain(&reversed, &after, seed));
        }

        #[test]
        fn pass_at_k_rises_with_k_from_the_pass_rate(scored in 1..40_usize, share in 0.0..=1.0_f64) {
            let passed = (share * scored as f64).round() as usize;
            let all: Vec<f64> = (1..=scored).map(|k| pass_at_k(scored, passed, k).unwrap()).collect();
            prop_assert!((all[0] - passed as f64 / scored as f64).abs() < 1e-12);
            prop_assert!(all.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            prop_assert!((all[scored - 1] - f64::from(u8::from(passed > 0))).abs() < 1e-12);
        }

        #[test]
        fn wilson_holds_the_proportion_and_mirrors(trials in 1..500_usize, share in 0.0..=1.0_f64) {
            let passed = (share * trials as f64).round() as usize;
            let [low, high] = wilson(passed, trials).unwrap();
            let at = passed as f64 / trials as f64;
            prop_assert!(0.0 <= low && low <= at && at <= high && high <= 1.0);
            let [mirrored_low, mirrored_high] = wilson(trials - passed, trials).unwrap();
            prop_assert!((low - (1.0 - mirrored_high)).abs() < 1e-9 && (high - (1.0 - mirrored_low)).abs() < 1e-9);
        }
    }

    #[test]
    fn known_values() {
        // 5 samples, 2 pass: 1 - C(3,2)/C(5,2) = 0.7; 10 samples, 3 pass: 1 - C(7,5)/C(10,5) = 11/12.
        assert!((pass_at_k(5, 2, 2).unwrap() - 0.7).abs() < 1e-12);
        assert!((pass_at_k(10, 3, 5).unwrap() - 11.0 / 12.0).abs() < 1e-12);
        assert_eq!((pass_at_k(4, 1, 5), pass_at_k(4, 1, 0), pass_at_k(2, 2, 2)), (None, None, Some(1.0)));
        // Wilson (1927), as tabulated: 81 of 263, and the bounds at 0 of 10.
        let [low, high] = wilson(81, 263).unwrap();
        assert!((low - 0.2553).abs() < 5e-4 && (high - 0.3662).abs() < 5e-4, "{low} {high}");
        let [low, high] = wilson(0, 10).unwrap();
        assert!(low == 0.0 && (high - 0.277_54).abs() < 1e-4, "{high}");
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn a_failed_sample_is_no_wrong_answer() {
        let queries = [query("arith", 0, &[Some(true), None]), query("arith", 1, &[None, None])];
        assert_eq!(mean_interval(&queries, 1).unwrap().value, 1.0);
        assert_eq!(mean_pass_at_k(&queries, 1), Some(1.0));
        assert_eq!(mean_pass_at_k(&queries, 2), None);
    }

    #[test]
    fn pairing_narrows_the_interval() {
        let queries = |flip: bool| -> Vec<QueryOutcomes> {
            (0..200).map(|id| query("arith", id, &[Some(id % 2 == 0), Some(flip && id % 10 == 1)])).collect()
        };
        let (before, after) = (queries(false), queries(true));
        let gain = paired_gain(&before, &after, 5).unwrap();
        assert!((gain.estimate.value - 0.05).abs() < 1e-12);
        let width = |interval: [f64; 2]| interval[1] - interval[0];
        assert!(width(gain.estimate.interval) < width(mean_interval(&after, 5).unwrap().interval));
        assert!(gain.estimate.interval[0] > 0.0);
    }

    #[test]
    fn equal_weight_per_task_and_an_interval_of_the_right_width() {
        let half: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let estimate = estimate(&[half.clone(), vec![1.0; 1000]], 3).unwrap();
        assert!((estimate.value - 0.75).abs() < 1e-12);
        // One task varies with a standard error of 0.5 / 20, and counts half.
        let width = estimate.interval[1] - estimate.interval[0];
        assert!((width - 2.0 * 1.96 * 0.0125).abs() < 0.01, "{width}");
        let alone = std::slice::from_ref(&half);
        assert_eq!(super::estimate(alone, 3), super::estimate(alone, 3));
    }

    #[test]
    fn none_of_n_and_all_of_n_have_an_interval() {
        let all = |passes: bool| (0..10).map(|id| query("geo", id, &[Some(passes); 4])).collect::<Vec<_>>();
        let [none, every] = [false, true].map(|passes| mean_interval(&all(passes), 7).unwrap());
        // Wilson's bounds at 0 of 10: samples of a query are alike, so that queries are counted.
        assert!(none.interval[0] == 0.0 && (none.interval[1] - 0.277_54).abs() < 1e-4, "{none:?}");
        assert!(every.interval[1] == 1.0 && (every.interval[0] - 0.722_46).abs() < 1e-4, "{every:?}");
        let gain = paired_gain(&all(false), &all(true), 7).unwrap().estimate;
        assert!(gain.interval[1] == 1.0 && (gain.interval[0] - 0.722_46).abs() < 1e-4, "{gain:?}");
    }

    #[test]
    fn a_task_without_spread_widens_the_mean_by_its_share() {
        let half: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let width = |tasks: &[Vec<f64>]| {
            let [low, high] = estimate(tasks, 3).unwrap().interval;
            high - low
        };
        let (few, many) = (width(&[half.clone(), vec![0.0; 5]]), width(&[half.clone(), vec![0.0; 1000]]));
        assert!(few > 0.4 && many < 0.06, "{few} {many}");
        // Nothing is added where every task has a spread.
        assert!((width(&[half.clone(), half]) - 2.0 * 1.96 * 0.025 / 2.0_f64.sqrt()).abs() < 0.01);
    }

    #[test]
    fn nothing_has_no_estimate() {
        assert_eq!(estimate(&[vec![], vec![]], 1), None);
        assert_eq!(mean_interval(&[], 1), None);
        assert_eq!(paired_gain(&[], &[], 1), None);
    }
}
