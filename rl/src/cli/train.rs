//! `sapo train`: a run from configuration files and overrides.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Result, RunError};
use crate::run::resume;
use crate::summary::Summary;
use crate::train::{Ended, Start, train};
use clap::Args;

use super::config::compose;
use super::interrupt::interruptible;
use super::named;
use super::printer::{Printer, gains, print_json, table};

/// What to train.
#[derive(Args)]
pub(crate) struct TrainArguments {
    /// Configuration files, then overrides such as `phases.reasoning.steps=20`.
    #[arg(required_unless_present_any = ["resume", "fork"])]
    pub(crate) config: Vec<String>,
    /// Goes on from the last checkpoint of the run that the configuration names, or of the run directory PATH (whose own
    /// configuration is used when none is given). Begins the run when there is nothing to resume. PATH may be a checkpoint
    /// of a run, RUN/checkpoints/step-000100: it goes on from that one, and what was recorded after goes to RUN/aside/.
    ///
    /// What changes no number may be told otherwise, and a phase may have more steps as long as none has begun after it; what
    /// differs is said.
    ///
    /// Example: sapo train --resume=runs/a phases.reasoning.steps=3000
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    pub(crate) resume: Option<Option<PathBuf>>,
    /// Begins a new run where another one stood: PATH is a run directory (its last checkpoint), or one of its checkpoints.
    ///
    /// The configuration may differ (that of PATH is used when none is given), and needs another run.name; what differs is
    /// said, and kept in fork.json. The model, what of it trains and the phases that are done must be the same. What the
    /// other run recorded up to there is taken over, so that the report is whole.
    ///
    /// Example: sapo train --fork=runs/a/checkpoints/step-000100 run.name=b phases.reasoning.optimizer.lr=5e-5
    #[arg(long, value_name = "PATH", conflicts_with = "resume")]
    pub(crate) fork: Option<PathBuf>,
    /// Prints one JSON object on stdout at the end, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command; false when the run was interrupted.
pub(crate) fn run(arguments: &TrainArguments) -> Result<bool> {
    let (config, start) = match &arguments.fork {
        Some(path) => {
            let (run, step) = resume::place(path)?;
            (named::models(compose(&with_saved(&arguments.config, &run))?)?, Start::Fork { run, step })
        }
        None => configuration(&arguments.config, arguments.resume.as_ref())?,
    };
    let printer = Printer::new();
    let stop = interruptible(Some(config.run_path()))?;
    let ended = train(&config, &start, &stop, &printer);
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
    let planned = end.planned_bytes.map_or(String::new(), |bytes| format!(", {} MiB planned", bytes >> 20));
    println!("run: {} ({:.0} s, {} MiB at most{planned})", end.run_dir, end.wall_secs, end.peak_rss_bytes >> 20);
    if let Some(spent) = end.kernels {
        println!("kernels: {} compiled, {} read from disk, in {:.1} s", spent.compiled, spent.loaded, spent.secs);
    }
    println!("report: {}/report.html", end.run_dir);
}

/// The configuration that is asked for, and how the run is to begin; with `--resume=PATH`, that run's own configuration, or
/// one that lies in its folder.
pub(super) fn configuration(config: &[String], resume: Option<&Option<PathBuf>>) -> Result<(Config, Start)> {
    let mut given = config.to_vec();
    let path = match (resume, given.iter().position(|argument| Path::new(argument).is_dir())) {
        (None, _) => return Ok((named::models(compose(config)?)?, Start::New)),
        (Some(Some(path)), _) => path.clone(),
        // Without the equals sign the run's folder stands among the files.
        (Some(None), Some(at)) => PathBuf::from(given.remove(at)),
        (Some(None), None) => return Ok((named::models(compose(config)?)?, Start::Resume)),
    };
    let (run, step) = resume::place(&path)?;
    let mut config = named::models(compose(&with_saved(&given, &run))?)?;
    let (dir, name) = (run.parent().unwrap_or(Path::new("")), run.file_name().and_then(|name| name.to_str()));
    config.run.dir = dir.to_owned();
    config.run.name =
        name.ok_or_else(|| RunError::User(format!("{} is not a run directory", run.display())))?.to_owned();
    Ok((config, step.map_or(Start::Resume, Start::ResumeAt)))
}

/// What is given, on top of a run's own configuration where no file is given.
fn with_saved(config: &[String], run: &Path) -> Vec<String> {
    let mut given = config.to_vec();
    if !given.iter().any(|argument| !argument.contains('=')) {
        given.insert(0, run.join("config.toml").display().to_string());
    }
    given
}
