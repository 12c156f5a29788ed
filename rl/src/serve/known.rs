//! Which fields of a request are known here: what is not is refused by its name, so that nothing asked for is lost silently.

use sapo_datasets::nearest;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::fields::Fields;

/// Fields that both ways of asking read.
const SHARED: [&str; 19] = [
    "model",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stop",
    "stop_token_ids",
    "n",
    "seed",
    "stream",
    "stream_options",
    "return_token_ids",
    "response_format",
];

/// Fields of a chat alone.
pub(super) const CHAT: [&str; 3] = ["messages", "logprobs", "top_logprobs"];
/// Fields of a completion alone.
pub(super) const COMPLETION: [&str; 3] = ["prompt", "logprobs", "echo"];
/// Fields of a message.
pub(super) const MESSAGE: [&str; 2] = ["role", "content"];
/// Fields of `stream_options`.
pub(super) const STREAM_OPTIONS: [&str; 1] = ["include_usage"];
/// Fields of a part of a message, and of its `image_url`.
pub(super) const PART: [&str; 3] = ["type", "text", "image_url"];
pub(super) const IMAGE_URL: [&str; 1] = ["url"];

/// Characters of an unknown name that are shown at most.
const LONGEST_SHOWN: usize = 60;

/// Fields that clients send and that change no answer, whatever they say.
const IDLE: [&str; 14] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
    "request_id",
    "priority",
    "add_special_tokens",
    "spaces_between_special_tokens",
    "include_obfuscation",
    "cache_control",
];

/// Fields that say what is so anyway when they have this value, and are refused with another.
fn is_so_anyway(name: &str, value: &Value) -> bool {
    match name {
        "skip_special_tokens" | "add_generation_prompt" => value == true,
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        "tool_choice" => value == "none" || value == "auto",
        "detail" => value == "auto" || value == "high",
        _ => !asks(value),
    }
}

/// Fields of other servers that would change the answer and are not served, unless they ask for nothing.
const NOT_SERVED: [&str; 40] = [
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "tool_calls",
    "audio",
    "modalities",
    "prediction",
    "web_search_options",
    "reasoning_effort",
    "verbosity",
    "best_of",
    "suffix",
    "use_beam_search",
    "length_penalty",
    "ignore_eos",
    "min_tokens",
    "prompt_logprobs",
    "bad_words",
    "allowed_token_ids",
    "skip_special_tokens",
    "include_stop_str_in_output",
    "truncate_prompt_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "return_tokens_as_token_ids",
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "mm_processor_kwargs",
    "continuous_usage_stats",
    "name",
    "refusal",
    "annotations",
    "detail",
];

/// Refuses the first field of the object at `place` (empty: the body) that is not known. `own` are the fields that it has
/// beside those of every body.
pub(super) fn refuse_others(object: &Map<String, Value>, own: &[&str], place: &str) -> Result<(), Fault> {
    let whole = place.is_empty();
    let known = || own.iter().chain(SHARED.iter().filter(|_| whole)).copied();
    let unknown = |name: &str| !known().any(|one| one == name) && !IDLE.contains(&name);
    for name in object.keys().filter(|name| unknown(name)) {
        let Some(value) = Fields::new(object).get(name) else { continue };
        let shown: String = name.chars().take(LONGEST_SHOWN).collect();
        let at = if whole { shown.clone() } else { format!("{place}.{shown}") };
        if !NOT_SERVED.contains(&name.as_str()) {
            return Err(Fault::field(at, format!("is not known here; leave it out ({})", nearest(&shown, known()))));
        }
        if !is_so_anyway(name, value) {
            return Err(Fault::field(at, "is not served here; leave it out"));
        }
    }
    Ok(())
}

fn asks(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Null => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_asks_for_nothing_is_let_pass_and_the_rest_is_named() {
        let read = |body: &Value, place: &str| {
            let object = body.as_object().expect("an object");
            refuse_others(object, &CHAT, place).map_err(|fault| format!("{fault:?}"))
        };
        let idle = json!({
            "messages": 1, "user": "me", "tools": [], "tool_choice": "auto", "suffix": "", "new_thing": null,
            "skip_special_tokens": true, "modalities": ["text"], "best_of": 0, "seed": 1,
        });
        read(&idle, "").unwrap();
        for (field, value, says) in [
            ("temprature", json!(1), "did you mean `temperature`?"),
            ("foo", json!(false), "not known here"),
            ("prompt", json!("x"), "not known here"),
            ("tools", json!([1]), "not served here"),
            ("modalities", json!(["audio"]), "not served here"),
            ("skip_special_tokens", json!(false), "not served here"),
            ("tool_choice", json!("required"), "not served here"),
        ] {
            let mut body = idle.clone();
            body[field] = value;
            let fault = read(&body, "").unwrap_err();
            assert!(fault.contains(field) && fault.contains(says), "{fault}");
        }
        let fault = read(&json!({"seed": 1}), "messages[0]").unwrap_err();
        assert!(fault.contains("messages[0].seed"), "{fault}");
        let long = read(&json!({"x".repeat(1 << 20): 1}), "").unwrap_err();
        assert!(long.len() < 2000, "{}", long.len());
    }
}
