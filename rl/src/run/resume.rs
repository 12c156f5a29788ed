//! What a resume finds in a run's folder, and whether it may go on from it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::checkpoint::{self, Checkpoint};
use super::extend::Changes;
use super::fork;
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::summary::Summary;

/// The file that whoever trains a run holds locked.
const LOCK: &str = "lock";
/// Differences that a message names at most.
const TOLD: usize = 5;

/// Refuses to resume a folder that holds something else than a run.
pub(crate) fn is_run(path: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(path).map_err(|source| RunError::io(path, source))?.flatten();
    let empty = entries.all(|entry| entry.file_name() == LOCK);
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
///
/// # Errors
/// When there are checkpoints, and none of them is whole; or a fork has not come to its first.
pub(crate) fn newest(path: &Path, progress: &dyn Progress) -> Result<Option<Checkpoint>> {
    let found = checkpoint::newest(path, &mut |torn, reason| {
        progress.say(&format!("{} is torn ({reason}); the one before is used", torn.display()));
    })?;
    let remedy = "move it away and begin anew";
    match found {
        None if !checkpoint::steps(path).is_empty() => Err(RunError::User(format!(
            "no checkpoint of {} is whole, so there is nothing to go on from; {remedy}",
            path.display()
        ))),
        None if path.join(fork::FILE).exists() => Err(RunError::User(format!(
            "{} was stopped while it was forked, before its first checkpoint; {remedy}",
            path.display()
        ))),
        found => Ok(found),
    }
}

/// In what a resume differs from the run: nothing, what changes no number, or more steps of a phase.
///
/// # Errors
/// When it differs in anything else.
pub(crate) fn changes(config: &Config, path: &Path) -> Result<Changes> {
    let saved: PathBuf = path.join("config.toml");
    if !saved.exists() {
        return Ok(Changes::default());
    }
    let before = Config::compose(std::slice::from_ref(&saved), &[])?;
    let (changes, refused) = Changes::of(&before, config)?;
    let differences: Vec<String> = refused.iter().map(ToString::to_string).collect();
    if differences.is_empty() {
        return Ok(changes);
    }
    let more = match differences.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(RunError::User(format!(
        "{} was begun with another configuration (now {}{more}); a resume may raise the steps of a phase that has not \
         ended. Resume with the saved {}, or go on in a new run with --fork={} run.name=...",
        path.display(),
        differences[..differences.len().min(TOLD)].join(", "),
        saved.display(),
        path.display()
    )))
}

/// What `--resume=PATH` and `--fork=PATH` name: a run's folder, or one of its checkpoints, by its step.
pub(crate) fn place(path: &Path) -> Result<(PathBuf, Option<u64>)> {
    if path.join("config.toml").is_file() {
        return Ok((path.to_owned(), None));
    }
    // `checkpoints/best` is a link beside what it means.
    let target = std::fs::read_link(path).ok().and_then(|target| Some(path.parent()?.join(target)));
    let path = target.as_deref().unwrap_or(path);
    let step = path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("step-"));
    let step = step.and_then(checkpoint::step_of);
    let run = path.parent().filter(|folder| folder.ends_with("checkpoints")).and_then(Path::parent);
    match (run, step) {
        (Some(run), Some(step)) if run.join("config.toml").is_file() => Ok((run.to_owned(), Some(step))),
        _ => Err(RunError::User(format!(
            "{} holds no config.toml, so it is not a run directory, nor a checkpoint of one (RUN/checkpoints/step-000100)",
            path.display()
        ))),
    }
}

/// Locks a run's folder as long as the file is open; the system unlocks it when the process ends, however it does. `None`
/// where there are no locks.
pub(crate) fn locked(path: &Path) -> Result<Option<File>> {
    let place = path.join(LOCK);
    let file = match File::options().create(true).truncate(false).write(true).open(&place) {
        Ok(file) => file,
        // Whatever is wrong with the folder is told by whoever writes the first line into it.
        Err(_) => return Ok(None),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RunError::User(format!(
            "{} is being trained by another process; wait for its end, or stop it",
            path.display()
        ))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
