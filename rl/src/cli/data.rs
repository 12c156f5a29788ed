//! `sapo data`: makes data, shows it, and makes what is made from data.

use std::path::{Path, PathBuf};

use crate::error::{Result, RunError};
use crate::progress::Progress;
use clap::Subcommand;
use sapo_datasets::source::{RESPONSE_COLUMN, jsonl, parquet};
use sapo_datasets::synthetic;
use sapo_datasets::{
    DatasetError, Difficulty, Example, Query, Source, SourceConfig, Split, Stream, Style, Task, Video, contact_sheet,
};
use sapo_policies::processor::train_tokenizer;
use serde_json::{Value, json};

use super::address;
use super::printer::{Printer, print_json, print_text};

/// Pictures in a row of a contact sheet.
const PER_ROW: usize = 8;

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
    Make {
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
    },
    /// Prints queries: id, question, ground truth, response if there is one, and the sizes of their pictures.
    ///
    /// Examples:
    ///
    /// sapo data show clock --count 24 --sheet clocks.png
    ///
    /// sapo data show geometry.parquet@test[100:110] --json
    #[command(after_help = list_of_tasks())]
    Show {
        /// A generated task (clock, clock@test), FILE.jsonl, FILE.parquet or a folder, with an optional @split and
        /// [from:to].
        source: String,
        /// Of a generated task: easy, medium or hard. Default: medium.
        #[arg(long, value_name = "LEVEL", value_parser = Difficulty::parse)]
        difficulty: Option<Difficulty>,
        /// How many at most.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        count: u64,
        /// Seed of the queries of a generated task.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Draws the pictures, numbered as the queries, on one new sheet.
        #[arg(long, value_name = "FILE.png")]
        sheet: Option<PathBuf>,
        /// Writes the pictures into this folder, as they came.
        #[arg(long, value_name = "DIR")]
        pictures: Option<PathBuf>,
        /// Prints one JSON object on stdout, and nothing else there.
        #[arg(long)]
        json: bool,
    },
    /// Trains the byte-level BPE tokenizer of the small presets on the text of the quickstart's generated tasks.
    ///
    /// Example: sapo data tokenizer --out tokenizer.json
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
}

/// Runs the command.
pub(crate) fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Make { task, out, split, difficulty, count, seed, responses } => {
            make(&Source::of_stream(Stream { task, split, seed, difficulty }), &out, count, responses)
        }
        DataCommand::Show { source, difficulty, count, seed, sheet, pictures, json } => {
            let shown = Shown::open(&source, difficulty, count, seed)?;
            if let Some(file) = &sheet {
                write_sheet(&shown, file)?;
            }
            if let Some(folder) = &pictures {
                write_pictures(&shown, folder)?;
            }
            if json {
                return print_json(&shown.object(), true);
            }
            print_text(&shown.text())
        }
        DataCommand::Tokenizer { out, vocabulary, examples } => make_tokenizer(&out, vocabulary, examples),
    }
}

/// The generated tasks with a line each.
fn list_of_tasks() -> String {
    let lines = Task::ALL.iter().map(|task| format!("  {:<10}{}\n", task.name(), task.about()));
    format!("Tasks:\n{}", lines.collect::<String>())
}

fn style(name: &str) -> std::result::Result<Style, String> {
    match name {
        "careful" => Ok(Style::Careful),
        "hasty" => Ok(Style::Hasty),
        _ => Err("say careful or hasty".to_owned()),
    }
}

