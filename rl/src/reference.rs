//! Frozen policies beside the one that trains: what a phase's KL is measured from, and teachers.

use sapo_policies::preset::{config_of, processor_of};
use sapo_policies::weights::Loading;
use sapo_policies::{Model, Policy, WeightFormat};

use crate::config::fault::fault;
use crate::config::{Config, PhaseConfig};
use crate::error::{Result, RunError};
use crate::kl::Reference;
use crate::model_setup;
use crate::run_dir::{REFERENCE, RunDir};

/// Texts that tell tokenizers apart.
const PROBES: [&str; 3] = ["<|im_start|>user\nWhat is 12 + 30?<|im_end|>", "三个红色圆形", "  {\"bbox_2d\": [1, 999]}"];

/// Whether every other model that the phases of a run name can stand beside the policy. Their weights are not read yet.
///
/// # Errors
/// The key of the first that is not there, or has another vocabulary, tokenizer or other patches than the policy.
pub fn check(config: &Config, own: &Model) -> Result<()> {
    for name in &config.run.phases {
        match &config.phases[name] {
            PhaseConfig::Distill(distill) => {
                fits(&distill.teacher.display().to_string(), &format!("phases.{name}.teacher"), own)?;
            }
            PhaseConfig::Rl(rl) => {
                if let Some(Reference::Model(model)) = rl.kl.as_ref().map(|kl| &kl.from) {
                    fits(&model.display().to_string(), &format!("phases.{name}.kl.from"), own)?;
                }
            }
            PhaseConfig::Sft(_) | PhaseConfig::Curate(_) => {}
        }
    }
    Ok(())
}

fn fits(name: &str, place: &str, own: &Model) -> Result<()> {
    let wrong =
        |reason: String| RunError::from(fault(place, format!("`{name}` {reason}; use a model of the policy's family")));
    let sizes = |config: &sapo_policies::Config| {
        let vision = &config.vision;
        [config.text.vocab_size, vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size]
    };
    let unread = |error: sapo_policies::PolicyError| RunError::from(fault(place, error.to_string()));
    let (theirs, ours) = (sizes(&config_of(name).map_err(unread)?), sizes(&own.policy.config));
    if theirs != ours {
        return Err(wrong(format!(
            "has another vocabulary or other patches than the policy (vocabulary, patch, temporal patch, merge: {theirs:?} \
             and {ours:?})"
        )));
    }
    let (other, own) = (processor_of(name).map_err(unread)?, own.processor.tokenizer());
    for text in PROBES {
        if other.tokenizer().encode(text)? != own.encode(text)? {
            return Err(wrong(format!("has another tokenizer than the policy: `{text}` becomes other tokens")));
        }
    }
    Ok(())
}

/// Opens another model, which [`check`] has looked at, on the policy's device.
///
/// # Errors
/// When it cannot be read.
pub fn opened(name: &str, config: &Config, own: &Policy) -> Result<Policy> {
    let mut policy = Model::open_as(name, config.run.seed, Loading::kept_in(config.run.dtype), own.device())?.policy;
    policy.multiply_in(config.run.matmul)?;
    Ok(policy)
}

/// Opens the reference of a phase, which stays as it is however often the run is resumed; `begins` where the phase does.
///
/// # Errors
/// When it cannot be read or written.
pub fn open(
    phase: &str,
    reference: &Reference,
    config: &Config,
    dir: &RunDir<'_>,
    own: &Model,
    begins: bool,
) -> Result<Policy> {
    let place = format!("phases.{phase}.kl.from");
    match reference {
        Reference::Base => own.policy.without_adapter().ok_or_else(|| {
            fault(place, "is `base`, and the policy has no adapter to switch off; use `start`, or add policy.lora")
                .into()
        }),
        Reference::Model(model) => opened(&model.display().to_string(), config, &own.policy),
        Reference::Start => {
            let folder = dir.path().join(REFERENCE).join(phase);
            if begins {
                keep(dir, &folder, own)?;
            }
            if !folder.is_dir() {
                let reason = "is `start`, and the policy as this phase began was not kept; name a checkpoint: { model = \"DIR\" }";
                return Err(fault(place, reason).into());
            }
            Ok(model_setup::open(config, Some(&folder), own.policy.device())?.policy)
        }
    }
}

/// Keeps the policy as it is now.
fn keep(dir: &RunDir<'_>, folder: &std::path::Path, own: &Model) -> Result<()> {
    let aside = folder.with_extension("tmp");
    let io = |source| RunError::io(folder, source);
    dir.patiently(|| {
        for old in [aside.as_path(), folder] {
            match std::fs::remove_dir_all(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
        }
        match own.policy.adapter {
            Some(_) => own.policy.save_adapter(&aside.join("adapter"))?,
            None => own.save(&aside.join("policy"), WeightFormat::F32)?,
        }
        std::fs::rename(&aside, folder).map_err(io)
    })
}
