//! The log-prob seam: what the policy gives a token, and how d loss / d log-prob becomes gradients, by chunks.
//!
//! A log-prob is log-softmax of logits / temperature over the vocabulary less the policy's banned ids. First come the
//! log-probs of all rows, then, from whoever knows the loss, its derivative by each of them. The `[rows, vocabulary]`
//! matrix exists for one chunk of rows at a time: the derivative goes back chunk by chunk down to the hidden rows, then
//! once through the model. A loss may depend on the entropy of every row as well, or on how far the row is from a teacher's.
//!
//! Shape suffixes: `m` predicting rows, `d` width, `w` vocabulary.

mod divergence;
mod row;

use std::ops::Range;

#[cfg(feature = "gpu")]
use burn::tensor::{Device, Int};
use burn::tensor::{Tensor, TensorData, activation};
use rayon::prelude::*;

pub use self::divergence::{Divergence, Teacher};
pub use self::row::{LogSoftmax, pick};
use crate::bucket::{first_rows, room_for, with_zeros};
#[cfg(feature = "gpu")]
use crate::gpu::log_prob as gpu;
use crate::nn::Param;
use crate::policy::{ParamGradients, Policy};
use crate::tensor::to_vec;
#[cfg(feature = "gpu")]
use crate::tensor::{indices, is_cpu};

/// Rows whose logits exist at the same time.
const CHUNK_ROWS: usize = 2048;
/// Up to so many logits wait for the derivative (256 MiB); those of the first chunk always do.
const KEPT_LOGITS: usize = 1 << 26;

impl Policy {
    /// Logits `[m, w]` of hidden rows, banned ids at minus infinity.
    pub fn logits(&self, hidden_md: Tensor<2>) -> Tensor<2> {
        banned(self.text.head().linear(hidden_md), self.ban())
    }

    /// `[1, w]`: what is added to logits, so that banned ids are never sampled.
    fn ban(&self) -> Option<Tensor<2>> {
        if self.banned.is_empty() {
            return None;
        }
        let size = self.config.text.vocab_size;
        let mut bias = vec![0.0_f32; size];
        for id in &self.banned {
            if let Some(slot) = bias.get_mut(*id as usize) {
                *slot = f32::NEG_INFINITY;
            }
        }
        Some(Tensor::from_data(TensorData::new(bias, [1, size]), &self.device))
    }

    /// Log-probs of `targets` given by hidden rows `[m, d]`, for a reader: nothing can be differentiated afterwards.
    pub fn token_log_probs(&self, hidden_md: Tensor<2>, targets: &[u32], temperature: f64) -> Vec<f32> {
        let head = Head::of(self, temperature);
        let plain_md = plain(hidden_md);
        let chunk = |rows: Range<usize>| head.rows(&head.logits(some_rows(&plain_md, &rows)), &targets[rows]).0;
        chunks(targets.len()).flat_map(chunk).collect()
    }

    /// Log-probs of `targets` given by hidden rows `[m, d]`, for a learner: [`ScoredRows::backward`] takes the
    /// derivative of a loss by them. `self` is a tracked view and `hidden_md` of its forward pass.
    pub fn score<'a>(&'a self, hidden_md: Tensor<2>, targets: &'a [u32], temperature: f64) -> ScoredRows<'a> {
        self.score_keeping(hidden_md, targets, temperature, KEPT_LOGITS)
    }

    fn score_keeping<'a>(
        &'a self,
        hidden_md: Tensor<2>,
        targets: &'a [u32],
        temperature: f64,
        kept_logits: usize,
    ) -> ScoredRows<'a> {
        let head = Head::of(self, temperature);
        let mut scored = ScoredRows {
            policy: self,
            head,
            plain_md: hidden_md.clone().inner(),
            hidden_md,
            targets,
            log_probs: Vec::with_capacity(targets.len()),
            entropies: Vec::with_capacity(targets.len()),
            kept: Vec::new(),
        };
        for rows in chunks(targets.len()) {
            let keeps = rows.start == 0 || rows.end * self.config.text.vocab_size <= kept_logits;
            let logits = scored.logits(&rows);
            let (log_probs, entropies) = scored.head.rows(&logits, &targets[rows]);
            scored.log_probs.extend(log_probs);
            scored.entropies.extend(entropies);
            scored.kept.extend(keeps.then_some(logits));
        }
        scored
    }
}

