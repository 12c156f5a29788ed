//! `sapo data make`: writes queries of a generated task.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use sapo_datasets::written::{jsonl, parquet};
use serde_json::json;

use sapo_datasets::{Dataset, Difficulty, Example, OpenContext, SourceConfig, Split, Style, Task};

use super::{make_parent, refuse_existing};
use crate::cli::printer::{Printer, print_json, print_text};
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// What to make.
#[derive(Args)]
pub(crate) struct MakeArguments {
    /// The task, one of the list below.
    #[arg(value_parser = Task::parse)]
    task: Task,
    /// The new file, FILE.parquet or FILE.jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// train, validation or test; no question is in two of them.
    #[arg(long, default_value = "train", value_parser = Split::parse)]
    split: Split,
    /// easy, medium or hard.
    #[arg(long, value_name = "LEVEL", default_value_t, value_parser = Difficulty::parse)]
    difficulty: Difficulty,
    /// How many queries.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Seed of the queries.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Adds the column `response` with right answers: careful ones work first, hasty ones answer at once.
    #[arg(long, value_name = "STYLE", value_parser = style)]
    responses: Option<Style>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

fn style(name: &str) -> std::result::Result<Style, String> {
    match name {
        "careful" => Ok(Style::Careful),
        "hasty" => Ok(Style::Hasty),
        _ => Err("say careful or hasty".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &MakeArguments) -> Result<()> {
    let out: &Path = &arguments.out;
    let extension = out.extension().and_then(|extension| extension.to_str());
    let Some(format @ ("parquet" | "jsonl")) = extension else {
        return Err(RunError::User(format!("--out {}: name a .parquet or .jsonl file", out.display())));
    };
    refuse_existing("--out", out)?;
    let source = SourceConfig {
        source: format!("synthetic:{}@{}[0:{}]", arguments.task, arguments.split, arguments.count),
        difficulty: Some(arguments.difficulty),
        hasty: if arguments.responses == Some(Style::Hasty) { 1.0 } else { 0.0 },
        ..SourceConfig::default()
    };
    let context = OpenContext { seed: arguments.seed, ..OpenContext::default() };
    let dataset = Dataset::open(arguments.task.name(), &source, &context)?;
    make_parent(out)?;
    let printer = Printer::new();
    printer.begin("queries", arguments.count, 0);
    let rows = (0..arguments.count).map(|index| {
        let example = dataset.get(index).map_err(io::Error::other)?;
        printer.done(index + 1, "");
        Ok(Example { response: example.response.filter(|_| arguments.responses.is_some()), ..example })
    });
    match format {
        "parquet" => parquet::write(out, rows)?,
        _ => jsonl::write(out, rows, jsonl::PictureStore::Beside)?,
    }
    printer.finish();
    if arguments.json {
        let (task, split) = (arguments.task.name(), arguments.split.to_string());
        return print_json(&json!({"out": out, "task": task, "split": split, "queries": arguments.count}), true);
    }
    print_text(&format!("{}\n", out.display()))
}
