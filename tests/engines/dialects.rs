//! What SGLang and vLLM say, over a model that samples.

use std::path::Path;

use sapo_datasets::StopReason;
use sapo_rollouts::Sampling;
use serde_json::{Value, json};

use crate::backed::{Asked, Backed, Kind, fields, ids};

/// How tokens are drawn, in the words of both.
const PLAIN: [&str; 9] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stop_token_ids",
];

/// The plain sampling of these runs, from where a server's names for it stand.
fn sampling(body: &Value, limit: &str) -> Result<Sampling, String> {
    let temperature = body["temperature"].as_f64().ok_or("no temperature")?;
    let limit = body[limit].as_u64().and_then(|limit| usize::try_from(limit).ok()).ok_or("no limit")?;
    Ok(Sampling { stop_ids: ids(&body["stop_token_ids"]), ..Sampling::at(temperature, limit) })
}

/// SGLang, with its log-probs at the sampling temperature.
pub(crate) struct Sglang;

impl Kind for Sglang {
    fn page(&self, state: &Backed, path: &str, body: &Value) -> Result<Value, String> {
        match path {
            "/health" | "/pause_generation" | "/flush_cache" | "/continue_generation" => Ok(json!({})),
            "/model_info" => Ok(json!({"weight_version": state.last_loaded()})),
            "/update_weights_from_disk" => {
                fields(body, &["model_path", "weight_version"], &json!({}))?;
                let folder = body["model_path"].as_str().ok_or("no path")?;
                state.load(Path::new(folder), body["weight_version"].as_str().ok_or("no version")?)?;
                Ok(json!({"success": true, "message": ""}))
            }
            "/generate" => generate(state, body),
            other => Err(format!("{other} is not known")),
        }
    }
}

