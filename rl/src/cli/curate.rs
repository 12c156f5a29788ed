//! `sapo curate`: the curations of a configuration, and nothing else of it.

use std::path::PathBuf;

use crate::config::{Config, PhaseConfig};
use crate::curation::CurationSummary;
use crate::error::{Result, RunError};
use crate::report::figures::{interval, percent};
use crate::run::record::CURATION;
use crate::train::{Ended, train};
use clap::Args;
use serde_json::json;

use super::interrupt::interruptible;
use super::printer::{Printer, print_json, print_text};
use super::train::configuration;

/// What to curate.
#[derive(Args)]
pub(crate) struct CurateArguments {
    /// Configuration files, then overrides such as `phases.curate.samples=8`.
    #[arg(required_unless_present = "resume")]
    config: Vec<String>,
    /// Goes on behind the last recorded query of the run that the configuration names, or of the run directory PATH. Begins
    /// it when there is nothing to resume.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true)]
    resume: Option<Option<PathBuf>>,
    /// Prints one JSON object on stdout at the end, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when it was interrupted.
pub(crate) fn run(arguments: &CurateArguments) -> Result<bool> {
    let (mut config, start) = configuration(&arguments.config, arguments.resume.as_ref())?;
    only_curate(&mut config)?;
    let printer = Printer::new();
    let stop = interruptible(Some(config.run_path()))?;
    let ended = train(&config, &start, &stop, &printer);
    printer.finish();
    let path = config.run_path();
    if let Ended::Interrupted { .. } = ended? {
        eprintln!("interrupted; what is recorded is kept. Go on with: sapo curate --resume={}", path.display());
        return Ok(false);
    }
    let mut summaries: Vec<CurationSummary> = Vec::new();
    for name in &config.run.phases {
        let file = path.join(CURATION).join(format!("{name}.json"));
        let bytes = std::fs::read(&file).map_err(|error| RunError::io(&file, error))?;
        let read = serde_json::from_slice(&bytes);
        summaries.push(read.map_err(|error| RunError::User(format!("{}: {error}", file.display())))?);
    }
    if arguments.json {
        print_json(&json!({"v": 1, "run_dir": path, "curations": summaries}), true)?;
        return Ok(true);
    }
    for summary in &summaries {
        print_text(&table(summary))?;
        let file = |extension: &str| path.join(CURATION).join(format!("{}.{extension}", summary.phase));
        let wanted = [("record", "jsonl"), ("kept", "parquet"), ("picture", "svg")];
        for (what, extension) in wanted.into_iter().filter(|(_, extension)| file(extension).exists()) {
            print_text(&format!("{what}: {}\n", file(extension).display()))?;
        }
    }
    Ok(true)
}

/// Takes everything but the curations out of a configuration. Each keeps the stretch of generated queries that it has in the
/// whole run, so that both see the same queries.
fn only_curate(config: &mut Config) -> Result<()> {
    config.eval.clear();
    config.policy.export = None;
    let phases = std::mem::take(&mut config.run.phases);
    for (place, name) in phases.iter().enumerate() {
        if let Some(PhaseConfig::Curate(phase)) = config.phases.get_mut(name) {
            phase.stretch.get_or_insert(place as u64);
            config.run.phases.push(name.clone());
        }
    }
    if config.run.phases.is_empty() {
        let reason = "run.phases names no phase with kind = \"curate\": add [phases.curate] with data, sampling and a rubric \
                      (docs/curation.md), and its name to run.phases";
        return Err(RunError::User(reason.to_owned()));
    }
    Ok(())
}

/// A curation as a table: what became of its queries, with intervals, by which rule, and what it cost.
fn table(summary: &CurationSummary) -> String {
    let mut text = format!("{}: {} queries, answered by {}\n", summary.phase, summary.queries, summary.by);
    for share in &summary.decisions {
        let (percent, interval) = (percent(share.share), interval(share.ci95));
        text.push_str(&format!("  {:<34}{:>7}  {percent:>5} %  {interval}\n", share.decision.words(), share.queries));
    }
    if summary.bad_rows > 0 {
        let words = "unusable rows (no queries)";
        text.push_str(&format!("  {words:<34}{:>7}  listed in data/rejected.jsonl\n", summary.bad_rows));
    }
    if !summary.reasons.is_empty() {
        text.push_str("by reason\n");
    }
    for (reason, count) in &summary.reasons {
        text.push_str(&format!("  {reason:<50}{count:>7}\n"));
    }
    let saved = 1.0 - summary.samples as f64 / summary.samples_of_all.max(1) as f64;
    text.push_str(&format!("samples: {}", summary.samples));
    if summary.settled + summary.predicted > 0 {
        let (all, settled, predicted) = (summary.samples_of_all, summary.settled, summary.predicted);
        let saved = percent(saved);
        text.push_str(&format!(" of {all} ({saved} % saved: {settled} queries settled, {predicted} predicted)"));
    }
    if summary.samples_without_pictures > 0 {
        text.push_str(&format!(", {} without pictures", summary.samples_without_pictures));
    }
    if summary.responses.1 > 0 {
        text.push_str(&format!("; responses kept: {} of {}", summary.responses.0, summary.responses.1));
    }
    text.push('\n');
    text
}
