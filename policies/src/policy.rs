//! The policy: a whole Qwen3-VL model, its forward passes, and the view of it that records gradients.
//!
//! Shape suffixes: `t` rows of a batch, `d` text width, `w` vocabulary.

use burn::tensor::{DType, Device, Gradients, Int, Tensor, TensorData};

use crate::attention::{Heads, attend_branches, attend_self, branch_mask, causal_mask};
use crate::batch::Batch;
use crate::config::Config;
use crate::freeze::trains;
use crate::lora::Adapter;
use crate::param::{Param, Parameters, holds, wide};
use crate::rope::RopeTable;
use crate::text::{Projected, TextModel, Visual};
use crate::trace::Trace;
use crate::vision::VisionTower;
use crate::weights::{Loading, WeightFormat};

/// A Qwen3-VL model on a device.
///
/// Its tensors record nothing; [`Policy::tracked`] gives a view whose trainable tensors do. Cloning copies handles, not
/// numbers, but while a clone is alive an optimizer cannot update in place.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Sizes.
    pub config: Config,
    /// The vision tower.
    pub vision: VisionTower,
    /// The text decoder.
    pub text: TextModel,
    /// Token ids that are never sampled: the same ban is in every log-prob.
    pub banned: Vec<u32>,
    /// What its low-rank adapter is, if it has one.
    pub adapter: Option<Adapter>,
    pub(crate) device: Device,
}
holds!(Policy { vision, text });

/// Gradients in the order of [`Policy::trained`]; `None` where nothing depends on the parameter.
pub type ParamGradients = Vec<Option<Tensor<2>>>;

impl Policy {
    /// All parameters of the model, always in the same order; those of an adapter are none of them.
    pub fn parameters(&self) -> Vec<&Param> {
        self.parameters_that(|param| !param.is_adapter())
    }

    /// The same, to change them.
    pub fn parameters_mut(&mut self) -> Vec<&mut Param> {
        self.parameters_that_mut(|param| !param.is_adapter())
    }

    /// The parameters of the adapter.
    pub fn adapter_parameters(&self) -> Vec<&Param> {
        self.parameters_that(Param::is_adapter)
    }

    /// The parameters that training changes, always in the same order: all but the frozen ones, or those of an adapter.
    pub fn trained(&self) -> Vec<&Param> {
        self.parameters_that(|param| param.trains)
    }

    /// The same, to change them.
    pub fn trained_mut(&mut self) -> Vec<&mut Param> {
        self.parameters_that_mut(|param| param.trains)
    }

    fn parameters_that(&self, holds: impl Fn(&Param) -> bool) -> Vec<&Param> {
        let mut all = Vec::new();
        self.visit(&mut |param| all.push(param));
        all.retain(|param| holds(param));
        all
    }

    fn parameters_that_mut(&mut self, holds: impl Fn(&Param) -> bool) -> Vec<&mut Param> {
        let mut all = Vec::new();
        self.visit_mut(&mut |param| all.push(param));
        all.retain(|param| holds(param));
        all
    }

    /// Takes DeepStack out, for an ablation: the mergers go, and no feature is added to the first text layers. What is
    /// saved is a model without DeepStack, by its own config.
    pub fn remove_deepstack(&mut self) {
        self.vision.deepstack.clear();
        self.vision.config.deepstack_indexes.clear();
        self.config.vision.deepstack_indexes.clear();
    }

