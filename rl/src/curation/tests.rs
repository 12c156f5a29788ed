//! Laws of curation on simulated queries: shares dropped agree with the exact binomial, stopping early saves and errs little.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::stats::binomial_tail;

/// Samples of a query.
const SAMPLES: usize = 16;

/// Simulated outcomes of one query that passes with chance `rate`.
fn outcomes(rate: f64, rng: &mut ChaCha8Rng) -> Vec<bool> {
    (0..SAMPLES).map(|_| rng.random::<f64>() < rate).collect()
}

fn passes(outcomes: &[bool]) -> usize {
    outcomes.iter().filter(|passed| **passed).count()
}

#[test]
fn the_shares_dropped_are_those_of_the_exact_binomial() {
    let (rule, mut rng) = (DropRule { never_solved: true, ..DropRule::default() }, ChaCha8Rng::seed_from_u64(1));
    let queries = 20_000;
    for rate in [0.01, 0.05, 0.2, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99] {
        let mut tally = Tally::default();
        for _ in 0..queries {
            let mut record = Curation::default();
            record.set_outcomes(outcomes(rate, &mut rng).into_iter().map(|passed| Some(u8::from(passed))).collect());
            record.decision = decide(record.passed, record.scored, SAMPLES, &rule);
            tally.add(&record);
        }
        let exact = [
            (Decision::DroppedTooEasy, binomial_tail(15, SAMPLES, rate)),
            (Decision::DroppedNeverSolved, 1.0 - binomial_tail(1, SAMPLES, rate)),
        ];
        for (decision, exact) in exact {
            let found = tally.count(decision) as f64 / f64::from(queries);
            // Four standard errors: one in 16,000 fails by chance, and the seed is fixed.
            let most = 4.0 * (exact * (1.0 - exact) / f64::from(queries)).sqrt() + 1e-4;
            assert!((found - exact).abs() <= most, "{decision:?} at {rate}: {found} for {exact}");
        }
    }
    // The figures that stand in the documentation.
    for (rate, share) in [(0.7, 0.026), (0.8, 0.141), (0.9, 0.515), (0.95, 0.811), (0.99, 0.989)] {
        assert!((binomial_tail(15, SAMPLES, rate) - share).abs() < 5e-4, "{rate}");
    }
}

/// What stopping early costs and saves on queries of such pass rates: the shares of decisions that all samples would have
/// made otherwise, and of samples that were not taken.
fn measured(sequential: Sequential, rule: &DropRule, draw: &mut dyn FnMut(&mut ChaCha8Rng) -> f64) -> (f64, f64) {
    let (queries, mut rng) = (20_000, ChaCha8Rng::seed_from_u64(2));
    let (mut wrong, mut asked) = (0, 0);
    for _ in 0..queries {
        let rate = draw(&mut rng);
        let outcomes = outcomes(rate, &mut rng);
        let all = decide(passes(&outcomes), SAMPLES, SAMPLES, rule);
        let looks = (sequential.round..SAMPLES).step_by(sequential.round);
        let stopped =
            looks.map(|taken| (taken, sequential.stop(passes(&outcomes[..taken]), taken, SAMPLES - taken, rule)));
        let (taken, decision) =
            stopped.filter_map(|(taken, stopped)| Some((taken, stopped?.0))).next().unwrap_or((SAMPLES, all));
        asked += taken;
        wrong += usize::from(decision != all);
    }
    (wrong as f64 / f64::from(queries), 1.0 - asked as f64 / (f64::from(queries) * SAMPLES as f64))
}

#[test]
fn stopping_early_saves_three_samples_in_ten_and_errs_in_fewer_than_two_in_a_hundred() {
    // Beta(1/2, 1/2) is the distribution of sin^2 of a uniform angle: most queries always or never pass.
    let mut arcsine = |rng: &mut ChaCha8Rng| (rng.random::<f64>() * std::f64::consts::FRAC_PI_2).sin().powi(2);
    let mut uniform = |rng: &mut ChaCha8Rng| rng.random::<f64>();
    // Populations that the prior knows nothing of: all near the limit, and all at it. They cost more.
    let mut easy = |rng: &mut ChaCha8Rng| 0.7 + 0.3 * rng.random::<f64>();
    let mut limit = |_: &mut ChaCha8Rng| 0.9;
    type Draw<'a> = &'a mut dyn FnMut(&mut ChaCha8Rng) -> f64;
    let populations: [(&str, Draw<'_>, f64, f64); 4] = [
        ("arcsine", &mut arcsine, 0.3, 0.02),
        ("uniform", &mut uniform, 0.3, 0.02),
        ("easy", &mut easy, 0.1, 0.03),
        ("limit", &mut limit, 0.0, 0.06),
    ];
    for (name, draw, least, most) in populations {
        for never_solved in [false, true] {
            let rule = DropRule { never_solved, ..DropRule::default() };
            for round in [1, 4] {
                let (wrong, saved) = measured(Sequential { error: 0.02, round }, &rule, draw);
                assert!(wrong < most && saved > least, "{name} {never_solved} {round}: {wrong} wrong, {saved} saved");
                let (wrong, exact) = measured(Sequential { error: 0.0, round }, &rule, draw);
                assert_eq!(wrong, 0.0, "{name}: what is settled is settled");
                assert!(exact <= saved);
            }
        }
    }
}

#[test]
fn a_summary_adds_up_and_counts_bad_rows_apart() {
    let mut tally = Tally::default();
    let record = |decision, outcomes: &[u8]| {
        let mut record = Curation { decision, ..Curation::default() };
        record.set_outcomes(outcomes.iter().map(|passed| Some(*passed)).collect());
        record
    };
    let easy = record(Decision::DroppedTooEasy, &[1, 1, 1, 1]);
    let mut filtered = record(Decision::Kept, &[]);
    filtered.settle(Decision::DroppedByFilter, "several_questions: it asks 3 questions");
    for one in [record(Decision::Kept, &[1, 0, 0, 0]), easy, filtered, record(Decision::Unusable, &[])] {
        tally.add(&one);
    }
    let summary = tally.summary("curate", "policy", 4);
    assert_eq!((summary.queries, summary.bad_rows), (3, 1));
    assert_eq!(summary.decisions.iter().map(|share| share.queries).sum::<usize>(), summary.queries);
    assert_eq!(summary.histogram, [(0, 0), (1, 0), (0, 0), (0, 0), (0, 1)]);
    assert_eq!(summary.reasons, [("dropped: by a filter: several_questions".to_owned(), 1)]);
    assert_eq!((summary.samples, summary.samples_of_all), (8, 8));
    for share in &summary.decisions {
        assert!(share.ci95[0] <= share.share && share.share <= share.ci95[1], "{share:?}");
    }
}
