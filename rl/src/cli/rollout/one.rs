//! One question, with or without pictures: the answer is printed as it comes.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use sapo_datasets::{Picture, StopReason};
use sapo_policies::processor::{ChatMessage, ChatOptions, Clip, Visuals};
use sapo_policies::{Model, PolicyInput};
use sapo_rollouts::{Engine, EngineError, Event, LocalEngine, Request, Rollout, Sampling, seed_of};
use serde_json::{Value, json};

use super::RolloutArguments;
use crate::answer_text::AnswerText;
use crate::cli::printer::{add_kernels, print_json, print_text};
use crate::error::{Result, RunError};

/// What is asked.
pub(super) struct Question {
    prompt: String,
    pictures: Vec<Picture>,
}

impl Question {
    /// The question of the arguments, `prompt` being its text; files are read, so that a wrong path is told before a model is
    /// opened.
    pub(super) fn read(arguments: &RolloutArguments, prompt: &str) -> Result<Self> {
        let pictures = arguments.images.iter().map(|path| picture(path)).collect::<Result<Vec<Picture>>>()?;
        Ok(Self { prompt: text_of(prompt)?, pictures })
    }

    /// Answers it.
    pub(super) fn answer(
        &self,
        arguments: &RolloutArguments,
        model: &Model,
        engine: &LocalEngine,
        sampling: Sampling,
    ) -> Result<()> {
        let input = encode(arguments, model, &self.prompt, &self.pictures)?;
        let prompt_tokens = input.ids().len();
        let stops = sampling.stop.clone();
        let request = request(arguments, input, sampling, &self.prompt, &self.pictures);
        let started = Instant::now();
        let streams = arguments.samples == 1 && !arguments.json;
        let (rollouts, tops) =
            if streams { stream(engine, model, request)? } else { together(engine, model, request)? };
        let secs = started.elapsed().as_secs_f64();
        let tokens: usize = rollouts.iter().map(Rollout::sampled).sum();
        if arguments.json {
            let sample = |rollout: &Rollout| sample_json(rollout, model, &stops, &tops);
            let samples: Vec<Value> = rollouts.iter().map(sample).collect();
            let mut object = json!({
                "model": arguments.model, "prompt_tokens": prompt_tokens, "samples": samples, "secs": secs,
            });
            add_kernels(&mut object);
            return print_json(&object, true);
        }
        if !streams {
            for rollout in &rollouts {
                print_text(&format!("--- {}\n{}\n", rollout.sample + 1, text(rollout, model, &stops)))?;
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
}

/// The likeliest tokens of every place of every sample, where they were asked for.
type Tops = Vec<Vec<Vec<(u32, f32)>>>;

fn picture(path: &Path) -> Result<Picture> {
    let bytes = std::fs::read(path).map_err(|source| RunError::io(path, source))?;
    Ok(Picture::from_bytes(bytes, &path.display().to_string())?)
}

fn text_of(given: &str) -> Result<String> {
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

/// Answers in groups that are asked for together.
fn together(engine: &LocalEngine, model: &Model, request: Request) -> Result<(Vec<Rollout>, Tops)> {
    let mut rollouts = Vec::with_capacity(request.seeds.len());
    let mut tops = vec![Vec::new(); if request.sampling.top_log_probs > 0 { request.seeds.len() } else { 0 }];
    let mut failed = None;
    let sampled = engine.sample(&model.policy, std::slice::from_ref(&request), &mut |event| {
        match event {
            Event::Token { sample, draw, .. } => {
                if let Some(top) = tops.get_mut(sample) {
                    top.push(draw.top);
                }
            }
            Event::Ended { rollout, .. } => rollouts.push(rollout),
            Event::Failed { reason, .. } => failed = Some(reason),
        }
        ControlFlow::Continue(())
    });
    sampled.map_err(of_engine)?;
    rollouts.sort_by_key(|rollout| rollout.sample);
    failed.map_or(Ok((rollouts, tops)), |reason| Err(RunError::User(reason)))
}

fn of_engine(error: EngineError) -> RunError {
    RunError::User(error.to_string())
}

/// One answer, printed as it comes.
fn stream(engine: &LocalEngine, model: &Model, request: Request) -> Result<(Vec<Rollout>, Tops)> {
    let mut text = AnswerText::new(&request.sampling.stop);
    let mut written = Ok(());
    let mut rollouts = Vec::new();
    let sampled = engine.sample(&model.policy, &[request], &mut |event| {
        match event {
            Event::Ended { rollout, .. } => rollouts.push(rollout),
            Event::Failed { reason, .. } => written = Err(RunError::User(reason)),
            Event::Token { draw, .. } => {
                let more = text.push(model.processor.token_bytes(draw.token));
                if !more.is_empty() {
                    written = print_text(&more);
                }
            }
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    sampled.map_err(of_engine)?;
    written?;
    print_text(&format!("{}\n", text.finish()))?;
    Ok((rollouts, Tops::new()))
}

/// The text of an answer, up to where a stop text begins.
fn text(rollout: &Rollout, model: &Model, stops: &[String]) -> String {
    let mut text = AnswerText::new(stops);
    let begun: String = rollout.ids().map(|id| text.push(model.processor.token_bytes(id))).collect();
    begun + &text.finish()
}

fn sample_json(rollout: &Rollout, model: &Model, stops: &[String], tops: &Tops) -> Value {
    let mut sample = json!({
        "text": text(rollout, model, stops), "tokens": rollout.ids().collect::<Vec<u32>>(),
        "log_probs": rollout.log_probs(), "stop": rollout.stop, "seed": rollout.seed,
    });
    if let Some(top) = tops.get(rollout.sample) {
        sample["top_log_probs"] = json!(top);
    }
    sample
}
