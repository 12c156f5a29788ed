//! Between queries and rollouts: prompts for the engine, transcripts and scores of what came back.

use std::sync::Arc;

use sapo_datasets::{Message, Part, Query, Role, StopReason, Transcript, Turn};
use sapo_policies::processor::{ChatMessage, ChatOptions, Clip, Processor, Visuals};
use sapo_policies::{Model, PolicyInput};
use sapo_rewards::{RewardCall, Score, Scored, ledger};
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
    pub asked: Vec<RewardCall>,
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
            let Scored { score, calls: asked } = scorer.finish(pending)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::time::Duration;

    use sapo_datasets::{Split, Task, synthetic};
    use sapo_rewards::{Endpoints, RewardConfig, RubricConfig};

    use super::*;

    /// A judge on loopback that tells of every request before it says yes.
    fn judge() -> (String, mpsc::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, asked) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(std::io::Result::ok) {
                drop(stream.read(&mut [0; 16_384]));
                told.send(()).ok();
                let body = json!({"choices": [{"message": {"content": "{\"verdict\":\"yes\"}"}}]}).to_string();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                drop(stream.write_all(format!("{head}{body}").as_bytes()));
            }
        });
        (url, asked)
    }

    /// Sampling is held up after the first rollout until the judge was asked about it: were judges asked only after all
    /// sampling, that would never be.
    #[test]
    fn the_judge_is_asked_while_others_are_still_being_sampled() {
        let (url, asked) = judge();
        let reward: RewardConfig = serde_json::from_value(json!({
            "kind": "judge", "endpoint": url, "prompt": "same-v1", "canary_share": 0.0, "cache": "off",
        }))
        .unwrap();
        let scorer = Scorer::new(&BTreeMap::from([("same".to_owned(), reward)]), &Endpoints::default()).unwrap();
        let rubric = RubricConfig { correct: "same".to_owned(), language_penalty: 0.0, ..RubricConfig::default() };
        let rubrics = Rubrics::one(scorer.rubric(&rubric).unwrap());
        // The preset `judge` ends its working and says a verdict, which here is the answer.
        let model = Model::open("judge", 1, &crate::device::open("cpu").unwrap()).unwrap();
        let queries = (0..3).map(|at| {
            let query = synthetic::query(Task::Judge, Split::Test, 1, at);
            Query { ground_truth: Some(json!(["{\"verdict\":\"yes\"}", "{\"verdict\":\"no\"}"])), ..query }
        });
        let place = Place { seed: 1, name: "test", samples: 1, decode_rows: 1 };
        let sampling = Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, max_new_tokens: 96 };
        let mut order = Vec::new();
        let answered = ask(&model, queries.collect(), &sampling, &scorer, &rubrics, place, &mut |done| {
            if done == 1 {
                asked.recv_timeout(Duration::from_secs(300)).expect("the judge is asked before sampling goes on");
                order.push("asked".to_owned());
            }
            order.push(format!("sampled {done}"));
        })
        .unwrap();
        assert_eq!(order, ["asked", "sampled 1", "sampled 2", "sampled 3"]);
        assert!(answered.iter().all(|one| one.answers[0].score.passed == Some(true)), "{answered:?}");
    }
}
