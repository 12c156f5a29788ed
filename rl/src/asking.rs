//! Between queries and rollouts: prompts for the engine, transcripts and scores of what came back.

use std::sync::Arc;

use sapo_datasets::{Message, Part, Query, Role, StopReason, Transcript, Turn};
use sapo_policies::processor::{ChatMessage, ChatOptions, Clip, Processor, Visuals};
use sapo_policies::{Model, PolicyInput};
use sapo_rewards::{Asked, Score, Scored, ledger};
use sapo_rollouts::{LocalEngine, Request, Rollout, Sampling, seed_of};
use serde_json::{Value, json};

use crate::error::{Result, RunError};
use crate::scoring::{Pending, Rubrics, Scorer};

/// The policy's input of a query.
///
/// # Errors
/// When a picture or the text cannot be used; the message names the query.
pub fn encode(processor: &Processor, query: &Query) -> Result<PolicyInput> {
    input(processor, query).map_err(|error| RunError::User(format!("query `{}`: {error}", query.id)))
}

fn input(processor: &Processor, query: &Query) -> Result<PolicyInput> {
    let messages: Vec<ChatMessage> = query.messages.iter().map(chat_message).collect();
    let pictures =
        query.images.iter().map(sapo_datasets::Picture::decode).collect::<std::result::Result<Vec<_>, _>>()?;
    let videos = query.videos.iter().map(|video| Clip::open(video.path(), video.fps()));
    let videos = videos.collect::<std::result::Result<Vec<_>, _>>()?;
    let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
    Ok(processor.encode_with(&messages, Visuals { pictures: &pictures, videos: &videos }, &options)?)
}

fn chat_message(message: &Message) -> ChatMessage {
    let part = |part: &Part| match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image => json!({"type": "image"}),
        Part::Video => json!({"type": "video"}),
    };
    let content = Value::Array(message.content.iter().map(part).collect());
    ChatMessage { role: message.role.as_str().to_owned(), content, tool_calls: None }
}

/// One answer with its score.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The token record.
    pub rollout: Rollout,
    /// The text without tokens that only steer the conversation.
    pub text: String,
    /// Whether there is working before the answer.
    pub with_working: bool,
    /// The score.
    pub score: Score,
    /// Which reward gave what, and how long it took.
    pub asked: Vec<Asked>,
    /// Digest of what was scored.
    pub input: String,
    /// Whether the prompt opened the thinking.
    pub thinking_open: bool,
}

/// A query with its answers.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What was asked.
    pub query: Query,
    /// Its prompt.
    pub prompt: PolicyInput,
    /// What came back.
    pub answers: Vec<Answer>,
}

/// Where samples are taken, which their seeds depend on.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The run's or the evaluation's seed.
    pub seed: u64,
    /// The phase and step, or the evaluation.
    pub name: &'a str,
    /// Samples of each query.
    pub samples: usize,
    /// Rows that are decoded together at most.
    pub decode_rows: usize,
}

/// Samples answers to queries and scores them while others are still being sampled; `progress(done)` is told how many
/// rollouts have ended.
///
/// # Errors
/// When a query cannot be encoded.
pub fn ask(
    model: &Model,
    queries: Vec<Query>,
    sampling: &Sampling,
    scorer: &Scorer,
    rubrics: &Rubrics,
    place: Place<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Answered>> {
    let queries: Vec<Arc<Query>> = queries.into_iter().map(Arc::new).collect();
    let mut requests = Vec::with_capacity(queries.len());
    for query in &queries {
        let seeds = (0..place.samples).map(|sample| seed_of(place.seed, place.name, &query.id, sample)).collect();
        requests.push(Request { query_id: query.id.clone(), prompt: encode(&model.processor, query)?, seeds });
    }
    let engine = LocalEngine { stop_ids: model.processor.stop_ids().to_vec(), max_rows: place.decode_rows };
    let mut open: Vec<Vec<(Rollout, Transcript, Pending)>> = requests.iter().map(|_| Vec::new()).collect();
    let mut done = 0;
    engine.sample_each(&model.policy, &requests, sampling, &mut |index, rollout| {
        let query = &queries[index];
        let transcript = transcript(model, query, &rollout, sampling);
        let pending = scorer.start(rubrics.of(query), Arc::clone(query), transcript.clone());
        open[index].push((rollout, transcript, pending));
        done += 1;
        progress(done);
    })?;
    let mut answered = Vec::with_capacity(queries.len());
    for ((query, request), mut rollouts) in queries.into_iter().zip(requests).zip(open) {
        rollouts.sort_by_key(|(rollout, ..)| rollout.sample);
        let mut answers = Vec::with_capacity(rollouts.len());
        for (rollout, transcript, pending) in rollouts {
            let Scored { score, asked } = scorer.finish(pending)?;
            let with_working = !transcript.reasoning().trim().is_empty();
            let input = ledger::input_digest(&query, &transcript);
            let thinking_open = transcript.thinking_open;
            let text = transcript.turns.into_iter().map(|turn| turn.text).collect();
            answers.push(Answer { rollout, text, with_working, score, asked, input, thinking_open });
        }
        let query = Arc::try_unwrap(query).unwrap_or_else(|shared| Query::clone(&shared));
        answered.push(Answered { query, prompt: request.prompt, answers });
    }
    Ok(answered)
}

fn transcript(model: &Model, query: &Query, rollout: &Rollout, sampling: &Sampling) -> Transcript {
    let ended = usize::from(rollout.stop == StopReason::Eos);
    let text = model.processor.decode(&rollout.tokens[..rollout.tokens.len() - ended], true);
    Transcript {
        query_id: query.id.clone(),
        turns: vec![Turn { role: Role::Assistant, text }],
        calls: Vec::new(),
        tokens: rollout.tokens.len(),
        token_limit: sampling.max_new_tokens,
        stop: rollout.stop,
        pictures: Vec::new(),
        thinking_open: model.processor.thinking_open(),
    }
}
