//! KL from a reference policy, estimated from the log-probs of sampled tokens (Schulman, "Approximating KL divergence").
//!
//! With `d = log pi - log ref` of a sampled token: `k1 = d`, unbiased, of either sign; `k2 = d^2 / 2`, whose gradient is that
//! of the KL; `k3 = exp(-d) - 1 + d`, unbiased and never negative.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest difference that is exponentiated.
const MAX_DIFFERENCE: f64 = 20.0;

/// KL from a reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KlConfig {
    /// Its weight.
    pub coef: f64,
    /// How it is estimated from the sampled tokens.
    #[serde(default)]
    pub estimator: Estimator,
    /// Whether it is a part of the `loss`, token by token, or is taken off the `reward`, summed over the rollout.
    #[serde(default)]
    pub within: KlPlace,
    /// What it is measured from.
    #[serde(default)]
    pub from: Reference,
}

impl KlConfig {
    /// Its weight in the loss.
    pub fn in_loss(&self) -> f64 {
        if self.within == KlPlace::Loss { self.coef } else { 0.0 }
    }
}

/// Where the KL stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlPlace {
    /// In the loss.
    #[default]
    Loss,
    /// In the reward.
    Reward,
}

/// A frozen policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The policy as the phase begins; it is kept in the run's folder.
    #[default]
    Start,
    /// The policy with its adapter off, at no cost in memory.
    Base,
    /// A preset, or the folder of a checkpoint, of the same vocabulary.
    Model(PathBuf),
}

/// How the KL is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// The difference of log-probs.
    K1,
    /// Half its square.
    K2,
    /// `exp(-d) - 1 + d`.
    #[default]
    K3,
}

impl Estimator {
    /// The estimate of a token with these log-probs, in nats.
    pub fn value(self, now: f32, reference: f32) -> f64 {
        let difference = difference(now, reference);
        match self {
            Self::K1 => difference,
            Self::K2 => difference * difference / 2.0,
            Self::K3 => (-difference).exp() - 1.0 + difference,
        }
    }

    /// What the estimate changes by with the token's log-prob.
    pub fn derivative(self, now: f32, reference: f32) -> f64 {
        let difference = difference(now, reference);
        match self {
            Self::K1 => 1.0,
            Self::K2 => difference,
            Self::K3 => 1.0 - (-difference).exp(),
        }
    }
}

fn difference(now: f32, reference: f32) -> f64 {
    (f64::from(now) - f64::from(reference)).clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE)
}

/// The KL of a rollout's sampled tokens: the sum of their estimates, in nats.
pub fn of_rollout(estimator: Estimator, log_probs: &[f32], reference: &[f32]) -> f64 {
    log_probs.iter().zip(reference).map(|(now, reference)| estimator.value(*now, *reference)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Estimator; 3] = [Estimator::K1, Estimator::K2, Estimator::K3];

    proptest! {
        #[test]
        fn derivatives_are_those_of_the_values(now in -8.0_f32..0.0, reference in -8.0_f32..0.0) {
            for estimator in ALL {
                let (up, down) = (now + 1e-3, now - 1e-3);
                let slope = (estimator.value(up, reference) - estimator.value(down, reference)) / f64::from(up - down);
                let wanted = estimator.derivative(now, reference);
                prop_assert!((slope - wanted).abs() < 1e-3 * (1.0 + wanted.abs()), "{estimator:?} {slope} {wanted}");
            }
            prop_assert!(Estimator::K3.value(now, reference) >= 0.0 && Estimator::K2.value(now, reference) >= 0.0);
        }

        /// Over the whole distribution, k1 and k3 give the KL itself; k2's derivative gives that of the KL.
        #[test]
        fn they_estimate_the_kl(logits in prop::collection::vec((-2.0_f64..2.0, -2.0_f64..2.0), 2..8)) {
            let log_probs = |of: fn(&(f64, f64)) -> f64| {
                let sum: f64 = logits.iter().map(|pair| of(pair).exp()).sum();
                logits.iter().map(|pair| of(pair) - sum.ln()).collect::<Vec<f64>>()
            };
            let (now, reference) = (log_probs(|pair| pair.0), log_probs(|pair| pair.1));
            let kl: f64 = now.iter().zip(&reference).map(|(now, reference)| now.exp() * (now - reference)).sum();
            let mean = |value: &dyn Fn(f32, f32) -> f64| -> f64 {
                now.iter().zip(&reference).map(|(now, at)| now.exp() * value(*now as f32, *at as f32)).sum()
            };
            for estimator in [Estimator::K1, Estimator::K3] {
                prop_assert!((mean(&|now, at| estimator.value(now, at)) - kl).abs() < 1e-5);
            }
            // d KL / d logit of the first token, against the mean of k2' times d log pi / d logit.
            let first = now[0].exp() * (now[0] - reference[0] - kl);
            let by_k2: f64 = now.iter().zip(&reference).enumerate().map(|(at, (now, of))| {
                let score = f64::from(u8::from(at == 0)) - log_probs(|pair| pair.0)[0].exp();
                now.exp() * Estimator::K2.derivative(*now as f32, *of as f32) * score
            }).sum();
            prop_assert!((first - by_k2).abs() < 1e-5, "{first} {by_k2}");
        }
    }

    #[test]
    fn a_policy_is_at_no_distance_from_itself() {
        for estimator in ALL {
            assert_eq!(of_rollout(estimator, &[-0.5, -3.0], &[-0.5, -3.0]), 0.0);
        }
        assert_eq!(of_rollout(Estimator::K1, &[-0.5, -3.0], &[-1.5, -2.5]), 0.5);
        assert!(Estimator::K3.value(-200.0, -0.1).is_finite());
    }
}
