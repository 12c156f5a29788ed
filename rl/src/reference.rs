//! The frozen policy that a phase's KL is measured from.

use sapo_policies::weights::Loading;
use sapo_policies::{Model, Policy, WeightFormat};

use crate::config::fault::fault;
use crate::error::{Result, RunError};
use crate::kl::Reference;
use crate::model_setup;
use crate::run::Run;

/// The folder, in a run's, of the policies that phases measure from.
pub const FOLDER: &str = "reference";
/// Texts that tell tokenizers apart.
const PROBES: [&str; 3] = ["<|im_start|>user\nWhat is 12 + 30?<|im_end|>", "三个红色圆形", "  {\"bbox_2d\": [1, 999]}"];

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
        Reference::Model(model) => opened(&model.display().to_string(), &place, run),
        Reference::Start => at_start(name, run),
    }
}

/// Opens another model with the policy's vocabulary, on its device.
///
/// # Errors
/// When it cannot be read, or does not fit the policy; `place` is the key that names it.
pub fn opened(name: &str, place: &str, run: &Run<'_>) -> Result<Policy> {
    let (own, loading) = (&run.model, Loading::kept_in(run.config.run.dtype));
    let other = Model::open_as(name, run.config.run.seed, loading, own.policy.device())?;
    let wrong =
        |reason: String| RunError::from(fault(place, format!("`{name}` {reason}; use a model of the policy's family")));
    let sizes = |model: &Model| {
        let vision = &model.policy.config.vision;
        [model.policy.config.text.vocab_size, vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size]
    };
    if sizes(&other) != sizes(own) {
        let (theirs, ours) = (sizes(&other), sizes(own));
        return Err(wrong(format!(
            "has another vocabulary or other patches than the policy (vocabulary, patch, temporal patch, merge: {theirs:?} \
             and {ours:?})"
        )));
    }
    for text in PROBES {
        if other.processor.tokenizer().encode(text)? != own.processor.tokenizer().encode(text)? {
            return Err(wrong(format!("has another tokenizer than the policy: `{text}` becomes other tokens")));
        }
    }
    Ok(other.policy)
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
    if !folder.is_dir() {
        let reason =
            "is `start`, and the policy as this phase began was not kept; name a checkpoint: { model = \"DIR\" }";
        return Err(fault(format!("phases.{name}.kl.from"), reason).into());
    }
    Ok(model_setup::open(run.config, Some(&folder), run.model.policy.device())?.policy)
}
