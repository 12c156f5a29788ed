//! Drawing one token from a row of logits, on the host, with the row's own random numbers.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use sapo_policies::log_prob::{LogSoftmax, pick};
use sapo_policies::{Chance, Drawn};

use crate::request::Sampling;

/// A drawn token with what is recorded about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The token.
    pub token: u32,
    /// Its log-prob before truncation.
    pub log_prob: f32,
    /// Its log-prob at temperature 1, where it was asked for.
    pub untempered: Option<f32>,
    /// The likeliest tokens with their log-probs, likeliest first, as many as were asked for.
    pub top: Vec<(u32, f32)>,
    /// Entropy of the distribution before truncation, in nats.
    pub entropy: f32,
    /// Probability mass that truncation removed.
    pub truncated_mass: f32,
}

/// Draws the tokens of one sample.
#[derive(Debug)]
pub struct Sampler {
    rng: ChaCha8Rng,
    said: Said,
}

/// The tokens that penalties look at.
#[derive(Debug, Default)]
struct Said {
    prompt: BTreeSet<u32>,
    /// How often the answer has each token.
    answer: BTreeMap<u32, u32>,
}

impl Sampler {
    /// A sampler whose draws depend on this seed alone, and on the prompt where penalties look at it.
    pub fn new(seed: u64, prompt: &[u32], sampling: &Sampling) -> Self {
        let looks = sampling.repetition_penalty != 1.0;
        let prompt = if looks { prompt.iter().copied().collect() } else { BTreeSet::new() };
        Self { rng: ChaCha8Rng::seed_from_u64(seed), said: Said { prompt, answer: BTreeMap::new() } }
    }

    /// Draws from `logits`; minus infinity bans a token.
    pub fn draw(&mut self, logits: &[f32], sampling: &Sampling) -> Draw {
        if !sampling.changes_logits() {
            return self.draw_from(logits, logits, sampling);
        }
        let changed = self.said.change(logits, sampling);
        let draw = self.draw_from(logits, &changed, sampling);
        *self.said.answer.entry(draw.token).or_default() += 1;
        draw
    }

    /// How a device draws the next token of plain sampling.
    pub fn chance(&mut self, sampling: &Sampling) -> Chance {
        let at = (sampling.temperature > 0.0).then(|| self.rng.random::<f64>());
        Chance { temperature: sampling.logprob_temperature(), at }
    }

    /// Draws from `changed`, and records what `logits` say of it.
    fn draw_from(&mut self, logits: &[f32], changed: &[f32], sampling: &Sampling) -> Draw {
        let temperature = sampling.logprob_temperature();
        let row = LogSoftmax::of(logits, temperature);
        let (token, truncated_mass) = if sampling.temperature <= 0.0 {
            (likeliest(changed), 0.0)
        } else if sampling.truncates() {
            self.draw_of_what_is_left(&row, logits, changed, sampling)
        } else if sampling.changes_logits() {
            let banned = sampling.banned_ids.iter().filter_map(|id| logits.get(*id as usize));
            let mass: f64 = banned.map(|logit| row.prob(*logit)).sum();
            (LogSoftmax::of(changed, temperature).at(changed, self.rng.random::<f64>()), mass as f32)
        } else {
            (row.at(logits, self.rng.random::<f64>()), 0.0)
        };
        let untempered = match (sampling.untempered, temperature == 1.0) {
            (false, _) => None,
            (true, true) => Some(row),
            (true, false) => Some(LogSoftmax::of(logits, 1.0)),
        };
        Draw {
            token: token as u32,
            log_prob: row.log_prob(logits[token]),
            untempered: untempered.map(|row| row.log_prob(logits[token])),
            top: top(logits, untempered.unwrap_or(row), sampling.top_log_probs),
            entropy: row.entropy(),
            truncated_mass,
        }
    }

    /// A token of what truncation leaves, and the mass that it took.
    fn draw_of_what_is_left(
        &mut self,
        row: &LogSoftmax,
        logits: &[f32],
        changed: &[f32],
        sampling: &Sampling,
    ) -> (usize, f32) {
        let mut weights = LogSoftmax::of(changed, sampling.temperature).weights(changed);
        let left = truncate(&mut weights, sampling);
        let token = pick(&weights, left * self.rng.random::<f64>());
        let kept = logits.iter().zip(&weights).filter(|(_, left)| **left > 0.0).map(|(logit, _)| row.prob(*logit));
        (token, (1.0 - kept.sum::<f64>()).max(0.0) as f32)
    }
}

