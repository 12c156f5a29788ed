//! Ctrl-C: the first one asks to stop and save, the second ends the program at once and says what is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::signals::on_signals;
use crate::error::Result;
use crate::run::checkpoint;

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A flag that the first Ctrl-C (or SIGTERM) sets. The second ends the program and says where the run of this folder, if there
/// is one, can be gone on with.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn interruptible(run: Option<PathBuf>) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    on_signals(move || {
        if asked.swap(true, Ordering::Relaxed) {
            // The bar is left where it stands, on a line of its own.
            eprintln!("\n{}", ended(run.as_deref()));
            signal_hook::low_level::exit(INTERRUPTED);
        }
        true
    })?;
    Ok(stop)
}

/// What is said at the end that comes at once.
fn ended(run: Option<&std::path::Path>) -> String {
    let Some(run) = run else { return "stopped at once".to_owned() };
    match checkpoint::last_step(run) {
        Some(step) => format!(
            "stopped at once; the last checkpoint is step {step}. Go on with: sapo train --resume={}",
            run.display()
        ),
        None => format!("stopped at once; {} has no checkpoint yet", run.display()),
    }
}
