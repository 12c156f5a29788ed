//! The policy: a whole Qwen3-VL model, its forward passes, and the view of it that records gradients.
//!
//! Shape suffixes: `t` rows of a batch, `d` text width, `w` vocabulary.

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use crate::attention::{Heads, Layout, Projected};
use crate::config::Config;
use crate::input::Batch;
use crate::lora::Adapter;
use crate::nn::{Param, Parameters, RopeTable, parameters, requires_grad};
use crate::tensor::{indices, to_f32};
use crate::text::{TextModel, Visual};
use crate::trace::Trace;
use crate::vision::VisionTower;

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
parameters!(Policy { vision, text });

/// Gradients in the order of [`Policy::trained`]; `None` where nothing depends on the parameter.
pub type ParamGradients = Vec<Option<Tensor<2>>>;

impl Policy {
    /// All parameters of the model but those of an adapter, always in the same order.
    pub fn parameters(&self) -> Vec<&Param> {
        self.parameters_that(|param| !param.is_adapter())
    }

    /// The parameters of [`Policy::parameters`], to change them.
    pub fn parameters_mut(&mut self) -> Vec<&mut Param> {
        self.parameters_that_mut(|param| !param.is_adapter())
    }

    /// The parameters of the adapter.
    pub fn adapter_parameters(&self) -> Vec<&Param> {
        self.parameters_that(Param::is_adapter)
    }

    /// The parameters that training changes, always in the same order: all but the frozen ones, or those of an adapter.
    pub fn trained(&self) -> Vec<&Param> {
        self.parameters_that(|param| param.requires_grad)
    }

    /// The parameters of [`Policy::trained`], to change them.
    pub fn trained_mut(&mut self) -> Vec<&mut Param> {
        self.parameters_that_mut(|param| param.requires_grad)
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

    /// Widens what trains to f32, where it is kept in another format: small steps would be lost in one.
    pub fn widen_trained(&mut self) {
        for param in self.trained_mut() {
            param.value.inplace(to_f32);
        }
    }

    /// The device that inputs must be made on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A view whose trainable parameters record gradients. Drop it before the update. When nothing of the vision tower
    /// and its mergers trains, they stay as they are, and what they make of pictures has no graph.
    pub fn tracked(&self) -> Self {
        // The clone shares its numbers with the policy; as long as it lives, an update would have to copy them.
        let mut view = self.clone();
        view.device = self.device.clone().autodiff();
        // A frozen parameter is lifted too: tensors with a graph and without one cannot meet in one operation.
        let lift = |param: &mut Param| {
            let value = param.value.clone().autodiff();
            param.value = if param.requires_grad { value.require_grad() } else { value };
        };
        if requires_grad(&view.vision) {
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
        let layout = Layout::new(batch, Heads::of(text), &self.device);
        let mut attend = |_: usize, projected: Projected| layout.attend(projected);
        self.text.forward(
            indices(batch.ids.iter().map(|id| i64::from(*id)), &self.device),
            &rope,
            visual.as_ref(),
            &mut attend,
            trace,
        )
    }

    fn visual(&self, batch: &Batch<'_>, trace: &mut Trace) -> Option<Visual> {
        if batch.pictures.is_empty() {
            return None;
        }
        // A frozen tower computes without a graph: its activations are then freed as it goes, and only what it makes of
        // the pictures is lifted.
        let features = if self.device.is_autodiff() && !requires_grad(&self.vision) {
            self.vision.forward(&batch.pictures, &self.device.clone().inner(), trace).autodiff()
        } else {
            self.vision.forward(&batch.pictures, &self.device, trace)
        };
        // Placeholders have embeddings of their own, which picture features replace and are not added to.
        let mut keep = vec![1.0_f32; batch.rows()];
        for row in &batch.visual_rows {
            keep[*row as usize] = 0.0;
        }
        let keep_t1 = Tensor::from_data(TensorData::new(keep, [batch.rows(), 1]), &self.device);
        Some(Visual { features, rows_n: indices(batch.visual_rows.iter().copied(), &self.device), keep_t1 })
    }
}
