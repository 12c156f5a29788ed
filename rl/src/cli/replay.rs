//! `sapo replay`: recorded rollouts, sampled again.

use std::path::PathBuf;

use clap::Args;

use super::printer::{print_json, print_text};
use super::train::configuration;
use crate::error::Result;
use crate::replay::{Compared, Replayed, Wanted, replay};

/// What to sample again.
#[derive(Args)]
pub(crate) struct ReplayArguments {
    /// The run's folder.
    run: PathBuf,
    /// The id of the query, as the report, `sapo view` and the record have it.
    query_id: String,
    /// This sample alone.
    #[arg(long)]
    sample: Option<u64>,
    /// Of the rollouts or the evaluation at this step [default: the newest that has the query].
    #[arg(long)]
    step: Option<u64>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when a rollout is not what it was.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<bool> {
    let (config, _) = configuration(&[], Some(&Some(arguments.run.clone())))?;
    let wanted = Wanted {
        run: arguments.run.clone(),
        query_id: arguments.query_id.clone(),
        sample: arguments.sample,
        step: arguments.step,
    };
    let replayed = replay(&config, &wanted)?;
    if arguments.json {
        print_json(&replayed, true)?;
    } else {
        print_text(&text(&replayed))?;
    }
    Ok(replayed.is_same())
}

fn text(of: &Replayed) -> String {
    let mut text = format!("{} from {}\n\n{}\n", of.file, of.checkpoint, of.prompt.trim_end());
    for [rows, columns] in &of.pictures {
        text.push_str(&format!("(a picture of {rows} x {columns} patches)\n"));
    }
    of.samples.iter().for_each(|sample| text.push_str(&one(sample)));
    text
}

fn one(of: &Compared) -> String {
    let kind = if of.greedy { "greedy" } else { "sample" };
    let apart = of.log_prob_apart.map_or(String::new(), |apart| format!(", log-probs at most {apart:.1e} apart"));
    let outcome = match &of.parts {
        None => format!("the same again: {} tokens{apart}", of.tokens),
        Some(parts) => {
            format!("parts at {}: `{}` was recorded, `{}` comes now{apart}", parts.at, parts.recorded, parts.now)
        }
    };
    format!("\n--- {kind} {}: {outcome}\n{}\n", of.sample, of.text)
}
