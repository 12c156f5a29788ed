//! AdamW with f32 state, clipping by the global norm, and the learning-rate schedule.

use crate::finite::{Of, first_not_finite, sums};
use crate::moment::{Moment, MomentFormat, Sign};
use crate::rates::Rates;
use burn::tensor::Tensor;
use sapo_policies::Part;
#[cfg(feature = "gpu")]
use sapo_policies::tensor::is_cpu;
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
    /// How the learning rate falls after the warm-up: by a `cosine`, in a straight line (`linear`), or not (`constant`).
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "cosine"))]
    pub schedule: Schedule,
    /// The decay ends at this share of the peak; 1 keeps it constant.
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
    /// Largest global norm of the gradients; `inf` never clips.
    #[serde(default = "one")]
    pub clip_norm: f64,
    /// How the moments are kept: `f32`, where the parameters are; `host`, in this machine's memory in place of a GPU's; `float8`,
    /// there in 8 bits, a quarter of the bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "f32"))]
    pub moments: MomentFormat,
    /// Parts with a learning rate or a decay of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<PartRate>,
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// By half a cosine.
    #[default]
    Cosine,
    /// In a straight line.
    Linear,
    /// Not at all.
    Constant,
}

/// What parts of the model train with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartRate {
    /// The parts, with the names of `policy.freeze`; an adapter's parameters belong to the part that they are beside.
    pub parts: Vec<Part>,
    /// Their learning rate, as a multiple of the others'.
    #[serde(default = "one")]
    pub lr_scale: f64,
    /// Their weight decay, in place of the others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
        let left = match self.schedule {
            Schedule::Cosine => (1.0 + (std::f64::consts::PI * done).cos()) / 2.0,
            Schedule::Linear => 1.0 - done,
            Schedule::Constant => 1.0,
        };
        self.lr * (self.final_lr_ratio + (1.0 - self.final_lr_ratio) * left)
    }

    /// A parameter by its name, as it trains.
    pub fn trainee<'a>(&self, name: &str, value: &'a mut Tensor<2>) -> Trainee<'a> {
        let own = self.groups.iter().find(|group| Part::of(name).is_frozen_by(&group.parts));
        Trainee {
            value,
            lr_scale: own.map_or(1.0, |group| group.lr_scale),
            weight_decay: own.and_then(|group| group.weight_decay).unwrap_or(self.weight_decay),
        }
    }
}

/// The moments of one parameter.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean of gradients.
    pub first: Moment,
    /// Mean of squared gradients.
    pub second: Moment,
    /// Gradients that they are means of: a parameter that no batch touches stands still.
    pub steps: i32,
}

/// A parameter that trains.
#[derive(Debug)]
pub struct Trainee<'a> {
    /// Its numbers.
    pub value: &'a mut Tensor<2>,
    /// Multiplies the learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// AdamW over a fixed list of matrices.
#[derive(Clone, Debug, Default)]
pub struct AdamW {
    /// Moments by the parameter's place in the list; `None` until it has had a gradient.
    pub moments: Vec<Option<Moments>>,
}

/// Why a step is not what it should be: the place, in the list of parameters, of the first that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStep {
    /// Its gradient was not, or the sum of the gradient's squares: nothing was changed.
    Gradient(usize),
    /// The parameter itself is not, after the step: gradients were finite, and what is there now cannot be used.
    Weight(usize),
}

