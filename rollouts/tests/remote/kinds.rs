//! The three kinds of server: which fields each of them takes, and in which words it answers.

use serde_json::{Value, json};

use crate::mock::{Kind, Seen, State, said, strict};

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("a number") as u32).collect()
}

/// From the parts of a chat to the ids of the prompt.
type Reader = Box<dyn Fn(&Value) -> Vec<u32> + Send + Sync>;

/// vLLM. Chats are read back from their parts by the tokenizer that the test gives it.
pub(crate) struct Vllm {
    /// From the parts of a chat to ids, pictures multiplied.
    pub(crate) read: Reader,
}

impl Vllm {
    pub(crate) fn of_text() -> Self {
        Self { read: Box::new(|_| panic!("no chats here")) }
    }
}

const VLLM: [(&str, char); 15] = [
    ("model", 's'),
    ("temperature", 'n'),
    ("top_p", 'n'),
    ("top_k", 'i'),
    ("min_p", 'n'),
    ("repetition_penalty", 'n'),
    ("presence_penalty", 'n'),
    ("frequency_penalty", 'n'),
    ("seed", 'i'),
    ("stop", 'a'),
    ("stop_token_ids", 'a'),
    ("logit_bias", 'o'),
    ("skip_special_tokens", 'b'),
    ("return_token_ids", 'b'),
    ("return_tokens_as_token_ids", 'b'),
];

impl Kind for Vllm {
    fn generates(&self, path: &str) -> bool {
        matches!(path, "/v1/completions" | "/v1/chat/completions")
    }

    fn control(&self, state: &State, seen: &Seen) -> Result<(u16, Value), String> {
        let body = &seen.body;
        let done = Ok((200, Value::Null));
        match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/health") => done,
            ("GET", "/metrics") => {
                let started = state.started.load(std::sync::atomic::Ordering::SeqCst);
                Ok((200, json!(format!("# HELP x y\nprocess_start_time_seconds {started}.0\nother 3\n"))))
            }
            ("GET", "/v1/models") => {
                let mut names = vec!["base".to_owned()];
                names.extend(state.adapters.lock().expect("a lock").clone());
                Ok((
                    200,
                    json!({"object": "list", "data": names.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()}),
                ))
            }
            ("POST", "/pause" | "/resume" | "/reset_prefix_cache" | "/sleep?level=1" | "/wake_up")
                if body.is_null() =>
            {
                done
            }
            ("POST", "/collective_rpc") => {
                strict(body, &[("method", 's'), ("args", 'a'), ("kwargs", 'o'), ("timeout", 'n')], &["method"])?;
                strict(&body["kwargs"], &[("weights_path", 's')], &["weights_path"])?;
                let folder = body["kwargs"]["weights_path"].as_str().expect("a text");
                if !std::path::Path::new(folder).join("model.safetensors").is_file() {
                    return Err(format!("{folder} has no weights"));
                }
                *state.version.lock().expect("a lock") = folder.to_owned();
                Ok((200, json!({"results": [null]})))
            }
            ("POST", "/v1/load_lora_adapter") => {
                let known = [("lora_name", 's'), ("lora_path", 's'), ("load_inplace", 'b')];
                strict(body, &known, &["lora_name", "lora_path"])?;
                let folder = std::path::Path::new(body["lora_path"].as_str().expect("a text"));
                if !folder.join("adapter_config.json").is_file() {
                    return Err("no adapter there".to_owned());
                }
                state.adapters.lock().expect("a lock").push(body["lora_name"].as_str().expect("a text").to_owned());
                Ok((200, json!("Success: LoRA adapter added successfully")))
            }
            ("POST", "/v1/unload_lora_adapter") => {
                strict(body, &[("lora_name", 's')], &["lora_name"])?;
                let mut adapters = state.adapters.lock().expect("a lock");
                let before = adapters.len();
                adapters.retain(|name| name != body["lora_name"].as_str().expect("a text"));
                Ok((if adapters.len() < before { 200 } else { 404 }, json!("gone")))
            }
            (method, path) => Err(format!("{method} {path} is not known")),
        }
    }

    fn answer(&self, state: &State, seen: &Seen) -> Result<Value, String> {
        let (body, chat) = (&seen.body, seen.path.contains("chat"));
        let mut known = VLLM.to_vec();
        let more: &[(&str, char)] = match chat {
            true => &[
                ("messages", 'a'),
                ("chat_template", 's'),
                ("add_generation_prompt", 'b'),
                ("max_completion_tokens", 'i'),
                ("logprobs", 'b'),
                ("top_logprobs", 'i'),
            ],
            false => &[("prompt", 'a'), ("max_tokens", 'i'), ("logprobs", 'i')],
        };
        known.extend(more);
        strict(body, &known, &["model", "seed", "stop_token_ids", "return_token_ids"])?;
        let model = body["model"].as_str().expect("a text");
        if model != "base" && !state.adapters.lock().expect("a lock").iter().any(|name| name == model) {
            return Err(format!("The model `{model}` does not exist"));
        }
        let prompt = if chat { (self.read)(&body["messages"][0]["content"]) } else { ids(&body["prompt"]) };
        let limit =
            body[if chat { "max_completion_tokens" } else { "max_tokens" }].as_u64().expect("a number") as usize;
        let stop = body["stop_token_ids"][0].as_u64().expect("a number") as u32;
        let (ids, log_probs) = said(&prompt, body["seed"].as_u64().expect("a number"), limit, stop);
        let ended = ids.last() == Some(&stop);
        let names: Vec<String> = ids.iter().map(|id| format!("token_id:{id}")).collect();
        let finish = if ended { "stop" } else { "length" };
        if chat {
            let content: Vec<Value> = names
                .iter()
                .zip(&log_probs)
                .map(|(token, logprob)| json!({"token": token, "logprob": logprob, "bytes": [], "top_logprobs": []}))
                .collect();
            let choice = json!({
                "index": 0, "message": {"role": "assistant", "content": "text that is not what the ids say"},
                "logprobs": {"content": content}, "finish_reason": finish, "stop_reason": null, "token_ids": ids,
            });
            return Ok(json!({"id": "c", "model": model, "choices": [choice], "prompt_token_ids": prompt}));
        }
        let choice = json!({
            "index": 0, "text": "text that is not what the ids say", "finish_reason": finish,
            "stop_reason": if ended { json!(stop) } else { Value::Null }, "token_ids": ids, "prompt_token_ids": prompt,
            "logprobs": {"tokens": names, "token_logprobs": log_probs, "text_offset": [], "top_logprobs": []},
        });
        Ok(json!({"id": "c", "model": model, "choices": [choice]}))
    }
}

