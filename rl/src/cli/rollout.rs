//! `sapo rollout`: a checkpoint answers a prompt, with or without pictures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use sapo_datasets::{Picture, StopReason};
use sapo_policies::processor::{ChatMessage, ChatOptions, Clip, Visuals};
use sapo_policies::weights::Loading;
use sapo_policies::{Model, PolicyInput};
use sapo_rollouts::{Engine, EngineError, Event, LocalEngine, Request, Rollout, Sampling, sample_all, seed_of};
use serde_json::{Value, json};

use super::printer::{Printer, print_json, print_text};
use super::weights::{Dtype, telling};
use crate::device;
use crate::error::{Result, RunError};
use crate::sample::local_engine;

/// Samples that are decoded together at most; bounds memory.
const MOST_ROWS: usize = 16;
/// Samples of one call at most.
const MOST_SAMPLES: u32 = 4096;

/// Whom to ask, and what.
#[derive(Args)]
pub(crate) struct RolloutArguments {
    /// A folder in the Hugging Face layout, a checkpoint of a run, or a preset.
    #[arg(long)]
    pub(crate) model: String,
    /// The question. A `-` reads it from stdin.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) prompt: String,
    /// A picture (PNG, JPEG or WebP), shown before the question; may be given several times.
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
    /// A video, shown after the pictures: a folder of frames, or an animated GIF, WebP or PNG; may be given several times.
    #[arg(long = "video", value_name = "PATH")]
    pub(crate) videos: Vec<PathBuf>,
    /// Frames a second that the videos were recorded at. Without it an animated file says so itself, and the frames of a
    /// folder are taken to be sampled already.
    #[arg(long, requires = "videos")]
    pub(crate) fps: Option<f64>,
    /// What the model is told before the question.
    #[arg(long)]
    pub(crate) system: Option<String>,
    /// Answers to give.
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
    /// An answer is cut after this many tokens.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_new_tokens: u32,
    /// Tokens of the prompt at most, pictures included; memory grows with its square.
    #[arg(long, default_value_t = 8192)]
    pub(crate) max_prompt_tokens: usize,
    /// The same seed gives the same answers.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The format that weights are kept in; bf16 needs half the memory of f32, and computes in f32 as well.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, or `cuda:0` in a build with the feature `cuda`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &RolloutArguments) -> Result<()> {
    let sampling = sampling(arguments)?;
    let pictures = arguments.images.iter().map(|path| picture(path)).collect::<Result<Vec<Picture>>>()?;
    let prompt = prompt(&arguments.prompt)?;
    let device = device::open(&arguments.device)?;
    let printer = Printer::new();
    let told = telling("loading, MiB", &printer);
    let loading = Loading::kept_in(arguments.dtype.format()).telling(&told);
    let opened = Model::open_as(&arguments.model, arguments.seed, loading, &device);
    printer.finish();
    let model = opened?;
    let input = encode(arguments, &model, &prompt, &pictures)?;
    let prompt_tokens = input.ids().len();
    let request = request(arguments, input, sampling, &prompt, &pictures);
    let engine = local_engine(&model, MOST_ROWS);
    let started = Instant::now();
    let streams = arguments.samples == 1 && !arguments.json;
    let rollouts = if streams { stream(&engine, &model, request)? } else { together(&engine, &model, request)? };
    let secs = started.elapsed().as_secs_f64();
    let tokens: usize = rollouts.iter().map(|rollout| rollout.sampled()).sum();
    if arguments.json {
        let samples: Vec<Value> = rollouts.iter().map(|rollout| sample_json(rollout, &model)).collect();
        let object = json!({
            "model": arguments.model, "prompt_tokens": prompt_tokens, "samples": samples, "secs": secs,
        });
        return print_json(&object, true);
    }
    if !streams {
        for rollout in &rollouts {
            print_text(&format!("--- {}\n{}\n", rollout.sample + 1, text(rollout, &model)))?;
        }
    }
    let cut = rollouts.iter().filter(|rollout| rollout.stop == StopReason::Length).count();
    let cut = if cut > 0 { format!("; {cut} cut by --max-new-tokens") } else { String::new() };
    eprintln!(
        "{prompt_tokens} tokens of prompt, {tokens} of answers in {secs:.1} s ({:.1} a second){cut}",
        tokens as f64 / secs.max(1e-9)
    );
    Ok(())
}

fn sampling(arguments: &RolloutArguments) -> Result<Sampling> {
    let wrong = |what: &str| Err(RunError::User(what.to_owned()));
    if !(0.0..=100.0).contains(&arguments.temperature) {
        return wrong("--temperature is a number from 0 to 100");
    }
    if !(arguments.top_p > 0.0 && arguments.top_p <= 1.0) {
        return wrong("--top-p is a number above 0 and up to 1");
    }
    let all = Sampling::at(arguments.temperature, arguments.max_new_tokens as usize);
    Ok(Sampling { top_p: arguments.top_p, top_k: arguments.top_k, ..all })
}

