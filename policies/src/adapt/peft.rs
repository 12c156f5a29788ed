//! Adapters as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`, in and out.
//!
//! Every key is used once, and what is wrong is named with its file. What an adapter may say in PEFT, but nothing here
//! computes (DoRA, saved modules, adapters of raw parameters), is refused, not passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value, json};

use super::adapter::{attach, shapes};
use crate::error::{PolicyError, Result};
use crate::hub;
use crate::lora::{Adapter, ByPattern, LoraConfig, MAX_ALPHA, Module, Targets, choose, no_adapter_beside};
use crate::part::ADAPTER_PREFIX;
use crate::policy::Policy;
use crate::tensor::{as_matrix, to_vec};
use crate::weights::NOT_FINITE;

/// The file that says what an adapter is.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The file of its matrices.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Keys that change nothing here, whatever they say.
const NEUTRAL: [&str; 16] = [
    "arrow_config",
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "layers_pattern",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];
/// Initialisations that leave the base model as it is.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The folder of an adapter: `folder` itself, or `adapter/` in a run's checkpoint.
pub fn adapter_folder(folder: &Path) -> Option<PathBuf> {
    let inner = folder.join("adapter");
    [inner, folder.to_owned()].into_iter().find(|folder| folder.join(ADAPTER_CONFIG).is_file())
}

/// The folder of the model that the adapter in `folder` belongs to.
///
/// # Errors
/// When its config is wrong, or its model is not where that says.
pub(crate) fn base_model(folder: &Path) -> Result<PathBuf> {
    let (adapter, file) = read_config(folder)?;
    let name = adapter.base_model.filter(|name| !name.is_empty()).ok_or_else(|| {
        PolicyError::file(&file, "`base_model_name_or_path` is missing; put the folder of the adapter's model there")
    })?;
    // A run keeps what its adapter belongs to beside the checkpoints: it is found when the run has moved, too.
    let of_run = folder.join("../../../base");
    let holds_model = |folder: &PathBuf| folder.join("config.json").is_file() && adapter_folder(folder).is_none();
    let in_cache = hub::snapshot(&name).and_then(std::result::Result::ok);
    let places = [Some(PathBuf::from(&name)), Some(folder.join(&name)), Some(of_run), in_cache];
    places.into_iter().flatten().find(holds_model).ok_or_else(|| {
        let fetch = if hub::is_hub_id(&name) { format!("`hf download {name}`") } else { "download it".to_owned() };
        let reason = format!("is not a folder with a model; {fetch}, or put its folder there");
        PolicyError::file(&file, format!("`base_model_name_or_path` is `{name}`, which {reason}"))
    })
}

impl Policy {
    /// Gives the policy the adapter in `folder`, which is all that trains from now on.
    ///
    /// # Errors
    /// Names the file and the key: what is missing, unexpected, mis-shaped, corrupt or not supported.
    pub fn load_adapter(&mut self, folder: &Path) -> Result<()> {
        let (adapter, config_file) = read_config(folder)?;
        let modules = self.begin_adapter()?;
        let wrong = |reason: String| PolicyError::file(&config_file, reason);
        let lora = &adapter.lora;
        let chosen = choose(&modules, &lora.targets, lora.exclude.as_ref(), false)
            .map_err(|reason| wrong(format!("`target_modules`: {reason}")))?;
        let path = folder.join(ADAPTER_WEIGHTS);
        let file = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|source| PolicyError::io(&path, source))?;
        let mut stored = read_tensors(&bytes, &file)?;
        let ranks = ByPattern::new(&adapter.rank_pattern).map_err(wrong)?;
        let alphas = ByPattern::new(&adapter.alpha_pattern).map_err(wrong)?;
        // All is checked before the policy is touched.
        let mut ready = BTreeMap::new();
        for module in modules.iter().filter(|module| module.takes_adapter && chosen.contains(&module.name)) {
            let rank = ranks.of(&module.name).map_err(wrong)?.unwrap_or(lora.rank);
            let alpha = alphas.of(&module.name).map_err(wrong)?.unwrap_or(lora.alpha);
            let scale = LoraConfig::scale(rank, alpha, lora.rslora);
            ready.insert(module.name.clone(), (rank, scale, take(module, rank, &mut stored, &file)?));
        }
        if let Some((key, _)) = stored.pop_first() {
            return Err(PolicyError::tensor(&file, &key, unexpected(&key, &modules)));
        }
        let device = self.device().clone();
        self.attach_all(&chosen, &mut |linear| {
            if let Some((rank, scale, [a, b])) = ready.remove(linear.name()) {
                let [a_shape, b_shape] = shapes(&linear.weight.shape, rank);
                let tensor = |values: Vec<f32>, shape: &[usize]| {
                    Tensor::from_data(TensorData::new(values, as_matrix(shape)), &device)
                };
                attach(linear, rank, scale, tensor(a, &a_shape), tensor(b, &b_shape));
            }
            Ok(())
        })?;
        self.adapter = Some(adapter);
        Ok(())
    }

    /// Writes the adapter into `folder`, aside first and then renamed; what was there is replaced. PEFT opens it beside
    /// the model that it belongs to.
    ///
    /// # Errors
    /// When the policy has none, or it cannot be written.
    pub fn save_adapter(&self, folder: &Path) -> Result<()> {
        let Some(adapter) = &self.adapter else {
            return Err(PolicyError::input("the policy has no adapter that could be saved"));
        };
        let mut encoded = Vec::new();
        for param in self.adapter_parameters() {
            let bytes: Vec<u8> = to_vec(param.value.clone()).iter().flat_map(|value| value.to_le_bytes()).collect();
            encoded.push((param.name.as_str(), param.shape.clone(), bytes));
        }
        let views = encoded.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (*name, view.expect("bytes were encoded for this shape"))
        });
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let weights = safetensors::serialize(views, Some(metadata))
            .map_err(|error| PolicyError::file(ADAPTER_WEIGHTS, error.to_string()))?;
        let mut config = serde_json::to_vec_pretty(&adapter.to_json()).expect("JSON values can be written");
        config.push(b'\n');

        let aside = folder.with_extension("tmp");
        let io = |source| PolicyError::io(folder, source);
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(io)?;
        }
        std::fs::create_dir_all(&aside).map_err(io)?;
        for (name, bytes) in [(ADAPTER_CONFIG, &config), (ADAPTER_WEIGHTS, &weights)] {
            let path = aside.join(name);
            std::fs::write(&path, bytes).map_err(|source| PolicyError::io(&path, source))?;
        }
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(io)?;
        }
        std::fs::rename(&aside, folder).map_err(io)
    }
}