    /// Number of numbers in all parameters; a tied head counts once.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|param| param.shape.iter().product::<usize>()).sum()
    }

    /// Keeps the weights in `format` from now on, but for those that `f32_of` names, which are kept in f32.
    pub fn keep_in(&mut self, loading: &Loading<'_>) {
        self.visit_mut(&mut |param| {
            let dtype = match loading.format_of(&param.name) {
                WeightFormat::F32 => DType::F32,
                WeightFormat::Bf16 => DType::BF16,
            };
            if param.value.dtype() != dtype {
                param.value.inplace(|value| value.cast(dtype));
            }
        });
    }

    /// Widens what trains to f32, where it is kept in another format: small steps would be lost in one.
    pub fn widen_trained(&mut self) {
        for param in self.trained_mut() {
            param.value.inplace(wide);
        }
    }

    /// The device that inputs must be made on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A view whose trainable parameters record gradients. Drop it before the update. When nothing of the vision tower
    /// and its mergers trains, they stay as they are, and what they make of pictures has no graph.
    pub fn tracked(&self) -> Self {
        let mut view = self.clone();
        view.device = self.device.clone().autodiff();
        let lift = |param: &mut Param| {
            let value = param.value.clone().autodiff();
            param.value = if param.trains { value.require_grad() } else { value };
        };
        if trains(&view.vision) {
            view.vision.visit_mut(&mut |param| lift(param));
        }
        view.text.visit_mut(&mut |param| lift(param));
        view
    }

    /// Takes this tracked view's gradients out of `gradients`.
    pub fn gradients(&self, gradients: &mut Gradients) -> ParamGradients {
        self.trained().iter().map(|param| param.value.grad_remove(gradients)).collect()
    }

    /// Hidden rows `[t, d]` of a batch, before the head.
    pub fn forward(&self, batch: &Batch<'_>, trace: &mut Trace) -> Tensor<2> {
        let visual = self.visual(batch, trace);
        let text = &self.config.text;
        let rope = RopeTable::text(&batch.positions, text.head_dim, text.rope_theta, text.mrope_section, &self.device);
        let layout = DeviceLayout::new(batch, Heads::of(text), &self.device);
        let mut attend = |_: usize, projected: Projected| layout.attend(projected).0;
        self.text.forward(
            self.indices(batch.ids.iter().map(|id| i64::from(*id))),
            &rope,
            visual.as_ref(),
            &mut attend,
            trace,
        )
    }

    /// Keys and values of the prompts of a batch, one pair `[b*m, p, k]` per layer, for decoding.
    pub(crate) fn prefill(&self, batch: &Batch<'_>) -> Vec<(Tensor<3>, Tensor<3>)> {
        let mut kept = Vec::with_capacity(self.config.text.layers);
        let trace = &mut Trace::off();
        if batch.rows() == 0 {
            return self.empty_prefix(batch.prefix_lens.len());
        }
        let visual = self.visual(batch, trace);
        let text = &self.config.text;
        let rope = RopeTable::text(&batch.positions, text.head_dim, text.rope_theta, text.mrope_section, &self.device);
        let layout = DeviceLayout::new(batch, Heads::of(text), &self.device);
        let mut attend = |_: usize, projected: Projected| {
            let (context, prefix) = layout.attend(projected);
            kept.push(prefix);
            context
        };
        let ids = self.indices(batch.ids.iter().map(|id| i64::from(*id)));
        self.text.forward(ids, &rope, visual.as_ref(), &mut attend, trace);
        kept
    }

    fn empty_prefix(&self, prompts: usize) -> Vec<(Tensor<3>, Tensor<3>)> {
        let text = &self.config.text;
        let zeros = || Tensor::<3>::zeros([prompts * text.kv_heads, 1, text.head_dim], &self.device);
        (0..text.layers).map(|_| (zeros(), zeros())).collect()
    }

    fn visual(&self, batch: &Batch<'_>, trace: &mut Trace) -> Option<Visual> {
        if batch.pictures.is_empty() {
            return None;
        }
        let features = if self.device.is_autodiff() && !trains(&self.vision) {
            self.vision.forward(&batch.pictures, &self.device.clone().inner(), trace).autodiff()
        } else {
            self.vision.forward(&batch.pictures, &self.device, trace)
        };
        let mut keep = vec![1.0_f32; batch.rows()];
        for row in &batch.visual_rows {
            keep[*row as usize] = 0.0;
        }
        let keep_t1 = Tensor::from_data(TensorData::new(keep, [batch.rows(), 1]), &self.device);
        Some(Visual { features, rows_n: self.indices(batch.visual_rows.iter().copied()), keep_t1 })
    }

    pub(crate) fn indices(&self, values: impl Iterator<Item = i64>) -> Tensor<1, Int> {
        indices(values, &self.device)
    }
}

fn indices(values: impl Iterator<Item = i64>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Index tensors and masks of a batch.
struct DeviceLayout {
    heads: Heads,
    prompts: usize,
    branches: usize,
    prefix_slots: Tensor<1, Int>,
    prefix_mask: Tensor<3>,
    branch: Option<(Tensor<1, Int>, Tensor<3>)>,
    row_slots: Tensor<1, Int>,
}

impl DeviceLayout {
    fn new(batch: &Batch<'_>, heads: Heads, device: &Device) -> Self {
        let prompts = batch.prefix_lens.len();
        let branch = (batch.completions > 0).then(|| {
            let (g, a, p) = (batch.completions, batch.completion_width, batch.prefix_width);
            let slots = indices(batch.completion_slots.iter().copied(), device);
            (slots, branch_mask(heads, &batch.prefix_lens, g, a, p, device))
        });
        Self {
            heads,
            prompts,
            branches: batch.completions,
            prefix_slots: indices(batch.prefix_slots.iter().copied(), device),
            prefix_mask: causal_mask(heads, prompts, batch.prefix_width, device),
            branch,
            row_slots: indices(batch.row_slots.iter().copied(), device),
        }
    }

    /// Contexts of all rows, and the prompts' keys and values.
    fn attend(&self, x: Projected) -> (Tensor<2>, (Tensor<3>, Tensor<3>)) {
        let (heads, b) = (self.heads, self.prompts);
        let prompt = |x: &Tensor<2>| x.clone().select(0, self.prefix_slots.clone());
        let (k, v) = (heads.split_keys(prompt(&x.k), b, 1), heads.split_keys(prompt(&x.v), b, 1));
        let q = heads.split_queries(prompt(&x.q), b, 1);
        let mut contexts = vec![heads.join(attend_self(q, k.clone(), v.clone(), &self.prefix_mask), b, 1)];
        if let Some((slots, mask)) = &self.branch {
            let g = self.branches;
            let branch = |x: Tensor<2>| x.select(0, slots.clone());
            let own = (heads.split_keys(branch(x.k), b, g), heads.split_keys(branch(x.v), b, g));
            let q = heads.split_queries(branch(x.q), b, g);
            contexts.push(heads.join(attend_branches(q, (k.clone(), v.clone()), own, Some(mask)), b, g));
        }
        let padded = if contexts.len() == 1 { contexts.remove(0) } else { Tensor::cat(contexts, 0) };
        (padded.select(0, self.row_slots.clone()), (k, v))
    }
}
