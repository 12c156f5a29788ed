//! `sapo rollout`: a checkpoint answers one question, with or without pictures, or all queries of a source.

mod many;
mod one;

use std::path::PathBuf;

use clap::Args;
use sapo_policies::Model;
use sapo_policies::weights::Loading;
use sapo_rollouts::{LocalEngine, Sampling};

use self::one::Question;
use super::printer::Printer;
use super::weights::{Dtype, telling};
use crate::device;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::sample::local_engine;
use crate::slow;

/// Samples of one call at most.
const MOST_SAMPLES: u32 = 4096;

/// Whom to ask, and what.
#[derive(Args)]
pub(crate) struct RolloutArguments {
    /// A preset, a run (its newest checkpoint) or a checkpoint of one, a folder in the Hugging Face layout, or a hub id in the
    /// local cache.
    #[arg(long)]
    pub(crate) model: String,
    /// The question. A `-` reads it from stdin.
    #[arg(long, allow_hyphen_values = true, required_unless_present = "queries", conflicts_with = "queries")]
    pub(crate) prompt: Option<String>,
    /// Queries to answer instead of one question: FILE.jsonl, FILE.parquet, a folder, or synthetic:TASK[0:200], each with an
    /// optional @split and [from:to].
    #[arg(long, value_name = "SOURCE", requires = "out")]
    pub(crate) queries: Option<String>,
    /// The file that the rollouts of --queries are written to, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl", requires = "queries")]
    pub(crate) out: Option<PathBuf>,
    /// Goes on behind the last whole query of --out, with the same model, queries and settings. Begins it when there is
    /// nothing to go on with.
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
    /// A picture (PNG, JPEG, WebP, GIF, BMP or TIFF), shown before the question; may be given several times.
    #[arg(long = "image", value_name = "FILE", conflicts_with = "queries")]
    pub(crate) images: Vec<PathBuf>,
    /// A video, shown after the pictures: a folder of frames, or an animated GIF, WebP or PNG; may be given several times.
    #[arg(long = "video", value_name = "PATH", conflicts_with = "queries")]
    pub(crate) videos: Vec<PathBuf>,
    /// Frames a second that the videos were recorded at. Without it an animated file says so itself, and the frames of a
    /// folder are taken to be sampled already.
    #[arg(long, requires = "videos")]
    pub(crate) fps: Option<f64>,
    /// What the model is told before the question.
    #[arg(long, conflicts_with = "queries")]
    pub(crate) system: Option<String>,
    /// Answers to give, to each query.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_SAMPLES)))]
    pub(crate) samples: u32,
    /// Divides the logits; 0 takes the likeliest token at every step.
    #[arg(long, default_value_t = 0.7, allow_negative_numbers = true)]
    pub(crate) temperature: f64,
    /// Keeps the likeliest tokens that together hold this mass; 1 keeps all.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    pub(crate) top_k: usize,
    #[command(flatten)]
    pub(crate) more: MoreSampling,
    /// An answer is cut after this many tokens.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_new_tokens: u32,
    /// Tokens of the prompt at most, pictures included; memory grows with its square.
    #[arg(long, default_value_t = 8192)]
    pub(crate) max_prompt_tokens: usize,
    /// Answers that are decoded together at most; what they are does not depend on it.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch: u32,
    /// Keys and values of what is decoded, in MiB at most; answers that do not fit wait.
    #[arg(long, default_value_t = LocalEngine::CACHE_MIB)]
    pub(crate) cache_mib: usize,
    /// The same seed gives the same answers.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The format that weights are kept in; bf16 needs half the memory of f32, and computes in f32 as well.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What else changes how tokens are drawn.
#[derive(Args)]
pub(crate) struct MoreSampling {
    /// Keeps tokens that are at least this share as likely as the likeliest; 0 keeps all.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) min_p: f64,
    /// Divides the logits of tokens that prompt or answer have where they are positive, and multiplies them elsewhere; 1
    /// changes nothing.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) repetition_penalty: f64,
    /// Taken off the logits of tokens that the answer has.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f64,
    /// Taken off the logits of tokens as often as the answer has them.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f64,
    /// A text that ends an answer, also across tokens; the answer's text ends before it. May be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Tells so many of the likeliest tokens with their log-probs in every place, up to 20; they are in --json and --out.
    #[arg(long, default_value_t = 0)]
    pub(crate) top_log_probs: usize,
}

/// Runs the command.
pub(crate) fn run(arguments: &RolloutArguments) -> Result<Ended> {
    let sampling = sampling(arguments)?;
    let question = arguments.prompt.as_deref().map(|prompt| Question::read(arguments, prompt)).transpose()?;
    let queries = many::open(arguments)?;
    let device = device::open(&arguments.device)?;
    let printer = Printer::new();
    let told = telling("loading, MiB", &printer);
    let loading = Loading::kept_in(arguments.dtype.format()).telling(&told);
    let opened = Model::open_as(&arguments.model, arguments.seed, loading, &device);
    printer.finish();
    let model = opened?;
    let notes = model.processor.tokenizer().notes();
    notes.iter().chain(&slow::warning(&model.policy)).for_each(|line| printer.say(line));
    let engine = local_engine(&model, arguments.batch as usize, arguments.cache_mib);
    match (queries, question) {
        (Some(queries), _) => queries.answer(arguments, &model, &engine, sampling),
        (None, Some(question)) => question.answer(arguments, &model, &engine, sampling).map(|()| Ended::Well),
        (None, None) => Err(RunError::User("ask with --prompt, or name queries with --queries".to_owned())),
    }
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it should.
    Well,
    /// No query could be answered.
    WithoutAnswers,
    /// It was interrupted; what is written is kept.
    Interrupted,
}

fn sampling(arguments: &RolloutArguments) -> Result<Sampling> {
    let more = &arguments.more;
    let sampling = Sampling {
        top_p: arguments.top_p,
        top_k: arguments.top_k,
        min_p: more.min_p,
        repetition_penalty: more.repetition_penalty,
        presence_penalty: more.presence_penalty,
        frequency_penalty: more.frequency_penalty,
        stop: more.stop.clone(),
        top_log_probs: more.top_log_probs,
        ..Sampling::at(arguments.temperature, arguments.max_new_tokens as usize)
    };
    match sampling.fault() {
        Some((key, reason)) => Err(RunError::User(format!("--{} {reason}", key.replace('_', "-")))),
        None => Ok(sampling),
    }
}