/// What turns hidden rows into log-probs; it has no graph.
#[derive(Debug)]
struct Head {
    weight: Param,
    ban_1w: Option<Tensor<2>>,
    temperature: f64,
}

impl Head {
    fn of(policy: &Policy, temperature: f64) -> Self {
        let weight = policy.text.head();
        let weight = Param { value: plain(weight.value.clone()), ..weight.clone() };
        Self { weight, ban_1w: policy.ban().map(plain), temperature }
    }

    /// Logits `[m, w]` of hidden rows.
    fn logits(&self, hidden_md: Tensor<2>) -> Tensor<2> {
        banned(self.weight.linear(hidden_md), self.ban_1w.clone())
    }

    /// Log-probs of targets by the logits of their rows, and the entropies of those. Rows without a target are left out.
    fn rows(&self, logits_mw: &Tensor<2>, targets: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let [computed, width] = logits_mw.dims();
        debug_assert!(computed >= targets.len(), "a row for each target");
        #[cfg(feature = "gpu")]
        if !is_cpu(&logits_mw.device()) {
            let targets_m = padded_ids(targets, computed, &logits_mw.device());
            let found = to_vec(gpu::of_rows(logits_mw.clone(), targets_m, (1.0 / self.temperature) as f32));
            return found.chunks_exact(2).take(targets.len()).map(|row| (row[0], row[1])).unzip();
        }
        let logits = to_vec(logits_mw.clone());
        let of_row = |(logits, target): (&[f32], &u32)| {
            let row = LogSoftmax::of(logits, self.temperature);
            (row.log_prob(logits[*target as usize]), row.entropy())
        };
        logits.par_chunks(width).zip(targets).map(of_row).unzip()
    }

    /// The derivative by logits `[m, w]` of a loss whose derivatives by every log-prob, and by every entropy or by none,
    /// are given.
    fn slopes(&self, logits_mw: Tensor<2>, targets: &[u32], by: &Slopes<&[f32]>) -> Tensor<2> {
        let ([rows, width], device) = (logits_mw.dims(), logits_mw.device());
        #[cfg(feature = "gpu")]
        if !is_cpu(&device) {
            // What a row without a target is given is no part of the loss.
            let mut factors = vec![0.0_f32; 2 * rows];
            for (at, log_prob) in by.log_probs.iter().enumerate() {
                factors[2 * at] = *log_prob;
                factors[2 * at + 1] = by.entropies.get(at).copied().unwrap_or_default();
            }
            let factors_m2 = Tensor::from_data(TensorData::new(factors, [rows, 2]), &device);
            let targets_m = padded_ids(targets, rows, &device);
            return gpu::by_logits(logits_mw, targets_m, factors_m2, (1.0 / self.temperature) as f32);
        }
        let logits = to_vec(logits_mw);
        let mut slopes = vec![0.0_f32; logits.len()];
        slopes.par_chunks_mut(width).zip(logits.par_chunks(width)).enumerate().for_each(|(at, (slopes, logits))| {
            let row = LogSoftmax::of(logits, self.temperature);
            row.slopes(logits, targets[at] as usize, by.log_probs[at], slopes);
            if let Some(factor) = by.entropies.get(at) {
                row.add_entropy_slopes(logits, *factor, slopes);
            }
        });
        Tensor::from_data(TensorData::new(slopes, [rows, width]), &device)
    }

    fn log_softmax(&self, logits_mw: &Tensor<2>) -> Tensor<2> {
        activation::log_softmax(self.tempered(logits_mw), 1)
    }

