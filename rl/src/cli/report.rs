//! `sapo report`: the page of a run or of an evaluation, and its JSON twin.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::printer::{print_json, print_text};
use crate::error::{Result, RunError};

/// What to report.
#[derive(Args)]
pub(crate) struct ReportArguments {
    /// The folder of a run, or of an evaluation as `sapo eval --out` writes it. The report is written there. Further folders are
    /// other seeds of the same run: curves and the numbers of evaluations are then the mean of all, with the least and the most.
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Shows it beside another run or evaluation: differences of their last evaluations, and of their configurations.
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &ReportArguments) -> Result<()> {
    let (first, seeds) =
        arguments.folders.split_first().ok_or_else(|| RunError::User("name a run's folder".to_owned()))?;
    let seeds: Vec<&Path> = seeds.iter().map(PathBuf::as_path).collect();
    let page = crate::report::write_pooled(first, &seeds, arguments.against.as_deref())?;
    if arguments.json {
        return print_json(&json!({"page": page, "twin": page.with_extension("json")}), true);
    }
    print_text(&format!("{}\n", page.display()))
}