/// The matrices of one map.
fn take(module: &Module, rank: usize, stored: &mut BTreeMap<String, Stored>, file: &str) -> Result<[Vec<f32>; 2]> {
    let mut take = |part: &str, shape: &[usize]| {
        let key = format!("{ADAPTER_PREFIX}{}.{part}.weight", module.name);
        let Some(found) = stored.remove(&key) else {
            return Err(PolicyError::tensor(file, &key, "is missing, but `target_modules` names its map"));
        };
        if found.shape != shape {
            let reason = format!("has shape {:?}, but the model and rank {rank} ask for {shape:?}", found.shape);
            return Err(PolicyError::tensor(file, &key, reason));
        }
        Ok(found.values)
    };
    let [a, b] = shapes(&module.shape, rank);
    Ok([take("lora_A", &a)?, take("lora_B", &b)?])
}

/// What is to be said of a key that nothing asked for.
fn unexpected(key: &str, modules: &[Module]) -> String {
    let path = key.strip_prefix(ADAPTER_PREFIX).and_then(|rest| rest.split_once(".lora_"));
    match path.and_then(|(path, _)| modules.iter().find(|module| module.name == path)) {
        Some(module) if module.takes_adapter => format!(
            "is unexpected: {} {}",
            "it is not a `lora_A` or `lora_B` weight of a map that `target_modules` names in", ADAPTER_CONFIG
        ),
        Some(module) => format!("is unexpected: {}", no_adapter_beside(&module.name)),
        None => format!("is unexpected: the model has no such map (keys begin with `{ADAPTER_PREFIX}`)"),
    }
}