impl AdamW {
    /// One step. Gradients are clipped together by their global norm, which is returned as it was before clipping.
    ///
    /// # Errors
    /// When a gradient is not finite, and then neither parameters nor moments have changed; or when a parameter no longer
    /// is.
    pub fn step(
        &mut self,
        params: &mut [Trainee<'_>],
        gradients: Vec<Option<Tensor<2>>>,
        config: &OptimizerConfig,
        lr: f64,
    ) -> Result<f64, BadStep> {
        let norm = global_norm(&gradients)?;
        let scale = (config.clip_norm / (norm + 1e-6)).min(1.0);
        self.moments.resize(params.len(), None);
        let [beta1, beta2] = config.betas;
        for (place, ((param, gradient), moments)) in params.iter_mut().zip(gradients).zip(&mut self.moments).enumerate()
        {
            let Some(gradient) = gradient else { continue };
            let before = moments.take();
            let steps = before.as_ref().map_or(0, |before| before.steps) + 1;
            let (first, second) = match before {
                Some(before) => (before.first.on(&gradient.device()), before.second.on(&gradient.device())),
                None => (Tensor::zeros_like(&gradient), Tensor::zeros_like(&gradient)),
            };
            let lr = lr * param.lr_scale;
            let rates = Rates {
                scale,
                betas: [beta1, beta2],
                unbias2: (1.0 - beta2.powi(steps)).sqrt(),
                eps: config.eps,
                rate: lr / (1.0 - beta1.powi(steps)),
                kept: 1.0 - lr * param.weight_decay,
            };
            let (first, second) = update(rates, gradient, param.value, [first, second]);
            let keep = |sign, value| Moment::keep(config.moments, sign, value, [place as u32, steps as u32]);
            let (first, second) = (keep(Sign::Either, first), keep(Sign::Never, second));
            *moments = Some(Moments { first, second, steps });
        }
        let bad = first_not_finite(params.iter().map(|param| &*param.value));
        bad.map_or(Ok(norm), |place| Err(BadStep::Weight(place)))
    }
}

/// Changes a parameter, and gives its moments after the update.
fn update(
    rates: Rates,
    gradient: Tensor<2>,
    value: &mut Tensor<2>,
    [first, second]: [Tensor<2>; 2],
) -> (Tensor<2>, Tensor<2>) {
    #[cfg(feature = "gpu")]
    if !is_cpu(&gradient.device()) {
        let mut moments = None;
        value.inplace(|value| {
            let [value, first, second] = crate::gpu::updated(gradient, [value, first, second], rates);
            moments = Some((first, second));
            value
        });
        return moments.expect("`inplace` calls");
    }
    let [beta1, beta2] = rates.betas;
    let gradient = gradient.mul_scalar(rates.scale);
    let first = first.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
    let second = second.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
    let denominator = second.clone().sqrt().div_scalar(rates.unbias2).add_scalar(rates.eps);
    let update = (first.clone() / denominator).mul_scalar(rates.rate);
    value.inplace(|value| value.mul_scalar(rates.kept) - update);
    (first, second)
}

/// The norm of all gradients together; the place of the first whose squares have no finite sum.
fn global_norm(gradients: &[Option<Tensor<2>>]) -> Result<f64, BadStep> {
    let there = gradients.iter().enumerate().filter_map(|(place, gradient)| Some((place, gradient.as_ref()?)));
    let (places, there): (Vec<usize>, Vec<&Tensor<2>>) = there.unzip();
    let squares = sums(there.into_iter(), Of::Squares);
    if let Some(bad) = squares.iter().position(|sum| !sum.is_finite()) {
        return Err(BadStep::Gradient(places[bad]));
    }
    Ok(squares.into_iter().map(f64::from).sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use sapo_policies::to_vec;

    use super::*;

    fn config(eps: f64) -> OptimizerConfig {
        OptimizerConfig {
            lr: 0.1,
            warmup_steps: 0,
            final_lr_ratio: 1.0,
            betas: betas(),
            eps,
            weight_decay: 0.0,
            clip_norm: 1.0,
            schedule: Schedule::default(),
            moments: MomentFormat::default(),
            groups: Vec::new(),
        }
    }

    fn of(values: [f32; 2]) -> Tensor<2> {
        Tensor::from_floats([values], &Device::flex())
    }

    fn all(adam: &AdamW) -> Vec<Vec<f32>> {
        let moments = adam.moments.iter().flatten();
        moments.flat_map(|of| [of.first.numbers(), of.second.numbers(), vec![of.steps as f32]]).collect()
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing_and_is_named() {
        let (mut one, mut two) = (of([1.0, 2.0]), of([3.0, 4.0]));
        let mut adam = AdamW::default();
        let mut step = |adam: &mut AdamW, gradients| {
            let config = config(1e-8);
            let mut params = [config.trainee("a", &mut one), config.trainee("b", &mut two)];
            adam.step(&mut params, gradients, &config, 0.1)
        };
        step(&mut adam, vec![Some(of([0.1, 0.2])), Some(of([0.3, 0.4]))]).expect("all is finite");
        let moments = all(&adam);
        // A sum of squares that overflows has no norm to clip by.
        for bad in [f32::NAN, f32::INFINITY, 1e25] {
            let gradients = vec![None, Some(of([0.0, bad]))];
            assert_eq!(step(&mut adam, gradients), Err(BadStep::Gradient(1)), "{bad}");
        }
        assert_eq!(all(&adam), moments);
        let before = (0.9, 1.9, 2.9, 3.9);
        let near = |value: f32, wanted: f32| assert!((value - wanted).abs() < 1e-5, "{value} {wanted}");
        let (one, two) = (to_vec(one), to_vec(two));
        [(one[0], before.0), (one[1], before.1), (two[0], before.2), (two[1], before.3)]
            .into_iter()
            .for_each(|(value, wanted)| near(value, wanted));
    }

    #[test]
    fn parts_have_rates_of_their_own_and_schedules_their_form() {
        let tower = "model.visual.blocks.0.attn.qkv.weight";
        let rate = PartRate { parts: vec![Part::Vision], lr_scale: 0.1, weight_decay: Some(0.5) };
        let config = OptimizerConfig { groups: vec![rate], ..config(1e-8) };
        let (mut one, mut two) = (of([1.0, 1.0]), of([1.0, 1.0]));
        let mut params =
            [config.trainee(tower, &mut one), config.trainee("model.language_model.norm.weight", &mut two)];
        let gradients = || vec![Some(of([0.1, 0.1])), Some(of([0.1, 0.1]))];
        AdamW::default().step(&mut params, gradients(), &config, 0.1).expect("all is finite");
        // The first step of Adam is the rate itself: 0.01 with a decay of 0.5 times that, and 0.1 without one.
        assert!((to_vec(one)[0] - (1.0 - 0.01 * 0.5 - 0.01)).abs() < 1e-5);
        assert!((to_vec(two)[0] - 0.9).abs() < 1e-5);
        let at = |schedule, step| OptimizerConfig { schedule, final_lr_ratio: 0.2, ..config.clone() }.lr_at(step, 100);
        for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant] {
            assert!((at(schedule, 0) - 0.1).abs() < 1e-12, "{schedule:?}");
            let end = if schedule == Schedule::Constant { 0.1 } else { 0.02 };
            assert!((at(schedule, 100) - end).abs() < 1e-12, "{schedule:?}");
        }
        assert!((at(Schedule::Linear, 25) - 0.08).abs() < 1e-12 && at(Schedule::Cosine, 25) > 0.08);
    }

    /// Least squares with noisy gradients: wherever the moments are kept it comes to the same place.
    #[test]
    fn moments_in_eight_bits_lead_where_those_in_f32_do() {
        let ends = [MomentFormat::F32, MomentFormat::Host, MomentFormat::Float8].map(|moments| {
            let config = OptimizerConfig { moments, clip_norm: f64::INFINITY, ..config(1e-8) };
            let mut value = of([4.0, -3.0]);
            let mut adam = AdamW::default();
            for step in 0..600 {
                let noise = ((f64::from(step) * 0.7).sin() * 2.0) as f32;
                let gradient = value.clone() - of([1.0, 0.01]) + of([noise, 1e-3 * noise]);
                let params = &mut [config.trainee("a", &mut value)];
                adam.step(params, vec![Some(gradient)], &config, 0.02).expect("all is finite");
            }
            to_vec(value)
        });
        assert_eq!(ends[0], ends[1]);
        for (one, other) in ends[0].iter().zip(&ends[2]) {
            assert!((one - other).abs() < 0.05, "{ends:?}");
        }
        assert!((ends[2][0] - 1.0).abs() < 0.1 && (ends[2][1] - 0.01).abs() < 0.1, "{ends:?}");
    }

    #[test]
    fn a_weight_that_an_update_breaks_is_named() {
        let (mut one, mut two) = (of([1.0, 2.0]), of([3.0, 4.0]));
        // In single precision this `eps` is 0, and so is what a gradient of 0 is divided by.
        let gradients = vec![Some(of([0.1, 0.2])), Some(of([0.3, 0.0]))];
        let config = config(1e-60);
        let mut params = [config.trainee("a", &mut one), config.trainee("b", &mut two)];
        let step = AdamW::default().step(&mut params, gradients, &config, 0.1);
        assert_eq!(step, Err(BadStep::Weight(1)));
    }
}
