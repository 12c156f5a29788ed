//! Weights in and out of safetensors files, single or sharded: every key is used once, and what is wrong is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::build::Values;
use crate::config::Config;
use crate::error::{PolicyError, Result};
use crate::log_prob::floats;
use crate::param::folded;
use crate::policy::Policy;

/// Bytes of one shard when saving; larger weights are split and indexed.
const SHARD_BYTES: usize = 4 << 30;
const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The number format of saved weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

/// One tensor of a file, as 32-bit floats.
struct Stored {
    file: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

struct FileValues<'a> {
    tensors: BTreeMap<String, Stored>,
    device: &'a Device,
    folder: String,
}

impl Values for FileValues<'_> {
    fn value(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<2>> {
        let stored = self.tensors.remove(name).ok_or_else(|| {
            PolicyError::tensor(&self.folder, name, "is missing; the checkpoint is incomplete or of another model")
        })?;
        if stored.shape != shape {
            let reason = format!("has shape {:?}, but the config asks for {shape:?}", stored.shape);
            return Err(PolicyError::tensor(stored.file, name, reason));
        }
        Ok(Tensor::from_data(TensorData::new(stored.values, folded(shape)), self.device))
    }

    fn stored_shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }
}

impl Policy {
    /// Loads the weights of `config` from a folder in the Hugging Face layout.
    ///
    /// # Errors
    /// Names the file and the key: missing, unexpected, mis-shaped, truncated or corrupt.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config_path = folder.join("config.json");
        let text = std::fs::read_to_string(&config_path).map_err(|source| PolicyError::io(&config_path, source))?;
        let config = Config::from_json(&text, &config_path.display().to_string())?;
        let mut tensors = BTreeMap::new();
        for path in weight_files(folder)? {
            let bytes = std::fs::read(&path).map_err(|source| PolicyError::io(&path, source))?;
            read_tensors(&bytes, &path.display().to_string(), &mut tensors)?;
        }
        Self::from_tensors(config, tensors, &folder.display().to_string(), device)
    }

    /// Builds a policy from the bytes of one safetensors file; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn from_bytes(config: Config, bytes: &[u8], file: &str, device: &Device) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        read_tensors(bytes, file, &mut tensors)?;
        Self::from_tensors(config, tensors, file, device)
    }

    fn from_tensors(
        config: Config,
        mut tensors: BTreeMap<String, Stored>,
        folder: &str,
        device: &Device,
    ) -> Result<Self> {
        if config.tied_head {
            tensors.remove("lm_head.weight");
        }
        let mut values = FileValues { tensors, device, folder: folder.to_owned() };
        let policy = Self::build(config, &mut values, device)?;
        if let Some((key, stored)) = values.tensors.pop_first() {
            let reason = format!("is not part of this model ({} more like it)", values.tensors.len());
            return Err(PolicyError::tensor(stored.file, key, reason));
        }
        Ok(policy)
    }

    /// Writes `config.json` and the weights into `folder`, which must exist.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, format: WeightFormat) -> Result<()> {
        let mut config = self.config.to_json();
        if format == WeightFormat::Bf16 {
            config["dtype"] = Value::from("bfloat16");
        }
        write(&folder.join("config.json"), &pretty(&config))?;
        let shards = self.shards(format);
        if let [only] = &shards[..] {
            return write(&folder.join(SINGLE_FILE), &self.serialize(only, format)?);
        }
        let mut map = serde_json::Map::new();
        for (index, names) in shards.iter().enumerate() {
            let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
            write(&folder.join(&file), &self.serialize(names, format)?)?;
            map.extend(names.iter().map(|name| (name.clone(), Value::from(file.as_str()))));
        }
        let total = self.parameter_count() * format.bytes();
        let index = serde_json::json!({"metadata": {"total_size": total}, "weight_map": map});
        write(&folder.join(INDEX_FILE), &pretty(&index))
    }

    fn shards(&self, format: WeightFormat) -> Vec<BTreeSet<String>> {
        let mut shards = vec![BTreeSet::new()];
        let mut filled = 0;
        for param in self.parameters() {
            let bytes = param.shape.iter().product::<usize>() * format.bytes();
            if filled > 0 && filled + bytes > SHARD_BYTES {
                shards.push(BTreeSet::new());
                filled = 0;
            }
            filled += bytes;
            if let Some(shard) = shards.last_mut() {
                shard.insert(param.name.clone());
            }
        }
        shards
    }

    fn serialize(&self, names: &BTreeSet<String>, format: WeightFormat) -> Result<Vec<u8>> {
        let mut encoded = Vec::new();
        for param in self.parameters().into_iter().filter(|param| names.contains(&param.name)) {
            encoded.push((param.name.clone(), param.shape.clone(), format.encode(&floats(param.value.clone()))));
        }
        let views = encoded.iter().map(|(name, shape, bytes)| {
            let view =
                TensorView::new(format.dtype(), shape.clone(), bytes).expect("bytes were encoded for this shape");
            (name.as_str(), view)
        });
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).map_err(|error| PolicyError::file(SINGLE_FILE, error.to_string()))
    }

    /// SHA-256 over all tensors in name order: name, dtype, shape, little-endian bytes.
    pub fn weights_sha256(&self) -> String {
        let mut params = self.parameters();
        params.extend(self.adapter_parameters());
        params.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        for param in params {
            hash.update(format!("{}\0F32\0{:?}\0", param.name, param.shape));
            hash.update(WeightFormat::F32.encode(&floats(param.value.clone())));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl WeightFormat {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let index_path = folder.join(INDEX_FILE);
    if !index_path.exists() {
        return Ok(vec![folder.join(SINGLE_FILE)]);
    }
    let name = index_path.display().to_string();
    let text = std::fs::read_to_string(&index_path).map_err(|source| PolicyError::io(&index_path, source))?;
    let index: Value = serde_json::from_str(&text).map_err(|error| PolicyError::file(&name, error.to_string()))?;
    let map = index["weight_map"].as_object().ok_or_else(|| PolicyError::file(&name, "`weight_map` is missing"))?;
    let files: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    if let Some(file) = files.iter().find(|file| Path::new(file).components().count() != 1) {
        return Err(PolicyError::file(&name, format!("`{file}` is not a file name within the folder")));
    }
    Ok(files.into_iter().map(|file| folder.join(file)).collect())
}

fn read_tensors(bytes: &[u8], file: &str, tensors: &mut BTreeMap<String, Stored>) -> Result<()> {
    let parsed = SafeTensors::deserialize(bytes)
        .map_err(|error| PolicyError::file(file, format!("is no complete safetensors file: {error}")))?;
    for (key, view) in parsed.iter() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => {
                return Err(PolicyError::tensor(
                    file,
                    key,
                    format!("is stored as {other:?}; F32, BF16 and F16 are read"),
                ));
            }
        };
        let stored = Stored { file: file.to_owned(), shape: view.shape().to_vec(), values };
        if let Some(other) = tensors.insert(key.to_owned(), stored) {
            return Err(PolicyError::tensor(file, key, format!("stands in {} too", other.file)));
        }
    }
    Ok(())
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("JSON values can be written");
    text.push(b'\n');
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|source| PolicyError::io(path, source))
}
