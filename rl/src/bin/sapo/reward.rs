//! `sapo reward`: shows and measures rewards.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sapo::error::{Result, RunError};
use sapo_rewards::bench::GoldKind;
use sapo_rewards::plugin;

use crate::printer::print_json;

/// What to do with rewards.
#[derive(Subcommand)]
pub(crate) enum RewardCommand {
    /// Lists every kind of reward with its options and an example, as JSON.
    List,
    /// Prints the protocol of reward plugins: the JSON Schema of requests and replies, and a worked example.
    Schema,
    /// Tries the walls of every sandbox level on this machine and says which level programs would run in.
    ///
    /// Each probe is a harmless attempt to get out, made from inside; a level is refused when one gets through. Ends
    /// with 1 when no level holds: then `kind = "code"` needs sandbox = "remote" with a url, or sandbox = "none".
    Sandbox {
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Runs a verifier over a gold set and prints how often it is right, as JSON.
    Bench {
        /// The kind of rows: math_equivalence, multiple_choice, grounding, repetition or language_mixing.
        kind: String,
        /// The rows, one JSON object a line.
        file: PathBuf,
        /// One line instead of an indented object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(crate) fn run(command: RewardCommand) -> Result<()> {
    match command {
        RewardCommand::List => print_json(&sapo_rewards::catalogue::catalogue(), false),
        RewardCommand::Schema => print_json(
            &serde_json::json!({"schema": plugin::schema::schema(), "example": plugin::schema::example()}),
            false,
        ),
        RewardCommand::Sandbox { json } => crate::sandbox::run(json).map(|_| ()),
        RewardCommand::Bench { kind, file, json } => bench(&kind, &file, json),
    }
}

fn bench(kind: &str, file: &Path, json: bool) -> Result<()> {
    let kind = GoldKind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(|| {
        RunError::User(format!("there is no kind `{kind}`; known are {}", GoldKind::ALL.map(GoldKind::name).join(", ")))
    })?;
    let text = std::fs::read_to_string(file).map_err(|source| RunError::io(file, source))?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = serde_json::from_str(line)
            .map_err(|error| RunError::User(format!("{} line {}: {error}", file.display(), index + 1)))?;
        rows.push(row);
    }
    print_json(&sapo_rewards::bench::bench(kind, &rows)?, json)
}