impl Draw {
    /// Of what a device drew by plain sampling.
    pub fn of_device(drawn: Drawn, sampling: &Sampling) -> Self {
        Self {
            token: drawn.token,
            log_prob: drawn.log_prob,
            untempered: sampling.untempered.then_some(drawn.log_prob),
            top: Vec::new(),
            entropy: drawn.entropy,
            truncated_mass: if sampling.temperature > 0.0 { drawn.banned_mass } else { 0.0 },
        }
    }
}

/// The likeliest tokens, likeliest first; of equals the first.
fn top(logits: &[f32], row: LogSoftmax, count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    if count == 0 {
        return Vec::new();
    }
    for (token, logit) in logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY) {
        if best.len() == count && best.last().is_some_and(|last| *logit <= logits[*last]) {
            continue;
        }
        let place = best.partition_point(|other| logits[*other] >= *logit);
        best.insert(place, token);
        best.truncate(count);
    }
    best.into_iter().map(|token| (token as u32, row.log_prob(logits[token]))).collect()
}

impl Said {
    /// The logits after penalties and bias.
    fn change(&self, logits: &[f32], sampling: &Sampling) -> Vec<f32> {
        let mut changed = logits.to_vec();
        let mut at = |token: u32, by: &dyn Fn(f32) -> f32| {
            if let Some(logit) = changed.get_mut(token as usize) {
                *logit = by(*logit);
            }
        };
        let repetition = sampling.repetition_penalty as f32;
        let repeated = |logit: f32| if logit > 0.0 { logit / repetition } else { logit * repetition };
        let fresh = self.answer.keys().filter(|token| !self.prompt.contains(token));
        self.prompt.iter().chain(fresh).for_each(|token| at(*token, &repeated));
        let (presence, frequency) = (sampling.presence_penalty as f32, sampling.frequency_penalty as f32);
        for (token, count) in &self.answer {
            at(*token, &|logit| logit - presence - frequency * *count as f32);
        }
        for (token, bias) in &sampling.logit_bias {
            at(*token, &|logit| logit + bias);
        }
        for token in &sampling.banned_ids {
            at(*token, &|_| f32::NEG_INFINITY);
        }
        changed
    }
}

fn likeliest(logits: &[f32]) -> usize {
    // The first of equals wins, so that greedy answers do not depend on how the search runs.
    logits.iter().enumerate().fold(0, |best, (token, logit)| if *logit > logits[best] { token } else { best })
}

