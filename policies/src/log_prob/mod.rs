//! The log-prob seam: what the policy gives a token, and how d loss / d log-prob becomes gradients, by chunks.
//!
//! A log-prob is log-softmax of logits / temperature over the vocabulary less the policy's banned ids. First come the
//! log-probs of all rows, then, from whoever knows the loss, its derivative by each of them. The `[rows, vocabulary]`
//! matrix exists for one chunk of rows at a time: the derivative goes back chunk by chunk down to the hidden rows, then
//! once through the model.
//!
//! Shape suffixes: `m` predicting rows, `d` width, `w` vocabulary.

mod row;

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, activation};

pub use self::row::LogSoftmax;
use crate::nn::Param;
use crate::policy::{ParamGradients, Policy};
use crate::tensor::to_vec;

/// Rows whose logits exist at the same time.
const CHUNK_ROWS: usize = 2048;
/// Up to so many logits wait for the derivative with their graph (256 MiB a copy); those of the first chunk always do.
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
        let chunk = |rows: Range<usize>| {
            let some_md = hidden_md.clone().narrow(0, rows.start, rows.len());
            to_vec(head.log_probs(some_md, &targets[rows]))
        };
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
        let plain_head = head.inner();
        let mut scored = ScoredRows {
            policy: self,
            head,
            plain_md: hidden_md.clone().inner(),
            hidden_md,
            targets,
            log_probs: Vec::with_capacity(targets.len()),
            kept: Vec::new(),
        };
        for rows in chunks(targets.len()) {
            if rows.start == 0 || rows.end * self.config.text.vocab_size <= kept_logits {
                let chunk = scored.chunk(rows);
                scored.log_probs.extend(to_vec(chunk.log_probs_m.clone().inner()));
                scored.kept.push(chunk);
            } else {
                // No graph here: one that is never differentiated would hold its logits until another one is.
                let some_md = scored.plain_md.clone().narrow(0, rows.start, rows.len());
                scored.log_probs.extend(to_vec(plain_head.log_probs(some_md, &targets[rows])));
            }
        }
        scored
    }
}

/// What turns hidden rows into log-probs.
#[derive(Debug)]
struct Head {
    weight: Param,
    ban_1w: Option<Tensor<2>>,
    temperature: f64,
}

impl Head {
    fn of(policy: &Policy, temperature: f64) -> Self {
        Self { weight: policy.text.head().clone(), ban_1w: policy.ban(), temperature }
    }

    /// A head of these numbers without a graph.
    fn inner(&self) -> Self {
        let weight = Param { value: self.weight.value.clone().inner(), ..self.weight.clone() };
        Self { weight, ban_1w: self.ban_1w.clone().map(Tensor::inner), temperature: self.temperature }
    }

    /// Log-probs `[m]`.
    fn log_probs(&self, hidden_md: Tensor<2>, targets: &[u32]) -> Tensor<1> {
        let rows = targets.len();
        let device = hidden_md.device();
        let mut logits_mw = banned(self.weight.linear(hidden_md), self.ban_1w.clone());
        // Dividing by 1 would change nothing but cost a copy of the largest tensor there is.
        if self.temperature != 1.0 {
            logits_mw = logits_mw.div_scalar(self.temperature);
        }
        let targets: Vec<i64> = targets.iter().map(|id| i64::from(*id)).collect();
        let targets_m1 = Tensor::<2, Int>::from_data(TensorData::new(targets, [rows, 1]), &device);
        activation::log_softmax(logits_mw, 1).gather(1, targets_m1).reshape([rows])
    }
}

fn banned(logits_mw: Tensor<2>, ban_1w: Option<Tensor<2>>) -> Tensor<2> {
    match ban_1w {
        Some(ban_1w) => logits_mw + ban_1w,
        None => logits_mw,
    }
}