    fn tempered(&self, logits_mw: &Tensor<2>) -> Tensor<2> {
        // Dividing by 1 would change nothing but cost a copy of the largest tensor there is.
        if self.temperature == 1.0 { logits_mw.clone() } else { logits_mw.clone().div_scalar(self.temperature) }
    }
}

/// Log-probs of banned tokens as numbers whose products with a probability of 0 are 0.
fn finite(log_probs_mw: Tensor<2>) -> Tensor<2> {
    log_probs_mw.clamp_min(-1e4)
}

/// The derivative of a loss by what is known of every row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slopes<V = Vec<f32>> {
    /// By its log-prob.
    pub log_probs: V,
    /// By its entropy; empty when the loss does not depend on it.
    pub entropies: V,
}

impl Slopes {
    fn of(&self, rows: &Range<usize>) -> Slopes<&[f32]> {
        Slopes {
            log_probs: &self.log_probs[rows.clone()],
            entropies: self.entropies.get(rows.clone()).unwrap_or_default(),
        }
    }
}

impl From<Vec<f32>> for Slopes {
    fn from(log_probs: Vec<f32>) -> Self {
        Self { log_probs, entropies: Vec::new() }
    }
}

/// Ids of so many rows, with zeros behind those that are given.
#[cfg(feature = "gpu")]
fn padded_ids(ids: &[u32], rows: usize, device: &Device) -> Tensor<1, Int> {
    indices(ids.iter().map(|id| i64::from(*id)).chain(std::iter::repeat(0)).take(rows), device)
}

/// Some rows of a matrix, with zeros behind them where a device computes more.
fn some_rows(all_md: &Tensor<2>, rows: &Range<usize>) -> Tensor<2> {
    let room = room_for(rows.len(), &all_md.device());
    with_zeros(all_md.clone().narrow(0, rows.start, rows.len()), room)
}

fn banned(logits_mw: Tensor<2>, ban_1w: Option<Tensor<2>>) -> Tensor<2> {
    match ban_1w {
        Some(ban_1w) => logits_mw + ban_1w,
        None => logits_mw,
    }
}

/// The numbers of a tensor without its graph.
fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() { tensor.inner() } else { tensor }
}

/// Rows whose log-probs are known and can be differentiated once.
#[derive(Debug)]
pub struct ScoredRows<'a> {
    policy: &'a Policy,
    head: Head,
    /// The forward pass, with its graph.
    hidden_md: Tensor<2>,
    /// Its numbers alone.
    plain_md: Tensor<2>,
    targets: &'a [u32],
    log_probs: Vec<f32>,
    entropies: Vec<f32>,
    /// Logits of the first chunks, which fit into memory; the others are computed again.
    kept: Vec<Tensor<2>>,
}

impl ScoredRows<'_> {
    /// The log-prob of every target.
    pub fn log_probs(&self) -> &[f32] {
        &self.log_probs
    }

    /// The entropy of every target's distribution, in nats.
    pub fn entropies(&self) -> &[f32] {
        &self.entropies
    }

    /// Gradients, in the order of [`Policy::trained`], of a loss with these derivatives by what is known of every row.
    /// `beside` is a part of the loss that depends on the forward pass in another way, such as
    /// [`crate::text::balance_loss`].
    ///
    /// # Panics
    /// When there is not one derivative for every log-prob: a fault of the caller.
    pub fn backward(mut self, by: &Slopes, beside: Option<Tensor<1>>) -> ParamGradients {
        assert_eq!(by.log_probs.len(), self.targets.len(), "one derivative for every log-prob");
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        let mut back = Back::default();
        for rows in chunks(self.targets.len()) {
            let logits_mw = kept.next().unwrap_or_else(|| self.logits(&rows));
            let slopes_mw = self.head.slopes(logits_mw, &self.targets[rows.clone()], &by.of(&rows));
            back.add(&self.head.weight, slopes_mw, some_rows(&self.plain_md, &rows), rows.len());
        }
        back.through(self.policy, self.hidden_md, beside)
    }

    fn logits(&self, rows: &Range<usize>) -> Tensor<2> {
        self.head.logits(some_rows(&self.plain_md, rows))
    }
}

