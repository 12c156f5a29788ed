//! `sapo data tokenizer`: makes the tokenizer of the small presets.

use std::cell::Cell;
use std::path::PathBuf;

use clap::Args;
use sapo_datasets::{Style, Task, synthetic};
use sapo_policies::processor::train_tokenizer;
use serde_json::json;

use crate::cli::printer::{Printer, print_json, print_text};
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// What to make.
#[derive(Args)]
pub(crate) struct TokenizerArguments {
    /// The `tokenizer.json` to write.
    #[arg(long)]
    out: PathBuf,
    /// Size of the vocabulary, special tokens included.
    #[arg(long, default_value_t = 768)]
    vocabulary: usize,
    /// Demonstrations of each task to read.
    #[arg(long, default_value_t = 4000)]
    examples: u64,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &TokenizerArguments) -> Result<()> {
    let (out, examples) = (&arguments.out, arguments.examples);
    let printer = Printer::new();
    let all = Task::OF_TOKENIZER.len() as u64 * examples;
    printer.begin("demonstrations", all, 0);
    let made = Cell::new(0);
    let texts = Task::OF_TOKENIZER.into_iter().flat_map(|task| {
        let (printer, made) = (&printer, &made);
        (0..examples).flat_map(move |index| {
            let style = if index % 4 == 0 { Style::Hasty } else { Style::Careful };
            let shown = synthetic::demonstration(task, 0, index, style);
            made.set(made.get() + 1);
            printer.done(made.get(), "");
            [shown.query.question(), shown.response]
        })
    });
    let texts: Vec<String> = texts.collect();
    printer.begin("merges", 1, 0);
    let bytes = train_tokenizer(texts.into_iter(), arguments.vocabulary)?;
    printer.finish();
    std::fs::write(out, bytes).map_err(|source| RunError::io(out, source))?;
    match arguments.json {
        true => print_json(&json!({"out": out, "vocabulary": arguments.vocabulary, "demonstrations": all}), true),
        false => print_text(&format!("{}\n", out.display())),
    }
}
