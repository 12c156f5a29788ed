//! Weights in and out of safetensors files, single or sharded: every key is used once, and what is wrong is named.
//!
//! A tensor is read when its parameter is built, in a few threads, straight into the buffer that it keeps: there is
//! never a second copy of more than a piece. Saving streams pieces the same way.

mod header;
mod index;
mod source;
mod stored;
mod writer;

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::bf16;
use half::vec::HalfBitsVecExt;
use sha2::{Digest, Sha256};

pub(crate) use self::source::NOT_FINITE;
pub(crate) use self::stored::StoredWeights;
pub(crate) use self::writer::{Layout, Pieces, write_weights};
use crate::build::Values;
use crate::config::Config;
use crate::error::{PolicyError, Result};
use crate::file::write_synced;
use crate::format::{TensorShape, WeightFormat};
use crate::nn::{Param, Parameters};
use crate::policy::Policy;
use crate::tensor::{as_matrix, is_cpu, to_f32, to_vec};

/// Bytes of one shard when saving, as the reference library has it; larger weights are split and indexed.
pub const SHARD_BYTES: u64 = 5_000_000_000;
/// Numbers of a piece when a tensor is written or hashed.
const PIECE: usize = 1 << 20;

// Files are little-endian, and numbers go in and out of memory as they are.
const _: () = assert!(cfg!(target_endian = "little"), "only little-endian machines are supported");

/// Told while weights are read or written: how many bytes are done, and of how many.
pub type Told<'a> = &'a dyn Fn(u64, u64);

/// How weights are loaded.
#[derive(Clone, Copy, Default)]
pub struct Loading<'a> {
    /// The format that they are kept in. What is computed is f32 in either: bf16 weights are widened some rows at a time.
    pub format: WeightFormat,
    /// The parameters that are kept in f32 all the same, by name: those that train.
    pub f32_of: Option<&'a dyn Fn(&str) -> bool>,
    /// Told how far it is.
    pub told: Option<Told<'a>>,
}

impl<'a> Loading<'a> {
    /// Kept in this format.
    pub fn kept_in(format: WeightFormat) -> Self {
        Self { format, ..Self::default() }
    }

    /// The format that the parameter `name` is kept in.
    pub fn format_of(&self, name: &str) -> WeightFormat {
        let is_f32 = self.f32_of.is_some_and(|f32_of| f32_of(name));
        if is_f32 { WeightFormat::F32 } else { self.format }
    }

    /// Whether a device can compute with weights that are kept so.
    ///
    /// # Errors
    /// When it cannot; a CPU widens them, and can.
    pub(crate) fn check(&self, device: &Device) -> Result<()> {
        computes(self.format, device, "keep weights in f32 (`--dtype f32`, `run.dtype = \"f32\"`)")
    }

    /// Loads as `self` does, and tells `told` how far it is.
    pub fn telling(self, told: Told<'a>) -> Self {
        Self { told: Some(told), ..self }
    }
}

/// Whether a device computes in a format; a CPU widens what is kept in another than f32, and can.
fn computes(format: WeightFormat, device: &Device, remedy: &str) -> Result<()> {
    if format == WeightFormat::F32 || is_cpu(device) || device.supports_dtype(DType::BF16) {
        return Ok(());
    }
    Err(PolicyError::input(format!("this device does not compute in bf16: {remedy}")))
}

struct FileValues<'a> {
    stored: StoredWeights<'a>,
    loading: Loading<'a>,
    done: u64,
    bytes: u64,
    device: &'a Device,
}

impl Values for FileValues<'_> {
    fn value(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<2>> {
        let found = self.stored.take(name, shape)?;
        let (data, dtype) = match self.loading.format_of(name) {
            WeightFormat::F32 => (TensorData::new(self.stored.f32s(&found)?, as_matrix(shape)), DType::F32),
            WeightFormat::Bf16 => {
                let values: Vec<bf16> = self.stored.bf16_bits(&found)?.reinterpret_into();
                (TensorData::new(values, as_matrix(shape)), DType::BF16)
            }
        };
        self.done += found.bytes();
        if let Some(told) = self.loading.told {
            told(self.done, self.bytes);
        }
        Ok(Tensor::from_data(data, (self.device, dtype)))
    }

    fn stored_shape(&self, name: &str) -> Option<&[usize]> {
        self.stored.shape(name)
    }
}

