//! Misuses of a configuration: keys, types, ranges, overrides.

use crate::refused;

#[test]
fn an_unknown_key_gets_the_nearest_name() {
    refused(&["config", "check", "configs/smoke.toml", "run.sede=2"], 2, &["sede", "seed"]);
}
