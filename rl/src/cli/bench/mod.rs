//! `sapo bench`: checkpoints of any published size with random weights, and how fast weights are loaded, answers sampled and
//! steps trained.

mod rollout;
mod step;
mod train;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Result, RunError};
use crate::{device, memory};
use clap::{Args, Subcommand};
use sapo_policies::Model;
use sapo_policies::convert::{Writing, write_random};
use sapo_policies::preset::{checkpoint_folder, config_of};
use sapo_policies::weights::Loading;
use serde_json::json;

use super::convert::must_be_free;
use super::named;
use super::plan::grouped;
use super::printer::{Printer, print_json, print_text};
use super::weights::{Dtype, bytes, telling};

/// What to measure, or to make for it.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Writes a checkpoint with random weights, streamed: memory does not grow with the model.
    ///
    /// Its tokenizer and chat template are those of the preset `tiny`, whose special tokens the config names; ids beyond them
    /// have no text. Pictures become as many tokens as in the published model of that size. It answers nonsense, in the time
    /// that the published model would need.
    ///
    /// Example: sapo bench init --model 2b --dtype bf16 --out random-2b
    Init(InitArguments),
    /// Loads a checkpoint and tells the time and the anonymous memory that it took, beside a plain copy of the files.
    ///
    /// Example: sapo bench load --model random-2b --dtype bf16 --copy
    Load(LoadArguments),
    /// Samples answers of a set length as training does and tells tokens per second, beside what the machine allows.
    ///
    /// All rollouts are submitted at once, at temperature 1 over the whole vocabulary; what ends a text is never drawn. One
    /// run warms up, the median of the others is told.
    ///
    /// Example: sapo bench rollout --model tiny --queries 4 --group 16 --new-tokens 128
    Rollout(rollout::RolloutArguments),
    /// Does whole steps of SAPO, sampling and updates, and tells the seconds of one.
    ///
    /// Every rollout has exactly as many tokens, its reward is a sum of its ids, and no group is dropped.
    ///
    /// Example: sapo bench step --model tiny --prompts 36 --group 16 --new-tokens 14
    Step(step::StepArguments),
    /// Trains steps on sequences of a set length and tells how long the forward pass, the backward pass and AdamW take.
    ///
    /// The loss is the mean negative log-prob of every next token. One step warms up, whose loss and memory are told; of the
    /// others the median times. The weights are forgotten.
    ///
    /// Example: sapo bench train --model tiny --sequences 8 --tokens 512 --json
    Train(train::TrainArguments),
}

