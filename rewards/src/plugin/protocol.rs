//! The protocol of plugins, version 1: items as JSON, replies as part scores.

use std::borrow::Cow;

use sapo_datasets::StopReason;
use serde_json::{Map, Value, json};

use crate::extract;
use crate::reward::Item;
use crate::score::{FailureKind, Outcome, PartScore};
use crate::text::shortened;

/// The version of requests and replies.
pub const VERSION: u64 = 1;

/// What a plugin is told of an item.
pub(super) fn describe(item: &Item<'_>) -> Value {
    let (query, transcript) = (item.query, item.transcript);
    let messages = query.messages.iter();
    let messages = messages.map(|message| json!({"role": message.role, "content": message.text()}));
    let mut told = json!({
        "id": query.id,
        "task": query.task,
        "prompt": query.question(),
        "messages": messages.collect::<Vec<Value>>(),
        "conversational": query.conversational,
        "response": transcript.last_text(),
        "answer": extract::answer(transcript),
        "ground_truth": query.ground_truth,
        "columns": query.columns,
        "tokens": transcript.tokens,
        "truncated": transcript.stop == StopReason::Length,
    });
    if !transcript.token_ids.is_empty() {
        told["token_ids"] = json!(transcript.token_ids);
    }
    told
}

/// A request for these items, without the end of the line.
pub(super) fn request(id: u64, items: &[Value]) -> String {
    json!({"v": VERSION, "id": id, "items": items}).to_string()
}

/// Why a reply is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReplyFault {
    /// The plugin says that it could not score these items, or scored another number of them; it may be asked again.
    Refused(String),
    /// The reply cannot be understood: what comes next would not be trusted.
    Broken(String),
}

/// What a process says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// `{"v": 1, "ready": true}`; some say how they call a function.
    Ready(Option<String>),
    /// `{"v": 1, "ready": false, "error": "..."}`: it cannot score anything, and another start would not help.
    Unable(String),
}

/// The greeting of a process.
///
/// # Errors
/// When the line is no greeting.
pub(super) fn read_greeting(line: &str) -> Result<Greeting, String> {
    let said =
        || format!("its first line must be {{\"v\": {VERSION}, \"ready\": true}}, not {}", shortened(line.trim()));
    let value: Value = serde_json::from_str(line).map_err(|_| said())?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    match (value["v"] == VERSION, value["ready"].as_bool(), text("error")) {
        (true, Some(true), _) => Ok(Greeting::Ready(text("called"))),
        (true, Some(false), Some(reason)) => Ok(Greeting::Unable(reason)),
        _ => Err(said()),
    }
}

/// One part score for each of `count` items from the reply to request `id`.
///
/// # Errors
/// When the reply as a whole is worth nothing.
pub(super) fn read_reply(reply: &str, id: u64, count: usize) -> Result<Vec<PartScore>, ReplyFault> {
    let broken = |reason: String| ReplyFault::Broken(format!("{reason}: {}", shortened(reply.trim())));
    let reply = &without_lone_surrogates(reply);
    let value: Value =
        serde_json::from_str(reply).map_err(|error| broken(format!("the reply is not JSON ({error})")))?;
    let fields = value.as_object().ok_or_else(|| broken("the reply is not an object".to_owned()))?;
    if fields.get("id").and_then(Value::as_u64) != Some(id) {
        return Err(broken(format!("the reply's id is not {id}")));
    }
    if let Some(key) = fields.keys().find(|key| !["v", "id", "outcomes", "error"].contains(&key.as_str())) {
        return Err(broken(format!("the reply has an unknown field `{key}`")));
    }
    match (fields.get("outcomes"), fields.get("error")) {
        (Some(Value::Array(outcomes)), None) if outcomes.len() == count => Ok(outcomes.iter().map(outcome).collect()),
        (Some(Value::Array(outcomes)), None) => {
            Err(ReplyFault::Refused(format!("{} outcomes for {count} items", outcomes.len())))
        }
        (None, Some(Value::String(reason))) => Err(ReplyFault::Refused(reason.clone())),
        _ => Err(broken("the reply needs either a list `outcomes` or a text `error`".to_owned())),
    }
}

