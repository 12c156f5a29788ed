//! Giving a policy a low-rank adapter, merging it into the weights and taking it out again.
//!
//! The product `A B`, which is as large as `W`, exists only while an adapter is merged.
//!
//! Shape suffixes: `i` inputs, `r` rank.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::error::{PolicyError, Result};
use crate::lora::{Adapter, LoraConfig, Module, as_peft_reads_them, choose};
use crate::nn::{Linear, LinearMaps, Lora, Param, Parameters};
use crate::part::{ADAPTER_PREFIX, Part};
use crate::policy::Policy;
use crate::tensor::as_matrix;

/// The shapes of `A` and `B` in files beside a weight of `shape`: convolutions keep their kernel in `A`.
pub(super) fn shapes(shape: &[usize], rank: usize) -> [Vec<usize>; 2] {
    let outputs = shape.first().copied().unwrap_or(1);
    let mut a = vec![rank];
    a.extend(shape.iter().skip(1));
    let mut b = vec![outputs, rank];
    b.resize(shape.len().max(2), 1);
    [a, b]
}

/// Puts an adapter beside a linear map, whose own parameters stop training.
pub(super) fn attach(linear: &mut Linear, rank: usize, scale: f64, a: Tensor<2>, b: Tensor<2>) {
    let (name, matmul) = (linear.name().to_owned(), linear.weight.matmul);
    let param = |part: &str, shape: Vec<usize>, value: Tensor<2>| {
        debug_assert_eq!(value.dims(), as_matrix(&shape));
        Param { name: format!("{ADAPTER_PREFIX}{name}.{part}.weight"), shape, value, requires_grad: true, matmul }
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
    /// When it has one already, `targets` names no linear map, or something else.
    pub fn add_lora(&mut self, lora: &LoraConfig, frozen: &[Part], seed: u64) -> Result<()> {
        if let Some((key, reason)) = lora.fault() {
            return Err(PolicyError::input(format!("`{key}` {reason}")));
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
            let a = uniform(linear.name(), seed, lora.rank, inputs, &device);
            attach(linear, lora.rank, scale, a, Tensor::zeros([outputs, lora.rank], &device));
            Ok(())
        })?;
        let lora = LoraConfig {
            targets: as_peft_reads_them(&modules, &lora.targets, lora.exclude.as_ref(), &chosen),
            ..lora.clone()
        };
        self.adapter = Some(Adapter { lora, rank_pattern: Vec::new(), alpha_pattern: Vec::new(), base_model: None });
        Ok(())
    }

    /// What an adapter can be put beside, and what not; refuses a policy that has an adapter.
    pub(super) fn begin_adapter(&self) -> Result<Vec<Module>> {
        if self.adapter.is_some() {
            return Err(PolicyError::input("the policy has an adapter already; merge it first"));
        }
        Ok(modules(self))
    }

    /// Calls `make` with every chosen map, and stops all others from training.
    pub(super) fn attach_all(
        &mut self,
        chosen: &[String],
        make: &mut dyn FnMut(&mut Linear) -> Result<()>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        self.visit_linears_mut(&mut |linear| {
            if outcome.is_ok() && chosen.iter().any(|name| name == linear.name()) {
                outcome = make(linear);
            }
        });
        self.visit_mut(&mut |param| param.requires_grad = param.is_adapter());
        outcome
    }

    /// Adds the adapter's product to the weights: the same function, at the cost of the bare model. The weights as they
    /// were are kept beside, so that [`Policy::unmerge_adapter`] gives them back bit for bit.
    pub fn merge_adapter(&mut self) {
        self.visit_linears_mut(&mut |linear| {
            let Some(lora) = linear.lora.as_mut().filter(|lora| lora.unmerged.is_none()) else { return };
            let plain = linear.weight.value.clone();
            linear.weight.value = linear.weight.to_f32() + lora.delta_weight();
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

    /// The policy as it is without its adapter, if it has one: a view that shares its weights.
    pub fn without_adapter(&self) -> Option<Self> {
        self.adapter.as_ref()?;
        let mut bare = self.clone();
        bare.unmerge_adapter();
        bare.adapter = None;
        bare.visit_linears_mut(&mut |linear| linear.lora = None);
        Some(bare)
    }

    /// Makes the adapter a part of the weights for good: a bare model is left, all of which trains.
    pub fn absorb_adapter(&mut self) {
        if self.adapter.take().is_none() {
            return;
        }
        self.merge_adapter();
        self.visit_linears_mut(&mut |linear| linear.lora = None);
        self.visit_mut(&mut |param| param.requires_grad = true);
    }
}

/// All named parts of a model, those that hold others too.
fn modules(policy: &Policy) -> Vec<Module> {
    let mut maps = BTreeMap::new();
    policy.visit_linears(&mut |linear| _ = maps.insert(linear.name(), linear.weight.shape.clone()));
    let mut paths = BTreeSet::new();
    for param in policy.parameters() {
        let ends = param.name.match_indices('.').map(|(at, _)| &param.name[..at]);
        paths.extend(ends);
    }
    let module = |path: &str| Module {
        name: path.to_owned(),
        shape: maps.get(path).cloned().unwrap_or_default(),
        takes_adapter: maps.contains_key(path) && Part::of(&format!("{path}.")) != Part::Router,
    };
    paths.into_iter().map(module).collect()
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
