//! AdamW with f32 state, clipping by the global norm, and the learning-rate schedule.

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of the optimizer and its schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub lr: f64,
    /// Steps over which the learning rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// The cosine decay ends at this share of the peak; 1 keeps it constant.
    #[serde(default = "one")]
    pub final_lr_ratio: f64,
    /// Decay rates of the two moments.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "eps")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default = "weight_decay")]
    pub weight_decay: f64,
    /// Largest global norm of the gradients.
    #[serde(default = "one")]
    pub clip_norm: f64,
}

fn one() -> f64 {
    1.0
}

fn betas() -> [f64; 2] {
    [0.9, 0.98]
}

fn eps() -> f64 {
    1e-8
}

fn weight_decay() -> f64 {
    0.01
}

impl OptimizerConfig {
    /// The learning rate of step `step` (counted from 0) of `steps`.
    pub fn lr_at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return self.lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let done = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let cosine = (1.0 + (std::f64::consts::PI * done).cos()) / 2.0;
        self.lr * (self.final_lr_ratio + (1.0 - self.final_lr_ratio) * cosine)
    }
}

/// The moments of one parameter.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean of gradients.
    pub first: Tensor<2>,
    /// Mean of squared gradients.
    pub second: Tensor<2>,
}

/// AdamW over a fixed list of matrices.
#[derive(Clone, Debug, Default)]
pub struct AdamW {
    /// Steps taken.
    pub steps: i32,
    /// Moments by the parameter's place in the list; `None` until it has had a gradient.
    pub moments: Vec<Option<Moments>>,
}

impl AdamW {
    /// One step. Gradients are clipped together by their global norm, which is returned as it was before clipping.
    pub fn step(
        &mut self,
        params: &mut [&mut Tensor<2>],
        gradients: Vec<Option<Tensor<2>>>,
        config: &OptimizerConfig,
        lr: f64,
    ) -> f64 {
        let norm = global_norm(&gradients);
        let scale = (config.clip_norm / (norm + 1e-6)).min(1.0);
        self.steps += 1;
        self.moments.resize(params.len(), None);
        let [beta1, beta2] = config.betas;
        let unbias1 = 1.0 - beta1.powi(self.steps);
        let unbias2 = (1.0 - beta2.powi(self.steps)).sqrt();
        for ((param, gradient), moments) in params.iter_mut().zip(gradients).zip(&mut self.moments) {
            let Some(gradient) = gradient else { continue };
            let gradient = gradient.mul_scalar(scale);
            let before = moments.take().unwrap_or_else(|| {
                let zeros = Tensor::zeros_like(&gradient);
                Moments { first: zeros.clone(), second: zeros }
            });
            let first = before.first.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
            let second = before.second.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
            let denominator = second.clone().sqrt().div_scalar(unbias2).add_scalar(config.eps);
            let update = (first.clone() / denominator).mul_scalar(lr / unbias1);
            param.inplace(|value| value.mul_scalar(1.0 - lr * config.weight_decay) - update);
            *moments = Some(Moments { first, second });
        }
        norm
    }
}

fn global_norm(gradients: &[Option<Tensor<2>>]) -> f64 {
    let squares =
        gradients.iter().flatten().map(|gradient| f64::from(gradient.clone().square().sum().into_scalar::<f32>()));
    squares.sum::<f64>().sqrt()
}