/// A text of JSON in which every half of a surrogate pair that stands alone is the character for what cannot be read:
/// Python writes such halves, and they must not cost the score beside them.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut mended = String::with_capacity(text.len());
    let mut rest = 0;
    while let Some(offset) = text[rest..].find('\\') {
        let at = rest + offset;
        mended.push_str(&text[rest..at]);
        let (escape, length) = match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (&text[at..at + 12], 12),
            (Some(0xd800..=0xdfff), _) => ("\\ufffd", 6),
            // The letter behind a backslash may be another one.
            _ => {
                let length = 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
                (&text[at..at + length], length)
            }
        };
        mended.push_str(escape);
        rest = at + length;
    }
    mended.push_str(&text[rest..]);
    Cow::Owned(mended)
}

/// One outcome: a number, or an object with one of `value`, `skip` and `failed`. Everything else is a failure.
fn outcome(value: &Value) -> PartScore {
    match value {
        Value::Number(_) => number(value),
        Value::Object(fields) => object(fields),
        other => PartScore::failed(
            FailureKind::Invalid,
            format!("an outcome is a number or an object, not {}", shortened(&other.to_string())),
        ),
    }
}

fn number(value: &Value) -> PartScore {
    let outcome = match value.as_f64() {
        Some(number) => Outcome::of(number),
        None => {
            let said = shortened(&value.to_string());
            Outcome::failed(FailureKind::Invalid, format!("`value` must be a finite number, not {said}"))
        }
    };
    outcome.into()
}

