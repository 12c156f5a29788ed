//! Log-softmax of one row of logits on the host: what the sampler records and the trainer compares with, bit for bit.
//!
//! Both go through this file, so that the same logits give the same log-prob whoever asks.

use crate::vector::{LANES, Run, exp, largest, put, sum, vectorised};

/// Numbers that are summed in single precision before they are added in double.
const STRETCH: usize = 1024;

/// Normalises a row of logits at a temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSoftmax {
    /// One over the temperature.
    scale: f32,
    /// The largest scaled logit.
    largest: f32,
    /// Of the weights: exponentials of scaled logits less the largest.
    sum: f64,
    /// Of weights times scaled logits less the largest.
    weighted: f64,
    log_sum: f32,
}

impl LogSoftmax {
    /// Of a row of logits, in which minus infinity stands for a banned token.
    pub fn of(logits: &[f32], temperature: f64) -> Self {
        let scale = (1.0 / temperature) as f32;
        vectorised(
            #[inline(always)]
            || {
                let mut most = [f32::NEG_INFINITY; LANES];
                for_runs(
                    logits,
                    #[inline(always)]
                    |_, run| {
                        for (most, logit) in most.iter_mut().zip(run) {
                            *most = if *logit > *most { *logit } else { *most };
                        }
                    },
                );
                let unscaled = Self { scale, largest: largest(&most) * scale, sum: 0.0, weighted: 0.0, log_sum: 0.0 };
                let (mut sum, mut weighted) = (0.0, 0.0);
                for stretch in logits.chunks(STRETCH) {
                    let [weights, products] = unscaled.sums(stretch);
                    sum += f64::from(weights);
                    weighted += f64::from(products);
                }
                Self { sum, weighted, log_sum: sum.ln() as f32, ..unscaled }
            },
        )
    }

    /// The log-prob of a token with this logit.
    pub fn log_prob(&self, logit: f32) -> f32 {
        logit * self.scale - self.largest - self.log_sum
    }

    /// The probability of a token with this logit.
    pub fn prob(&self, logit: f32) -> f64 {
        f64::from((logit * self.scale - self.largest).exp()) / self.sum
    }

    /// The weight of every token: its probability over that of the likeliest.
    pub fn weights(&self, logits: &[f32]) -> Vec<f32> {
        let mut weights = vec![0.0; logits.len()];
        vectorised(
            #[inline(always)]
            || {
                for_runs(
                    logits,
                    #[inline(always)]
                    |at, run| put(&mut weights, at, &self.weigh(run)),
                );
            },
        );
        weights
    }

    /// Entropy in nats.
    pub fn entropy(&self) -> f32 {
        (f64::from(self.log_sum) - self.weighted / self.sum) as f32
    }

    /// The token whose share of the cumulated probabilities holds `at`, a number from 0 up to 1.
    pub fn at(&self, logits: &[f32], at: f64) -> usize {
        let (at, mut passed) = (at * self.sum, 0.0);
        let mut last = 0;
        for (number, stretch) in logits.chunks(STRETCH).enumerate() {
            let whole = vectorised(
                #[inline(always)]
                || f64::from(self.sums(stretch)[0]),
            );
            let start = number * STRETCH;
            if at < passed + whole {
                // Weights that are added one by one may end a little below their sum: the last one is taken then.
                return start + pick(&self.weights(stretch), at - passed);
            }
            passed += whole;
            if whole > 0.0 {
                last = start + pick(&self.weights(stretch), f64::INFINITY);
            }
        }
        last
    }

    /// The derivative of the log-prob of a token by every logit, times a factor, written to `slopes`.
    pub(crate) fn slopes(&self, logits: &[f32], token: usize, factor: f32, slopes: &mut [f32]) {
        let factor = factor * self.scale;
        let share = -factor / self.sum as f32;
        vectorised(
            #[inline(always)]
            || {
                for_runs(
                    logits,
                    #[inline(always)]
                    |at, run| {
                        let mut weights = self.weigh(run);
                        weights.iter_mut().for_each(|weight| *weight *= share);
                        put(slopes, at, &weights);
                    },
                );
            },
        );
        slopes[token] += factor;
    }

    /// Adds the derivative of the entropy by every logit, times a factor: `-p (log p + H)`.
    pub(crate) fn add_entropy_slopes(&self, logits: &[f32], factor: f32, slopes: &mut [f32]) {
        let share = -factor * self.scale / self.sum as f32;
        // The log-prob of a token is what its weight is the exponential of, less this.
        let above = self.entropy() - self.log_sum;
        vectorised(
            #[inline(always)]
            || {
                for_runs(
                    logits,
                    #[inline(always)]
                    |at, run| {
                        let mut exponents = self.exponents(run);
                        let weights = exp(&exponents);
                        for lane in 0..LANES {
                            // Where a weight is 0 its exponent may be minus infinity.
                            let exponent = if exponents[lane] > -1e4 { exponents[lane] } else { -1e4 };
                            exponents[lane] = share * weights[lane] * (exponent + above);
                        }
                        for (slope, more) in slopes[at..].iter_mut().zip(exponents) {
                            *slope += more;
                        }
                    },
                );
            },
        );
    }

