//! What a self-test of a sandbox level found: each probe tries to get through a wall.

use serde::Serialize;

use super::Level;

/// One attempt to get through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What was tried.
    pub name: &'static str,
    /// Whether the wall held.
    pub held: bool,
    /// What was seen.
    pub detail: String,
}

/// The self-test of a level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelfTest {
    /// The level.
    pub level: Level,
    /// Why the level is refused; nothing when every probe was held.
    pub reason: Option<String>,
    /// The attempts, in order; none when not even a harmless program could be run.
    pub probes: Vec<Probe>,
    /// What limits programs at this level on this machine, in words.
    pub enforced: Vec<&'static str>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

impl SelfTest {
    /// A test of these probes; one that got through refuses the level.
    pub fn of(level: Level, probes: Vec<Probe>, millis: u64) -> Self {
        let through: Vec<String> = probes
            .iter()
            .filter(|probe| !probe.held)
            .map(|probe| format!("the probe `{}` got through ({})", probe.name, probe.detail))
            .collect();
        let reason = (!through.is_empty()).then(|| through.join("; "));
        Self { level, reason, probes, enforced: Vec::new(), millis }
    }
}
