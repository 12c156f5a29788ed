//! `sapo view`: runs in a browser.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::sync::oneshot;

use super::printer::print_json;
use super::signals::on_signals;
use crate::error::Result;
use crate::view::view;

/// What to look at.
#[derive(Args)]
pub(crate) struct ViewArguments {
    /// Folders of runs, finished or not, or of evaluations.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// The port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 8100)]
    port: u16,
    /// Prints one JSON object with the address.
    #[arg(long)]
    json: bool,
}

/// Runs the command until Ctrl-C.
pub(crate) fn run(arguments: &ViewArguments) -> Result<()> {
    let (stop, stopped) = oneshot::channel();
    let mut stop = Some(stop);
    on_signals(move || {
        // An error means that it has ended already.
        stop.take().map(|stop| stop.send(()));
        false
    })?;
    let mut printed = Ok(());
    view(&arguments.runs, arguments.port, stopped, &mut |url| {
        eprintln!("{url} (only from this machine; Ctrl-C ends it)");
        if arguments.json {
            printed = print_json(&json!({"url": url}), true);
        }
    })?;
    printed
}