fn object(fields: &Map<String, Value>) -> PartScore {
    let shown = || shortened(&Value::Object(fields.clone()).to_string());
    let known = ["value", "skip", "failed", "extracted", "evidence", "metrics"];
    if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return PartScore::failed(
            FailureKind::Protocol,
            format!("an outcome has an unknown field `{key}`: {}", shown()),
        );
    }
    let mut score = match (fields.get("value"), fields.get("skip"), fields.get("failed")) {
        (Some(value), None, None) => number(value),
        (None, Some(Value::String(reason)), None) => PartScore::skip(reason.clone()),
        (None, None, Some(Value::String(reason))) => PartScore::failed(FailureKind::Protocol, reason.clone()),
        _ => {
            let reason = format!("an outcome has one of `value`, `skip` and `failed`, not {}", shown());
            return PartScore::failed(FailureKind::Protocol, reason);
        }
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    (score.extracted, score.evidence) = (text("extracted"), text("evidence"));
    match fields.get("metrics").map(|metrics| serde_json::from_value(metrics.clone())) {
        None => score,
        Some(Ok(metrics)) => PartScore { metrics, ..score },
        Some(Err(_)) => {
            let reason = format!("`metrics` must be an object of finite numbers: {}", shown());
            PartScore::failed(FailureKind::Protocol, reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use sapo_datasets::Transcript;

    use super::*;
    use crate::reward::tests::query;

    #[test]
    fn an_item_tells_what_scoring_needs() {
        let mut query = query("3 + 2?", json!(5));
        query.columns.insert("level".to_owned(), json!("easy"));
        let transcript = Transcript::of_answer("q", "<think>3, 4, 5</think>5");
        let told = describe(&Item { query: &query, transcript: &transcript });
        assert_eq!(told["prompt"], "3 + 2?");
        assert_eq!(told["messages"], json!([{"role": "user", "content": "3 + 2?"}]));
        assert_eq!((&told["response"], &told["answer"]), (&json!("<think>3, 4, 5</think>5"), &json!("5")));
        assert_eq!((&told["ground_truth"], &told["columns"]["level"]), (&json!(5), &json!("easy")));
        let open = Transcript::of_answer("q", "<think>3, 4");
        assert_eq!(describe(&Item { query: &query, transcript: &open })["answer"], Value::Null);
    }

    #[test]
    fn only_finite_numbers_are_values() {
        let read = |outcomes: &str| read_reply(&format!("{{\"id\":7,\"outcomes\":[{outcomes}]}}"), 7, 1);
        let value = |outcomes: &str| read(outcomes).unwrap()[0].outcome.value();
        assert_eq!(value("0.25"), Some(0.25));
        assert_eq!(value(r#"{"value":1,"evidence":"equal"}"#), Some(1.0));
        assert_eq!(read(r#"{"skip":"no box"}"#).unwrap()[0], PartScore::skip("no box"));
        let metrics = &read(r#"{"value":1,"metrics":{"acc":0.5}}"#).unwrap()[0].metrics;
        assert_eq!(*metrics, [("acc".to_owned(), 0.5)].into());
        for bad in [
            "\"1\"",
            "null",
            "true",
            "[1]",
            r#"{"value":"1"}"#,
            r#"{"value":null}"#,
            r#"{"value":1,"skip":"x"}"#,
            r#"{"failed":"x"}"#,
            r#"{"value":1,"weight":2}"#,
            r#"{"value":1,"metrics":{"acc":"high"}}"#,
            "{}",
        ] {
            assert!(matches!(read(bad).unwrap()[0].outcome, Outcome::Failed { .. }), "{bad}");
        }
        for broken in ["NaN", "1e999", "Infinity", "1}"] {
            assert!(matches!(read(broken), Err(ReplyFault::Broken(_))), "{broken}");
        }
        assert!(matches!(read("1,1"), Err(ReplyFault::Refused(_))));
        assert!(matches!(read(""), Err(ReplyFault::Refused(_))));
    }

    #[test]
    fn a_lone_surrogate_costs_nothing_but_itself() {
        let evidence = |said: &str| {
            let reply = format!("{{\"id\":7,\"outcomes\":[{{\"value\":1,\"evidence\":\"{said}\"}}]}}");
            let score = read_reply(&reply, 7, 1).unwrap().remove(0);
            assert_eq!(score.outcome.value(), Some(1.0), "{said}");
            score.evidence.unwrap()
        };
        for (said, wanted) in [
            (r"a\ud800b", "a\u{fffd}b"),
            (r"\uDFFF", "\u{fffd}"),
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\\ud800", r"\ud800"),
            (r"\\\ud800x", "\\\u{fffd}x"),
            (r"\ud800\u0041", "\u{fffd}A"),
            (r"\ud800é", "\u{fffd}é"),
        ] {
            assert_eq!(evidence(said), wanted, "{said}");
        }
    }

    #[test]
    fn replies_belong_to_their_request() {
        assert!(matches!(read_reply(r#"{"id":6,"outcomes":[1]}"#, 7, 1), Err(ReplyFault::Broken(_))));
        assert!(matches!(read_reply(r#"{"outcomes":[1]}"#, 7, 1), Err(ReplyFault::Broken(_))));
        assert!(matches!(read_reply(r#"{"id":7,"outcome":[1]}"#, 7, 1), Err(ReplyFault::Broken(_))));
        assert!(matches!(read_reply(r#"{"id":7,"outcomes":[1],"error":"x"}"#, 7, 1), Err(ReplyFault::Broken(_))));
        assert_eq!(read_reply(r#"{"id":7,"error":"x"}"#, 7, 1), Err(ReplyFault::Refused("x".to_owned())));
        assert_eq!(read_greeting(r#"{"v":1,"ready":true}"#), Ok(Greeting::Ready(None)));
        let unable = read_greeting(r#"{"v":1,"ready":false,"error":"no torch"}"#);
        assert_eq!(unable, Ok(Greeting::Unable("no torch".to_owned())));
        for none in [r#"{"v":2,"ready":true}"#, r#"{"v":1,"ready":false}"#, r#"{"v":1}"#] {
            assert!(read_greeting(none).is_err(), "{none}");
        }
        assert!(read_greeting("hello").unwrap_err().contains("hello"));
    }
}
