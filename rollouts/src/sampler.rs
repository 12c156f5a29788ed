//! Drawing one token from a row of logits, on the host, with the row's own random numbers.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::request::Sampling;

/// A drawn token with what is recorded about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The token.
    pub token: u32,
    /// Its log-prob before truncation.
    pub log_prob: f32,
    /// Entropy of the distribution before truncation, in nats.
    pub entropy: f32,
    /// Probability mass that truncation removed.
    pub truncated_mass: f32,
}

/// Draws the tokens of one sample.
#[derive(Debug)]
pub struct Sampler {
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler whose draws depend on this seed alone.
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Draws from `logits`; minus infinity bans a token.
    pub fn draw(&mut self, logits: &[f32], sampling: &Sampling) -> Draw {
        let scale = (1.0 / sampling.logprob_temperature()) as f32;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) * scale;
        let mut weights: Vec<f32> = logits.iter().map(|logit| (logit * scale - largest).exp()).collect();
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let log_sum = sum.ln() as f32;
        let log_prob = |token: usize| logits[token] * scale - largest - log_sum;
        let entropy = weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(token, weight)| -f64::from(*weight) / sum * f64::from(log_prob(token)))
            .sum::<f64>() as f32;
        if sampling.temperature <= 0.0 {
            let token = likeliest(logits);
            return Draw { token: token as u32, log_prob: log_prob(token), entropy, truncated_mass: 0.0 };
        }
        let kept = truncate(&mut weights, sum, sampling);
        let token = pick(&weights, kept * self.rng.random::<f64>());
        Draw {
            token: token as u32,
            log_prob: log_prob(token),
            entropy,
            truncated_mass: (1.0 - kept / sum).max(0.0) as f32,
        }
    }
}

fn likeliest(logits: &[f32]) -> usize {
    // The first of equals wins, so that greedy answers do not depend on how the search runs.
    logits.iter().enumerate().fold(0, |best, (token, logit)| if *logit > logits[best] { token } else { best })
}

/// Sets what top-k and top-p remove to 0 and gives the mass that is left.
fn truncate(weights: &mut [f32], sum: f64, sampling: &Sampling) -> f64 {
    let top_k = if sampling.top_k == 0 { weights.len() } else { sampling.top_k };
    if top_k >= weights.len() && sampling.top_p >= 1.0 {
        return sum;
    }
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    let in_k: f64 = order.iter().take(top_k).map(|token| f64::from(weights[*token])).sum();
    let mut kept = 0.0;
    for (rank, token) in order.into_iter().enumerate() {
        if rank > 0 && (rank >= top_k || kept >= sampling.top_p * in_k) {
            weights[token] = 0.0;
        } else {
            kept += f64::from(weights[token]);
        }
    }
    kept
}

/// The token whose share of the cumulated weights holds `at`.
fn pick(weights: &[f32], at: f64) -> usize {
    let mut passed = 0.0;
    let mut last = 0;
    for (token, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        passed += f64::from(*weight);
        last = token;
        if at < passed {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_p: f64, top_k: usize) -> Sampling {
        Sampling { temperature, top_p, top_k, max_new_tokens: 1 }
    }

    #[test]
    fn frequencies_follow_the_tempered_distribution() {
        let logits = [1.0_f32, 0.0, f32::NEG_INFINITY, 2.0];
        let mut sampler = Sampler::new(5);
        let mut counts = [0_usize; 4];
        for _ in 0..20_000 {
            counts[sampler.draw(&logits, &sampling(2.0, 1.0, 0)).token as usize] += 1;
        }
        let weights = [0.5_f64.exp(), 1.0, 0.0, 1.0_f64.exp()];
        let sum: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            assert!((*count as f64 / 20_000.0 - weight / sum).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn recorded_log_probs_ignore_truncation() {
        let logits = [0.0_f32, 1.0, 2.0, 3.0];
        let draw = Sampler::new(1).draw(&logits, &sampling(1.0, 1.0, 1));
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        assert_eq!(draw.token, 3);
        assert!((draw.log_prob - (3.0 - sum.ln())).abs() < 1e-6);
        assert!((draw.truncated_mass - (1.0 - 3.0_f32.exp() / sum)).abs() < 1e-6);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_holds_the_mass() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut sampler = Sampler::new(3);
        let tokens: Vec<u32> = (0..500).map(|_| sampler.draw(&logits, &sampling(1.0, 0.7, 0)).token).collect();
        assert!(tokens.contains(&0) && tokens.contains(&1) && !tokens.contains(&2));
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        assert_eq!(Sampler::new(9).draw(&[1.0, 4.0, 4.0], &Sampling::greedy(1)).token, 1);
    }
}