fn picture(path: &Path) -> Result<Picture> {
    let bytes = std::fs::read(path).map_err(|source| RunError::io(path, source))?;
    Ok(Picture::from_bytes(bytes, &path.display().to_string())?)
}

fn prompt(given: &str) -> Result<String> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let text = std::io::read_to_string(std::io::stdin());
    text.map_err(|source| RunError::io("the standard input", source))
}

fn encode(arguments: &RolloutArguments, model: &Model, prompt: &str, pictures: &[Picture]) -> Result<PolicyInput> {
    let mut messages = Vec::new();
    let message = |role: &str, content: Value| ChatMessage { role: role.to_owned(), content, tool_calls: None };
    if let Some(system) = &arguments.system {
        messages.push(message("system", json!(system)));
    }
    let mut parts: Vec<Value> = pictures.iter().map(|_| json!({"type": "image"})).collect();
    parts.extend(arguments.videos.iter().map(|_| json!({"type": "video"})));
    parts.push(json!({"type": "text", "text": prompt}));
    messages.push(message("user", Value::from(parts)));
    let decoded = pictures.iter().map(Picture::decode).collect::<std::result::Result<Vec<_>, _>>()?;
    let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
    let clips = arguments.videos.iter().map(|path| Clip::open(path, arguments.fps));
    let clips = clips.collect::<std::result::Result<Vec<_>, _>>()?;
    let visuals = Visuals { pictures: &decoded, videos: &clips };
    let input = model.processor.encode_with(&messages, visuals, &options)?;
    if input.ids().len() > arguments.max_prompt_tokens {
        return Err(RunError::User(format!(
            "the prompt has {} tokens, and at most {} are taken; shorten it, scale the pictures down, or raise \
             --max-prompt-tokens",
            input.ids().len(),
            arguments.max_prompt_tokens
        )));
    }
    Ok(input)
}

/// Seeds come from what is asked, so that a sample does not depend on how many there are.
fn request(
    arguments: &RolloutArguments,
    input: PolicyInput,
    sampling: Sampling,
    prompt: &str,
    pictures: &[Picture],
) -> Request {
    let hashes: Vec<&str> = pictures.iter().map(Picture::sha256).collect();
    let mut query_id = format!("{}\0{prompt}\0{}", arguments.system.as_deref().unwrap_or(""), hashes.join(" "));
    for video in &arguments.videos {
        query_id.push_str(&format!("\0{}", video.display()));
    }
    let samples = arguments.samples as usize;
    let seeds = (0..samples).map(|sample| seed_of(arguments.seed, "rollout", &query_id, sample)).collect();
    Request { query_id, prompt: input, seeds, sampling, follow: None }
}

/// Answers in groups that are decoded together.
fn together(engine: &LocalEngine, model: &Model, request: Request) -> Result<Vec<Rollout>> {
    let part = |seeds: &[u64]| Request { seeds: seeds.to_vec(), ..request.clone() };
    let requests: Vec<Request> = request.seeds.chunks(MOST_ROWS).map(part).collect();
    let mut rollouts = Vec::with_capacity(request.seeds.len());
    for (index, group) in sample_all(engine, &model.policy, &requests).map_err(failed)?.into_iter().enumerate() {
        let numbered = |rollout: Rollout| Rollout { sample: index * MOST_ROWS + rollout.sample, ..rollout };
        rollouts.extend(group.map_err(RunError::User)?.into_iter().map(numbered));
    }
    Ok(rollouts)
}

fn failed(error: EngineError) -> RunError {
    RunError::User(error.to_string())
}

/// One answer, printed as it comes.
fn stream(engine: &LocalEngine, model: &Model, request: Request) -> Result<Vec<Rollout>> {
    let mut printed = 0;
    let mut tokens = Vec::new();
    let mut written = Ok(());
    let mut rollouts = Vec::new();
    let sampled = engine.sample(&model.policy, &[request], &mut |event| match event {
        Event::Ended { rollout, .. } => rollouts.push(rollout),
        Event::Failed { reason, .. } => written = Err(RunError::User(reason)),
        Event::Token { draw, .. } => {
            tokens.push(draw.token);
            let text = model.processor.decode(&tokens, true);
            // A character may be spread over tokens: what is not whole yet waits.
            let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
            if written.is_ok() && whole > printed && text.is_char_boundary(printed) {
                written = print_text(&text[printed..whole]);
                printed = whole;
            }
        }
    });
    sampled.map_err(failed)?;
    written?;
    let text = rollouts.first().map(|rollout| text(rollout, model)).unwrap_or_default();
    print_text(&format!("{}\n", text.get(printed..).unwrap_or("")))?;
    Ok(rollouts)
}

fn text(rollout: &Rollout, model: &Model) -> String {
    model.processor.decode(&rollout.ids().collect::<Vec<u32>>(), true)
}

fn sample_json(rollout: &Rollout, model: &Model) -> Value {
    json!({
        "text": text(rollout, model), "tokens": rollout.ids().collect::<Vec<u32>>(), "log_probs": rollout.log_probs(),
        "stop": rollout.stop, "seed": rollout.seed,
    })
}
