//! `sapo data needle`: writes rows that hide a needle in a haystack, on a grid of lengths and depths.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use sapo_datasets::synthetic::needle::{Filler, Grid, Haystack, Kind, Row};
use sapo_datasets::written::{jsonl, parquet};
use sapo_datasets::{Example, Picture, Video};
use sapo_policies::preset::processor_of;
use sapo_policies::processor::Processor;
use serde_json::json;

use super::{make_parent, refuse_existing};
use crate::cli::named;
use crate::cli::printer::{Printer, print_json, print_text};
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// What to hide, and where.
#[derive(Args)]
pub(crate) struct NeedleArguments {
    /// What needles are hidden in: text, pictures or video.
    #[arg(long, value_parser = Kind::parse)]
    kind: Kind,
    /// The new file, FILE.parquet or FILE.jsonl. The frames of videos are written into frames/ beside it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Lengths, separated by commas: words of a text, or with --model its tokens; pictures; frames. Question and chat template
    /// are not counted [default: 256,512,1024,2048 for a text, else 4,8,16].
    #[arg(long, value_delimiter = ',', value_name = "N,N,...")]
    lengths: Vec<u64>,
    /// Depths, separated by commas, in percent of the length: 0 is the beginning, 100 the end.
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,...", default_values_t = [0.0, 25.0, 50.0, 75.0, 100.0])]
    depths: Vec<f64>,
    /// Rows of each length and depth.
    #[arg(long, value_name = "N", default_value_t = 5)]
    per_cell: u64,
    /// Seed of the rows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A text of your own to hide needles in, from any of its sentences on and again from its first [default: sentences that
    /// are made up].
    #[arg(long, value_name = "FILE.txt")]
    haystack: Option<PathBuf>,
    /// Counts a text in tokens of this model: a preset, a folder in the Hugging Face layout, or a run.
    #[arg(long)]
    model: Option<String>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &NeedleArguments) -> Result<()> {
    let out: &Path = &arguments.out;
    let extension = out.extension().and_then(|extension| extension.to_str());
    let Some(format @ ("parquet" | "jsonl")) = extension else {
        return Err(RunError::User(format!("--out {}: name a .parquet or .jsonl file", out.display())));
    };
    refuse_existing("--out", out)?;
    let grid = grid(arguments)?;
    let filler = filler(arguments)?;
    let processor = processor(arguments)?;
    let tokens = |text: &str| {
        let counted = processor.as_ref().map(|processor| processor.tokenizer().encode(text));
        counted.and_then(std::result::Result::ok).map_or(usize::MAX, |ids| ids.len())
    };
    let haystack = match &arguments.model {
        Some(model) => Haystack { filler, unit: format!("tokens of {model}"), count: &tokens },
        None => Haystack { filler, ..Haystack::words() },
    };
    make_parent(out)?;
    let printer = Printer::new();
    printer.begin("rows", grid.rows(), 0);
    let mut fault = None;
    let rows = (0..grid.rows()).map(|index| match grid.row(index, &haystack) {
        Ok(row) => {
            printer.done(index + 1, "");
            with_video(row, out)
        }
        Err(error) => {
            fault = Some(error);
            Err(io::Error::other("a row cannot be made"))
        }
    });
    let written = match format {
        "parquet" => parquet::write(out, rows),
        _ => jsonl::write(out, rows, jsonl::PictureStore::Beside),
    };
    printer.finish();
    // What is wrong with a row is told, and not that the file could not be written for it.
    fault.map_or(Ok(()), Err)?;
    written?;
    if arguments.json {
        let (lengths, depths) = (&grid.lengths, &grid.depths);
        let unit = match grid.kind {
            Kind::Text => haystack.unit.as_str(),
            Kind::Pictures => "pictures",
            Kind::Video => "frames",
        };
        let object = json!({"v": 1, "out": out, "kind": grid.kind.name(), "unit": unit, "lengths": lengths,
            "depths": depths, "per_cell": grid.per_cell, "seed": grid.seed, "rows": grid.rows()});
        return print_json(&object, true);
    }
    print_text(&format!("{}\n", out.display()))
}

fn grid(arguments: &NeedleArguments) -> Result<Grid> {
    let kind = arguments.kind;
    let lengths = if arguments.lengths.is_empty() { kind.usual_lengths() } else { arguments.lengths.clone() };
    let (depths, per_cell, seed) = (arguments.depths.clone(), arguments.per_cell, arguments.seed);
    let grid = Grid { kind, lengths, depths, per_cell, seed };
    match grid.fault() {
        Some((option, reason)) => Err(RunError::User(format!("--{option}: {reason}"))),
        None => Ok(grid),
    }
}

/// The sentences of the text that is named.
fn filler(arguments: &NeedleArguments) -> Result<Filler> {
    let Some(path) = &arguments.haystack else { return Ok(Filler::default()) };
    of_text_alone(arguments, "--haystack")?;
    let bytes = std::fs::read(path).map_err(|source| RunError::io(path, source))?;
    let fault = |reason: &str| RunError::User(format!("--haystack {}: {reason}", path.display()));
    let text = String::from_utf8(bytes).map_err(|_| fault("it is not UTF-8; write it again as that"))?;
    Filler::of_text(&text).map_err(|reason| fault(&format!("{reason}; name a text with sentences")))
}

/// What counts tokens.
fn processor(arguments: &NeedleArguments) -> Result<Option<Processor>> {
    let Some(model) = &arguments.model else { return Ok(None) };
    of_text_alone(arguments, "--model")?;
    Ok(Some(processor_of(&named::model(model)?)?))
}

fn of_text_alone(arguments: &NeedleArguments, option: &str) -> Result<()> {
    let kind = arguments.kind;
    match kind {
        Kind::Text => Ok(()),
        _ => {
            Err(RunError::User(format!("{option}: it is for --kind text, and {kind} has no text to hide a needle in")))
        }
    }
}

/// Writes the frames of a row, each once, and makes them its video.
fn with_video(Row { mut query, frames }: Row, out: &Path) -> io::Result<Example> {
    if !frames.is_empty() {
        let folder = out.parent().unwrap_or_else(|| Path::new("")).join("frames");
        std::fs::create_dir_all(&folder)?;
        let paths: Vec<PathBuf> = frames.iter().map(|frame| stored(frame, &folder)).collect::<io::Result<_>>()?;
        query.videos = vec![Video::of_frames(&paths, None, &query.id).map_err(io::Error::other)?];
    }
    Ok(Example { query, response: None, spoken: false })
}

fn stored(frame: &Picture, folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join(format!("{}.{}", frame.sha256(), frame.extension()));
    if !path.exists() {
        std::fs::write(&path, frame.bytes())?;
    }
    Ok(path)
}
