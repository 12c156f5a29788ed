//! vLLM: completions of token ids, or of parts with pictures; weights by the workers' own method, or as an adapter.

use sapo_datasets::StopReason;
use serde_json::{Map, Value, json};

use super::dialect::{Answer, Ask, Call, Dialect, Unread, Weights};
use super::dialect::{drawn, lacks, log_probs, token_ids};
use super::prompt::Part;

/// Puts parts together as they stand, with one placeholder for a picture: the prompt is rendered already.
const TEMPLATE: &str = "{% for message in messages %}{% for part in message['content'] %}\
                        {% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<|image_pad|>{% endif %}\
                        {% endfor %}{% endfor %}";

/// vLLM.
#[derive(Clone, Debug)]
pub(super) struct Vllm {
    /// Whether weights are adapters.
    pub(super) lora: bool,
    /// The workers' method that loads weights.
    pub(super) reload_method: String,
}

impl Dialect for Vllm {
    fn request(&self, ask: &Ask) -> Result<(&'static str, Value), String> {
        let mut fields = fields(ask);
        if !ask.prompt.has_pictures() {
            fields.insert("prompt".to_owned(), json!(ask.prompt.ids()));
            fields.insert("max_tokens".to_owned(), json!(ask.max_tokens));
            fields.insert("logprobs".to_owned(), json!(1));
            return Ok(("/v1/completions", Value::Object(fields)));
        }
        let parts: Vec<Value> = ask
            .prompt
            .parts()
            .map(|part| match part {
                Part::Text { text, .. } => json!({"type": "text", "text": text}),
                Part::Picture { url, .. } => json!({"type": "image_url", "image_url": {"url": url}}),
            })
            .collect();
        fields.insert("messages".to_owned(), json!([{"role": "user", "content": parts}]));
        fields.insert("chat_template".to_owned(), json!(TEMPLATE));
        fields.insert("add_generation_prompt".to_owned(), json!(false));
        fields.insert("max_completion_tokens".to_owned(), json!(ask.max_tokens));
        fields.insert("logprobs".to_owned(), json!(true));
        fields.insert("top_logprobs".to_owned(), json!(1));
        Ok(("/v1/chat/completions", Value::Object(fields)))
    }

    fn answer(&self, _: &Ask, reply: &Value) -> Result<Answer, Unread> {
        let choice = &reply["choices"][0];
        let ids = token_ids(&choice["token_ids"]).ok_or_else(|| lacks("choices[0].token_ids"))?;
        let (claimed, log_probs) = scored(&choice["logprobs"])?;
        if claimed != ids {
            return Err(Unread::Wrong("the tokens of its log-probs are not its token ids".to_owned()));
        }
        let (stop, stop_text) = ended(choice)?;
        let prompt = choice.get("prompt_token_ids").filter(|ids| !ids.is_null()).unwrap_or(&reply["prompt_token_ids"]);
        let prompt_ids = token_ids(prompt).ok_or_else(|| lacks("prompt_token_ids"))?;
        let model = reply["model"].as_str().ok_or_else(|| lacks("model"))?.to_owned();
        Ok(Answer {
            ids,
            log_probs,
            stop: Some(stop),
            stop_text,
            prompt_ids: Some(prompt_ids),
            prompt_tokens: None,
            model: Some(model),
            version: None,
        })
    }

    fn truncates_log_probs(&self) -> bool {
        true
    }

    fn health(&self) -> &'static str {
        "/health"
    }

    fn load(&self, weights: &Weights) -> Vec<Call> {
        let Some(name) = &weights.adapter else {
            let path = weights.folder.display().to_string();
            return vec![
                Call::may("/pause", None),
                Call::must(
                    "/collective_rpc",
                    Some(json!({"method": self.reload_method, "kwargs": {"weights_path": path}})),
                ),
                Call::must("/reset_prefix_cache", None),
                Call::may("/resume", None),
            ];
        };
        let unload = |name: &String| Call::may("/v1/unload_lora_adapter", Some(json!({"lora_name": name})));
        // One of that name may be there from a run before.
        let mut calls = vec![unload(name)];
        let path = weights.folder.display().to_string();
        calls.push(Call::must("/v1/load_lora_adapter", Some(json!({"lora_name": name, "lora_path": path}))));
        calls.extend(weights.outdated.iter().map(unload));
        calls
    }

    fn identity_paths(&self) -> &'static [&'static str] {
        if self.lora { &["/v1/models"] } else { &["/metrics"] }
    }

    fn identity(&self, page: &str) -> Option<String> {
        if !self.lora {
            // When the server was started: a new one has the weights that it was started with.
            return page.lines().find(|line| line.starts_with("process_start_time_seconds")).map(str::to_owned);
        }
        let page: Value = serde_json::from_str(page).ok()?;
        let names = page["data"].as_array()?.iter().filter_map(|model| model["id"].as_str());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        Some(names.join(" "))
    }

    fn identity_with(&self, _: &Weights) -> Option<String> {
        None
    }

    fn version_with(&self, _: &Weights) -> Option<String> {
        None
    }

    fn sleep(&self) -> Vec<Call> {
        vec![Call::must("/sleep?level=1", None)]
    }

    fn wake(&self) -> Vec<Call> {
        vec![Call::must("/wake_up", None)]
    }

    fn wakes_with_weights(&self) -> bool {
        true
    }
}

/// What completions and chats share.
fn fields(ask: &Ask) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("model", json!(ask.model));
    // Seeds are signed there; one bit of ours is lost.
    put("seed", json!(ask.seed & i64::MAX as u64));
    put("return_token_ids", json!(true));
    put("return_tokens_as_token_ids", json!(true));
    put("skip_special_tokens", json!(false));
    put("stop_token_ids", json!(ask.stop_ids));
    drawn(&ask.sampling, &ask.banned, &mut fields);
    fields
}

/// The ids that log-probs are given for, and the log-probs, of a completion or a chat.
fn scored(logprobs: &Value) -> Result<(Vec<u32>, Vec<f32>), Unread> {
    let id = |token: &Value| token.as_str()?.strip_prefix("token_id:")?.parse::<u32>().ok();
    let read = match logprobs["content"].as_array() {
        Some(content) => content
            .iter()
            .map(|one| id(&one["token"]))
            .collect::<Option<Vec<u32>>>()
            .zip(log_probs(content.iter().map(|one| &one["logprob"]))),
        None => {
            let tokens = logprobs["tokens"].as_array().ok_or_else(|| lacks("log-probs"))?;
            let values = logprobs["token_logprobs"].as_array().ok_or_else(|| lacks("log-probs"))?;
            tokens.iter().map(id).collect::<Option<Vec<u32>>>().zip(log_probs(values.iter()))
        }
    };
    read.ok_or_else(|| Unread::Wrong("its log-probs are not numbers of tokens named token_id:N".to_owned()))
}

/// Why the turn ended, and the text that ended it.
fn ended(choice: &Value) -> Result<(StopReason, Option<String>), Unread> {
    match (choice["finish_reason"].as_str(), choice["stop_reason"].as_str()) {
        (Some("stop"), Some(text)) => Ok((StopReason::Stop, Some(text.to_owned()))),
        (Some("stop"), None) => Ok((StopReason::Eos, None)),
        (Some("length"), _) => Ok((StopReason::Length, None)),
        (Some("abort"), _) => Err(Unread::Aborted),
        (other, _) => Err(Unread::Wrong(format!("its finish_reason is {}", other.unwrap_or("missing")))),
    }
}
