//! `sapo convert`: a checkpoint again, in another number format or other shards, with all its other files.

use std::path::PathBuf;

use crate::error::{Result, RunError};
use clap::Args;
use sapo_policies::convert::{Writing, convert};
use serde_json::json;

use super::plan::grouped;
use super::printer::{Printer, print_json, print_text};
use super::weights::{Dtype, bytes, telling};

/// What to convert.
#[derive(Args)]
pub(crate) struct ConvertArguments {
    /// A folder in the Hugging Face layout, or a checkpoint of a run.
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// The folder to write; it must not be there, or be empty.
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// The number format; that of MODEL where it is bf16, and f32 for all others, when it is not said.
    #[arg(long)]
    pub(crate) dtype: Option<Dtype>,
    /// The largest file of weights, with its unit: 5GB, 512MiB.
    #[arg(long, default_value = "5GB", value_parser = bytes)]
    pub(crate) max_shard_size: u64,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &ConvertArguments) -> Result<()> {
    must_be_free(&arguments.out)?;
    let printer = Printer::new();
    let told = telling("writing, MiB", &printer);
    let writing =
        Writing { format: arguments.dtype.map(Dtype::format), shard_bytes: arguments.max_shard_size, told: &told };
    let written = convert(&arguments.model, &arguments.out, &writing);
    printer.finish();
    let written = written?;
    if arguments.json {
        let (parameters, bytes, dtype) = (written.parameters, written.bytes, written.format);
        return print_json(
            &json!({"out": arguments.out, "parameters": parameters, "bytes": bytes, "dtype": dtype}),
            true,
        );
    }
    let parameters = grouped(written.parameters);
    print_text(&format!("{}: {parameters} parameters, {} MiB\n", arguments.out.display(), written.bytes >> 20))
}

/// Nothing is written over.
pub(crate) fn must_be_free(out: &std::path::Path) -> Result<()> {
    let empty = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !out.exists(),
    };
    match empty && out.file_name().is_some() {
        true => Ok(()),
        false => Err(RunError::User(format!("{} is there already; name a new folder", out.display()))),
    }
}
