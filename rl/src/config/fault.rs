//! A fault in a configuration: where it is, what is wrong and what to do.

/// A fault in a configuration, with its place and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    /// File, override or key.
    pub place: String,
    /// What is wrong and what to do.
    pub reason: String,
}

pub(crate) fn fault(place: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError { place: place.into(), reason: reason.into() }
}

/// A fault at `place` unless something holds.
pub(crate) fn must(holds: bool, place: impl Into<String>, reason: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(fault(place, reason)) }
}

/// "; did you mean `x`?" for the nearest known name, or what is known.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    format!("; {}", sapo_datasets::nearest(name, known))
}
