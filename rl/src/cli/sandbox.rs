//! `sapo reward sandbox`: the walls of every sandbox level, tried on this machine.

use crate::error::{Result, RunError};
use sapo_rewards::sandbox::selftest::SelfTest;
use sapo_rewards::sandbox::{Level, Sandbox, Wanted, self_test};
use serde_json::json;

use super::printer::{print_json, print_text};

/// Tries every local level; whether one of those with walls holds.
pub(crate) fn run(json: bool) -> Result<bool> {
    let levels = [Level::Strict, Level::Standard, Level::None];
    let tests: std::result::Result<Vec<SelfTest>, _> = levels.into_iter().map(self_test).collect();
    let tests = tests.map_err(|error| RunError::User(error.to_string()))?;
    let chosen = Sandbox::choose(Wanted::Auto).ok().map(|sandbox| sandbox.level());
    if json {
        print_json(&json!({"chosen": chosen, "levels": tests}), true)?;
        return Ok(chosen.is_some());
    }
    let mut page = String::new();
    for test in &tests {
        let verdict = match &test.reason {
            None if test.level == Level::None => "works (no walls: its limits alone were tried)".to_owned(),
            None => "holds".to_owned(),
            Some(reason) => format!("refused: {reason}"),
        };
        page += &format!("{}: {verdict} ({} ms)\n", test.level.name(), test.millis);
        for line in &test.enforced {
            page += &format!("  limits  {line}\n");
        }
        for probe in &test.probes {
            let held = if probe.held { "held   " } else { "THROUGH" };
            page += &format!("  {held} {:14} {}\n", probe.name, probe.detail);
        }
    }
    page += &match chosen {
        Some(level) => format!("programs run in `{}`\n", level.name()),
        None => "no level holds: use sandbox = \"remote\" with a url, or sandbox = \"none\"\n".to_owned(),
    };
    print_text(&page)?;
    Ok(chosen.is_some())
}
