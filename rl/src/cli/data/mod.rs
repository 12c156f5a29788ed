//! `sapo data`: makes data, shows it, checks it, converts it, and makes what is made from data.

mod check;
mod convert;
mod make;
mod needle;
mod show;
mod tokenizer;

use std::path::Path;

use clap::Subcommand;
use sapo_datasets::Task;

use crate::error::{Result, RunError};

/// What to do with data.
#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Writes queries of a generated task to a Parquet file in the Hugging Face layout, or to a JSONL file with its
    /// pictures in `images/` beside it.
    ///
    /// Examples:
    ///
    /// sapo data make clock --out clock.parquet --split test --count 200
    ///
    /// sapo data make count --out data/count.jsonl --count 5000 --responses careful
    ///
    /// sapo data make maze --out mazes.parquet --difficulty hard
    #[command(after_help = list_of_tasks())]
    Make(make::MakeArguments),
    /// Writes rows that hide a needle in a haystack: a sentence in a text, a picture among pictures, a frame of a video.
    ///
    /// Each length and depth has rows of its own, and each row says its length and depth in its columns, so that `sapo eval` on
    /// them gives a heat map beside the usual row, in results.json and in `sapo report`. docs/evaluation.md tells what is counted.
    ///
    /// Examples:
    ///
    /// sapo data needle --kind text --lengths 512,2048,8192 --model ./Qwen3-VL-2B-Instruct --out needle.parquet
    ///
    /// sapo data needle --kind text --haystack novel.txt --per-cell 20 --out needle.parquet
    ///
    /// sapo data needle --kind pictures --lengths 4,16,64 --depths 0,50,100 --out pictures.parquet
    ///
    /// sapo data needle --kind video --lengths 8,32 --out clips/video.jsonl
    Needle(needle::NeedleArguments),
    /// Prints queries: id, question, ground truth, response if there is one, and the sizes of their pictures.
    ///
    /// Examples:
    ///
    /// sapo data show clock --count 24 --sheet clocks.png
    ///
    /// sapo data show geometry.parquet@test[100:110] --json
    #[command(after_help = list_of_tasks())]
    Show(show::ShowArguments),
    /// Puts every row through what training does with it, and names what cannot be used: damaged rows and pictures,
    /// placeholders without pictures, ground truths that their rewards cannot read, what is too long, repeated ids,
    /// duplicates, and what train and evaluation sets share.
    ///
    /// Prints a table of reasons whose counts add up. Ends with 1 when a source has more bad rows than --max-bad-share.
    /// docs/data-check.md explains every reason and its remedy.
    ///
    /// Examples:
    ///
    /// sapo data check train.parquet --against test.parquet --rejected bad.jsonl
    ///
    /// sapo data check my.toml
    ///
    /// sapo data check 'shards/*.parquet' --model ./Qwen3-VL-2B-Instruct --reward math --max-prompt-tokens 4096
    Check(check::CheckArguments),
    /// Writes the rows of any source as Parquet in the Hugging Face layout, row group by row group.
    ///
    /// Rows that cannot be used are left out and listed; above --max-bad-share nothing is written, and it ends with 1.
    ///
    /// Examples:
    ///
    /// sapo data convert train.jsonl --out train.parquet
    ///
    /// sapo data convert --source-config my.toml --name geometry --out geometry.parquet
    Convert(convert::ConvertArguments),
    /// Trains the byte-level BPE tokenizer of the small presets on the text of the quickstart's generated tasks.
    ///
    /// Example: sapo data tokenizer --out tokenizer.json
    Tokenizer(tokenizer::TokenizerArguments),
}

/// Runs the command; false when too many rows are bad.
pub(crate) fn run(command: DataCommand) -> Result<bool> {
    match command {
        DataCommand::Make(arguments) => make::run(&arguments)?,
        DataCommand::Needle(arguments) => needle::run(&arguments)?,
        DataCommand::Show(arguments) => show::run(&arguments)?,
        DataCommand::Check(arguments) => return check::run(&arguments),
        DataCommand::Convert(arguments) => return convert::run(&arguments),
        DataCommand::Tokenizer(arguments) => tokenizer::run(&arguments)?,
    }
    Ok(true)
}

/// The generated tasks with a line each.
fn list_of_tasks() -> String {
    let lines = Task::ALL.iter().map(|task| format!("  {:<10}{}\n", task.name(), task.about()));
    format!("Tasks:\n{}", lines.collect::<String>())
}

fn refuse_existing(option: &str, path: &Path) -> Result<()> {
    if path.exists() {
        let path = path.display();
        return Err(RunError::User(format!("{option} {path} exists already; choose another name, or move it away")));
    }
    Ok(())
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source))
}

/// A share of rows, as an option.
fn share(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share from 0 to 1 is wanted".to_owned())
}

/// The address of a source: a task's name is short for `synthetic:NAME`.
fn address(text: &str) -> Result<String> {
    let name = text.split(['@', '[']).next().unwrap_or(text);
    let task = Task::parse(name);
    if task.is_ok() {
        return Ok(format!("synthetic:{text}"));
    }
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match task {
        Err(error) if plain && !Path::new(name).exists() && !Path::new(text).exists() => {
            Err(RunError::User(format!("`{text}` is neither a file nor a task: {error}")))
        }
        _ => Ok(text.to_owned()),
    }
}