/// What to make.
#[derive(Args)]
pub(crate) struct InitArguments {
    /// A published size (2b, 4b, 8b, 32b, 30b-a3b, 235b-a22b), a preset, or a folder whose config.json says the sizes.
    #[arg(long)]
    pub(crate) model: String,
    /// The folder to write; it must not be there, or be empty.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The number format.
    #[arg(long, default_value = "bf16")]
    pub(crate) dtype: Dtype,
    /// The same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The largest file of weights, with its unit: 5GB, 512MiB.
    #[arg(long, default_value = "5GB", value_parser = bytes)]
    pub(crate) max_shard_size: u64,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to load.
#[derive(Args)]
pub(crate) struct LoadArguments {
    /// The folder of a checkpoint.
    #[arg(long)]
    pub(crate) model: String,
    /// The format that weights are kept in.
    #[arg(long, default_value = "bf16")]
    pub(crate) dtype: Dtype,
    /// Copies the files of weights first, beside themselves, and takes the time of that too; the copies are deleted.
    #[arg(long)]
    pub(crate) copy: bool,
    /// Where the model computes: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(mut command: BenchCommand) -> Result<()> {
    let model = match &mut command {
        BenchCommand::Init(arguments) => &mut arguments.model,
        BenchCommand::Load(arguments) => &mut arguments.model,
        BenchCommand::Rollout(arguments) => &mut arguments.model,
        BenchCommand::Step(arguments) => &mut arguments.model,
        BenchCommand::Train(arguments) => &mut arguments.model,
    };
    *model = named::model(model)?;
    match command {
        BenchCommand::Init(arguments) => init(&arguments),
        BenchCommand::Load(arguments) => load(&arguments),
        BenchCommand::Rollout(arguments) => rollout::run(&arguments),
        BenchCommand::Step(arguments) => step::run(&arguments),
        BenchCommand::Train(arguments) => train::run(&arguments),
    }
}

fn init(arguments: &InitArguments) -> Result<()> {
    must_be_free(&arguments.out)?;
    let config = config_of(&arguments.model)?;
    let printer = Printer::new();
    let told = telling("writing, MiB", &printer);
    let writing =
        Writing { format: Some(arguments.dtype.format()), shard_bytes: arguments.max_shard_size, told: &told };
    let written = write_random(config, arguments.seed, &arguments.out, &writing);
    printer.finish();
    let written = written?;
    if arguments.json {
        let object = json!({
            "out": arguments.out, "parameters": written.parameters, "bytes": written.bytes, "dtype": written.format,
            "seed": arguments.seed, "vocabulary": "tiny",
        });
        return print_json(&object, true);
    }
    print_text(&format!(
        "{}: {} random parameters, {} MiB; the tokenizer is that of the preset `tiny`\n",
        arguments.out.display(),
        grouped(written.parameters),
        written.bytes >> 20
    ))
}

fn load(arguments: &LoadArguments) -> Result<()> {
    let files = weight_files(&checkpoint_folder(&arguments.model)?)?;
    let file_bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let copied = if arguments.copy { Some(copy(&files)?) } else { None };
    let printer = Printer::new();
    let told = telling("loading, MiB", &printer);
    let before = memory::anonymous_bytes();
    let device = device::open(&arguments.device)?;
    let (opened, secs, peak) = watched(|| {
        Model::open_as(&arguments.model, 0, Loading::kept_in(arguments.dtype.format()).telling(&told), &device)
    });
    printer.finish();
    let model = opened?;
    let parameters = model.policy.parameter_count() as u64;
    let (peak, held) = (peak.saturating_sub(before), memory::anonymous_bytes().saturating_sub(before));
    let copy_secs = copied.map(|copied| copied.as_secs_f64());
    let ratio = |bytes: u64| bytes as f64 / file_bytes.max(1) as f64;
    if arguments.json {
        let object = json!({
            "model": arguments.model, "dtype": arguments.dtype.format(), "parameters": parameters,
            "file_bytes": file_bytes, "secs": secs.as_secs_f64(), "copy_secs": copy_secs,
            "peak_anonymous_bytes": peak, "held_anonymous_bytes": held, "peak_to_file": ratio(peak),
        });
        return print_json(&object, true);
    }
    let mut text = format!(
        "{} parameters, {} MiB of files, loaded in {:.2} s\nanonymous memory: {} MiB at most ({:.3} of the files), {} \
         MiB held\n",
        grouped(parameters),
        file_bytes >> 20,
        secs.as_secs_f64(),
        peak >> 20,
        ratio(peak),
        held >> 20
    );
    if let Some(copy_secs) = copy_secs {
        text.push_str(&format!("a plain copy of the files took {copy_secs:.2} s\n"));
    }
    print_text(&text)
}

/// Runs `work`, and gives the time it took and the most anonymous memory that was seen meanwhile.
fn watched<T>(work: impl FnOnce() -> T) -> (T, Duration, u64) {
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(memory::anonymous_bytes()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(memory::anonymous_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        peak.fetch_max(memory::anonymous_bytes(), Ordering::Relaxed);
        done.store(true, Ordering::Relaxed);
        (result, took, peak.load(Ordering::Relaxed))
    })
}

fn weight_files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let io = |source| RunError::io(folder, source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            let bytes = path.metadata().map_err(io)?.len();
            files.push((path, bytes));
        }
    }
    files.sort();
    Ok(files)
}

/// Copies the files one after the other as `cp` would, and gives the time; the copies are deleted.
fn copy(files: &[(PathBuf, u64)]) -> Result<Duration> {
    let mut took = Duration::ZERO;
    let mut buffer = vec![0; 1 << 20];
    for (path, _) in files {
        let io = |source| RunError::io(path, source);
        let mut from = std::fs::File::open(path).map_err(io)?;
        let mut to = tempfile_beside(path)?;
        let started = Instant::now();
        loop {
            let count = from.read(&mut buffer).map_err(io)?;
            if count == 0 {
                break;
            }
            to.1.write_all(&buffer[..count]).map_err(io)?;
        }
        took += started.elapsed();
        drop(to.1);
        std::fs::remove_file(&to.0).map_err(io)?;
    }
    Ok(took)
}

fn tempfile_beside(path: &Path) -> Result<(PathBuf, std::fs::File)> {
    let copy = path.with_extension("copy");
    let file = std::fs::File::create_new(&copy).map_err(|source| RunError::io(&copy, source))?;
    Ok((copy, file))
}
