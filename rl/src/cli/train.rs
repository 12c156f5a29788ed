//! `sapo train`: a run from configuration files and overrides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Config;
use crate::error::{Result, RunError};
use crate::summary::Summary;
use crate::train::{Ended, Start, train};
use clap::Args;

use super::config::compose;
use super::printer::{Printer, gains, print_json, table};

/// What to train.
#[derive(Args)]
pub(crate) struct TrainArguments {
    /// Configuration files, then overrides such as `phases.reasoning.steps=20`.
    #[arg(required_unless_present = "resume")]
    pub(crate) config: Vec<String>,
    /// Goes on from the last checkpoint of the run that the configuration names, or of the run directory PATH (whose own
    /// configuration is used when none is given). Begins the run when there is nothing to resume.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) resume: Option<Option<PathBuf>>,
    /// Prints one JSON object on stdout at the end, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command; false when the run was interrupted.
pub(crate) fn run(arguments: &TrainArguments) -> Result<bool> {
    let config = configuration(&arguments.config, arguments.resume.as_ref())?;
    let start = if arguments.resume.is_some() { Start::Resume } else { Start::New };
    let printer = Printer::new();
    let stop = interruptible()?;
    let ended = train(&config, start, &stop, &printer);
    printer.finish();
    match ended? {
        Ended::Finished(summary) if arguments.json => print_json(&summary, true)?,
        Ended::Finished(summary) => show(&summary),
        Ended::Interrupted { step } => {
            let path = config.run_path();
            eprintln!("interrupted; {step} steps are saved. Go on with: sapo train --resume={}", path.display());
            return Ok(false);
        }
    }
    Ok(true)
}

fn show(summary: &Summary) {
    print!("{}{}", table(&summary.evals), gains(&summary.gains));
    let end = &summary.end;
    if let Some(judge) = &summary.judge {
        let share = |value: Option<f64>| value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
        println!(
            "judge: {} calls ({} tokens), {} known before, {} failed, {} of {} canaries failed, agreement with the rule {}, \
             share of its yes that is right: {}",
            judge.calls,
            judge.tokens,
            judge.cache_hits,
            judge.failed,
            judge.canary_failures,
            judge.canaries,
            share(judge.agreement_with_rule),
            share(judge.precision)
        );
    }
    println!("run: {} ({:.0} s, {} MiB at most)", end.run_dir, end.wall_secs, end.peak_rss_bytes >> 20);
    println!("report: {}/report.html", end.run_dir);
}

/// The configuration that is asked for; with `--resume=PATH`, that run's own, or one that lies in its folder.
pub(super) fn configuration(config: &[String], resume: Option<&Option<PathBuf>>) -> Result<Config> {
    let Some(Some(path)) = resume else { return compose(config) };
    let mut given = config.to_vec();
    if !given.iter().any(|argument| !argument.contains('=')) {
        let saved = path.join("config.toml");
        if !saved.is_file() {
            return Err(RunError::User(format!(
                "{} holds no config.toml, so it is not a run directory",
                path.display()
            )));
        }
        given.insert(0, saved.display().to_string());
    }
    let mut config = compose(&given)?;
    let (dir, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().and_then(|name| name.to_str()));
    config.run.dir = dir.to_owned();
    config.run.name =
        name.ok_or_else(|| RunError::User(format!("{} is not a run directory", path.display())))?.to_owned();
    Ok(config)
}

/// A flag that the first Ctrl-C (or SIGTERM) sets; the second ends the program at once.
pub(super) fn interruptible() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let shutdown = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop));
        let both = shutdown.and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
        both.map_err(|error| RunError::Internal(format!("signals cannot be caught: {error}")))?;
    }
    Ok(stop)
}
