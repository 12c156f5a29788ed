//! Low-rank adapters: beside a linear map `x W` a product `s (x A) B` is learned, and `W` stays as it is.
//!
//! The product `A B`, which is as large as `W`, exists only while an adapter is merged. Adapters come and go as folders
//! in the format of PEFT (`peft`); which maps get one is said as PEFT says it (`targets`).
//!
//! Shape suffixes: `t` rows, `i` inputs, `o` outputs, `r` rank.

mod peft;
mod targets;

use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{PolicyError, Result};
use crate::freeze::Part;
use crate::layers::Linear;
use crate::param::{ADAPTER_PREFIX, Param, Parameters, folded, holds};
use crate::policy::Policy;

pub use peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_folder, open};
pub use targets::Targets;
use targets::{Module, choose};

/// The adapter of one linear map.
#[derive(Clone, Debug)]
pub struct Lora {
    /// From inputs to the low rank, `[r, i]`.
    pub a: Param,
    /// From the low rank to outputs, `[o, r]`.
    pub b: Param,
    /// What the product is multiplied by.
    pub scale: f64,
    /// The weight as it was, while the adapter is merged into it.
    unmerged: Option<Tensor<2>>,
}
holds!(Lora { a, b });

/// What a new adapter is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// The low rank.
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// The linear maps that get an adapter.
    pub targets: Targets,
    /// Those of them that get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Targets>,
    /// Multiplies by `alpha / sqrt(rank)` instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rslora: bool,
}

/// What the adapter of a policy is, as its files say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Rank and targets.
    pub lora: LoraConfig,
    /// Maps with another rank, by regular expression.
    pub rank_pattern: Vec<(String, usize)>,
    /// Maps with another alpha, by regular expression.
    pub alpha_pattern: Vec<(String, f64)>,
    /// The model that it belongs to, as a path.
    pub base_model: Option<String>,
}

impl LoraConfig {
    /// What is wrong with it whatever the model, if something is.
    pub fn fault(&self) -> Option<String> {
        let alpha = self.alpha.is_finite() && self.alpha > 0.0;
        let exclude = self.exclude.as_ref().and_then(|exclude| exclude.fault("exclude"));
        let targets = self.targets.fault("targets").or(exclude);
        match self {
            _ if self.rank == 0 => Some("`rank` is 0; it must be 1 or more".to_owned()),
            _ if !alpha => Some(format!("`alpha` is {}; it must be a number above 0", self.alpha)),
            _ => targets,
        }
    }

    fn scale(rank: usize, alpha: f64, rslora: bool) -> f64 {
        if rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }
    }
}

impl Lora {
    /// `s (x A) B`, `[t, o]`, of `x_ti`; nothing while it is merged.
    pub(crate) fn beside(&self, x_ti: &Tensor<2>) -> Option<Tensor<2>> {
        if self.unmerged.is_some() {
            return None;
        }
        let low_tr = x_ti.clone().matmul(self.a.value.clone().transpose()).mul_scalar(self.scale);
        Some(low_tr.matmul(self.b.value.clone().transpose()))
    }

    /// The same as one matrix, `[o, i]`.
    fn product(&self) -> Tensor<2> {
        self.b.value.clone().matmul(self.a.value.clone()).mul_scalar(self.scale)
    }
}

/// The name of a linear map: its weight's without the last part.
fn map_name(linear: &Linear) -> &str {
    linear.weight.name.strip_suffix(".weight").unwrap_or(&linear.weight.name)
}

/// The shapes of `A` and `B` in files beside a weight of `shape`: convolutions keep their kernel in `A`.
fn shapes(shape: &[usize], rank: usize) -> [Vec<usize>; 2] {
    let outputs = shape.first().copied().unwrap_or(1);
    let mut a = vec![rank];
    a.extend(shape.iter().skip(1));
    let mut b = vec![outputs, rank];
    b.resize(shape.len().max(2), 1);
    [a, b]
}

/// Puts an adapter beside a linear map, whose own parameters stop training.
fn attach(linear: &mut Linear, rank: usize, scale: f64, a: Tensor<2>, b: Tensor<2>) {
    let name = map_name(linear).to_owned();
    let param = |part: &str, shape: Vec<usize>, value: Tensor<2>| {
        debug_assert_eq!(value.dims(), folded(&shape));
        Param { name: format!("{ADAPTER_PREFIX}{name}.{part}.weight"), shape, value, trains: true }
    };
    let [a_shape, b_shape] = shapes(&linear.weight.shape, rank);
    let (a, b) = (param("lora_A", a_shape, a), param("lora_B", b_shape, b));
    linear.lora = Some(Lora { a, b, scale, unmerged: None });
}

