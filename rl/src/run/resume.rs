//! What a resume finds in a run's folder, and whether it may go on from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sapo_rewards::RewardConfig;
use serde_json::Value;

use super::checkpoint::{self, Checkpoint};
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::summary::Summary;

/// Refuses to resume a folder that holds something else than a run.
pub(crate) fn is_run(path: &Path) -> Result<()> {
    let empty = std::fs::read_dir(path).map_err(|source| RunError::io(path, source))?.next().is_none();
    if empty || path.join("config.toml").is_file() {
        return Ok(());
    }
    Err(RunError::User(format!(
        "{} holds no config.toml, so it is not a run directory; name another run",
        path.display()
    )))
}

/// The summary of a run that says it has finished.
pub(crate) fn finished(path: &Path) -> Option<Summary> {
    let read = |name: &str| -> Option<Value> { serde_json::from_slice(&std::fs::read(path.join(name)).ok()?).ok() };
    if read("run.json").is_none_or(|run| run["status"] != "finished") {
        return None;
    }
    read("summary.json").and_then(|summary| serde_json::from_value(summary).ok())
}

/// The newest whole checkpoint.
pub(crate) fn newest(path: &Path, progress: &dyn Progress) -> Result<Option<Checkpoint>> {
    checkpoint::newest(path, &mut |torn, reason| {
        progress.say(&format!("{} is torn ({reason}); the one before is used", torn.display()));
    })
}

/// Refuses to go on with another configuration than the run began with, but for what changes no number.
pub(crate) fn same_config(config: &Config, path: &Path) -> Result<()> {
    let saved: PathBuf = path.join("config.toml");
    if !saved.exists() {
        return Ok(());
    }
    let mut before = Config::compose(std::slice::from_ref(&saved), &[])?;
    let run = &mut before.run;
    run.dir.clone_from(&config.run.dir);
    run.disk_wait_secs = config.run.disk_wait_secs;
    run.checkpoint_every = config.run.checkpoint_every;
    run.warn.clone_from(&config.run.warn);
    run.max_skipped_steps = config.run.max_skipped_steps;
    run.keep_checkpoints = config.run.keep_checkpoints;
    run.reward_check.clone_from(&config.run.reward_check);
    before.engine.reached_like(&config.engine);
    for (name, reward) in &mut before.rewards {
        if let (RewardConfig::Judge(judge), Some(RewardConfig::Judge(now))) = (reward, config.rewards.get(name)) {
            judge.asked_like(now);
        }
    }
    let (before, now) = (before.to_toml()?, config.to_toml()?);
    if before == now {
        return Ok(());
    }
    let old: BTreeSet<&str> = before.lines().collect();
    let differing: Vec<&str> = now.lines().filter(|line| !old.contains(line)).take(5).collect();
    Err(RunError::User(format!(
        "{} was begun with another configuration (now: {}); resume with the saved {}, or begin a new run by run.name=...",
        path.display(),
        differing.join(", "),
        saved.display()
    )))
}