/// One tensor of a file, as 32-bit floats.
struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn read_tensors(bytes: &[u8], file: &str) -> Result<BTreeMap<String, Stored>> {
    let parsed = SafeTensors::deserialize(bytes)
        .map_err(|error| PolicyError::file(file, format!("is not a complete safetensors file: {error}")))?;
    let mut tensors = BTreeMap::new();
    for (key, view) in parsed.iter() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => {
                let reason = format!("is stored as {other:?}; F32, BF16 and F16 are read");
                return Err(PolicyError::tensor(file, key, reason));
            }
        };
        let values: Vec<f32> = values;
        if !values.iter().all(|value| value.is_finite()) {
            return Err(PolicyError::tensor(file, key, NOT_FINITE));
        }
        tensors.insert(key.to_owned(), Stored { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// What `adapter_config.json` says, and the file's name for errors.
fn read_config(folder: &Path) -> Result<(Adapter, String)> {
    let path = folder.join(ADAPTER_CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|source| PolicyError::io(&path, source))?;
    let file = path.display().to_string();
    let adapter = serde_json::from_str(&text).map_err(|error| error.to_string()).and_then(|json| Adapter::read(&json));
    adapter.map(|adapter| (adapter, file.clone())).map_err(|reason| PolicyError::file(file, reason))
}

impl Adapter {
    fn read(json: &Value) -> std::result::Result<Self, String> {
        let all = json.as_object().ok_or("is not a JSON object")?;
        if json["peft_type"] != "LORA" {
            return Err(format!("`peft_type` is {}; only \"LORA\" is supported", json["peft_type"]));
        }
        let lora = LoraConfig {
            rank: rank(&json["r"]).ok_or_else(|| format!("`r` is {}; it must be a whole number from 1", json["r"]))?,
            alpha: json["lora_alpha"].as_f64().ok_or_else(|| format!("`lora_alpha` is {}", json["lora_alpha"]))?,
            targets: targets(&json["target_modules"], "target_modules")?.ok_or("`target_modules` is missing")?,
            exclude: targets(json.get("exclude_modules").unwrap_or(&Value::Null), "exclude_modules")?,
            rslora: match &json["use_rslora"] {
                Value::Null => false,
                Value::Bool(rslora) => *rslora,
                other => return Err(format!("`use_rslora` is {other}; it must be true or false")),
            },
        };
        if let Some((key, reason)) = lora.fault() {
            let theirs = match key {
                "rank" => "r",
                "alpha" => "lora_alpha",
                "targets" => "target_modules",
                _ => "exclude_modules",
            };
            return Err(format!("`{theirs}` {reason}"));
        }
        let adapter = Self {
            lora,
            rank_pattern: patterns(json, "rank_pattern", rank)?,
            alpha_pattern: patterns(json, "alpha_pattern", |value| {
                value.as_f64().filter(|alpha| *alpha > 0.0 && *alpha <= MAX_ALPHA)
            })?,
            base_model: json["base_model_name_or_path"].as_str().map(str::to_owned),
        };
        let own =
            ["r", "lora_alpha", "target_modules", "exclude_modules", "use_rslora", "rank_pattern", "alpha_pattern"];
        for (key, value) in all {
            let key = key.as_str();
            let harmless = match key {
                _ if own.contains(&key) || NEUTRAL.contains(&key) => true,
                "bias" => value.is_null() || value == "none",
                "init_lora_weights" => {
                    value.is_boolean() || value.is_null() || value.as_str().is_some_and(|it| PLAIN_STARTS.contains(&it))
                }
                _ => off(value),
            };
            if !harmless {
                return Err(format!("`{key}` is {value}, which is not supported; save the adapter without it"));
            }
        }
        Ok(adapter)
    }

    fn to_json(&self) -> Value {
        let map = |pairs: Vec<(String, Value)>| Value::Object(pairs.into_iter().collect::<Map<String, Value>>());
        let alpha = |alpha: f64| if alpha.fract() == 0.0 && alpha < 1e15 { json!(alpha as u64) } else { json!(alpha) };
        let lora = &self.lora;
        json!({
            "alpha_pattern": map(self.alpha_pattern.iter().map(|(key, it)| (key.clone(), alpha(*it))).collect()),
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model,
            "bias": "none",
            "exclude_modules": lora.exclude,
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layer_replication": null,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha(lora.alpha),
            "lora_bias": false,
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": lora.rank,
            "rank_pattern": map(self.rank_pattern.iter().map(|(key, it)| (key.clone(), json!(it))).collect()),
            "revision": null,
            "target_modules": lora.targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": lora.rslora,
        })
    }
}

/// Whether a key of a configuration asks for nothing.
fn off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn rank(value: &Value) -> Option<usize> {
    value.as_u64().filter(|rank| (1..=1 << 24).contains(rank)).map(|rank| rank as usize)
}

fn targets(value: &Value, key: &str) -> std::result::Result<Option<Targets>, String> {
    if off(value) {
        return Ok(None);
    }
    let wrong = |_| format!("`{key}` is {value}; it must be a list of names or a regular expression");
    serde_json::from_value(value.clone()).map(Some).map_err(wrong)
}

fn patterns<T>(
    json: &Value,
    key: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> std::result::Result<Vec<(String, T)>, String> {
    let Some(value) = json.get(key).filter(|value| !off(value)) else { return Ok(Vec::new()) };
    let map = value.as_object().ok_or_else(|| format!("`{key}` is {value}; it must be an object"))?;
    map.iter()
        .map(|(pattern, value)| {
            let number = read(value)
                .ok_or_else(|| format!("`{key}.{pattern}` is {value}, which is not a number that can stand there"))?;
            Ok((pattern.clone(), number))
        })
        .collect()
}