    #[inline(always)]
    fn exponents(&self, run: &Run) -> Run {
        let mut exponents = *run;
        for exponent in &mut exponents {
            *exponent = *exponent * self.scale - self.largest;
        }
        exponents
    }

    #[inline(always)]
    fn weigh(&self, run: &Run) -> Run {
        exp(&self.exponents(run))
    }

    /// Sums of a stretch's weights, and of weights times what they are exponentials of.
    #[inline(always)]
    fn sums(&self, stretch: &[f32]) -> [f32; 2] {
        let (mut weights, mut products) = ([0.0; LANES], [0.0; LANES]);
        for_runs(
            stretch,
            #[inline(always)]
            |_, run| {
                let exponents = self.exponents(run);
                let of_run = exp(&exponents);
                for lane in 0..LANES {
                    weights[lane] += of_run[lane];
                    // Where a weight is 0 its exponent may be minus infinity.
                    let exponent = if exponents[lane] > -1e4 { exponents[lane] } else { -1e4 };
                    products[lane] += of_run[lane] * exponent;
                }
            },
        );
        [sum(&weights), sum(&products)]
    }
}

/// The token whose share of the cumulated weights holds `at`; the last one that has any when they end before.
pub fn pick(weights: &[f32], at: f64) -> usize {
    let (mut passed, mut last) = (0.0, 0);
    for (token, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        passed += f64::from(*weight);
        last = token;
        if at < passed {
            break;
        }
    }
    last
}

/// Calls `work` with every run and where it begins; the last is filled up with minus infinity.
#[inline(always)]
fn for_runs(numbers: &[f32], mut work: impl FnMut(usize, &Run)) {
    let (runs, rest) = numbers.as_chunks::<LANES>();
    for (index, run) in runs.iter().enumerate() {
        work(index * LANES, run);
    }
    if !rest.is_empty() {
        let mut run = [f32::NEG_INFINITY; LANES];
        run[..rest.len()].copy_from_slice(rest);
        work(runs.len() * LANES, &run);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(logits: &[f32], temperature: f64) -> Vec<f64> {
        let scaled: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) / temperature).collect();
        let sum: f64 = scaled.iter().map(|one| one.exp()).sum();
        scaled.into_iter().map(|one| one - sum.ln()).collect()
    }

    proptest! {
        #[test]
        fn a_row_is_what_double_precision_says(
            logits in prop::collection::vec(prop_oneof![9 => -20.0_f32..20.0, 1 => Just(f32::NEG_INFINITY)], 1..3000),
            temperature in 0.2_f64..3.0,
            factor in -2.0_f32..2.0,
        ) {
            prop_assume!(logits.iter().any(|logit| logit.is_finite()));
            let row = LogSoftmax::of(&logits, temperature);
            let exact = exact(&logits, temperature);
            let token = logits.iter().position(|logit| logit.is_finite()).unwrap_or(0);
            let mut slopes = vec![0.0; logits.len()];
            row.slopes(&logits, token, factor, &mut slopes);
            let mut by_entropy = vec![1.0; logits.len()];
            row.add_entropy_slopes(&logits, factor, &mut by_entropy);
            let exact_entropy: f64 = exact.iter().filter(|one| one.is_finite()).map(|one| -one * one.exp()).sum();
            let mut entropy = 0.0;
            // What single precision can say of numbers as large as the scaled logits.
            let unit = 1e-6 * (10.0 + 40.0 / temperature);
            for (at, (logit, exact)) in logits.iter().zip(&exact).enumerate().filter(|(_, (logit, _))| logit.is_finite()) {
                prop_assert!((f64::from(row.log_prob(*logit)) - exact).abs() < unit);
                prop_assert!((row.prob(*logit) - exact.exp()).abs() < unit);
                let wanted = f64::from(factor) / temperature * (f64::from(u8::from(at == token)) - exact.exp());
                prop_assert!((f64::from(slopes[at]) - wanted).abs() < 10.0 * unit);
                let wanted = 1.0 - f64::from(factor) / temperature * exact.exp() * (exact + exact_entropy);
                prop_assert!((f64::from(by_entropy[at]) - wanted).abs() < 10.0 * unit * (1.0 + exact_entropy));
                entropy -= exact * exact.exp();
            }
            prop_assert!((f64::from(row.entropy()) - entropy).abs() < unit * (1.0 + entropy));
        }

        #[test]
        fn a_share_falls_on_the_token_that_holds_it(
            logits in prop::collection::vec(-4.0_f32..4.0, 1..2500), at in 0.0_f64..1.0,
        ) {
            let row = LogSoftmax::of(&logits, 1.0);
            let token = row.at(&logits, at);
            let before: f64 = logits[..token].iter().map(|logit| row.prob(*logit)).sum();
            prop_assert!(before <= at + 1e-4 && at <= before + row.prob(logits[token]) + 1e-4);
        }
    }

    #[test]
    fn the_end_of_the_last_share_is_a_token() {
        let mut logits = vec![0.0; 40];
        logits[39] = f32::NEG_INFINITY;
        assert_eq!(LogSoftmax::of(&logits, 1.0).at(&logits, 1.0), 38);
    }
}