impl Policy {
    /// Gives the policy a new adapter, which is all that trains from now on. It changes nothing yet: `A` is uniform
    /// within `1 / sqrt(inputs)`, by the name of its map and `seed`, and `B` is 0. Maps of `frozen` parts get none.
    ///
    /// # Errors
    /// When it has one already, `targets` names no linear map, or something that is none.
    pub fn add_lora(&mut self, lora: &LoraConfig, frozen: &[Part], seed: u64) -> Result<()> {
        if let Some(reason) = lora.fault() {
            return Err(PolicyError::input(reason));
        }
        let modules = self.begin_adapter()?;
        let mut chosen = choose(&modules, &lora.targets, lora.exclude.as_ref(), true).map_err(PolicyError::input)?;
        chosen.retain(|name| !Part::of(&format!("{name}.")).is_frozen_by(frozen));
        if chosen.is_empty() {
            return Err(PolicyError::input("every map that `targets` names is excluded or frozen"));
        }
        let smaller_side = |module: &Module| module.shape.iter().product::<usize>() / module.shape[0].max(1);
        let widest = modules.iter().filter(|module| module.takes_adapter && chosen.contains(&module.name));
        let widest = widest.map(|module| smaller_side(module).min(module.shape[0])).max().unwrap_or(0);
        if lora.rank > widest {
            let reason = format!("`rank` is {}, but no chosen map has a rank above {widest}", lora.rank);
            return Err(PolicyError::input(reason));
        }
        let (device, scale) = (self.device.clone(), LoraConfig::scale(lora.rank, lora.alpha, lora.rslora));
        self.attach_all(&chosen, &mut |linear| {
            let [outputs, inputs] = linear.weight.value.dims();
            let a = uniform(map_name(linear), seed, lora.rank, inputs, &device);
            attach(linear, lora.rank, scale, a, Tensor::zeros([outputs, lora.rank], &device));
            Ok(())
        })?;
        let lora = LoraConfig { targets: targets::as_peft_reads_them(&modules, lora, &chosen), ..lora.clone() };
        self.adapter = Some(Adapter { lora, rank_pattern: Vec::new(), alpha_pattern: Vec::new(), base_model: None });
        Ok(())
    }

    /// What an adapter can be put beside, and what not; refuses a policy that has an adapter.
    fn begin_adapter(&self) -> Result<Vec<Module>> {
        if self.adapter.is_some() {
            return Err(PolicyError::input("the policy has an adapter already; merge it first"));
        }
        Ok(targets::modules(self))
    }

    /// Calls `make` with every chosen map, and stops all others from training.
    fn attach_all(&mut self, chosen: &[String], make: &mut dyn FnMut(&mut Linear) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        self.visit_linears_mut(&mut |linear| {
            if outcome.is_ok() && chosen.iter().any(|name| name == map_name(linear)) {
                outcome = make(linear);
            }
        });
        self.visit_mut(&mut |param| param.trains = param.is_adapter());
        outcome
    }

    /// Adds the adapter's product to the weights: the same function, at the cost of the bare model. The weights as they
    /// were are kept beside, so that [`Policy::unmerge_adapter`] gives them back bit for bit.
    pub fn merge_adapter(&mut self) {
        self.visit_linears_mut(&mut |linear| {
            let Some(lora) = linear.lora.as_mut().filter(|lora| lora.unmerged.is_none()) else { return };
            let plain = linear.weight.value.clone();
            linear.weight.value = linear.weight.wide() + lora.product();
            lora.unmerged = Some(plain);
        });
    }

    /// Takes a merged adapter out of the weights, which are then what they were before.
    pub fn unmerge_adapter(&mut self) {
        self.visit_linears_mut(&mut |linear| {
            if let Some(plain) = linear.lora.as_mut().and_then(|lora| lora.unmerged.take()) {
                linear.weight.value = plain;
            }
        });
    }

    /// Makes the adapter a part of the weights for good: a bare model is left, all of which trains.
    pub fn absorb_adapter(&mut self) {
        if self.adapter.take().is_none() {
            return;
        }
        self.merge_adapter();
        self.visit_linears_mut(&mut |linear| linear.lora = None);
        self.visit_mut(&mut |param| param.trains = true);
    }
}

/// Kaiming-uniform numbers with slope `sqrt(5)`, `[r, i]`: within `1 / sqrt(inputs)`. They depend on the seed and the
/// map alone, not on which other maps have an adapter.
fn uniform(name: &str, seed: u64, rank: usize, inputs: usize, device: &Device) -> Tensor<2> {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    let mut rng = ChaCha8Rng::from_seed(digest.into());
    let bound = (inputs as f64).powf(-0.5);
    let values: Vec<f32> = (0..rank * inputs).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect();
    Tensor::from_data(TensorData::new(values, [rank, inputs]), device)
}