/// SGLang. Prompts with pictures are read back by what the test gives it.
pub(crate) struct Sglang {
    /// From ids and the number of pictures to the number of tokens.
    pub(crate) multiplied: fn(&[u32], usize) -> usize,
}

impl Sglang {
    pub(crate) fn of_text() -> Self {
        Self { multiplied: |ids, _| ids.len() }
    }
}

impl Kind for Sglang {
    fn generates(&self, path: &str) -> bool {
        path == "/generate"
    }

    fn control(&self, state: &State, seen: &Seen) -> Result<(u16, Value), String> {
        let body = &seen.body;
        match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/health") => Ok((200, Value::Null)),
            // An earlier version, which has the page under its old name alone.
            ("GET", "/model_info") => Ok((404, json!({"detail": "Not Found"}))),
            ("GET", "/get_model_info") => Ok((200, json!({"weight_version": *state.version.lock().expect("a lock")}))),
            ("POST", "/pause_generation") => {
                strict(body, &[("mode", 's')], &[]).map(|()| (200, json!({"status": "ok"})))
            }
            (
                "POST",
                "/continue_generation" | "/flush_cache" | "/release_memory_occupation" | "/resume_memory_occupation",
            ) => {
                strict(body, &[], &[])?;
                if seen.path == "/release_memory_occupation" {
                    *state.version.lock().expect("a lock") = "nothing".to_owned();
                }
                Ok((200, Value::Null))
            }
            ("POST", "/update_weights_from_disk") => {
                let known =
                    [("model_path", 's'), ("load_format", 's'), ("weight_version", 's'), ("abort_all_requests", 'b')];
                strict(body, &known, &["model_path", "weight_version"])?;
                let folder = std::path::Path::new(body["model_path"].as_str().expect("a text"));
                if !folder.join("config.json").is_file() || !folder.join("model.safetensors").is_file() {
                    return Ok((200, json!({"success": false, "message": "no weights there"})));
                }
                *state.version.lock().expect("a lock") = body["weight_version"].as_str().expect("a text").to_owned();
                Ok((200, json!({"success": true, "message": "Succeeded to update model weights."})))
            }
            (method, path) => Err(format!("{method} {path} is not known")),
        }
    }

    fn answer(&self, state: &State, seen: &Seen) -> Result<Value, String> {
        let body = &seen.body;
        let known = [
            ("input_ids", 'a'),
            ("image_data", 'a'),
            ("sampling_params", 'o'),
            ("return_logprob", 'b'),
            ("stream", 'b'),
        ];
        strict(body, &known, &["input_ids", "sampling_params"])?;
        let params = &body["sampling_params"];
        let known = [
            ("temperature", 'n'),
            ("top_p", 'n'),
            ("top_k", 'i'),
            ("min_p", 'n'),
            ("repetition_penalty", 'n'),
            ("presence_penalty", 'n'),
            ("frequency_penalty", 'n'),
            ("max_new_tokens", 'i'),
            ("stop", 'a'),
            ("stop_token_ids", 'a'),
            ("skip_special_tokens", 'b'),
            ("no_stop_trim", 'b'),
            ("sampling_seed", 'i'),
            ("logit_bias", 'o'),
        ];
        strict(params, &known, &["max_new_tokens", "sampling_seed", "stop_token_ids"])?;
        let prompt = ids(&body["input_ids"]);
        let stop = params["stop_token_ids"][0].as_u64().expect("a number") as u32;
        let limit = params["max_new_tokens"].as_u64().expect("a number") as usize;
        let (ids, log_probs) = said(&prompt, params["sampling_seed"].as_u64().expect("a number"), limit, stop);
        let ended = ids.last() == Some(&stop);
        let finish = match ended {
            true => json!({"type": "stop", "matched": stop}),
            false => json!({"type": "length", "length": limit}),
        };
        let entries: Vec<Value> =
            ids.iter().zip(&log_probs).map(|(id, log_prob)| json!([log_prob, id, null])).collect();
        let pictures = body["image_data"].as_array().map_or(0, Vec::len);
        Ok(json!({
            "text": "text that is not what the ids say", "output_ids": ids,
            "meta_info": {
                "id": "r", "finish_reason": finish, "prompt_tokens": (self.multiplied)(&prompt, pictures),
                "completion_tokens": ids.len(), "weight_version": *state.version.lock().expect("a lock"),
                "output_token_logprobs": entries,
            },
        }))
    }
}

/// A server of chat completions that says what the test gives it: text, and `logprobs.content`.
pub(crate) struct Openai {
    pub(crate) text: &'static str,
    pub(crate) content: Value,
}

impl Kind for Openai {
    fn generates(&self, path: &str) -> bool {
        path == "/v1/chat/completions"
    }

    fn control(&self, _: &State, seen: &Seen) -> Result<(u16, Value), String> {
        Err(format!("{} is not known", seen.path))
    }

    fn answer(&self, _: &State, seen: &Seen) -> Result<Value, String> {
        let known = [
            ("model", 's'),
            ("messages", 'a'),
            ("temperature", 'n'),
            ("top_p", 'n'),
            ("presence_penalty", 'n'),
            ("frequency_penalty", 'n'),
            ("max_tokens", 'i'),
            ("seed", 'i'),
            ("stop", 'a'),
            ("logprobs", 'b'),
            ("logit_bias", 'o'),
        ];
        strict(&seen.body, &known, &["model", "messages", "max_tokens"])?;
        let choice = json!({
            "index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop",
            "logprobs": {"content": self.content},
        });
        Ok(json!({"id": "c", "model": "other-2026", "choices": [choice], "usage": {"prompt_tokens": 3}}))
    }
}