/// Sets what top-k, top-p and min-p remove to 0 and gives the mass that is left.
fn truncate(weights: &mut [f32], sampling: &Sampling) -> f64 {
    let top_k = if sampling.top_k == 0 { weights.len() } else { sampling.top_k };
    // The largest weight is 1.
    let least = sampling.min_p as f32;
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    let in_k: f64 = order.iter().take(top_k).map(|token| f64::from(weights[*token])).sum();
    let mut kept = 0.0;
    for (rank, token) in order.into_iter().enumerate() {
        if rank > 0 && (rank >= top_k || kept >= sampling.top_p * in_k || weights[token] < least) {
            weights[token] = 0.0;
        } else {
            kept += f64::from(weights[token]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sampling(temperature: f64, top_p: f64, top_k: usize) -> Sampling {
        Sampling { top_p, top_k, ..Sampling::at(temperature, 1) }
    }

    fn sampler(seed: u64) -> Sampler {
        Sampler::new(seed, &[], &Sampling::at(1.0, 1))
    }

    /// The distribution that tokens are drawn from and the log-prob of each, written down as plainly as the words say it.
    fn reference(logits: &[f32], prompt: &[u32], answer: &[u32], sampling: &Sampling) -> (Vec<f64>, Vec<f64>) {
        let probs = |logits: &[f64]| {
            let weights: Vec<f64> = logits.iter().map(|logit| (logit / sampling.temperature).exp()).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect::<Vec<f64>>()
        };
        let mut changed: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
        let log_probs = probs(&changed).into_iter().map(f64::ln).collect();
        for (token, logit) in changed.iter_mut().enumerate() {
            let times = answer.iter().filter(|said| **said as usize == token).count() as f64;
            let in_prompt = prompt.iter().any(|said| *said as usize == token);
            if times > 0.0 || in_prompt {
                *logit = if *logit > 0.0 {
                    *logit / sampling.repetition_penalty
                } else {
                    *logit * sampling.repetition_penalty
                };
            }
            *logit -= sampling.frequency_penalty * times + if times > 0.0 { sampling.presence_penalty } else { 0.0 };
            *logit += sampling
                .logit_bias
                .iter()
                .filter(|(id, _)| *id as usize == token)
                .map(|(_, bias)| f64::from(*bias))
                .sum::<f64>();
        }
        let all = probs(&changed);
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| all[*b].total_cmp(&all[*a]).then(a.cmp(b)));
        let top_k = if sampling.top_k == 0 { all.len() } else { sampling.top_k };
        let kept: Vec<usize> = order.iter().copied().take(top_k).collect();
        let mass: f64 = kept.iter().map(|token| all[*token]).sum();
        let mut before = 0.0;
        let mut left = vec![0.0; all.len()];
        for (rank, token) in kept.into_iter().enumerate() {
            let in_nucleus = before < sampling.top_p * mass;
            if rank == 0 || (in_nucleus && all[token] >= sampling.min_p * all[order[0]]) {
                left[token] = all[token];
            }
            before += all[token];
        }
        let sum: f64 = left.iter().sum();
        (left.into_iter().map(|prob| prob / sum).collect(), log_probs)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn draws_are_those_of_the_plain_reference(
            logits in prop::collection::vec(-3.0_f32..3.0, 6),
            prompt in prop::collection::vec(0_u32..6, 0..4),
            answer in prop::collection::vec(0_u32..6, 0..4),
            temperature in 0.5_f64..2.0,
            (top_p, top_k, min_p) in (0.3_f64..1.0, 0_usize..6, prop_oneof![Just(0.0), 0.05_f64..0.5]),
            (repetition_penalty, presence_penalty, frequency_penalty) in (0.8_f64..1.5, -0.5_f64..1.0, -0.5_f64..1.0),
            bias in prop::collection::btree_map(0_u32..6, -2.0_f32..2.0, 0..3),
        ) {
            let sampling = Sampling {
                top_p,
                top_k,
                min_p,
                repetition_penalty,
                presence_penalty,
                frequency_penalty,
                logit_bias: bias.into_iter().collect(),
                ..Sampling::at(temperature, 1)
            };
            let (wanted, log_probs) = reference(&logits, &prompt, &answer, &sampling);
            let mut counts = [0_usize; 6];
            for seed in 0..1500 {
                let mut sampler = Sampler::new(seed, &prompt, &sampling);
                for token in &answer {
                    *sampler.said.answer.entry(*token).or_default() += 1;
                }
                let draw = sampler.draw(&logits, &sampling);
                counts[draw.token as usize] += 1;
                prop_assert!((f64::from(draw.log_prob) - log_probs[draw.token as usize]).abs() < 1e-5);
            }
            // Where single precision decides otherwise at the edge of the nucleus, the mass there is small.
            let edge = wanted.iter().zip(counts).filter(|(wanted, count)| **wanted == 0.0 && *count > 0).count();
            prop_assert!(edge == 0, "{wanted:?} {counts:?}");
            for (wanted, count) in wanted.iter().zip(counts) {
                // Five standard deviations.
                let spread = 5.0 * (wanted * (1.0 - wanted) / 1500.0).sqrt() + 1e-9;
                prop_assert!((count as f64 / 1500.0 - wanted).abs() <= spread, "{wanted:?} {counts:?}");
            }
        }
    }

    #[test]
    fn what_is_said_is_remembered_from_draw_to_draw() {
        let sampling = Sampling { frequency_penalty: 10.0, ..Sampling::greedy(3) };
        let mut sampler = Sampler::new(1, &[], &sampling);
        let logits = [1.0_f32, 2.0, 3.0];
        let tokens: Vec<u32> = (0..4).map(|_| sampler.draw(&logits, &sampling).token).collect();
        assert_eq!(tokens, [2, 1, 0, 2]);
    }

    #[test]
    fn frequencies_follow_the_tempered_distribution() {
        let logits = [1.0_f32, 0.0, f32::NEG_INFINITY, 2.0];
        let mut sampler = sampler(5);
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
        let draw = sampler(1).draw(&logits, &sampling(1.0, 1.0, 1));
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        assert_eq!(draw.token, 3);
        assert!((draw.log_prob - (3.0 - sum.ln())).abs() < 1e-6);
        assert!((draw.truncated_mass - (1.0 - 3.0_f32.exp() / sum)).abs() < 1e-6);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_holds_the_mass() {
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut sampler = sampler(3);
        let tokens: Vec<u32> = (0..500).map(|_| sampler.draw(&logits, &sampling(1.0, 0.7, 0)).token).collect();
        assert!(tokens.contains(&0) && tokens.contains(&1) && !tokens.contains(&2));
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        assert_eq!(sampler(9).draw(&[1.0, 4.0, 4.0], &Sampling::greedy(1)).token, 1);
    }
}
