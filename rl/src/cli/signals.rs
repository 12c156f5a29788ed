//! Ctrl-C, or being told to end: heard once each, on a thread of its own.

use std::io::Read;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Result, RunError};

/// Calls `heard` for each signal until it says that it has heard enough.
///
/// # Errors
/// When the system lets no signals be received.
pub(super) fn on_signals(mut heard: impl FnMut() -> bool + Send + 'static) -> Result<()> {
    let fault = |error: std::io::Error| RunError::Internal(format!("signals cannot be received: {error}"));
    let (mut received, raised) = UnixStream::pair().map_err(fault)?;
    signal_hook::low_level::pipe::register(SIGINT, raised.try_clone().map_err(fault)?).map_err(fault)?;
    signal_hook::low_level::pipe::register(SIGTERM, raised).map_err(fault)?;
    std::thread::spawn(move || {
        let mut byte = [0];
        while received.read_exact(&mut byte).is_ok() && heard() {}
    });
    Ok(())
}
