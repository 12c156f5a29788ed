//! `sapo bench rollout`: how fast the engine answers, as training uses it, beside the floor that the machine sets.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use clap::Args;
use sapo_policies::weights::Loading;
use sapo_policies::{Model, PolicyInput, to_vec};
use sapo_rollouts::{Event, Load, LocalEngine, Request, Sampling, seed_of};
use serde_json::{Value, json};

use super::super::printer::{Printer, add_kernels, print_json, print_text};
use super::super::weights::Dtype;
use crate::error::{Result, RunError};
use crate::sample::local_engine;
use crate::{device, memory};

/// What to answer.
#[derive(Args)]
pub(crate) struct RolloutArguments {
    /// A checkpoint folder, or a preset.
    #[arg(long)]
    pub(crate) model: String,
    /// Prompts, each with a group of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) queries: u32,
    /// Samples of each prompt.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) group: u32,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) prompt_tokens: u32,
    /// Tokens of each answer; with `--geometric` the most.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) new_tokens: u32,
    /// Answers of uneven lengths: geometric with this mean, at most `--new-tokens`.
    #[arg(long, value_name = "MEAN", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) geometric: Option<u32>,
    /// Samples that are decoded together at most; all of them when it is not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) rows: Option<u32>,
    /// Timed runs, of which the median is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,
    /// The format that weights are kept in.
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

/// What one run took.
#[derive(Clone, Debug, Default)]
struct Took {
    secs: f64,
    /// Until every rollout had its first token.
    prefill_secs: f64,
    /// Until the first rollout had its first token.
    first_token_secs: f64,
    tokens: usize,
    steps: usize,
    log_prob_sum: f64,
    /// Samples that were decoded, summed over steps.
    running: usize,
    fullest: Load,
}

/// What this machine does at best, measured here and now.
struct Machine {
    flops_per_sec: f64,
    bytes_per_sec: f64,
}

/// Runs the command.
pub(super) fn run(arguments: &RolloutArguments) -> Result<()> {
    let printer = Printer::new();
    let device = device::open(&arguments.device)?;
    let model = Model::open_as(&arguments.model, 1, Loading::kept_in(arguments.dtype.format()), &device)?;
    let requests = requests(arguments, &model);
    let rows = arguments.rows.unwrap_or(arguments.queries * arguments.group) as usize;
    answered(arguments, &model, &requests, rows)?;
    let mut all =
        (0..arguments.repeat).map(|_| answered(arguments, &model, &requests, rows)).collect::<Result<Vec<Took>>>()?;
    all.sort_by(|a, b| a.secs.total_cmp(&b.secs));
    let mut firsts: Vec<f64> = all.iter().map(|took| took.prefill_secs).collect();
    firsts.sort_by(f64::total_cmp);
    let took = Took { prefill_secs: firsts[firsts.len() / 2], ..all[all.len() / 2].clone() };
    let mut told = told(arguments, &model, &took, rows, &Machine::measured(&device));
    add_kernels(&mut told);
    printer.finish();
    if arguments.json {
        return print_json(&told, true);
    }
    print_text(&format!(
        "{} tokens in {:.3} s: {:.1} tokens a second, {:.2} of what the machine's {} allows\nfirst token after {:.3} s, \
         all first tokens after {:.3} s\ncache: {:.1} MiB at most for {:.1} MiB of tokens; {:.1} of {rows} places taken on \
         average\nmean log-prob {:.4}\n",
        took.tokens,
        took.secs,
        took.tokens as f64 / took.secs,
        told["floor"]["share"].as_f64().unwrap_or(0.0),
        told["floor"]["by"].as_str().unwrap_or(""),
        took.first_token_secs,
        took.prefill_secs,
        told["cache_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 20),
        told["cache_needed_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 20),
        told["mean_running"].as_f64().unwrap_or(0.0),
        took.log_prob_sum / took.tokens as f64,
    ))
}

/// A prompt of ids that spread over the vocabulary and are the same for whoever measures.
pub(super) fn prompt(model: &Model, number: u32, tokens: u32) -> PolicyInput {
    let spread = (model.policy.config.text.vocab_size as u64).saturating_sub(32).max(1);
    let b = u64::from(number);
    let id = |t: u64| ((7919 * b + 104_729 * t + 31 * b * t + 7 * t * t) % spread) as u32;
    PolicyInput::of_text((0..u64::from(tokens)).map(id).collect())
}

/// The requests, each a prompt with its group.
fn requests(arguments: &RolloutArguments, model: &Model) -> Vec<Request> {
    let request = |b: u32| {
        let query_id = b.to_string();
        Request {
            prompt: prompt(model, b, arguments.prompt_tokens),
            seeds: (0..arguments.group).map(|sample| seed_of(1, "bench", &query_id, sample as usize)).collect(),
            // What ends a text is never drawn, so that every answer has its length.
            sampling: Sampling {
                banned_ids: model.processor.stop_ids().to_vec(),
                ..Sampling::at(1.0, arguments.new_tokens as usize)
            },
            follow: None,
            query_id,
        }
    };
    (0..arguments.queries).map(request).collect()
}

/// How many tokens a sample gets: all, or as many as its seed draws.
fn length(arguments: &RolloutArguments, seed: u64) -> usize {
    let Some(mean) = arguments.geometric else { return arguments.new_tokens as usize };
    let share = (seed >> 11) as f64 / (1_u64 << 53) as f64;
    let length = 1.0 + ((1.0 - share).ln() / (1.0 - 1.0 / f64::from(mean.max(2))).ln()).floor();
    (length as u32).clamp(1, arguments.new_tokens) as usize
}

/// A sample on its way.
#[derive(Clone, Copy)]
struct Open {
    tokens: usize,
    length: usize,
}

/// Answers all requests in a session of their own, so that nothing of an earlier run is left in its cache.
fn answered(arguments: &RolloutArguments, model: &Model, requests: &[Request], rows: usize) -> Result<Took> {
    let engine = local_engine(model, rows, LocalEngine::CACHE_MIB);
    let mut took = Took::default();
    let open = |request: &Request| -> Vec<Open> {
        request.seeds.iter().map(|seed| Open { tokens: 0, length: length(arguments, *seed) }).collect()
    };
    let mut samples: Vec<Vec<Open>> = requests.iter().map(open).collect();
    let mut waiting: usize = samples.iter().map(Vec::len).sum();
    let mut refused = None;
    let started = Instant::now();
    let mut session = engine.session(&model.policy);
    for request in requests {
        session.submit(request.clone());
    }
    while !session.is_idle() {
        let mut long_enough = Vec::new();
        session
            .step(&mut |event| match event {
                Event::Token { request, sample, draw } => {
                    took.log_prob_sum += f64::from(draw.log_prob);
                    took.tokens += 1;
                    let open = &mut samples[request][sample];
                    open.tokens += 1;
                    if open.tokens == open.length {
                        long_enough.push((request, sample));
                    }
                    if open.tokens == 1 {
                        waiting -= 1;
                        if took.tokens == 1 {
                            took.first_token_secs = started.elapsed().as_secs_f64();
                        }
                        if waiting == 0 {
                            took.prefill_secs = started.elapsed().as_secs_f64();
                        }
                    }
                }
                Event::Ended { .. } => {}
                Event::Failed { reason, .. } => refused = Some(reason),
            })
            .map_err(|error| RunError::User(error.to_string()))?;
        let load = session.load();
        took.steps += 1;
        took.running += load.running;
        if load.used_blocks >= took.fullest.used_blocks {
            took.fullest = load;
        }
        for (request, sample) in long_enough {
            session.cut(request, sample, &mut |_| {});
        }
    }
    took.secs = started.elapsed().as_secs_f64();
    match refused {
        Some(reason) => Err(RunError::User(reason)),
        None => Ok(took),
    }
}

impl Machine {
    /// A product of two large matrices, and a sum over numbers that no cache holds.
    fn measured(device: &Device) -> Self {
        let side = 1024;
        let random = |rows: usize| Tensor::<2>::random([rows, side], Distribution::Default, device);
        let best = |work: &dyn Fn()| {
            let secs = (0..4).map(|_| {
                let started = Instant::now();
                work();
                started.elapsed().as_secs_f64()
            });
            secs.fold(f64::INFINITY, f64::min)
        };
        let (a, b) = (random(side), random(side));
        let product = best(&|| drop(to_vec(a.clone().matmul(b.clone().transpose()).narrow(0, 0, 1))));
        // In parts, as many as a graphics device of the smallest kind takes at once.
        let large = [(); 4].map(|()| random(24 << 10));
        let read = best(&|| large.iter().for_each(|part| drop(to_vec(part.clone().sum()))));
        Self {
            flops_per_sec: 2.0 * (side as f64).powi(3) / product,
            bytes_per_sec: ((96_usize << 20) * 4) as f64 / read,
        }
    }
}

fn told(arguments: &RolloutArguments, model: &Model, took: &Took, rows: usize, machine: &Machine) -> Value {
    let text = &model.policy.config.text;
    let cache_bytes_per_token = 2 * text.layers * text.kv_heads * text.head_dim * 4;
    let read: f64 = model
        .policy
        .parameters()
        .iter()
        .filter(|param| !param.name.contains("visual"))
        .map(|param| param.shape.iter().product::<usize>() as f64)
        .sum();
    let embedded = if model.policy.text.head.is_some() { (text.vocab_size * text.hidden_size) as f64 } else { 0.0 };
    let (read, steps) = (read - embedded, took.steps.max(1) as f64);
    let mean_context =
        f64::from(arguments.prompt_tokens) + took.tokens as f64 / f64::from(arguments.queries * arguments.group) / 2.0;
    let bytes = steps * read * arguments.dtype.format().bytes() as f64
        + took.tokens as f64 * mean_context * cache_bytes_per_token as f64;
    let prompts = f64::from(arguments.queries) * f64::from(arguments.prompt_tokens);
    let flops = 2.0 * read * (took.tokens as f64 + prompts);
    let (by_memory, by_arithmetic) = (bytes / machine.bytes_per_sec, flops / machine.flops_per_sec);
    let floor = by_memory.max(by_arithmetic);
    let needed = (arguments.queries * (arguments.prompt_tokens + arguments.group * arguments.new_tokens)) as usize;
    json!({
        "model": arguments.model, "queries": arguments.queries, "group": arguments.group,
        "prompt_tokens": arguments.prompt_tokens, "new_tokens": arguments.new_tokens, "geometric": arguments.geometric,
        "repeat": arguments.repeat, "rows": rows,
        "secs": took.secs, "tokens_per_sec": took.tokens as f64 / took.secs, "tokens": took.tokens,
        "prefill_secs": took.prefill_secs, "first_token_secs": took.first_token_secs,
        "mean_logprob": took.log_prob_sum / took.tokens.max(1) as f64,
        "steps": took.steps, "mean_running": took.running as f64 / steps,
        "cache_bytes": took.fullest.used_blocks * took.fullest.block_bytes,
        "cache_needed_bytes": needed * cache_bytes_per_token,
        "cache_block_bytes": took.fullest.block_bytes,
        "floor": {
            "secs": floor, "by": if by_memory > by_arithmetic { "memory" } else { "arithmetic" },
            "share": floor / took.secs, "flops_per_sec": machine.flops_per_sec, "bytes_per_sec": machine.bytes_per_sec,
        },
        "peak_rss_bytes": memory::peak_rss_bytes(std::process::id()),
    })
}
