//! What of the policy trains: the model a run begins with, its adapter, its frozen parts, and where the model of an
//! adapter is kept.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sapo_policies::adapt::adapter_folder;
use sapo_policies::preset::{PRESETS, checkpoint_folder};
use sapo_policies::weights::Loading;
use sapo_policies::{Model, Part, Policy, WeightFormat};

use crate::config::Config;
use crate::config::fault::fault;
use crate::error::Result;
use crate::run_dir::RunDir;

/// The folder, in a run's, of the model that the run's adapters belong to.
const BASE: &str = "base";

/// Opens the model of a run as the configuration wants it trained; `checkpoint` is where the run goes on from.
///
/// # Errors
/// When a file is wrong, or the model does not have what the configuration speaks of.
pub fn open(config: &Config, checkpoint: Option<&Path>, device: &Device) -> Result<Model> {
    let (wanted, seed) = (&config.policy, config.run.seed);
    let adapted = is_adapted(config);
    let base = config.run_path().join(BASE);
    let name = name_of(config, checkpoint);
    let trained = || config.run.phases.iter().filter(|name| config.phases[*name].kind().trains());
    let trains = |name: &str| !adapted && trained().any(|phase| !Part::of(name).is_frozen_by(config.frozen_in(phase)));
    let loading = Loading { f32_of: Some(&trains), ..Loading::kept_in(config.run.dtype) };
    let mut model = Model::open_as(&name, seed, loading, device)?;
    let policy = &mut model.policy;
    policy.multiply_in(config.run.matmul).map_err(|error| fault("run.matmul", error.to_string()))?;
    // What only a run's own folder can hold: weights that are drawn, put together, or cut.
    let plain = model_folder(&wanted.model).filter(|_| policy.adapter.is_none() && wanted.deepstack);
    policy.absorb_adapter();
    if !wanted.deepstack {
        policy.remove_deepstack();
    }
    policy.check_parts(&wanted.freeze).map_err(|error| fault("policy.freeze", error.to_string()))?;
    match (checkpoint, &wanted.lora, &wanted.adapter) {
        (Some(checkpoint), _, _) if adapted => policy.load_adapter(&checkpoint.join("adapter"))?,
        (None, Some(lora), _) => {
            policy.add_lora(lora, &wanted.freeze, seed).map_err(|error| fault("policy.lora", error.to_string()))?
        }
        (None, None, Some(folder)) => policy.load_adapter(&adapter_folder(folder).unwrap_or_else(|| folder.clone()))?,
        _ => {}
    }
    if let Some(adapter) = &mut policy.adapter {
        let base = std::path::absolute(plain.unwrap_or(base)).unwrap_or_default();
        adapter.base_model = Some(base.display().to_string());
    }
    // Every phase is tried before the first: one that would train nothing is told now.
    for phase in trained() {
        train_in(policy, config, phase)?;
        policy.widen_trained();
    }
    let first = trained().next();
    first.map_or(Ok(()), |phase| train_in(policy, config, phase))?;
    check_phases(config, policy)?;
    Ok(model)
}

fn is_adapted(config: &Config) -> bool {
    config.policy.lora.is_some() || config.policy.adapter.is_some()
}

/// The model that is opened: that of the checkpoint, or where that holds an adapter alone, the one that it belongs to.
fn name_of(config: &Config, checkpoint: Option<&Path>) -> String {
    let adapted = is_adapted(config);
    // A fork finds it in the run that it is from.
    let found = checkpoint.and_then(Path::parent).and_then(Path::parent).map(|run| run.join(BASE));
    let kept = found.filter(|base| base.join("config.json").is_file());
    match (checkpoint, &kept) {
        (Some(checkpoint), _) if !adapted => checkpoint.display().to_string(),
        (_, Some(kept)) if adapted => kept.display().to_string(),
        _ => config.policy.model.clone(),
    }
}

/// Refuses a model that is not there, and an adapter that is none, before anything is started for the run.
///
/// # Errors
/// When the model or the adapter cannot be found, or a `config.json` is of another architecture.
pub fn check_there(config: &Config, checkpoint: Option<&Path>) -> Result<()> {
    let name = name_of(config, checkpoint);
    let is_adapter = || adapter_folder(Path::new(&name)).is_some();
    if !PRESETS.contains(&name.as_str()) && !is_adapter() {
        let folder = checkpoint_folder(&name).map_err(|error| fault("policy.model", error.to_string()))?;
        sapo_policies::Config::read(&folder)?;
    }
    match &config.policy.adapter {
        Some(folder) if checkpoint.is_none() && adapter_folder(folder).is_none() => {
            let reason = format!("{} holds no adapter_config.json, so it is not an adapter", folder.display());
            Err(fault("policy.adapter", reason).into())
        }
        _ => Ok(()),
    }
}

/// Lets train what trains in a phase, and nothing else.
///
/// # Errors
/// When the policy does not have a part that is frozen, or nothing is left that trains.
pub fn train_in(policy: &mut Policy, config: &Config, phase: &str) -> Result<()> {
    let own = config.phases[phase].kind().freeze().is_some();
    let place = if own { format!("phases.{phase}.freeze") } else { "policy.freeze".to_owned() };
    policy.train_all_but(config.frozen_in(phase)).map_err(|error| fault(place, error.to_string()).into())
}

/// The folder that holds a model's own weights, if its name is one.
fn model_folder(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(name);
    [folder.join("policy"), folder].into_iter().find(|folder| folder.join("config.json").is_file())
}

fn check_phases(config: &Config, policy: &Policy) -> Result<()> {
    for name in &config.run.phases {
        if let Some(phase) = config.phases[name].as_sft()
            && phase.router_aux_loss_coef.is_some()
            && policy.config.text.moe.is_none()
        {
            let reason = "the model is dense, so there is no router to balance; leave it out";
            return Err(fault(format!("phases.{name}.router_aux_loss_coef"), reason).into());
        }
    }
    Ok(())
}

/// Keeps the model that the adapter belongs to beside the checkpoints, unless it lies elsewhere already: an adapter is
/// worth nothing without it.
///
/// # Errors
/// When it cannot be written.
pub fn keep_base(dir: &RunDir<'_>, model: &Model) -> Result<()> {
    let Some(adapter) = &model.policy.adapter else { return Ok(()) };
    let folder = dir.path().join(BASE);
    let own = std::path::absolute(&folder).is_ok_and(|own| adapter.base_model == Some(own.display().to_string()));
    if own && !folder.exists() {
        dir.patiently(|| Ok(model.save(&folder, WeightFormat::F32)?))?;
    }
    Ok(())
}
