//! `sapo merge`: makes a low-rank adapter a part of its model's weights.

use std::path::PathBuf;

use crate::device;
use crate::error::{Result, RunError};
use clap::Args;
use sapo_policies::Model;
use sapo_policies::WeightFormat;
use sapo_policies::adapt::adapter_folder;
use serde_json::{Value, json};

use super::named;
use super::printer::{Printer, print_json, print_text};

/// Presets with random weights have no adapters, so nothing depends on it.
const SEED: u64 = 0;

/// Which adapter, and where the model with it goes.
#[derive(Args)]
pub(crate) struct MergeArguments {
    /// A folder in PEFT's format, or a run's checkpoint that holds one in `adapter/`.
    #[arg(value_name = "ADAPTER_DIR")]
    pub(crate) adapter: PathBuf,
    /// The folder to write; it must not exist.
    #[arg(value_name = "OUT_DIR")]
    pub(crate) out: PathBuf,
    /// The model that the adapter belongs to; what its `base_model_name_or_path` says without it.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<String>,
    /// The number format of the weights: f32 or bf16.
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = format)]
    pub(crate) format: WeightFormat,
    /// Where the maps are multiplied: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

fn format(text: &str) -> std::result::Result<WeightFormat, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| "it must be f32 or bf16".to_owned())
}

/// Runs the command.
pub(crate) fn run(arguments: &MergeArguments) -> Result<()> {
    let out = &arguments.out;
    if out.exists() {
        return Err(RunError::User(format!("{} exists already; name another folder", out.display())));
    }
    let named = PathBuf::from(named::model(&arguments.adapter.display().to_string())?);
    let folder = adapter_folder(&named).ok_or_else(|| {
        RunError::User(format!("{} holds no adapter_config.json, so it is not an adapter", arguments.adapter.display()))
    })?;
    let printer = Printer::new();
    let device = device::open(&arguments.device)?;
    let mut model = match &arguments.model {
        Some(name) => {
            let mut model = Model::open(&named::model(name)?, SEED, &device)?;
            model.policy.load_adapter(&folder)?;
            model
        }
        None => Model::open(&folder.display().to_string(), SEED, &device)?,
    };
    let maps = model.policy.adapter_parameters().len() / 2;
    model.policy.absorb_adapter();
    model.save(out, arguments.format)?;
    printer.finish();
    if arguments.json {
        let parameters = model.policy.parameter_count();
        return print_json(&json!({"out": out, "maps": maps, "parameters": parameters}), true);
    }
    print_text(&format!("{}: {maps} maps changed\n", out.display()))
}
