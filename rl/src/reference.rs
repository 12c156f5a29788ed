//! The frozen policy that a phase's KL is measured from.

use sapo_policies::weights::Loading;
use sapo_policies::{Model, Policy, WeightFormat};

use crate::config::fault::fault;
use crate::error::{Result, RunError};
use crate::kl::Reference;
use crate::model_setup;
use crate::run::Run;

/// The folder, in a run's, of the policies that phases measure from.
const FOLDER: &str = "reference";

/// Opens the reference of a phase, which stays as it is however often the run is resumed.
///
/// # Errors
/// When it cannot be read or written, or does not fit the policy.
pub fn open(name: &str, reference: &Reference, run: &Run<'_>) -> Result<Policy> {
    let place = format!("phases.{name}.kl.from");
    let own = &run.model.policy;
    match reference {
        Reference::Base => own.without_adapter().ok_or_else(|| {
            fault(place, "is `base`, and the policy has no adapter to switch off; use `start`, or add policy.lora")
                .into()
        }),
        Reference::Model(model) => opened(model.display().to_string(), &place, own, run.config.run.seed),
        Reference::Start => at_start(name, run),
    }
}

/// Opens another model with the policy's vocabulary, on its device.
///
/// # Errors
/// When it cannot be read, or does not fit the policy; `place` is the key that names it.
pub fn opened(model: String, place: &str, own: &Policy, seed: u64) -> Result<Policy> {
    let other = Model::open_as(&model, seed, Loading::default(), own.device())?.policy;
    let (theirs, ours) = (other.config.text.vocab_size, own.config.text.vocab_size);
    if theirs != ours {
        let reason =
            format!("`{model}` has a vocabulary of {theirs}, and the policy one of {ours}; use a model of the same");
        return Err(fault(place, reason).into());
    }
    Ok(other)
}

fn at_start(name: &str, run: &Run<'_>) -> Result<Policy> {
    let dir = run.recorder.dir();
    let folder = dir.path().join(FOLDER).join(name);
    if run.state.step_in_part == 0 {
        let aside = folder.with_extension("tmp");
        let io = |source| RunError::io(&folder, source);
        dir.patiently(|| {
            for old in [&aside, &folder] {
                match std::fs::remove_dir_all(old) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
                    _ => {}
                }
            }
            match run.model.policy.adapter {
                Some(_) => run.model.policy.save_adapter(&aside.join("adapter"))?,
                None => run.model.save(&aside.join("policy"), WeightFormat::F32)?,
            }
            std::fs::rename(&aside, &folder).map_err(io)
        })?;
    }
    Ok(model_setup::open(run.config, Some(&folder), run.model.policy.device())?.policy)
}
