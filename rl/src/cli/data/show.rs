//! `sapo data show`: prints queries, and draws or copies their pictures.

use std::path::{Path, PathBuf};

use clap::Args;
use sapo_datasets::{DatasetError, Difficulty, Example, Query, SourceConfig, Split, Video, contact_sheet};
use serde_json::{Value, json};

use super::{address, make_parent, refuse_existing};
use crate::cli::address as sources;
use crate::cli::printer::{print_json, print_text};
use crate::data_check::{KnownRubrics, remarks_of_row};
use crate::error::{Result, RunError};

/// Pictures in a row of a contact sheet.
const PER_ROW: usize = 8;

/// What to show.
#[derive(Args)]
pub(crate) struct ShowArguments {
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
}

/// Runs the command.
pub(crate) fn run(arguments: &ShowArguments) -> Result<()> {
    let shown = Shown::open(arguments)?;
    if let Some(file) = &arguments.sheet {
        write_sheet(&shown, file)?;
    }
    if let Some(folder) = &arguments.pictures {
        write_pictures(&shown, folder)?;
    }
    if arguments.json {
        return print_json(&shown.object(), true);
    }
    print_text(&shown.text())
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
    /// What is worth saying of it.
    remarks: Vec<String>,
}

impl Shown {
    fn open(arguments: &ShowArguments) -> Result<Self> {
        let text = arguments.source.as_str();
        let (source, difficulty) = (address(text)?, arguments.difficulty);
        let config = SourceConfig { source, difficulty, ..SourceConfig::default() };
        let dataset = sources::open_config(&config, arguments.seed, Split::Train)?;
        let count = dataset.len().map_or(arguments.count, |length| length.min(arguments.count));
        let mut rows = Vec::new();
        for index in 0..count {
            let example = dataset.get(index)?;
            let remarks = remarks_of_row(&example, &KnownRubrics::default());
            let Example { query, response, .. } = example;
            let mut sizes = Vec::new();
            for picture in &query.images {
                let place = format!("{text} query `{}`", query.id);
                let pixels = picture.decode().map_err(|error| DatasetError::picture(&place, error.to_string()))?;
                sizes.push(pixels.dimensions());
            }
            rows.push(ShownRow { query, response, sizes, remarks });
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
                "rubric": query.rubric,
                "tools": query.tools,
                "columns": query.columns,
                "remarks": row.remarks,
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
            say("task", &row.query.task);
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
            for remark in &row.remarks {
                say("remark", remark);
            }
            say("", "");
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
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
