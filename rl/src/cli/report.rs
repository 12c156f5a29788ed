//! `sapo report`: the page of a run or of an evaluation, and its JSON twin.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::printer::{print_json, print_text};
use crate::error::Result;

/// What to report.
#[derive(Args)]
pub(crate) struct ReportArguments {
    /// The folder of a run, or of an evaluation as `sapo eval --out` writes it.
    folder: PathBuf,
    /// Shows it beside another run or evaluation: differences of their last evaluations, and of their configurations.
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &ReportArguments) -> Result<()> {
    let page = crate::report::write(&arguments.folder, arguments.against.as_deref())?;
    if arguments.json {
        return print_json(&json!({"page": page, "twin": page.with_extension("json")}), true);
    }
    print_text(&format!("{}\n", page.display()))
}
