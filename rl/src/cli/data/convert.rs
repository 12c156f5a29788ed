//! `sapo data convert`: any source as Parquet in the Hugging Face layout.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use sapo_datasets::benchmark::{Benchmark, BenchmarkFile};
use sapo_datasets::written::parquet;
use sapo_datasets::{Dataset, DatasetError, Example, OpenContext, SourceConfig, Split};
use serde_json::{Value, json};

use super::{address, make_parent, refuse_existing, share};
use crate::cli::address as sources;
use crate::cli::config::compose;
use crate::cli::printer::{Printer, print_json, print_text};
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// Rows that are read at once.
const BLOCK: u64 = 64;
/// Bad rows that are told.
const TOLD: usize = 10;

/// What to convert.
#[derive(Args)]
pub(crate) struct ConvertArguments {
    /// A source: FILE.jsonl, FILE.json, FILE.parquet, a folder, a glob, or synthetic:TASK[0:N], with an optional @split
    /// and [from:to].
    #[arg(required_unless_present = "source_config")]
    source: Option<String>,
    /// The new file.
    #[arg(long, value_name = "FILE.parquet")]
    out: PathBuf,
    /// A configuration whose `[data.NAME]` says how rows are read: columns, template, system message. SOURCE, where it is
    /// given, is read instead of the table's own.
    #[arg(long, value_name = "CONFIG", requires = "name")]
    source_config: Option<String>,
    /// The name of that table.
    #[arg(long, requires = "source_config")]
    name: Option<String>,
    /// The file is one of a public benchmark, as it is published: mmmu, mmbench, mmstar, mathvista, mathvision, docvqa (also
    /// InfographicVQA and the like), countbench, refcoco, ifeval. Its rows become queries with a prompt and a verifier
    /// (docs/evaluation.md).
    #[arg(long, value_name = "NAME", value_parser = Benchmark::named, conflicts_with = "source_config")]
    benchmark: Option<Benchmark>,
    /// Bad rows that may be left out, as a share of all; with more, nothing is written.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = share)]
    max_bad_share: f64,
    /// Seed of generated tasks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// What is read.
enum Rows {
    Source(Box<Dataset>),
    Benchmark(Box<BenchmarkFile>),
}

impl Rows {
    fn len(&self) -> Option<u64> {
        match self {
            Self::Source(dataset) => dataset.len(),
            Self::Benchmark(file) => Some(file.len()),
        }
    }

    fn visit(&self, from: u64, count: u64, visit: &mut dyn FnMut(u64, std::result::Result<Example, DatasetError>)) {
        match self {
            Self::Source(dataset) => dataset.visit(from, count, visit),
            Self::Benchmark(file) => (from..from + count).for_each(|row| visit(row, file.get(row))),
        }
    }

    fn place(&self, row: u64) -> String {
        match self {
            Self::Source(dataset) => dataset.place(row),
            Self::Benchmark(_) => format!("row {}", row + 1),
        }
    }
}

/// What became of the rows.
#[derive(Default)]
struct Converted {
    written: u64,
    /// Numbers of the bad rows, from 0, and why.
    bad: Vec<(u64, String)>,
}

/// Runs the command; false when too many rows are bad.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<bool> {
    let out = &arguments.out;
    if out.extension().is_none_or(|extension| extension != "parquet") {
        return Err(RunError::User(format!("--out {}: name a .parquet file", out.display())));
    }
    refuse_existing("--out", out)?;
    let (name, source) = source(arguments)?;
    let read = match arguments.benchmark {
        Some(benchmark) => Rows::Benchmark(Box::new(BenchmarkFile::open(benchmark, Path::new(&source.source))?)),
        None => {
            let context = OpenContext { seed: arguments.seed, base: PathBuf::new(), default_split: Split::Train };
            Rows::Source(Box::new(Dataset::open(&name, &source, &context)?))
        }
    };
    let Some(rows) = read.len() else {
        let reason = format!("{} has no end; say how many rows, as {}[0:1000]", source.source, source.source);
        return Err(RunError::User(reason));
    };
    make_parent(out)?;
    let printer = Printer::new();
    printer.begin("rows", rows, 0);
    let mut converted = Converted::default();
    let most = arguments.max_bad_share * rows as f64;
    let outcome = parquet::write(out, good_rows(&read, rows, most, &mut converted, &printer));
    printer.finish();
    let too_many = converted.bad.len() as f64 > most || converted.written == 0;
    if !too_many {
        outcome?;
    }
    tell(&printer, &converted, too_many, arguments);
    if arguments.json {
        let bad = |(row, reason): &(u64, String)| json!({"row": row, "reason": reason});
        let object = json!({
            "v": 1,
            "is_good": !too_many,
            "source": source.source,
            "out": (!too_many).then(|| out.display().to_string()),
            "rows": rows,
            "written": if too_many { 0 } else { converted.written },
            "bad": converted.bad.iter().map(bad).collect::<Vec<Value>>(),
        });
        print_json(&object, true)?;
    } else if !too_many {
        print_text(&format!("{}\n", out.display()))?;
    }
    Ok(!too_many)
}

