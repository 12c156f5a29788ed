//! How far every row is from a teacher's, over the whole vocabulary, and the gradients of that: distillation.
//!
//! Forward: `KL(teacher || student)`, which covers all that the teacher may say; reverse: `KL(student || teacher)`, which
//! keeps to what it says most (on-policy distillation, arXiv 2306.13649); mixed: a weighted sum of both.
//!
//! Shape suffixes: `m` predicting rows, `d` width, `w` vocabulary.

use burn::tensor::{Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Back, Head, chunks, finite, plain, some_rows};
use crate::policy::{ParamGradients, Policy};
use crate::tensor::to_vec;

/// Which way the distance is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// `KL(teacher || student)`.
    Forward,
    /// `KL(student || teacher)`.
    #[default]
    Reverse,
    /// This share of the forward one, and the rest of the reverse one.
    Mixed(f64),
}

/// A teacher, which has read the same batch.
#[derive(Debug)]
pub struct Teacher<'a> {
    /// The teacher; its vocabulary is the student's.
    pub policy: &'a Policy,
    /// Its hidden rows `[m, d]`, of the same positions; its width may be another.
    pub hidden_md: Tensor<2>,
}

impl Divergence {
    /// The share of the forward direction.
    pub fn forward_share(self) -> f64 {
        match self {
            Self::Forward => 1.0,
            Self::Reverse => 0.0,
            Self::Mixed(share) => share,
        }
    }

    /// Distances `[m, 1]` and their derivatives by the student's tempered logits `[m, w]`, given the log-probs of both.
    fn of(self, student_mw: Tensor<2>, teacher_mw: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let share = self.forward_share();
        let (p_mw, q_mw) = (student_mw.clone().exp(), teacher_mw.clone().exp());
        let apart_mw = finite(student_mw) - finite(teacher_mw);
        let forward_m1 = (q_mw.clone() * apart_mw.clone()).sum_dim(1).neg();
        let reverse_m1 = (p_mw.clone() * apart_mw.clone()).sum_dim(1);
        let by_forward_mw = (p_mw.clone() - q_mw).mul_scalar(share);
        let by_reverse_mw = (p_mw * (apart_mw - reverse_m1.clone())).mul_scalar(1.0 - share);
        (forward_m1.mul_scalar(share) + reverse_m1.mul_scalar(1.0 - share), by_forward_mw + by_reverse_mw)
    }
}

impl Policy {
    /// The distance of every row `[m, d]` from the teacher's at a temperature, in nats, and the gradients, in the order of
    /// [`Policy::trained`], of their sum with these weights. `self` is a tracked view and `hidden_md` of its forward pass.
    /// What the student may not say is taken from the teacher as well. Logits exist for one chunk of rows at a time.
    ///
    /// # Panics
    /// When there is not one weight for every row, or the vocabularies differ: faults of the caller.
    pub fn diverge(
        &self,
        hidden_md: Tensor<2>,
        teacher: &Teacher<'_>,
        divergence: Divergence,
        weights: &[f32],
        temperature: f64,
    ) -> (Vec<f32>, ParamGradients) {
        let rows = hidden_md.dims()[0];
        assert_eq!(weights.len(), rows, "one weight for every row");
        assert_eq!(teacher.policy.config.text.vocab_size, self.config.text.vocab_size, "one vocabulary");
        let student = Head::of(self, temperature);
        let taught = Head { ban_1w: student.ban_1w.clone(), ..Head::of(teacher.policy, temperature) };
        let (own_md, other_md) = (plain(hidden_md.clone()), plain(teacher.hidden_md.clone()));
        let (mut distances, mut back) = (Vec::with_capacity(rows), Back::default());
        for range in chunks(rows) {
            let (own, other) = (some_rows(&own_md, &range), some_rows(&other_md, &range));
            let student_mw = student.log_softmax(&student.logits(own.clone()));
            let teacher_mw = taught.log_softmax(&taught.logits(other));
            let (distances_m1, slopes_mw) = divergence.of(student_mw, teacher_mw);
            distances.extend(to_vec(distances_m1).into_iter().take(range.len()));
            let weights = weights[range.clone()].iter().copied().chain(std::iter::repeat(0.0));
            let computed = own.dims()[0];
            let factors = TensorData::new(weights.take(computed).collect::<Vec<f32>>(), [computed, 1]);
            let factors_m1 = Tensor::<2>::from_data(factors, &own_md.device()).div_scalar(temperature);
            back.add(&student.weight, slopes_mw * factors_m1, own, range.len());
        }
        (distances, back.through(self, hidden_md, None))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, activation};

