//! `sapo data`: makes data and what is made from data.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sapo::error::{Result, RunError};
use sapo_datasets::Task;
use sapo_datasets::synthetic::{self, Style};
use sapo_policies::processor::train_tokenizer;

/// What to do with data.
#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Trains the byte-level BPE tokenizer of the small presets on the generated tasks' text.
    Tokenizer {
        /// The `tokenizer.json` to write.
        #[arg(long)]
        out: PathBuf,
        /// Size of the vocabulary, special tokens included.
        #[arg(long, default_value_t = 768)]
        vocabulary: usize,
        /// Demonstrations of each task to read.
        #[arg(long, default_value_t = 4000)]
        examples: u64,
    },
    /// Prints demonstrations of a task.
    Show {
        /// The task.
        task: String,
        /// How many.
        #[arg(long, default_value_t = 5)]
        count: u64,
        /// Seed of the queries.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Writes the pictures into this folder.
        #[arg(long)]
        pictures: Option<PathBuf>,
    },
}

/// Runs the command.
pub(crate) fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Tokenizer { out, vocabulary, examples } => make_tokenizer(&out, vocabulary, examples),
        DataCommand::Show { task, count, seed, pictures } => show(&task, count, seed, pictures.as_deref()),
    }
}

fn make_tokenizer(out: &Path, vocabulary: usize, examples: u64) -> Result<()> {
    let texts = Task::ALL.into_iter().flat_map(move |task| {
        (0..examples).flat_map(move |index| {
            let style = if index % 4 == 0 { Style::Hasty } else { Style::Careful };
            let shown = synthetic::demonstration(task, 0, index, style);
            [shown.query.question(), shown.response]
        })
    });
    let texts: Vec<String> = texts.collect();
    let bytes = train_tokenizer(texts.into_iter(), vocabulary)?;
    std::fs::write(out, bytes).map_err(|source| RunError::io(out, source))?;
    println!("{}", out.display());
    Ok(())
}

fn show(task: &str, count: u64, seed: u64, pictures: Option<&Path>) -> Result<()> {
    let task = Task::parse(task)?;
    for index in 0..count {
        let shown = synthetic::demonstration(task, seed, index, Style::Careful);
        println!("{}\n  {}\n  {}", shown.query.id, shown.query.question().replace('\n', "\n  "), shown.response);
        for picture in shown.query.images.iter().filter(|_| pictures.is_some()) {
            let folder = pictures.unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).map_err(|source| RunError::io(folder, source))?;
            let path = folder.join(format!("{}-{index}.{}", task.name(), picture.extension()));
            std::fs::write(&path, picture.bytes()).map_err(|source| RunError::io(&path, source))?;
        }
    }
    Ok(())
}
