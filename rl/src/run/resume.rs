//! What a resume finds in a run's folder, and whether it may go on from it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::checkpoint::{self, Checkpoint};
use super::extend::Changes;
use super::fit::misfit;
use super::fork;
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::summary::Summary;

/// The file that whoever writes into a run's or an evaluation's folder holds locked.
pub(crate) const LOCK: &str = "lock";
/// Differences that a message names at most.
const TOLD: usize = 5;

/// Takes a run's folder to go on with it: nobody else writes into it as long as the file is open, and what a kill left of a
/// checkpoint is gone.
///
/// # Errors
/// When it is no run, or somebody else has it.
pub(super) fn taken(path: &Path) -> Result<Option<File>> {
    is_run(path)?;
    let lock = locked(path)?;
    checkpoint::tidy(path)?;
    Ok(lock)
}

/// Refuses to resume a folder that holds something else than a run.
fn is_run(path: &Path) -> Result<()> {
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

/// The newest whole checkpoint that fits what the run has recorded.
///
/// # Errors
/// When there are checkpoints, and there is nothing to go on from; or a fork has not come to its first.
pub(crate) fn newest(path: &Path, progress: &dyn Progress) -> Result<Option<Checkpoint>> {
    let (mut torn, mut unfit) = (Vec::new(), Vec::new());
    let found = checkpoint::newest(
        path,
        |checkpoint| {
            let reason = misfit(checkpoint, path)?;
            let fits = reason.is_none();
            unfit.extend(reason.map(|reason| (checkpoint.path.clone(), reason)));
            Ok(fits)
        },
        &mut |place, reason| torn.push((place.to_owned(), reason.to_owned())),
    )?;
    for (place, reason) in &torn {
        progress.say(&format!("{} is torn ({reason}); the one before is used", place.display()));
    }
    for (place, reason) in &unfit {
        progress.say(&format!("{} does not fit the run any more: {reason}; the one before is used", place.display()));
    }
    let remedy = "move it away and begin anew";
    match (found, unfit.last()) {
        (None, Some((_, reason))) => Err(RunError::User(format!(
            "no checkpoint of {} fits what it has recorded: {reason}, so it cannot be continued faithfully; put the file back \
             as it was, or {remedy}",
            path.display()
        ))),
        (None, None) if !checkpoint::steps(path).is_empty() => Err(RunError::User(format!(
            "no checkpoint of {} is whole, so there is nothing to go on from; {remedy}",
            path.display()
        ))),
        (None, None) if path.join(fork::FILE).exists() => Err(RunError::User(format!(
            "{} was stopped while it was forked, before its first checkpoint; {remedy}",
            path.display()
        ))),
        // A curation that was changed must not be taken for one that is under way.
        (found, unfit) => Ok(found.map(|mut checkpoint| {
            checkpoint.anew = unfit.is_some();
            checkpoint
        })),
    }
}

/// The checkpoint of a run at a step.
///
/// # Errors
/// When there is none, it is not whole, or it does not fit what the run has recorded.
pub(crate) fn at(path: &Path, step: u64) -> Result<Checkpoint> {
    let mut checkpoint = checkpoint::at(path, step)?;
    checkpoint.anew = true;
    match misfit(&checkpoint, path)? {
        None => Ok(checkpoint),
        Some(reason) => Err(RunError::User(format!(
            "{} does not fit the run any more: {reason}; put the file back as it was, or name an older checkpoint",
            checkpoint.path.display()
        ))),
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

/// Locks a run's or an evaluation's folder as long as the file is open; the system unlocks it when the process ends, however it does. `None`
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
            "{} is in use by another process, which writes into it; wait for its end, or stop it",
            path.display()
        ))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
