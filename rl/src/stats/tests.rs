//! Laws of what is estimated: order does not matter, nothing is gained over itself, a failed score is no wrong answer.

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
    fn an_interval_is_ordered_and_within_bounds(queries in evaluations()) {
        let found = mean_interval(&queries);
        prop_assert_eq!(found.is_some(), Counts::of(&queries).scored > 0);
        if let Some(Estimate { value, interval: [low, high] }) = found {
            prop_assert!(0.0 <= low && low < high && high <= 1.0);
            prop_assert!(low <= value + 1e-12 && value <= high + 1e-12);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
        }
    }

    #[test]
    fn nothing_is_gained_over_itself(queries in evaluations()) {
        if let Some(gain) = paired_gain(&queries, &queries) {
            let Estimate { value, interval: [low, high] } = gain.estimate;
            prop_assert_eq!(value, 0.0);
            prop_assert!(low < 0.0 && low == -high);
            prop_assert_eq!(gain.paired, Counts::of(&queries).rated);
            prop_assert_eq!(gain.unpaired, 2 * Counts::of(&queries).unrated);
        }
    }

    #[test]
    fn what_is_estimated_does_not_depend_on_the_order_of_the_queries(queries in evaluations()) {
        let turned: Vec<_> = queries.iter().rev().cloned().collect();
        prop_assert_eq!(mean_interval(&queries), mean_interval(&turned));
        let earlier: Vec<_> = queries.iter().map(|one| QueryOutcomes {
            passes: one.passes.iter().map(|pass| pass.map(|pass| !pass)).collect(), ..one.clone()
        }).collect();
        prop_assert_eq!(paired_gain(&earlier, &queries), paired_gain(&earlier, &turned));
    }

    #[test]
    fn pairing_does_not_depend_on_the_order_of_the_earlier_one(queries in evaluations()) {
        let after: Vec<_> = queries.iter().map(|one| QueryOutcomes {
            passes: one.passes.iter().rev().map(|pass| pass.map(|pass| !pass)).collect(), ..one.clone()
        }).collect();
        let reversed: Vec<_> = queries.iter().rev().cloned().collect();
        prop_assert_eq!(paired_gain(&queries, &after), paired_gain(&reversed, &after));
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
fn intervals_of_single_answers_are_wilsons() {
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
    assert_eq!(mean_interval(&queries).unwrap().value, 1.0);
    assert_eq!(mean_pass_at_k(&queries, 1), Some(1.0));
    assert_eq!(mean_pass_at_k(&queries, 2), None);
}

#[test]
fn pairing_narrows_the_interval() {
    let queries = |flip: bool| -> Vec<QueryOutcomes> {
        (0..200).map(|id| query("arith", id, &[Some(id % 2 == 0), Some(flip && id % 10 == 1)])).collect()
    };
    let (before, after) = (queries(false), queries(true));
    let gain = paired_gain(&before, &after).unwrap();
    assert!((gain.estimate.value - 0.05).abs() < 1e-12);
    let width = |interval: [f64; 2]| interval[1] - interval[0];
    assert!(width(gain.estimate.interval) < width(mean_interval(&after).unwrap().interval));
    assert!(gain.estimate.interval[0] > 0.0);
}

/// A task of so many queries with one answer each, of which a share passes.
fn task(name: &str, queries: usize, share: f64) -> Vec<QueryOutcomes> {
    (0..queries).map(|id| query(name, id, &[Some((id as f64) < share * queries as f64)])).collect()
}

#[test]
fn equal_weight_per_task_and_an_interval_of_the_right_width() {
    let both = [task("half", 400, 0.5), task("all", 1000, 1.0)].concat();
    let Estimate { value, interval: [low, high] } = mean_interval(&both).unwrap();
    assert!((value - 0.75).abs() < 1e-12);
    // One task varies with a standard error of 0.5 / 20, and counts half.
    assert!((high - low - 2.0 * 1.96 * 0.0125).abs() < 0.01, "{low} {high}");
    // One answer a query: Wilson's interval.
    assert_eq!(mean_interval(&task("half", 400, 0.5)).unwrap().interval, wilson(200, 400).unwrap());
}

#[test]
fn samples_of_a_query_that_are_alike_count_as_one() {
    let alike: Vec<_> = (0..200).map(|id| query("geo", id, &[Some(id % 2 == 0); 8])).collect();
    let apart: Vec<_> = (0..200)
        .map(|id| query("geo", id, &[true, false].repeat(4).into_iter().map(Some).collect::<Vec<_>>()))
        .collect();
    let mixed: Vec<_> = (0..200)
        .map(|id| query("geo", id, &(0..8).map(|at| Some((id * 7 + at * 3) % 8 < 4 + at % 2)).collect::<Vec<_>>()))
        .collect();
    let width = |queries: &[QueryOutcomes]| {
        let [low, high] = mean_interval(queries).unwrap().interval;
        high - low
    };
    let one = width(&task("geo", 200, 0.5));
    assert!((width(&alike) - one).abs() < 0.002, "{} {one}", width(&alike));
    assert!(width(&mixed) < 0.6 * one, "{}", width(&mixed));
    // All alike as far as they go: no less than their number tells.
    assert!((width(&apart) - one).abs() < 0.002);
}

#[test]
fn none_of_n_and_all_of_n_have_an_interval() {
    let all = |passes: bool| (0..10).map(|id| query("geo", id, &[Some(passes); 4])).collect::<Vec<_>>();
    let [none, every] = [false, true].map(|passes| mean_interval(&all(passes)).unwrap());
    // Wilson's bounds at 0 of 10: samples of a query are alike, so that queries are counted.
    assert!(none.interval[0] == 0.0 && (none.interval[1] - 0.277_54).abs() < 1e-4, "{none:?}");
    assert!(every.interval[1] == 1.0 && (every.interval[0] - 0.722_46).abs() < 1e-4, "{every:?}");
    let gain = paired_gain(&all(false), &all(true)).unwrap().estimate;
    assert!(gain.interval[1] == 1.0 && (gain.interval[0] - 0.722_46).abs() < 1e-4, "{gain:?}");
}

#[test]
fn a_task_without_spread_widens_the_mean_by_its_share() {
    let width = |tasks: &[Vec<QueryOutcomes>]| {
        let [low, high] = mean_interval(&tasks.concat()).unwrap().interval;
        high - low
    };
    let half = || task("half", 400, 0.5);
    let (few, many) = (width(&[half(), task("none", 5, 0.0)]), width(&[half(), task("none", 1000, 0.0)]));
    assert!(few > 0.2 && many < 0.06, "{few} {many}");
    // Nothing is added where every task has a spread.
    assert!((width(&[half(), task("other", 400, 0.5)]) - 2.0 * 1.96 * 0.025 / 2.0_f64.sqrt()).abs() < 0.01);
}

#[test]
fn nothing_has_no_estimate() {
    assert_eq!(mean_interval(&[]), None);
    assert_eq!(paired_gain(&[], &[]), None);
}
