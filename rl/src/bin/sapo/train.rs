//! `sapo train`: a run from configuration files and overrides.

use burn::tensor::Device;
use clap::Args;
use sapo::error::{Result, RunError};
use sapo::train::train;

use crate::config::compose;
use crate::printer::{Printer, gains, table};

/// What to train.
#[derive(Args)]
pub(crate) struct TrainArguments {
    /// Configuration files, then overrides such as `phases.reasoning.steps=20`.
    #[arg(required = true)]
    pub(crate) config: Vec<String>,
    /// Prints one JSON object on stdout at the end, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &TrainArguments) -> Result<()> {
    let config = compose(&arguments.config)?;
    let mut printer = Printer::new();
    let summary = train(&config, &Device::flex(), &mut printer)?;
    printer.finish();
    if arguments.json {
        println!("{}", serde_json::to_string(&summary).map_err(|error| RunError::Internal(error.to_string()))?);
    } else {
        print!("{}{}", table(&summary.evals), gains(&summary.gains));
        let end = &summary.end;
        println!("run: {} ({:.0} s, {} MiB at most)", end.run_dir, end.wall_secs, end.peak_rss_bytes >> 20);
        println!("report: {}/report.html", end.run_dir);
    }
    Ok(())
}