/// The way back: first the head, by hand, whose logits are freed chunk by chunk and held by no graph; then the model.
#[derive(Debug, Default)]
struct Back {
    hidden_gradients: Vec<Tensor<2>>,
    head_gradient: Option<Tensor<2>>,
}

impl Back {
    /// Takes a chunk's derivative by its logits down to its hidden rows, the first `rows` of which are the chunk's.
    fn add(&mut self, head: &Param, slopes_mw: Tensor<2>, hidden_md: Tensor<2>, rows: usize) {
        self.hidden_gradients.push(first_rows(head.transposed_linear(slopes_mw.clone()), rows));
        if head.requires_grad {
            self.head_gradient = sum(self.head_gradient.take(), Some(slopes_mw.transpose().matmul(hidden_md)));
        }
    }

    /// One pass through the model, however many chunks there were, with what stands beside the loss.
    fn through(self, policy: &Policy, hidden_md: Tensor<2>, beside: Option<Tensor<1>>) -> ParamGradients {
        let mut through: Option<Tensor<1>> = beside;
        if !self.hidden_gradients.is_empty() {
            // The derivative of this product by the hidden rows is the gradient that came out of the chunks.
            let seed_md = Tensor::cat(self.hidden_gradients, 0).autodiff();
            through = sum(Some((hidden_md * seed_md).sum()), through);
        }
        let trained = policy.trained();
        // A batch may touch nothing that trains below the head, as text does when only the vision tower trains.
        let mut gradients = match through.filter(Tensor::is_tracked) {
            Some(through) => policy.backward(through),
            None => trained.iter().map(|_| None).collect(),
        };
        // A tied head is the embedding table, which has a gradient from the forward pass as well.
        let head = &policy.text.head().name;
        if let Some(index) = trained.iter().position(|param| param.name == *head) {
            gradients[index] = sum(gradients[index].take(), self.head_gradient);
        }
        gradients
    }
}

fn sum<const D: usize>(left: Option<Tensor<D>>, right: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left + right),
        (left, right) => left.or(right),
    }
}

fn chunks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(CHUNK_ROWS).map(move |start| start..(start + CHUNK_ROWS).min(rows))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::Device;

    use super::*;

    /// Log-probs and gradients of three chunks, of which so many logits may be kept.
    fn of_chunks(kept_logits: usize) -> (Vec<f32>, Vec<Vec<f32>>, usize) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl/tiny-dense");
        let policy = Policy::load(&folder, &Device::flex()).expect("the fixture loads").tracked();
        let (rows, width) = (2 * CHUNK_ROWS + 100, policy.config.text.hidden_size);
        let values: Vec<f32> = (0..rows * width).map(|at| (at as f32 * 0.37).sin()).collect();
        let hidden = Tensor::<2>::from_data(TensorData::new(values, [rows, width]), policy.device());
        let hidden = hidden * policy.text.norm.weight.value.clone();
        let targets: Vec<u32> = (0..rows as u32).map(|at| at * 31 % 370).collect();
        let derivative: Vec<f32> = (0..rows).map(|at| (at as f32 * 0.7).cos()).collect();
        let scored = policy.score_keeping(hidden, &targets, 0.8, kept_logits);
        let (log_probs, kept) = (scored.log_probs().to_vec(), scored.kept.len());
        let by = Slopes { log_probs: derivative.clone(), entropies: derivative };
        let gradients = scored.backward(&by, None).into_iter().flatten().map(to_vec).collect();
        (log_probs, gradients, kept)
    }

    #[test]
    fn chunks_that_are_computed_again_give_the_same() {
        let (kept, again) = (of_chunks(usize::MAX), of_chunks(0));
        assert_eq!((kept.2, again.2), (3, 1));
        assert_eq!(kept.1.len(), 2, "the final norm and the tied head");
        assert!(kept.0 == again.0 && kept.1 == again.1);
    }
}
