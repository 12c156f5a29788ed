//! `sapo reward score`: stored rollouts, scored again.

use std::path::PathBuf;

use clap::Args;

use crate::cli::printer::{Printer, print_json, print_text};
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::figures::percent;
use crate::rescoring::{self, Changes, PartChange};

/// Which rollouts, and by which rubric.
#[derive(Args)]
pub(crate) struct ScoreArguments {
    /// A run's folder, its rollouts/, a file of rollouts, or an evaluation's samples.jsonl.
    rollouts: PathBuf,
    /// Overrides of the configuration, such as `rubrics.general.weight=2`.
    overrides: Vec<String>,
    /// A rubric of the configuration [default: each phase's own].
    #[arg(long, value_name = "NAME")]
    rubric: Option<String>,
    /// Configuration files instead of the run's own.
    #[arg(long, num_args = 1.., value_name = "FILE.toml")]
    config: Vec<PathBuf>,
    /// Writes every new score, one line each, into this new file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &ScoreArguments) -> Result<()> {
    let files = match arguments.config.is_empty() {
        true => vec![rescoring::config_of(&arguments.rollouts)?],
        false => arguments.config.clone(),
    };
    let config = Config::compose_rewards(&files, &arguments.overrides)?;
    if let Some(path) = arguments.out.as_ref().filter(|path| path.exists()) {
        let path = path.display();
        return Err(RunError::User(format!("--out {path} exists already; name another file, or move it away")));
    }
    let printer = Printer::new();
    let (rubric, out) = (arguments.rubric.as_deref(), arguments.out.as_deref());
    let changes = rescoring::rescore(&arguments.rollouts, &config, rubric, out, &printer);
    printer.finish();
    let changes = changes?;
    if arguments.json {
        return print_json(&changes, true);
    }
    print_text(&text(&changes))
}

fn text(changes: &Changes) -> String {
    let mut text = format!("{} rollouts in {} groups\n", changes.rollouts, changes.groups);
    if changes.is_none() {
        text.push_str("nothing changes\n");
    }
    text.push_str(&format!("{:<16} {:>9} {:>9} {:>9} {:>14}\n", "part", "before", "after", "changed", "failed"));
    for (name, part) in
        changes.parts.iter().map(|(name, part)| (name.as_str(), part)).chain([("total", &changes.total)])
    {
        text.push_str(&row(name, part));
    }
    let share = |value: Option<f64>| value.map_or("none was there".to_owned(), |value| format!("{} %", percent(value)));
    let pairs = &changes.pairs;
    text.push_str(&format!(
        "pass: {} gained, {} lost\norder: {} of {} pairs reversed in {} groups, {} ties broken or made\n\
         advantage: {} change sign, {} gained, {} lost; groups trained on {} -> {}\n\
         gradient mass that moves: {} ({} by tokens)\n",
        changes.pass_gained,
        changes.pass_lost,
        pairs.reversed,
        pairs.all,
        changes.groups_reordered,
        pairs.ties,
        changes.sign_flips,
        changes.advantage_gained,
        changes.advantage_lost,
        changes.groups_trained.before,
        changes.groups_trained.after,
        share(changes.mass_moved),
        share(changes.mass_moved_by_tokens),
    ));
    if changes.shuffled {
        text.push_str("the run shuffled its rewards (a control); advantages are compared unshuffled\n");
    } else if changes.stored_advantage_differs > 0 {
        text.push_str(&format!(
            "{} stored advantages are not those of the stored scores\n",
            changes.stored_advantage_differs
        ));
    }
    text
}

fn row(name: &str, part: &PartChange) -> String {
    let mean = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let failed = format!("{} -> {}", part.failed.before, part.failed.after);
    format!("{name:<16} {:>9} {:>9} {:>9} {failed:>14}\n", mean(part.mean_before), mean(part.mean_after), part.changed)
}
