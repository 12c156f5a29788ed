//! The log-prob seam: what the policy gives a token, and how a loss on log-probs becomes gradients, by chunks.
//!
//! A log-prob is log-softmax of logits / temperature over the vocabulary less the policy's banned ids. The
//! `[rows, vocabulary]` matrix exists for one chunk of rows at a time: the loss is differentiated chunk by chunk down to
//! the hidden rows, then once through the model.
//!
//! Shape suffixes: `m` predicting rows, `d` width, `w` vocabulary.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData, activation};

use crate::policy::{ParamGradients, Policy};

/// Rows whose logits exist at the same time.
const CHUNK_ROWS: usize = 2048;

impl Policy {
    /// Logits `[m, w]` of hidden rows, banned ids at minus infinity.
    pub fn logits(&self, hidden_md: Tensor<2>) -> Tensor<2> {
        let logits_mw = self.text.head().product(hidden_md);
        match self.ban() {
            Some(ban) => logits_mw + ban,
            None => logits_mw,
        }
    }

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

    /// Log-probs `[m]` of `targets` given by hidden rows.
    pub fn token_log_probs(&self, hidden_md: Tensor<2>, targets: &[u32], temperature: f64) -> Vec<f32> {
        let mut all = Vec::with_capacity(targets.len());
        for rows in chunks(targets.len()) {
            let log_probs =
                self.chunk_log_probs(hidden_md.clone().narrow(0, rows.start, rows.len()), &targets[rows], temperature);
            all.extend(floats(log_probs));
        }
        all
    }

    fn chunk_log_probs(&self, hidden_md: Tensor<2>, targets: &[u32], temperature: f64) -> Tensor<1> {
        let rows = targets.len();
        let mut logits_mw = self.logits(hidden_md);
        if temperature != 1.0 {
            logits_mw = logits_mw.div_scalar(temperature);
        }
        let targets = self.indices(targets.iter().map(|id| i64::from(*id))).reshape([rows, 1]);
        let targets: Tensor<2, Int> = targets;
        activation::log_softmax(logits_mw, 1).gather(1, targets).reshape([rows])
    }

    /// Gradients of a loss on log-probs; `self` is a tracked view and `hidden_md` its forward pass.
    ///
    /// `loss(rows, log_probs)` gives the loss of a chunk of rows as a scalar tensor; the whole loss is the sum over
    /// chunks. Returns the gradients and the log-probs of all rows.
    pub fn log_prob_gradients(
        &self,
        hidden_md: Tensor<2>,
        targets: &[u32],
        temperature: f64,
        loss: &mut dyn FnMut(Range<usize>, Tensor<1>) -> Tensor<1>,
    ) -> (ParamGradients, Vec<f32>) {
        self.log_prob_gradients_beside(hidden_md, targets, temperature, loss, None)
    }

    /// The same of a loss on log-probs plus one that depends on the forward pass in another way, such as
    /// [`crate::moe::balance_loss`].
    pub fn log_prob_gradients_beside(
        &self,
        hidden_md: Tensor<2>,
        targets: &[u32],
        temperature: f64,
        loss: &mut dyn FnMut(Range<usize>, Tensor<1>) -> Tensor<1>,
        beside: Option<Tensor<1>>,
    ) -> (ParamGradients, Vec<f32>) {
        let plain_md = hidden_md.clone().inner();
        let head = self.text.head().value.clone();
        let mut hidden_gradients = Vec::new();
        let mut head_gradient: Option<Tensor<2>> = None;
        let mut all = Vec::with_capacity(targets.len());
        for rows in chunks(targets.len()) {
            let chunk_md = plain_md.clone().narrow(0, rows.start, rows.len()).autodiff().require_grad();
            let log_probs = self.chunk_log_probs(chunk_md.clone(), &targets[rows.clone()], temperature);
            all.extend(floats(log_probs.clone().inner()));
            let mut gradients = loss(rows, log_probs).backward();
            let shape = chunk_md.dims();
            let chunk_gradient = chunk_md.grad_remove(&mut gradients);
            hidden_gradients.push(chunk_gradient.unwrap_or_else(|| Tensor::zeros(shape, &plain_md.device())));
            if let Some(gradient) = head.grad_remove(&mut gradients) {
                head_gradient = Some(match head_gradient {
                    Some(sum) => sum + gradient,
                    None => gradient,
                });
            }
        }
        let seed_md = Tensor::cat(hidden_gradients, 0).autodiff();
        let mut through = (hidden_md * seed_md).sum();
        if let Some(beside) = beside {
            through = through + beside;
        }
        // A batch may touch nothing that trains below the head, as text does when only the vision tower trains.
        let mut gradients = match through.is_tracked() {
            true => self.gradients(&mut through.backward()),
            false => self.trained().iter().map(|_| None).collect(),
        };
        let head_name = &self.text.head().name;
        let index = self.trained().iter().position(|param| param.name == *head_name);
        if let (Some(index), Some(gradient)) = (index, head_gradient) {
            gradients[index] = Some(match gradients[index].take() {
                Some(sum) => sum + gradient,
                None => gradient,
            });
        }
        (gradients, all)
    }
}

fn chunks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(CHUNK_ROWS).map(move |start| start..(start + CHUNK_ROWS).min(rows))
}

/// The values of a tensor, on the host.
pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("float tensors of a policy are f32")
}
