//! What the name of a model means beside presets and folders: a run's folder is its newest whole checkpoint, and a hub id the
//! model in the local cache. What was chosen is said.

use std::path::{Path, PathBuf};

use sapo_policies::hub;

use crate::config::{AnsweredBy, Config, PhaseConfig};
use crate::error::{Result, RunError};
use crate::kl::Reference;
use crate::run::checkpoint;

/// A name, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// A preset, or a folder.
    pub model: String,
    /// What was chosen, where something was.
    pub note: Option<String>,
}

/// What a name means. Names of which nothing is known stay as they are: whoever opens them says what is wrong.
///
/// # Errors
/// When a run has no whole checkpoint.
pub fn named(name: &str) -> Result<Named> {
    let folder = Path::new(name);
    let is_run = folder.join("config.toml").is_file() && !folder.join("config.json").is_file();
    if is_run {
        let checkpoint = newest(folder)?;
        let model = checkpoint.display().to_string();
        let note = format!("{name} is a run: its newest checkpoint {model} is used");
        return Ok(Named { model, note: Some(note) });
    }
    if let Some(Ok(snapshot)) = hub::snapshot(name).filter(|_| !folder.exists()) {
        let model = snapshot.display().to_string();
        let note = format!("{name} is in the local Hugging Face cache: {model}");
        return Ok(Named { model, note: Some(note) });
    }
    Ok(Named { model: name.to_owned(), note: None })
}

fn newest(run: &Path) -> Result<PathBuf> {
    let mut torn = Vec::new();
    let found = checkpoint::newest(run, |_| Ok(true), &mut |path, reason| {
        torn.push(format!("{} ({reason})", path.display()));
    })?;
    found.map(|checkpoint| checkpoint.path).ok_or_else(|| {
        let torn = if torn.is_empty() { String::new() } else { format!("; torn: {}", torn.join(", ")) };
        RunError::User(format!(
            "{} is a run without a whole checkpoint{torn}; let it come to its first, or name another model",
            run.display()
        ))
    })
}

/// Puts what they mean in place of the models that a configuration names. Gives a line for each that was chosen.
///
/// # Errors
/// When a run has no whole checkpoint.
pub fn resolve(config: &mut Config) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut of_text = |name: &mut String| -> Result<()> {
        let found = named(name)?;
        *name = found.model;
        notes.extend(found.note);
        Ok(())
    };
    let mut of_path = |path: &mut PathBuf| -> Result<()> {
        let mut name = path.display().to_string();
        of_text(&mut name)?;
        *path = PathBuf::from(name);
        Ok(())
    };
    config.policy.adapter.iter_mut().try_for_each(&mut of_path)?;
    for phase in config.phases.values_mut() {
        match phase {
            PhaseConfig::Distill(distill) => of_path(&mut distill.teacher)?,
            PhaseConfig::Rl(rl) => {
                if let Some(Reference::Model(model)) = rl.kl.as_mut().map(|kl| &mut kl.from) {
                    of_path(model)?;
                }
            }
            PhaseConfig::Curate(curate) => {
                let blind = curate.without_pictures.as_mut().map(|blind| &mut blind.by);
                for by in [Some(&mut curate.by), blind].into_iter().flatten() {
                    if let AnsweredBy::Model(model) = by {
                        of_path(model)?;
                    }
                }
            }
            PhaseConfig::Sft(_) => {}
        }
    }
    of_text(&mut config.policy.model)?;
    Ok(notes)
}