impl Policy {
    /// Loads the weights of a folder in the Hugging Face layout as f32.
    ///
    /// # Errors
    /// Names the file and the key: missing, unexpected, mis-shaped, truncated or corrupt.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        Self::load_as(folder, Loading::default(), device)
    }

    /// Loads the weights of a folder in the Hugging Face layout.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn load_as(folder: &Path, loading: Loading<'_>, device: &Device) -> Result<Self> {
        let config = Config::read(folder)?;
        Self::from_stored(config, StoredWeights::open(folder)?, loading, device)
    }

    /// Builds a policy from the bytes of one safetensors file; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn from_bytes(config: Config, bytes: &[u8], file: &str, device: &Device) -> Result<Self> {
        Self::from_stored(config, StoredWeights::in_memory(bytes, file)?, Loading::default(), device)
    }

    fn from_stored(
        config: Config,
        mut stored: StoredWeights<'_>,
        loading: Loading<'_>,
        device: &Device,
    ) -> Result<Self> {
        if config.tied_head {
            stored.drop_tied("lm_head.weight", "model.language_model.embed_tokens.weight")?;
        }
        let bytes = stored.bytes();
        let mut values = FileValues { stored, loading, done: 0, bytes, device };
        let policy = Self::build(config, &mut values, device)?;
        values.stored.all_taken()?;
        Ok(policy)
    }

    /// Keeps the weights in the format of `loading` from now on, but for those that its `f32_of` names, which are kept in
    /// f32.
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

    /// Multiplies in this format from now on: inputs and weights of all linear maps and of the experts are narrowed to it where
    /// they are wider, and gradients on their way back. What trains stays as it is kept, f32; norms, softmax, positions,
    /// residuals and the head's logits stay f32 too. A CPU rounds alike, and is no faster for it.
    ///
    /// # Errors
    /// When the device does not compute in it.
    pub fn multiply_in(&mut self, format: WeightFormat) -> Result<()> {
        computes(format, self.device(), "use `run.matmul = \"f32\"`")?;
        self.visit_mut(&mut |param| param.matmul = format);
        Ok(())
    }

    /// Writes `config.json` and the weights into `folder`, which must exist.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, format: WeightFormat) -> Result<()> {
        write_synced(&folder.join("config.json"), &self.config.text(None, format))?;
        self.save_weights(folder, format, SHARD_BYTES)
    }

    /// Writes the weights alone into `folder`, in shards of so many bytes at most.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_weights(&self, folder: &Path, format: WeightFormat, shard_bytes: u64) -> Result<()> {
        let params = self.parameters();
        let tensors: Vec<TensorShape> =
            params.iter().map(|param| TensorShape { name: param.name.clone(), shape: param.shape.clone() }).collect();
        write_weights(folder, &tensors, Layout { format, shard_bytes }, &mut ParamPieces(params), &mut |_| {})
    }

    /// SHA-256 over all tensors in name order: name, dtype, shape, little-endian bytes of their numbers as f32.
    pub fn weights_sha256(&self) -> String {
        let mut params = self.parameters();
        params.extend(self.adapter_parameters());
        params.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        for param in params {
            hash.update(format!("{}\0F32\0{:?}\0", param.name, param.shape));
            in_pieces(param, &mut |piece| {
                hash.update(bytemuck::cast_slice::<f32, u8>(piece));
                Ok(())
            })
            .expect("hashing does not fail");
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct ParamPieces<'a>(Vec<&'a Param>);

impl Pieces for ParamPieces<'_> {
    fn pieces(&mut self, index: usize, take: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        in_pieces(self.0[index], take)
    }
}

/// The numbers of a parameter, some rows at a time.
fn in_pieces(param: &Param, take: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
    let [rows, columns] = param.value.dims();
    let step = (PIECE / columns.max(1)).max(1);
    for start in (0..rows).step_by(step) {
        let some = param.value.clone().narrow(0, start, step.min(rows - start));
        take(&to_vec(to_f32(some)))?;
    }
    Ok(())
}
