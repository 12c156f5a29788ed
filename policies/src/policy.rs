//! The policy: a whole Qwen3-VL model, its forward passes, and the view of it that records gradients.
//!
//! Shape suffixes: `t` rows of a batch, `d` text width, `w` vocabulary.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::attention::{Heads, Layout, Projected};
use crate::bucket::{first_rows, repeated, room_for};
use crate::config::Config;
use crate::input::Batch;
use crate::lora::Adapter;
use crate::nn::{Param, Parameters, RopeTable, parameters, requires_grad};
use crate::tape::{First, Tape};
use crate::tensor::{indices, to_f32};
use crate::text::{TextLayer, TextModel, Visual};
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
    /// Of a tracked view that runs its layers again on the way back: what it has run.
    pub(crate) tape: Option<Tape>,
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

    /// This tracked view, with `recompute` one whose layers keep only their input and run again on the way back: less memory
    /// for more time, and the same gradients, bit for bit. The last layer, whose way back begins at once, keeps all it has.
    #[must_use]
    pub fn recomputing(mut self, recompute: bool) -> Self {
        self.tape = recompute.then(Tape::default);
        self
    }

    /// Gradients of a loss that was computed from this tracked view's forward passes.
    pub fn backward(&self, loss: Tensor<1>) -> ParamGradients {
        let trained = self.trained();
        let mut found: ParamGradients = trained.iter().map(|_| None).collect();
        // No parameter belongs to two layers: each has its gradient in one piece.
        self.tape.clone().unwrap_or_default().backward(loss, &mut |gradients| {
            for (found, param) in found.iter_mut().zip(&trained) {
                if let Some(gradient) = param.value.grad_remove(gradients) {
                    *found = Some(gradient);
                }
            }
        });
        found
    }

    /// Hidden rows `[t, d]` of a batch, before the head.
    pub fn forward(&self, batch: &Batch<'_>, trace: &mut Trace) -> Tensor<2> {
        let rows = room_for(batch.rows(), &self.device);
        let visual = self.visual(batch, rows, trace);
        let text = &self.config.text;
        let positions = repeated(&batch.positions, rows);
        let rope = RopeTable::text(&positions, text.head_dim, text.rope_theta, text.mrope_section, &self.device);
        let layout = Arc::new(Layout::new(batch, rows, Heads::of(text), &self.device));
        trace.limit(batch.rows());
        let mut through = |index: usize, layer: &TextLayer, x_td: Tensor<2>| {
            let Some(tape) = self.tape.as_ref().filter(|_| index + 1 < self.text.layers.len()) else {
                return layer.forward(x_td, &rope, text, &mut |x: Projected| layout.attend(x));
            };
            let (rope, text, layout) = (rope.clone(), text.clone(), Arc::clone(&layout));
            tape.run(layer, x_td, First::Rows, move |layer: &TextLayer, x_td| {
                layer.forward(x_td, &rope, &text, &mut |x: Projected| layout.attend(x))
            })
        };
        let ids = indices(repeated(&batch.ids, rows).into_iter().map(i64::from), &self.device);
        first_rows(self.text.forward(ids, visual.as_ref(), &mut through, trace), batch.rows())
    }

    fn visual(&self, batch: &Batch<'_>, rows: usize, trace: &mut Trace) -> Option<Visual> {
        if batch.pictures.is_empty() {
            return None;
        }
        // A frozen tower computes without a graph: its activations are then freed as it goes, and only what it makes of
        // the pictures is lifted.
        let features = if self.device.is_autodiff() && !requires_grad(&self.vision) {
            self.vision.forward(&batch.pictures, &self.device.clone().inner(), None, trace).autodiff()
        } else {
            self.vision.forward(&batch.pictures, &self.device, self.tape.as_ref(), trace)
        };
        // Placeholders have embeddings of their own, which picture features replace and are not added to.
        let mut keep = vec![1.0_f32; rows];
        for row in &batch.visual_rows {
            keep[*row as usize] = 0.0;
        }
        let keep_t1 = Tensor::from_data(TensorData::new(keep, [rows, 1]), &self.device);
        Some(Visual { features, rows_n: indices(batch.visual_rows.iter().copied(), &self.device), keep_t1 })
    }
}