fn generate(state: &Backed, body: &Value) -> Result<Value, String> {
    fields(body, &["input_ids", "image_data", "sampling_params"], &json!({"return_logprob": true, "stream": false}))?;
    let params = &body["sampling_params"];
    let fixed = json!({"skip_special_tokens": false, "no_stop_trim": true});
    fields(params, &[&PLAIN[..], &["max_new_tokens", "sampling_seed"]].concat(), &fixed)?;
    let asked = Asked {
        ids: ids(&body["input_ids"]),
        pictures: body["image_data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        seed: params["sampling_seed"].as_u64().ok_or("no seed")?,
        sampling: sampling(params, "max_new_tokens")?,
    };
    let (rollout, prompt) = state.sample(asked)?;
    let ids: Vec<u32> = rollout.ids().collect();
    let entries: Vec<Value> =
        ids.iter().zip(rollout.log_probs()).map(|(id, log_prob)| json!([log_prob, id, null])).collect();
    let finish = match rollout.stop {
        StopReason::Length => json!({"type": "length", "length": ids.len()}),
        _ => json!({"type": "stop", "matched": ids.last()}),
    };
    Ok(json!({
        "text": "", "output_ids": ids,
        "meta_info": {
            "id": "r", "finish_reason": finish, "prompt_tokens": prompt.len(), "completion_tokens": ids.len(),
            "weight_version": state.last_loaded(), "output_token_logprobs": entries,
        },
    }))
}

/// vLLM with adapters.
pub(crate) struct Vllm;

impl Kind for Vllm {
    fn page(&self, state: &Backed, path: &str, body: &Value) -> Result<Value, String> {
        match path {
            "/health" => Ok(json!({})),
            "/v1/models" => Ok(json!({"data": [{"id": "base"}, {"id": state.last_loaded()}]})),
            "/v1/load_lora_adapter" => {
                fields(body, &["lora_name", "lora_path"], &json!({}))?;
                let folder = body["lora_path"].as_str().ok_or("no path")?;
                state.load_adapter(Path::new(folder), body["lora_name"].as_str().ok_or("no name")?)?;
                Ok(json!("loaded"))
            }
            "/v1/unload_lora_adapter" => fields(body, &["lora_name"], &json!({})).map(|()| json!("unloaded")),
            "/v1/completions" | "/v1/chat/completions" => completion(state, body, path.contains("chat")),
            other => Err(format!("{other} is not known")),
        }
    }
}

fn completion(state: &Backed, body: &Value, chat: bool) -> Result<Value, String> {
    let mut fixed = json!({
        "model": state.last_loaded(), "return_token_ids": true, "return_tokens_as_token_ids": true,
        "skip_special_tokens": false, "logprobs": if chat { json!(true) } else { json!(1) },
    });
    if chat {
        fixed["top_logprobs"] = json!(1);
        fixed["add_generation_prompt"] = json!(false);
    }
    let limit = if chat { "max_completion_tokens" } else { "max_tokens" };
    let prompt = if chat { "messages" } else { "prompt" };
    fields(body, &[&PLAIN[..], &["seed", "chat_template", limit, prompt]].concat(), &fixed)?;
    let (prompt, pictures) =
        if chat { parts(state, &body["messages"][0]["content"])? } else { (ids(&body["prompt"]), Vec::new()) };
    let seed = body["seed"].as_u64().ok_or("no seed")?;
    let (rollout, prompt) = state.sample(Asked { ids: prompt, pictures, seed, sampling: sampling(body, limit)? })?;
    let ids: Vec<u32> = rollout.ids().collect();
    let names = ids.iter().map(|id| format!("token_id:{id}"));
    let log_probs = rollout.log_probs();
    let scores = match chat {
        true => {
            let entries = names.zip(&log_probs).map(|(token, logprob)| json!({"token": token, "logprob": logprob}));
            json!({"content": entries.collect::<Vec<_>>()})
        }
        false => json!({"tokens": names.collect::<Vec<_>>(), "token_logprobs": log_probs}),
    };
    let finish = if rollout.stop == StopReason::Length { "length" } else { "stop" };
    let choice = json!({
        "index": 0, "finish_reason": finish, "stop_reason": null, "token_ids": ids, "prompt_token_ids": prompt,
        "logprobs": scores,
    });
    Ok(json!({"id": "c", "model": body["model"], "choices": [choice], "prompt_token_ids": prompt}))
}

/// The ids of a chat's parts as the template that comes with it puts them together, and its pictures.
fn parts(state: &Backed, content: &Value) -> Result<(Vec<u32>, Vec<String>), String> {
    let (mut text, mut pictures) = (String::new(), Vec::new());
    for part in content.as_array().into_iter().flatten() {
        match part["image_url"]["url"].as_str() {
            Some(url) => {
                text.push_str("<|image_pad|>");
                pictures.push(url.to_owned());
            }
            None => text.push_str(part["text"].as_str().ok_or("a part without text")?),
        }
    }
    let ids = state.model().processor.tokenizer().encode(&text).map_err(|error| error.to_string())?;
    Ok((ids, pictures))
}

/// A server of chat completions, which renders messages as the embedded models' template does.
pub(crate) struct Openai;

impl Kind for Openai {
    fn page(&self, state: &Backed, path: &str, body: &Value) -> Result<Value, String> {
        if path != "/v1/chat/completions" {
            return Err(format!("{path} is not known"));
        }
        let own = ["messages", "temperature", "max_tokens", "seed"];
        fields(body, &own, &json!({"model": "served", "logprobs": true}))?;
        let (mut text, mut pictures) = (String::new(), Vec::new());
        for message in body["messages"].as_array().into_iter().flatten() {
            let role = message["role"].as_str().ok_or("no role")?;
            text.push_str(&format!("<|im_start|>{role}\n"));
            match &message["content"] {
                Value::String(content) => text.push_str(content),
                parts => {
                    for part in parts.as_array().ok_or("no content")? {
                        match part["image_url"]["url"].as_str() {
                            Some(url) => {
                                text.push_str("<|vision_start|><|image_pad|><|vision_end|>");
                                pictures.push(url.to_owned());
                            }
                            None => text.push_str(part["text"].as_str().ok_or("a part without text")?),
                        }
                    }
                }
            }
            text.push_str("<|im_end|>\n");
        }
        text.push_str("<|im_start|>assistant\n<think>\n");
        let ids = state.model().processor.tokenizer().encode(&text).map_err(|error| error.to_string())?;
        let stop_ids = state.model().processor.stop_ids().to_vec();
        let sampling = Sampling { stop_ids, ..sampling(body, "max_tokens")? };
        let seed = body["seed"].as_u64().ok_or("no seed")?;
        let (rollout, prompt) = state.sample(Asked { ids, pictures, seed, sampling })?;
        let ids: Vec<u32> = rollout.ids().collect();
        let finish = if rollout.stop == StopReason::Length { "length" } else { "stop" };
        let said = state.model().processor.decode(&ids, true);
        let choice = json!({"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": finish});
        Ok(json!({"model": "served-2026", "choices": [choice], "usage": {"prompt_tokens": prompt.len()}}))
    }
}
