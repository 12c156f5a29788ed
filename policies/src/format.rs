//! How weights are stored: the number format, and every tensor by its name and shape.

use serde::{Deserialize, Serialize};

/// The number format of weights, in memory or saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
}

impl WeightFormat {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The format that is called `f32` or `bf16`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "f32" | "float32" => Some(Self::F32),
            "bf16" | "bfloat16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Its name in safetensors files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
        }
    }

    /// Its name in `config.json`.
    pub(crate) fn config_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// A tensor as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorShape {
    /// Its key.
    pub name: String,
    /// Its shape in the file.
    pub shape: Vec<usize>,
}

impl TensorShape {
    /// Numbers in it.
    pub fn numbers(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }
}
