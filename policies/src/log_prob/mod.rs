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

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};
use rayon::prelude::*;

pub use self::row::{LogSoftmax, pick};
use crate::nn::Param;
use crate::policy::{ParamGradients, Policy};
use crate::tensor::{is_cpu, to_vec};

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
        let chunk = |rows: Range<usize>| {
            let some_md = plain(hidden_md.clone()).narrow(0, rows.start, rows.len());
            head.log_probs(&head.logits(some_md), &targets[rows])
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
            let keeps = rows.start == 0 || rows.end * self.config.text.vocab_size <= kept_logits;
            let logits = scored.logits(&rows);
            scored.log_probs.extend(scored.head.log_probs(&logits, &targets[rows]));
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

    /// Log-probs of targets by the logits of their rows.
    fn log_probs(&self, logits_mw: &Tensor<2>, targets: &[u32]) -> Vec<f32> {
        let (rows, width) = (targets.len(), logits_mw.dims()[1]);
        if is_cpu(&logits_mw.device()) {
            let logits = to_vec(logits_mw.clone());
            let of_row = |(logits, target): (&[f32], &u32)| {
                LogSoftmax::of(logits, self.temperature).log_prob(logits[*target as usize])
            };
            return logits.par_chunks(width).zip(targets).map(of_row).collect();
        }
        let targets_m1 = column(targets, &logits_mw.device());
        to_vec(activation::log_softmax(self.tempered(logits_mw), 1).gather(1, targets_m1).reshape([rows]))
    }

    /// The derivative by logits `[m, w]` of a loss whose derivative by every log-prob is given.
    fn slopes(&self, logits_mw: Tensor<2>, targets: &[u32], derivative: &[f32]) -> Tensor<2> {
        let ([rows, width], device) = (logits_mw.dims(), logits_mw.device());
        if is_cpu(&device) {
            let logits = to_vec(logits_mw);
            let mut slopes = vec![0.0_f32; logits.len()];
            let each = logits.par_chunks(width).zip(targets).zip(derivative);
            slopes.par_chunks_mut(width).zip(each).for_each(|(slopes, ((logits, target), factor))| {
                LogSoftmax::of(logits, self.temperature).slopes(logits, *target as usize, *factor, slopes);
            });
            return Tensor::from_data(TensorData::new(slopes, [rows, width]), &device);
        }
        let factors = TensorData::new(derivative.to_vec(), [rows, 1]);
        let factors_m1 = Tensor::<2>::from_data(factors, &device).div_scalar(self.temperature);
        let shares_mw = activation::softmax(self.tempered(&logits_mw), 1) * factors_m1.clone().neg();
        shares_mw.scatter(1, column(targets, &device), factors_m1, IndexingUpdateOp::Add)
    }

    fn tempered(&self, logits_mw: &Tensor<2>) -> Tensor<2> {
        // Dividing by 1 would change nothing but cost a copy of the largest tensor there is.
        if self.temperature == 1.0 { logits_mw.clone() } else { logits_mw.clone().div_scalar(self.temperature) }
    }
}

fn column(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let rows = ids.len();
    Tensor::from_data(TensorData::new(ids, [rows, 1]), device)
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
    /// Logits of the first chunks, which fit into memory; the others are computed again.
    kept: Vec<Tensor<2>>,
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
        // The head goes back by hand: its logits are freed chunk by chunk, and no graph holds them.
        for rows in chunks(self.targets.len()) {
            let logits_mw = kept.next().unwrap_or_else(|| self.logits(&rows));
            let slopes_mw = self.head.slopes(logits_mw, &self.targets[rows.clone()], &derivative[rows.clone()]);
            hidden_gradients.push(self.head.weight.transposed_linear(slopes_mw.clone()));
            if self.head.weight.requires_grad {
                let some_md = self.plain_md.clone().narrow(0, rows.start, rows.len());
                head_gradient = sum(head_gradient, Some(slopes_mw.transpose().matmul(some_md)));
            }
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

    fn logits(&self, rows: &Range<usize>) -> Tensor<2> {
        self.head.logits(self.plain_md.clone().narrow(0, rows.start, rows.len()))
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
            Some(through) => self.policy.backward(through),
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
