//! Whether what a run has recorded is still what it was at a checkpoint: file by file, by its length and its hash.

use std::path::Path;

use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use crate::error::{Result, RunError};
use crate::eval::Evaluation;
use crate::head::Head;
use crate::run_dir::EVENTS;

/// What of a run's record is not as it was at a checkpoint, if anything is: the file, and how it differs. What came after is
/// no matter, and neither is a view that can be made again.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn misfit(checkpoint: &Checkpoint, run: &Path) -> Result<Option<String>> {
    for (name, length, hash) in checkpoint.record().filter(|(name, ..)| *name != EVENTS) {
        let path = run.join(name);
        let head = Head::read(&path, length).map_err(|source| RunError::io(&path, source))?;
        if head.bytes() < length {
            let found = head.bytes();
            return Ok(Some(match path.exists() {
                true => format!("{} is shorter than it was: {found} of {length} bytes", path.display()),
                false => format!("{} is missing", path.display()),
            }));
        }
        if hash.is_some_and(|hash| hash != head.sha256()) {
            let reason = format!("was changed: its first {length} bytes are not those that were written");
            return Ok(Some(format!("{} {reason}", path.display())));
        }
    }
    let state = &checkpoint.state;
    let altered = state.evaluated.iter().zip(&state.evaluations).find(|(folder, evaluation)| {
        let path = run.join("eval").join(folder).join("results.json");
        let results: Option<Value> = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        results.is_none_or(|results| !is_of(&results, evaluation))
    });
    Ok(altered.map(|(folder, _)| {
        let path = run.join("eval").join(folder).join("results.json");
        format!("{} is missing, or is not what was measured", path.display())
    }))
}

/// Whether a record is that of an evaluation, by whatever name of its place in the run: a resume that goes further changes it.
/// What only one of them knows, another version of this program has written.
fn is_of(results: &Value, evaluation: &Evaluation) -> bool {
    let own = json!(evaluation.rows);
    let (Some(found), Some(own)) = (results["tasks"].as_array(), own.as_array()) else { return false };
    let same = |(found, own): (&Value, &Value)| {
        let mut all = found.as_object().into_iter().flatten().filter(|(key, _)| *key != "after");
        all.all(|(key, value)| own.get(key).is_none_or(|own| own == value))
    };
    found.len() == own.len() && found.iter().zip(own).all(same)
}
