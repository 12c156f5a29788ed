//! Models that are named on the command line: what a name means is said on stderr where something was chosen.

use crate::config::Config;
use crate::error::Result;
use crate::model_name;

/// The preset or folder that a name means: a run's newest checkpoint, or what is in the local Hugging Face cache.
///
/// # Errors
/// When a run has no whole checkpoint.
pub(crate) fn model(name: &str) -> Result<String> {
    let named = model_name::named(name)?;
    named.note.iter().for_each(|note| eprintln!("{note}"));
    Ok(named.model)
}

/// The same for every model that a configuration names.
///
/// # Errors
/// As [`model`].
pub(crate) fn models(mut config: Config) -> Result<Config> {
    model_name::resolve(&mut config)?.iter().for_each(|note| eprintln!("{note}"));
    Ok(config)
}
