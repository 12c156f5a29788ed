//! Ctrl-C: the first one asks to stop and save, the second ends the program at once and says what is kept.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Result, RunError};
use crate::run::checkpoint;

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A flag that the first Ctrl-C (or SIGTERM) sets. The second ends the program and says where the run of this folder, if there
/// is one, can be gone on with.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn interruptible(run: Option<PathBuf>) -> Result<Arc<AtomicBool>> {
    let fault = |error: std::io::Error| RunError::Internal(format!("signals cannot be caught: {error}"));
    let stop = Arc::new(AtomicBool::new(false));
    let (mut received, raised) = UnixStream::pair().map_err(fault)?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, raised.try_clone().map_err(fault)?).map_err(fault)?;
    }
    let asked = Arc::clone(&stop);
    std::thread::spawn(move || {
        let mut byte = [0];
        while received.read_exact(&mut byte).is_ok() {
            if asked.swap(true, Ordering::Relaxed) {
                // The bar is left where it stands, on a line of its own.
                eprintln!("\n{}", ended(run.as_deref()));
                signal_hook::low_level::exit(INTERRUPTED);
            }
        }
    });
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
