//! A fault in a configuration: where it is, what is wrong and what to do.

/// A fault in a configuration, with its place and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    /// The key, with the file and the line or the override that it stands in where that is known.
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

/// The most steps that a phase may have, and the largest number of steps that anything may wait for.
pub(crate) const MOST_STEPS: u64 = 1_000_000_000;
/// The most queries, rollouts or rows that anything may hold at a time.
pub(crate) const MOST_ROWS: u64 = 1_000_000;
/// The most tokens that a text or a batch may have.
pub(crate) const MOST_TOKENS: u64 = 1 << 24;

/// A fault at `place` unless a count lies in a range.
pub(crate) fn count(
    place: impl Into<String>,
    value: impl TryInto<u64>,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    let value = value.try_into().unwrap_or(u64::MAX);
    let reason = format!("is {value}; it must be at least {} and at most {}", range.start(), range.end());
    must(range.contains(&value), place, &reason)
}

/// A fault at `place` unless a number lies in a range, of which both ends are good.
pub(crate) fn number(
    place: impl Into<String>,
    value: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<(), ConfigError> {
    let reason = format!("is {value:?}; it must be at least {:?} and at most {:?}", range.start(), range.end());
    must(range.contains(&value), place, &reason)
}

/// "; did you mean `x`?" for the nearest known name, or what is known.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    format!("; {}", sapo_datasets::nearest(name, known))
}
