//! SGLang: `/generate` with token ids and log-probs; weights from disk, or as an adapter.

use sapo_datasets::StopReason;
use serde_json::{Map, Value, json};

use super::dialect::{Answer, Ask, Call, Dialect, Unread, Weights};
use super::dialect::{drawn, lacks, token_ids, unsaid_by_all};
use super::prompt::Part;
use crate::request::Sampling;

/// The largest of the penalties that multiply.
const LARGEST_REPETITION: f64 = 2.0;

/// SGLang.
#[derive(Clone, Debug)]
pub(super) struct Sglang;

/// What of a sampling cannot be said.
pub(super) fn unsaid(sampling: &Sampling) -> Option<String> {
    let penalty = sampling.repetition_penalty;
    if penalty > LARGEST_REPETITION {
        return Some(format!("`repetition_penalty` is {penalty}, but SGLang takes 2 at most"));
    }
    unsaid_by_all(sampling)
}

impl Dialect for Sglang {
    fn request(&self, ask: &Ask) -> Result<(&'static str, Value), String> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        put("input_ids", json!(ask.prompt.collapsed_ids()));
        if ask.prompt.has_pictures() {
            let urls = ask.prompt.parts().filter_map(|part| match part {
                Part::Picture { url, .. } => Some(url.as_ref()),
                Part::Text { .. } => None,
            });
            put("image_data", json!(urls.collect::<Vec<&str>>()));
        }
        put("sampling_params", sampling_params(ask));
        put("return_logprob", json!(true));
        put("stream", json!(false));
        if let Some(adapter) = &ask.adapter {
            put("lora_path", json!(adapter));
        }
        Ok(("/generate", Value::Object(body)))
    }

    fn answer(&self, _: &Ask, reply: &Value) -> Result<Answer, Unread> {
        let about = &reply["meta_info"];
        let (stop, stop_text) = ended(&about["finish_reason"])?;
        let ids = token_ids(&reply["output_ids"]).ok_or_else(|| lacks("output_ids"))?;
        let entries = about["output_token_logprobs"].as_array().ok_or_else(|| lacks("output_token_logprobs"))?;
        let entry = |entry: &Value| Some((u32::try_from(entry[1].as_u64()?).ok()?, entry[0].as_f64()? as f32));
        let scored: Option<Vec<(u32, f32)>> = entries.iter().map(entry).collect();
        let wrong = || Unread::Wrong("its output_token_logprobs are not a log-prob and a token id each".to_owned());
        let (claimed, log_probs): (Vec<u32>, Vec<f32>) = scored.ok_or_else(wrong)?.into_iter().unzip();
        if claimed != ids {
            return Err(Unread::Wrong("the tokens of its log-probs are not its output_ids".to_owned()));
        }
        let prompt_tokens = about["prompt_tokens"].as_u64().ok_or_else(|| lacks("prompt_tokens"))?;
        Ok(Answer {
            ids,
            log_probs,
            stop: Some(stop),
            stop_text,
            prompt_ids: None,
            prompt_tokens: usize::try_from(prompt_tokens).ok(),
            model: None,
            version: about["weight_version"].as_str().map(str::to_owned),
        })
    }

    fn truncates_log_probs(&self) -> bool {
        false
    }

    fn health(&self) -> &'static str {
        "/health"
    }

    fn load(&self, weights: &Weights) -> Vec<Call> {
        let path = weights.folder.display().to_string();
        let Some(name) = &weights.adapter else {
            let body = json!({"model_path": path, "weight_version": weights.version.to_string()});
            return vec![
                Call::may("/pause_generation", Some(json!({}))),
                Call::must("/update_weights_from_disk", Some(body)),
                Call::must("/flush_cache", Some(json!({}))),
                Call::may("/continue_generation", Some(json!({}))),
            ];
        };
        let unload = |name: &String| Call::may("/unload_lora_adapter", Some(json!({"lora_name": name})));
        // One of that name may be there from a run before.
        let mut calls = vec![unload(name)];
        calls.push(Call::must("/load_lora_adapter", Some(json!({"lora_name": name, "lora_path": path}))));
        calls.extend(weights.outdated.iter().map(unload));
        calls
    }

    fn identity_paths(&self) -> &'static [&'static str] {
        &["/model_info", "/get_model_info"]
    }

    fn identity(&self, page: &str) -> Option<String> {
        let page: Value = serde_json::from_str(page).ok()?;
        page["weight_version"].as_str().map(str::to_owned)
    }

    fn identity_with(&self, weights: &Weights) -> Option<String> {
        self.version_with(weights)
    }

    fn version_with(&self, weights: &Weights) -> Option<String> {
        // An adapter leaves the version of the weights below it as it is.
        weights.adapter.is_none().then(|| weights.version.to_string())
    }

    fn sleep(&self) -> Vec<Call> {
        vec![Call::must("/release_memory_occupation", Some(json!({})))]
    }

    fn wake(&self) -> Vec<Call> {
        vec![Call::must("/resume_memory_occupation", Some(json!({})))]
    }

    fn wakes_with_weights(&self) -> bool {
        false
    }
}

fn sampling_params(ask: &Ask) -> Value {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("max_new_tokens", json!(ask.max_tokens));
    put("stop_token_ids", json!(ask.stop_ids));
    put("skip_special_tokens", json!(false));
    // Otherwise the token that ended the answer is missing in some of its lists.
    put("no_stop_trim", json!(true));
    // It becomes a 32-bit seed of a hash there.
    put("sampling_seed", json!(ask.seed & u64::from(u32::MAX >> 1)));
    drawn(&ask.sampling, &ask.banned, &mut fields);
    Value::Object(fields)
}

/// Why the turn ended, and the text that ended it.
fn ended(reason: &Value) -> Result<(StopReason, Option<String>), Unread> {
    match (reason["type"].as_str(), reason["matched"].as_str()) {
        (Some("stop"), Some(text)) => Ok((StopReason::Stop, Some(text.to_owned()))),
        (Some("stop"), None) => Ok((StopReason::Eos, None)),
        (Some("length"), _) => Ok((StopReason::Length, None)),
        (Some("abort"), _) => Err(Unread::Aborted),
        (other, _) => Err(Unread::Wrong(format!("its finish_reason is {}", other.unwrap_or("missing")))),
    }
}