fn make(source: &Source, out: &Path, count: u64, responses: Option<Style>) -> Result<()> {
    let extension = out.extension().and_then(|extension| extension.to_str());
    let Some(format @ ("parquet" | "jsonl")) = extension else {
        return Err(RunError::User(format!("--out {}: name a .parquet or .jsonl file", out.display())));
    };
    refuse_existing("--out", out)?;
    let printer = Printer::new();
    printer.begin("queries", count, 0);
    let mut queries = Vec::new();
    for index in 0..count {
        let query = match responses {
            None => source.get(index)?,
            Some(style) => {
                let shown = source.demonstration(index, style)?;
                let mut query = shown.query;
                query.columns.insert(RESPONSE_COLUMN.to_owned(), shown.response.into());
                query
            }
        };
        queries.push(query);
        printer.done(index + 1, "");
    }
    printer.finish();
    make_parent(out)?;
    match format {
        "parquet" => parquet::write(out, &queries)?,
        _ => jsonl::write(out, &queries, jsonl::PictureStore::Beside)?,
    }
    print_text(&format!("{}\n", out.display()))
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

/// Queries to be shown, each with a response if it has one and the sizes of its pictures.
struct Shown {
    source: String,
    rows: Vec<ShownRow>,
}

struct ShownRow {
    query: Query,
    response: Option<String>,
    /// Width and height in pixels.
    sizes: Vec<(u32, u32)>,
}

impl Shown {
    fn open(text: &str, difficulty: Option<Difficulty>, count: u64, seed: u64) -> Result<Self> {
        let config = SourceConfig { source: address(text)?, difficulty, ..SourceConfig::default() };
        let dataset = address::open_config(&config, seed, Split::Train)?;
        let count = dataset.len().map_or(count, |length| count.min(length));
        let mut rows = Vec::new();
        for index in 0..count {
            let Example { query, response } = dataset.get(index)?;
            let mut sizes = Vec::new();
            for picture in &query.images {
                let place = format!("{text} query `{}`", query.id);
                let pixels = picture.decode().map_err(|error| DatasetError::picture(&place, error.to_string()))?;
                sizes.push(pixels.dimensions());
            }
            rows.push(ShownRow { query, response, sizes });
        }
        Ok(Self { source: text.to_owned(), rows })
    }

    fn object(&self) -> Value {
        let row = |row: &ShownRow| {
            let query = &row.query;
            let pictures = query.images.iter().zip(&row.sizes).map(|(picture, (width, height))| {
                json!({"sha256": picture.sha256(), "width": width, "height": height, "bytes": picture.bytes().len()})
            });
            json!({
                "id": query.id,
                "task": query.task,
                "question": query.question(),
                "ground_truth": query.ground_truth,
                "response": row.response,
                "pictures": pictures.collect::<Vec<_>>(),
                "videos": query.videos.iter().map(Video::to_json).collect::<Value>(),
                "columns": query.columns,
            })
        };
        json!({"source": self.source, "queries": self.rows.iter().map(row).collect::<Vec<_>>()})
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        let mut say = |label: &str, text: &str| {
            lines.push(format!("{label:<12}  {}", text.replace('\n', "\n              ")));
        };
        for (number, row) in self.rows.iter().enumerate() {
            say("query", &format!("{number}: {}", row.query.id));
            say("question", &row.query.question());
            match &row.query.ground_truth {
                None => say("ground truth", "none"),
                Some(Value::String(text)) => say("ground truth", text),
                Some(other) => say("ground truth", &other.to_string()),
            }
            if let Some(response) = &row.response {
                say("response", response);
            }
            for (picture, (width, height)) in row.query.images.iter().zip(&row.sizes) {
                say("picture", &format!("{width} x {height} {}", picture.extension()));
            }
            for video in &row.query.videos {
                say("video", &video.path().display().to_string());
            }
            say("", "");
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
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

fn write_sheet(shown: &Shown, file: &Path) -> Result<()> {
    if file.extension().is_none_or(|extension| extension != "png") {
        return Err(RunError::User(format!("--sheet {}: name a .png file", file.display())));
    }
    refuse_existing("--sheet", file)?;
    let queries: Vec<Query> = shown.rows.iter().map(|row| row.query.clone()).collect();
    let sheet = contact_sheet(&queries, PER_ROW)?;
    make_parent(file)?;
    std::fs::write(file, sheet.bytes()).map_err(|source| RunError::io(file, source))
}

/// The files have the numbers that the queries are printed with.
fn write_pictures(shown: &Shown, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| RunError::io(folder, source))?;
    for (number, row) in shown.rows.iter().enumerate() {
        for (place, picture) in row.query.images.iter().enumerate() {
            let further = if place == 0 { String::new() } else { format!("-{place}") };
            let path = folder.join(format!("{number}{further}.{}", picture.extension()));
            refuse_existing("--pictures", &path)?;
            std::fs::write(&path, picture.bytes()).map_err(|source| RunError::io(&path, source))?;
        }
    }
    Ok(())
}

fn make_tokenizer(out: &Path, vocabulary: usize, examples: u64) -> Result<()> {
    let texts = Task::OF_TOKENIZER.into_iter().flat_map(move |task| {
        (0..examples).flat_map(move |index| {
            let style = if index % 4 == 0 { Style::Hasty } else { Style::Careful };
            let shown = synthetic::demonstration(task, 0, index, style);
            [shown.query.question(), shown.response]
        })
    });
    let texts: Vec<String> = texts.collect();
    let bytes = train_tokenizer(texts.into_iter(), vocabulary)?;
    std::fs::write(out, bytes).map_err(|source| RunError::io(out, source))?;
    print_text(&format!("{}\n", out.display()))
}
