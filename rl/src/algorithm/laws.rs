//! Laws of every algorithm: its derivative is that of its value, it is the plain policy gradient on policy, and a
//! sequence's objective does not depend on any other.

use proptest::prelude::*;

use super::{Aggregation, Algorithm, Cispo, Dapo, DrGrpo, Grpo, Gspo, Rloo, Sapo, Sequence};

/// Those whose derivative is that of their value. CISPO holds its weights constant: its law is its own.
fn smooth() -> Vec<Box<dyn Algorithm>> {
    let dr_grpo = DrGrpo { divisor_tokens: 9, clip_low: 0.2, clip_high: 0.2 };
    // As wide as the others, so that both sides of the clip are met.
    let gspo = Gspo { clip_low: 0.2, clip_high: 0.2, ..Gspo::default() };
    let dapo = Dapo { clip_high: 0.2, ..Dapo::default() };
    vec![
        Box::new(Sapo::default()),
        Box::new(Grpo::default()),
        Box::new(dapo),
        Box::new(dr_grpo),
        Box::new(gspo),
        Box::new(Rloo {}),
    ]
}

fn all() -> Vec<Box<dyn Algorithm>> {
    smooth().into_iter().chain([Box::new(Cispo::default()) as Box<dyn Algorithm>]).collect()
}

#[test]
fn a_gate_that_does_nothing_and_one_that_may_collapse_are_told() {
    let told = |updates| Sapo::default().advice(updates).is_some();
    assert_eq!([1, 2, 4, 5].map(told), [true, false, false, true]);
    assert!(Rloo {}.advice(1).is_none() && Rloo {}.advice(2).is_some());
    assert!(Grpo::default().advice(1).is_none());
}

fn sum(algorithm: &dyn Algorithm, now: &[f32], old: &[f32], advantage: f64) -> f64 {
    algorithm.objective(&Sequence { log_probs: now, old_log_probs: old, advantage }).values.iter().sum()
}

proptest! {
    #[test]
    fn derivatives_are_those_of_the_values(
        tokens in prop::collection::vec((-4.0_f32..0.0, -0.4_f32..0.4), 1..8),
        advantage in prop_oneof![-3.0_f64..-0.1, 0.1_f64..3.0],
    ) {
        // Steps that single precision holds exactly, so that the finite difference has no rounding of its own.
        let step = 1.0 / 1024.0;
        let grid = |x: f32| (x * 1024.0).round() / 1024.0;
        let old: Vec<f32> = tokens.iter().map(|(old, _)| grid(*old)).collect();
        let now: Vec<f32> = tokens.iter().map(|(old, by)| grid(*old) + grid(*by)).collect();
        let mean = now.iter().zip(&old).map(|(now, old)| f64::from(now - old)).sum::<f64>() / now.len() as f64;
        for algorithm in smooth() {
            let objective = algorithm.objective(&Sequence { log_probs: &now, old_log_probs: &old, advantage });
            for at in 0..now.len() {
                let (mut up, mut down) = (now.clone(), now.clone());
                up[at] += step;
                down[at] -= step;
                let (up, down) = (sum(&*algorithm, &up, &old, advantage), sum(&*algorithm, &down, &old, advantage));
                // At a clip's corner the slopes on both sides differ.
                let ratios = [f64::from(now[at] - old[at]).exp(), mean.exp()];
                if [0.8, 1.2].iter().all(|corner| ratios.iter().all(|ratio| (ratio - corner).abs() > 0.01)) {
                    let slope = (up - down) / (2.0 * f64::from(step));
                    prop_assert!((slope - objective.derivatives[at]).abs() < 1e-4, "{algorithm:?} {slope} {objective:?}");
                }
            }
        }
    }

    #[test]
    fn on_policy_all_are_the_plain_policy_gradient(
        old in prop::collection::vec(-4.0_f32..0.0, 1..8),
        advantage in -3.0_f64..3.0,
    ) {
        for algorithm in all() {
            let objective = algorithm.objective(&Sequence { log_probs: &old, old_log_probs: &old, advantage });
            for derivative in objective.derivatives {
                prop_assert!((derivative - advantage).abs() < 1e-12, "{algorithm:?}");
            }
        }
    }

    #[test]
    fn cispo_learns_from_every_token_with_a_bounded_weight(
        tokens in prop::collection::vec((-4.0_f32..0.0, -3.0_f32..3.0), 1..8),
        advantage in -3.0_f64..3.0,
    ) {
        let old: Vec<f32> = tokens.iter().map(|(old, _)| *old).collect();
        let now: Vec<f32> = tokens.iter().map(|(old, by)| old + by).collect();
        let objective = Cispo::default().objective(&Sequence { log_probs: &now, old_log_probs: &old, advantage });
        for ((derivative, now), old) in objective.derivatives.iter().zip(&now).zip(&old) {
            let weight = (f64::from(*now) - f64::from(*old)).exp().min(1.2);
            prop_assert!((derivative - weight * advantage).abs() < 1e-12);
        }
    }

    #[test]
    fn no_ratio_is_too_large_for_single_precision(
        old in -90.0_f32..0.0,
        now in -90.0_f32..0.0,
        advantage in -3.0_f64..3.0,
    ) {
        for algorithm in all() {
            let objective = algorithm.objective(&Sequence { log_probs: &[now], old_log_probs: &[old], advantage });
            let numbers = objective.values.iter().chain(&objective.derivatives);
            prop_assert!(numbers.copied().all(|number| (number as f32).is_finite()), "{algorithm:?} {objective:?}");
        }
    }

    #[test]
    fn the_gate_never_closes_and_never_exceeds_one(log_ratio in -30.0_f64..6.0, advantage in -3.0_f64..3.0) {
        let gate = Sapo::default().gate(log_ratio.exp(), advantage);
        prop_assert!(gate > 0.0 && gate <= 1.0);
    }

    #[test]
    fn weights_of_all_tokens_add_up(lengths in prop::collection::vec(1_usize..20, 1..8)) {
        let tokens: usize = lengths.iter().sum();
        let total = |aggregation: Aggregation| -> f64 {
            lengths.iter().map(|length| aggregation.weight(*length, lengths.len(), tokens) * *length as f64).sum()
        };
        prop_assert!((total(Aggregation::Sequence) - 1.0).abs() < 1e-12);
        prop_assert!((total(Aggregation::Token) - 1.0).abs() < 1e-12);
        prop_assert!((total(Aggregation::Fixed(10)) - tokens as f64 / (10.0 * lengths.len() as f64)).abs() < 1e-12);
    }
}
