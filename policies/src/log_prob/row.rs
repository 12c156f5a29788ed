//! Log-softmax of one row of logits on the host: what the sampler records and the trainer compares with, bit for bit.
//!
//! Both go through this file, so that the same logits give the same log-prob whoever asks.

/// Numbers that are summed in single precision before they are added in double.
const RUN: usize = 1024;
/// Sums that run side by side; each number's place tells which it goes into.
const LANES: usize = 16;

/// Normalises a row of logits at a temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSoftmax {
    /// One over the temperature.
    scale: f32,
    /// The largest scaled logit.
    largest: f32,
    /// Of the exponentials of scaled logits less the largest.
    sum: f64,
    log_sum: f32,
}

impl LogSoftmax {
    /// Of a row of logits, in which minus infinity stands for a banned token.
    pub fn of(logits: &[f32], temperature: f64) -> Self {
        let scale = (1.0 / temperature) as f32;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) * scale;
        let sum = logits.chunks(RUN).map(|run| f64::from(sum_of_exp(run, scale, largest))).sum::<f64>();
        Self { scale, largest, sum, log_sum: sum.ln() as f32 }
    }

    /// The log-prob of a token with this logit.
    pub fn log_prob(&self, logit: f32) -> f32 {
        logit * self.scale - self.largest - self.log_sum
    }

    /// The probability of a token with this logit.
    pub fn prob(&self, logit: f32) -> f64 {
        f64::from((logit * self.scale - self.largest).exp()) / self.sum
    }

    /// The exponentials, of which the largest is 1.
    pub fn weights(&self, logits: &[f32]) -> Vec<f32> {
        logits.iter().map(|logit| (logit * self.scale - self.largest).exp()).collect()
    }

    /// Entropy in nats.
    pub fn entropy(&self, logits: &[f32]) -> f32 {
        let part = |logit: &f32| {
            let weight = (logit * self.scale - self.largest).exp();
            if weight > 0.0 { f64::from(weight) * f64::from(self.log_prob(*logit)) } else { 0.0 }
        };
        (-logits.iter().map(part).sum::<f64>() / self.sum) as f32
    }

    /// The token whose share of the cumulated probabilities holds `at`, a number from 0 up to 1.
    pub fn at(&self, logits: &[f32], at: f64) -> usize {
        let (at, mut passed, mut last) = (at * self.sum, 0.0, 0);
        for (token, logit) in logits.iter().enumerate() {
            let weight = (logit * self.scale - self.largest).exp();
            if weight > 0.0 {
                passed += f64::from(weight);
                last = token;
                if at < passed {
                    break;
                }
            }
        }
        last
    }
}

fn sum_of_exp(run: &[f32], scale: f32, largest: f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for some in run.chunks(LANES) {
        for (sum, logit) in sums.iter_mut().zip(some) {
            *sum += (logit * scale - largest).exp();
        }
    }
    sums.iter().sum()
}