    use super::*;

    const LOGITS: [[f32; 5]; 2] = [[0.3, -1.2, 2.0, 0.1, f32::NEG_INFINITY], [1.0, 1.1, -0.4, 0.0, f32::NEG_INFINITY]];
    const TAUGHT: [[f32; 5]; 2] = [[1.3, 0.2, 0.5, -2.0, f32::NEG_INFINITY], [-0.5, 2.1, 0.3, 0.9, f32::NEG_INFINITY]];

    fn distances(divergence: Divergence, logits: [[f32; 5]; 2]) -> (Vec<f32>, Vec<f32>) {
        let device = Device::flex();
        let log_probs = |logits| activation::log_softmax(Tensor::<2>::from_data(logits, &device), 1);
        let (distances, slopes) = divergence.of(log_probs(logits), log_probs(TAUGHT));
        (to_vec(distances), to_vec(slopes))
    }

    #[test]
    fn slopes_are_those_of_the_distances() {
        for divergence in [Divergence::Forward, Divergence::Reverse, Divergence::Mixed(0.3)] {
            let slopes = distances(divergence, LOGITS).1;
            for row in 0..2 {
                for at in 0..4 {
                    let moved = |by: f32| {
                        let mut logits = LOGITS;
                        logits[row][at] += by;
                        f64::from(distances(divergence, logits).0[row])
                    };
                    let wanted = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                    assert!((f64::from(slopes[row * 5 + at]) - wanted).abs() < 1e-3, "{divergence:?} {row} {at}");
                }
                assert_eq!(slopes[row * 5 + 4], 0.0, "what is banned stays so");
            }
        }
    }

    /// A vector that was worked out in double precision.
    #[test]
    fn golden_distances_and_slopes() {
        let device = Device::flex();
        let log_probs = |logits: [[f32; 3]; 1]| activation::log_softmax(Tensor::<2>::from_data(logits, &device), 1);
        let (student, teacher) = (log_probs([[2.0, 1.0, 0.0]]), log_probs([[0.5, 1.5, 1.0]]));
        for (divergence, wanted) in [
            (Divergence::Forward, [0.508_286_8, 0.478_917_2, -0.261_751_9, -0.217_165_3]),
            (Divergence::Reverse, [0.558_130_3, 0.475_336_9, -0.314_590_3, -0.160_746_6]),
        ] {
            let (distance, slopes) = divergence.of(student.clone(), teacher.clone());
            let found = [to_vec(distance), to_vec(slopes)].concat();
            assert!(
                found.iter().zip(wanted).all(|(found, wanted): (&f32, f32)| (found - wanted).abs() < 2e-6),
                "{found:?}"
            );
        }
    }

    #[test]
    fn distances_are_kl_by_hand_and_nothing_from_oneself() {
        let shares = |logits: [f32; 5]| {
            let weights = logits.map(|logit| f64::from(logit).exp());
            weights.map(|weight| weight / weights.iter().sum::<f64>())
        };
        let kl = |a: [f64; 5], b: [f64; 5]| (0..4).map(|at| a[at] * (a[at] / b[at]).ln()).sum::<f64>();
        for row in 0..2 {
            let (p, q) = (shares(LOGITS[row]), shares(TAUGHT[row]));
            let of = |divergence| f64::from(distances(divergence, LOGITS).0[row]);
            assert!((of(Divergence::Forward) - kl(q, p)).abs() < 1e-5);
            assert!((of(Divergence::Reverse) - kl(p, q)).abs() < 1e-5);
            assert!((of(Divergence::Mixed(0.25)) - 0.25 * kl(q, p) - 0.75 * kl(p, q)).abs() < 1e-5);
        }
        let (own, slopes) = distances(Divergence::Mixed(0.5), TAUGHT);
        assert!(own.iter().chain(&slopes).all(|value| value.abs() < 1e-6), "{own:?} {slopes:?}");
    }
}
