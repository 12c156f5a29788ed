//! SAPO (arXiv 2511.20347): a soft gate on the token ratio in place of a clip.
//!
//! `f(r) = 4/tau * sigmoid(tau * (r - 1))`, tau by the sign of the advantage; the gradient is that of the plain policy
//! gradient times `w(r) = 4 p (1 - p)`, `p = sigmoid(tau * (r - 1))`, which is 1 on policy and never quite 0.

use burn::tensor::{Tensor, TensorData, activation};

use super::{Algorithm, Tokens};
use crate::metrics::{Metrics, names, quantile};

/// The largest log-ratio that is exponentiated: beyond it `w * r` would be 0 times infinity.
const MAX_LOG_RATIO: f32 = 20.0;

/// The algorithm's temperatures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sapo {
    /// Where the advantage is positive.
    pub tau_pos: f64,
    /// Elsewhere.
    pub tau_neg: f64,
}

impl Sapo {
    fn tau(&self, advantage: f32) -> f64 {
        if advantage > 0.0 { self.tau_pos } else { self.tau_neg }
    }

    /// The gate's weight at a ratio: how much of the plain policy gradient is left.
    pub fn gate(&self, ratio: f64, advantage: f32) -> f64 {
        let at = self.tau(advantage) * (ratio - 1.0);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        4.0 * sigmoid(at) * sigmoid(-at)
    }
}

impl Algorithm for Sapo {
    fn objective(&self, tokens: Tokens) -> Tensor<1> {
        let device = tokens.log_probs.device();
        let count = tokens.advantages.len();
        let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [count]), &device);
        let taus: Vec<f32> = tokens.advantages.iter().map(|advantage| self.tau(*advantage) as f32).collect();
        // The factor 4/tau and the advantage are constants of each token.
        let scales = tokens.advantages.iter().zip(&taus).map(|(advantage, tau)| 4.0 / tau * advantage).collect();
        let log_ratio = (tokens.log_probs - tensor(tokens.old_log_probs)).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO);
        activation::sigmoid((log_ratio.exp() - 1.0) * tensor(taus)) * tensor(scales)
    }

    fn record(&self, log_ratios: &[f32], advantages: &[f32], metrics: &mut Metrics) {
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        let (mut sum, mut squares) = (0.0, 0.0);
        for (log_ratio, advantage) in log_ratios.iter().zip(advantages) {
            let ratio = f64::from(log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)).exp();
            let gate = self.gate(ratio, *advantage);
            sum += gate * ratio;
            squares += (gate * ratio).powi(2);
            if *advantage > 0.0 { positive.push(gate) } else { negative.push(gate) }
        }
        for (gates, sign) in [(&mut positive, names::GATE_POS), (&mut negative, names::GATE_NEG)] {
            gates.sort_by(f64::total_cmp);
            if !gates.is_empty() {
                metrics.set(format!("{sign}/mean"), gates.iter().sum::<f64>() / gates.len() as f64);
                metrics.set(format!("{sign}/q05"), quantile(gates, 0.05));
                metrics.set(format!("{sign}/q95"), quantile(gates, 0.95));
                metrics.set(format!("{sign}/min"), gates[0]);
            }
        }
        if squares > 0.0 {
            metrics.set(names::EFFECTIVE_SAMPLES, sum * sum / (log_ratios.len() as f64 * squares));
        }
    }
}