/// The source and what its rows are called after.
fn source(arguments: &ConvertArguments) -> Result<(String, SourceConfig)> {
    let given = arguments.source.as_deref().map(address).transpose()?;
    let (Some(config), Some(name)) = (&arguments.source_config, &arguments.name) else {
        let source = given.unwrap_or_default();
        return Ok((sources::name(&source), SourceConfig { source, ..SourceConfig::default() }));
    };
    let config = compose(std::slice::from_ref(config))?;
    let known = || config.data.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let table = config.data.get(name);
    let mut table =
        table.cloned().ok_or_else(|| RunError::User(format!("--name {name}: the configuration has {}", known())))?;
    if let Some(given) = given {
        table.source = given;
    }
    Ok((name.clone(), table))
}

/// The rows that can be used, in order; an error ends them where more than `most` cannot.
fn good_rows<'a>(
    read: &'a Rows,
    rows: u64,
    most: f64,
    converted: &'a mut Converted,
    printer: &'a Printer,
) -> impl Iterator<Item = io::Result<Example>> + 'a {
    let blocks = (0..rows).step_by(BLOCK as usize);
    blocks.flat_map(move |from| {
        let mut good: Vec<io::Result<Example>> = Vec::new();
        for (row, example) in decoded(read, from, BLOCK.min(rows - from)) {
            match example {
                Ok(example) => {
                    converted.written += 1;
                    good.push(Ok(example));
                }
                Err(error) => converted.bad.push((row, error.to_string())),
            }
        }
        if converted.bad.len() as f64 > most {
            good = vec![Err(io::Error::other("too many bad rows"))];
        }
        printer.done((from + BLOCK).min(rows), &format!("{} bad", converted.bad.len()));
        good
    })
}

/// Rows whose pictures have been decoded, to see that they can be; on as many threads as there are cores.
fn decoded(read: &Rows, from: u64, count: u64) -> Vec<(u64, std::result::Result<Example, DatasetError>)> {
    let mut rows = Vec::new();
    read.visit(from, count, &mut |row, example| rows.push((row, example)));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        for part in rows.chunks_mut(share) {
            scope.spawn(|| {
                for (row, example) in part {
                    let fault = example.as_ref().ok().and_then(|example| damaged(read, *row, example));
                    if let Some(fault) = fault {
                        *example = Err(fault);
                    }
                }
            });
        }
    });
    rows
}

fn damaged(read: &Rows, row: u64, example: &Example) -> Option<DatasetError> {
    let mut pictures = example.query.images.iter().enumerate();
    pictures.find_map(|(number, picture)| {
        let error = picture.decode().err()?;
        Some(DatasetError::picture(&format!("{}, picture {}", read.place(row), number + 1), error.to_string()))
    })
}

fn tell(printer: &Printer, converted: &Converted, too_many: bool, arguments: &ConvertArguments) {
    for (_, reason) in converted.bad.iter().take(TOLD) {
        printer.say(&format!("left out: {reason}"));
    }
    let bad = converted.bad.len();
    if bad > TOLD {
        printer.say(&format!("left out: {} more", bad - TOLD));
    }
    if too_many {
        printer.say(&format!(
            "nothing is written: {bad} rows cannot be used, more than --max-bad-share {}; `sapo data check` names all",
            arguments.max_bad_share
        ));
    }
}
