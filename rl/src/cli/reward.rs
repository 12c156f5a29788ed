//! `sapo reward`: shows, checks and measures rewards.

mod check;
mod list;
mod score;
mod single;

use std::path::{Path, PathBuf};

use crate::error::{Result, RunError};
use clap::Subcommand;
use sapo_rewards::bench::GoldKind;
use sapo_rewards::plugin;

use super::printer::print_json;

/// What to do with rewards.
#[derive(Subcommand)]
pub(crate) enum RewardCommand {
    /// Lists the kinds of reward, or shows one with its options and an example.
    ///
    /// Examples:
    ///
    /// sapo reward list
    ///
    /// sapo reward list process
    List {
        /// One kind, as math or process.
        kind: Option<String>,
        /// Everything as JSON: options with their defaults, and examples.
        #[arg(long)]
        json: bool,
    },
    /// Prints the protocol of reward plugins: the JSON Schema of requests and replies, and a worked example.
    Schema,
    /// Checks rewards: gold answers must get the most; nothing, the question again, the gold of another row, every option,
    /// an order to the scorer, another script and the gold 10,000 times must not.
    ///
    /// Prints false rejects and false accepts with 95 % intervals and the worst rows, and for every reward its range,
    /// whether it says the same twice, and its latency. Ends with 1 when gold does not score, a trap scores, a reward fails or
    /// wavers, or nothing was tested: without gold, or where every answer got the same. Ends with 2 when a reward cannot be
    /// started. docs/rewards.md tells how functions of verl, TRL and EasyR1 are used.
    ///
    /// Examples:
    ///
    /// sapo reward check configs/quickstart.toml
    ///
    /// sapo reward check my.toml --rubric reasoning --data train.jsonl --rows 50
    ///
    /// sapo reward check --reward mine.py:compute_score --data train.jsonl --option range=[-1,1]
    Check(check::CheckArguments),
    /// Scores stored rollouts again, and reports what changes: per part, verdicts, the order within groups, the sign of
    /// advantages, and the share of the gradient's mass that moves.
    ///
    /// Examples:
    ///
    /// sapo reward score runs/quickstart
    ///
    /// sapo reward score runs/quickstart --rubric general rubrics.general.repetition_penalty=1.0
    ///
    /// sapo reward score runs/quickstart/rollouts/reasoning-000812.jsonl --rubric strict --config mine.toml --out new.jsonl
    Score(score::ScoreArguments),
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

/// Runs the command; false when a check found something.
pub(crate) fn run(command: RewardCommand) -> Result<bool> {
    match command {
        RewardCommand::List { kind, json } => list::run(kind.as_deref(), json)?,
        RewardCommand::Schema => print_json(
            &serde_json::json!({"schema": plugin::schema::schema(), "example": plugin::schema::example()}),
            false,
        )?,
        RewardCommand::Check(arguments) => return check::run(&arguments),
        RewardCommand::Score(arguments) => score::run(&arguments)?,
        RewardCommand::Sandbox { json } => return super::sandbox::run(json),
        RewardCommand::Bench { kind, file, json } => bench(&kind, &file, json)?,
    }
    Ok(true)
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
