//! SAPO (arXiv 2511.20347): a soft gate on the token ratio in place of a clip.
//!
//! `f(r) = 4/tau * sigmoid(tau * (r - 1)) * A`, tau by the sign of the advantage A; the gradient is that of the plain
//! policy gradient times `w(r) = 4 p (1 - p)`, `p = sigmoid(tau * (r - 1))`, which is 1 on policy and never quite 0.
//! Mean over each sequence, then over sequences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aggregation, Algorithm, Fault, LARGEST, Objective, Sequence, bounded_ratio};
use crate::advantage::AdvantageNorm;
use crate::metrics::{Metrics, names};

/// Soft Adaptive Policy Optimization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sapo {
    /// Temperature of the gate where the advantage is positive.
    pub tau_pos: f64,
    /// Temperature of the gate elsewhere.
    pub tau_neg: f64,
    /// What advantages are divided by: the `population` or `sample` standard deviation of the group, or `none`.
    pub advantage_norm: AdvantageNorm,
}

impl Default for Sapo {
    fn default() -> Self {
        Self { tau_pos: 1.0, tau_neg: 1.05, advantage_norm: AdvantageNorm::Population }
    }
}

impl Sapo {
    fn tau(&self, advantage: f64) -> f64 {
        if advantage > 0.0 { self.tau_pos } else { self.tau_neg }
    }

    /// The gate's weight at a ratio: how much of the plain policy gradient is left.
    pub fn gate(&self, ratio: f64, advantage: f64) -> f64 {
        let at = self.tau(advantage) * (ratio - 1.0);
        4.0 * sigmoid(at) * sigmoid(-at)
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Algorithm for Sapo {
    fn advantage_norm(&self) -> AdvantageNorm {
        self.advantage_norm
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Sequence
    }

    fn objective(&self, sequence: &Sequence<'_>) -> Objective {
        let (advantage, tau) = (sequence.advantage, self.tau(sequence.advantage));
        let of_token = |log_ratio: f64| {
            let (ratio, within) = bounded_ratio(log_ratio);
            let value = 4.0 / tau * sigmoid(tau * (ratio - 1.0)) * advantage;
            let derivative = if within { self.gate(ratio, advantage) * ratio * advantage } else { 0.0 };
            (value, derivative)
        };
        let (values, derivatives) = sequence.log_ratios().map(of_token).unzip();
        Objective { values, derivatives }
    }

    fn gates(&self, sequence: &Sequence<'_>) -> Option<Vec<f64>> {
        let gate = |log_ratio: f64| self.gate(bounded_ratio(log_ratio).0, sequence.advantage);
        Some(sequence.log_ratios().map(gate).collect())
    }

    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        let sign = if sequence.advantage > 0.0 { names::GATE_POS } else { names::GATE_NEG };
        let ratios = sequence.log_ratios().map(|log_ratio| bounded_ratio(log_ratio).0);
        let gates = self.gates(sequence).unwrap_or_default();
        let weights: Vec<f64> = gates.iter().zip(ratios).map(|(gate, ratio)| gate * ratio).collect();
        metrics.effective(names::EFFECTIVE_SAMPLES, &weights);
        metrics.samples(sign, gates);
    }

    fn advice(&self, updates: usize) -> Option<String> {
        match updates {
            1 => Some(
                "one update on each batch: the policy is always the one that sampled, so that SAPO's gate is 1 and does \
                 nothing; 2 to 4 mini_batches are usual"
                    .to_owned(),
            ),
            5.. => Some(format!(
                "{updates} updates on each batch of rollouts: with many of them collapse was reported for SAPO (arXiv \
                 2602.10693); 2 to 4 mini_batches are usual"
            )),
            _ => None,
        }
    }

    fn fault(&self) -> Option<Fault> {
        let Self { tau_pos, tau_neg, .. } = *self;
        let in_range = |tau: f64| tau > 0.0 && tau <= LARGEST;
        if !in_range(tau_pos) {
            return Some(("tau_pos", format!("is {tau_pos}; it must be above 0, at most {LARGEST}")));
        }
        let good = in_range(tau_neg) && tau_neg >= tau_pos;
        (!good).then(|| {
            let reason = "it must not be below tau_pos, where training becomes unstable";
            ("tau_neg", format!("is {tau_neg}, and tau_pos {tau_pos}; {reason}, and at most {LARGEST}"))
        })
    }
}
