//! Random initialisation, seeded: what a small policy needs to learn from nothing.
//!
//! Linear maps are normal with variance 1 / inputs; residual outputs are damped, so that a fresh network is close to the
//! identity; the position table is wide and the mergers' outputs narrow, so that pictures start on the scale of words.

use burn::tensor::{Device, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::build::Values;
use crate::config::{Config, ExpertLayout};
use crate::error::Result;
use crate::policy::Policy;
use crate::tensor::as_matrix;

const EMBEDDING_STD: f64 = 0.05;
const POSITION_TABLE_STD: f64 = 0.2;
const MERGER_OUTPUT_FACTOR: f64 = 0.15;
const RESIDUAL_FACTOR: f64 = 0.1;

struct Random<'a> {
    rng: ChaCha8Rng,
    residual: f64,
    layout: Option<ExpertLayout>,
    device: &'a Device,
}

impl Policy {
    /// A policy of these sizes with random parameters; the same seed gives the same numbers.
    pub fn random(config: Config, seed: u64, device: &Device) -> Self {
        let depth = config.text.layers.max(config.vision.depth) as f64;
        let mut values = Random {
            rng: ChaCha8Rng::seed_from_u64(seed),
            residual: RESIDUAL_FACTOR / (2.0 * depth).sqrt(),
            layout: config.text.moe.as_ref().map(|moe| moe.layout),
            device,
        };
        Self::build(config, &mut values, device).expect("random values exist for every name and shape")
    }
}

impl Values for Random<'_> {
    fn value(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<2>> {
        let [rows, columns] = as_matrix(shape);
        let values = match shape {
            [_] if name.ends_with(".bias") => vec![0.0; columns],
            [_] => vec![1.0; columns],
            // The experts of a layer in one: the inputs of an expert are on the axis that the layout says.
            [_, first, second] => {
                let inputs = if self.layout == Some(ExpertLayout::InOut) { first } else { second };
                self.normal(rows * columns, self.std(name, *inputs))
            }
            _ => self.normal(rows * columns, self.std(name, columns)),
        };
        Ok(Tensor::from_data(TensorData::new(values, [rows, columns]), self.device))
    }

    fn stored_shape(&self, _: &str) -> Option<&[usize]> {
        None
    }
}

impl Random<'_> {
    fn std(&self, name: &str, inputs: usize) -> f64 {
        let fan_in = (inputs as f64).powf(-0.5);
        if name.contains("embed_tokens") {
            EMBEDDING_STD
        } else if name.contains("pos_embed") {
            POSITION_TABLE_STD
        } else if name.contains("merger") && name.contains("linear_fc2") {
            fan_in * MERGER_OUTPUT_FACTOR
        } else if ["o_proj", "down_proj", "attn.proj", "mlp.linear_fc2"].iter().any(|part| name.contains(part)) {
            fan_in * self.residual
        } else {
            fan_in
        }
    }

    /// Normal numbers by the Box-Muller transform.
    fn normal(&mut self, count: usize, std: f64) -> Vec<f32> {
        (0..count)
            .map(|_| {
                let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
                let angle = std::f64::consts::TAU * self.rng.random::<f64>();
                (radius * angle.cos() * std) as f32
            })
            .collect()
    }
}