/// Rows whose log-probs are known and can be differentiated once.
#[derive(Debug)]
pub struct ScoredRows<'a> {
    policy: &'a Policy,
    head: Head,
    /// The forward pass, with its graph.
    hidden_md: Tensor<2>,
    /// Its numbers alone, from which every chunk starts a graph of its own.
    plain_md: Tensor<2>,
    targets: &'a [u32],
    log_probs: Vec<f32>,
    /// The first chunks, whose graphs fit into memory; the others are computed again.
    kept: Vec<Chunk>,
}

/// Log-probs of some rows and the leaf that their graph starts from.
#[derive(Debug)]
struct Chunk {
    hidden_md: Tensor<2>,
    log_probs_m: Tensor<1>,
}

impl ScoredRows<'_> {
    /// The log-prob of every target.
    pub fn log_probs(&self) -> &[f32] {
        &self.log_probs
    }

    /// Gradients, in the order of [`Policy::trained`], of a loss whose derivative by every log-prob is `derivative`.
    /// `beside` is a part of the loss that depends on the forward pass in another way, such as
    /// [`crate::text::balance_loss`].
    ///
    /// # Panics
    /// When there is not one derivative for every log-prob: a fault of the caller.
    pub fn backward(mut self, derivative: &[f32], beside: Option<Tensor<1>>) -> ParamGradients {
        assert_eq!(derivative.len(), self.targets.len(), "one derivative for every log-prob");
        let mut hidden_gradients = Vec::new();
        let mut head_gradient: Option<Tensor<2>> = None;
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        for rows in chunks(self.targets.len()) {
            let chunk = kept.next().unwrap_or_else(|| self.chunk(rows.clone()));
            let weights = TensorData::new(derivative[rows.clone()].to_vec(), [rows.len()]);
            let weights_m = Tensor::<1>::from_data(weights, &chunk.log_probs_m.device());
            // The derivative of this sum by a log-prob is its weight: the loss itself is not needed.
            let mut gradients = (chunk.log_probs_m * weights_m).sum().backward();
            let shape = chunk.hidden_md.dims();
            // Each chunk starts at a leaf, so that its logits are freed before those of the next are made.
            let gradient = chunk.hidden_md.grad_remove(&mut gradients);
            hidden_gradients.push(gradient.unwrap_or_else(|| Tensor::zeros(shape, &self.plain_md.device())));
            head_gradient = sum(head_gradient, self.head.weight.value.grad_remove(&mut gradients));
        }
        // Only now the model: its activations are walked once, however many chunks there are.
        let mut gradients = self.through_the_model(hidden_gradients, beside);
        let trained = self.policy.trained();
        // A tied head is the embedding table, which has a gradient from the forward pass as well.
        if let Some(index) = trained.iter().position(|param| param.name == self.head.weight.name) {
            gradients[index] = sum(gradients[index].take(), head_gradient);
        }
        gradients
    }

    fn chunk(&self, rows: Range<usize>) -> Chunk {
        let hidden_md = self.plain_md.clone().narrow(0, rows.start, rows.len()).autodiff().require_grad();
        let log_probs_m = self.head.log_probs(hidden_md.clone(), &self.targets[rows]);
        Chunk { hidden_md, log_probs_m }
    }

    /// One backward pass from the hidden rows down, with what stands beside the loss.
    fn through_the_model(&self, hidden_gradients: Vec<Tensor<2>>, beside: Option<Tensor<1>>) -> ParamGradients {
        let mut through: Option<Tensor<1>> = beside;
        if !hidden_gradients.is_empty() {
            // The derivative of this product by the hidden rows is the gradient that came out of the chunks.
            let seed_md = Tensor::cat(hidden_gradients, 0).autodiff();
            through = sum(Some((self.hidden_md.clone() * seed_md).sum()), through);
        }
        // A batch may touch nothing that trains below the head, as text does when only the vision tower trains.
        match through.filter(Tensor::is_tracked) {
            Some(through) => self.policy.gradients(&mut through.backward()),
            None => self.policy.trained().iter().map(|_| None).collect(),
        }
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
        let gradients = scored.backward(&derivative, None).into_iter().flatten().map(to_vec).collect();
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
