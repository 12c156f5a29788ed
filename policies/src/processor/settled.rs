//! What a `tokenizer.json` may do beside cutting a text into tokens: what would cut, fill or change prompts is switched off
//! with a word, and what would multiply a text is refused.

use serde_json::Value;

/// A text grows to at most so many times its bytes: enough for every normal form, and for bytes that are written as characters.
const MOST_GROWTH: u64 = 64;
/// Bytes that are put before a text at most.
const MOST_ADDED: usize = 1024;
/// The longest that compatibility forms make a character, in bytes for a byte.
const COMPATIBILITY_GROWTH: u64 = 18;
/// The longest that other forms, cases and spaces between characters make one.
const FORM_GROWTH: u64 = 3;

/// Switches off what would change prompts, as the reference library does at each call. Gives a line for each.
///
/// # Errors
/// What would multiply a text, by its place in the file.
pub(super) fn settle(json: &mut Value) -> Result<Vec<String>, String> {
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        let grows = growth(&json[part]).map_err(|reason| format!("`{part}` {reason}"))?;
        if grows > MOST_GROWTH {
            return Err(format!(
                "`{part}` would make a text up to {grows} times as long; at most {MOST_GROWTH} times is taken, so take steps out \
                 of it"
            ));
        }
    }
    let mut notes = Vec::new();
    for (key, says) in [
        ("truncation", "`truncation` would cut prompts, and is switched off"),
        ("padding", "`padding` would fill prompts up, and is switched off"),
    ] {
        if json.get(key).is_some_and(|value| !value.is_null()) {
            json[key] = Value::Null;
            notes.push(says.to_owned());
        }
    }
    let dropout = json.get_mut("model").and_then(|model| model.get_mut("dropout"));
    if let Some(dropout) = dropout.filter(|dropout| !dropout.is_null()) {
        if dropout.as_f64() != Some(0.0) {
            notes.push(
                "`model.dropout` would make the same prompt other tokens each time, and is switched off".to_owned(),
            );
        }
        *dropout = Value::Null;
    }
    Ok(notes)
}

/// How many times as long a text may be afterwards.
fn growth(step: &Value) -> Result<u64, String> {
    let all = |key: &str| -> Result<u64, String> {
        let steps = step[key].as_array().map(Vec::as_slice).unwrap_or_default();
        steps.iter().try_fold(1_u64, |product, step| Ok(product.saturating_mul(growth(step)?)))
    };
    match step["type"].as_str().unwrap_or_default() {
        "Sequence" => Ok(all("normalizers")?.saturating_mul(all("pretokenizers")?).saturating_mul(all("decoders")?)),
        "Replace" => {
            let content = step["content"].as_str().map_or(0, str::len) as u64;
            // A regular expression may match nothing at all, between any two bytes.
            let pattern = step["pattern"]["String"].as_str().map_or(0, str::len) as u64;
            Ok(content.checked_div(pattern).map_or(content + 1, |_| content.div_ceil(pattern.max(1))).max(1))
        }
        "Prepend" => match step["prepend"].as_str().map_or(0, str::len) {
            added if added > MOST_ADDED => {
                Err(format!("puts {added} bytes before a text; at most {MOST_ADDED} are taken"))
            }
            _ => Ok(1),
        },
        "NFKC" | "NFKD" | "Precompiled" => Ok(COMPATIBILITY_GROWTH),
        "NFC" | "NFD" | "Lowercase" | "BertNormalizer" | "Nmt" | "Metaspace" => Ok(FORM_GROWTH),
        // A byte becomes a character of up to two.
        "ByteLevel" => Ok(2),
        _ => Ok(1),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replace(pattern: &str, content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
    }

    #[test]
    fn what_would_change_prompts_is_switched_off_with_a_word() {
        let mut json = json!({
            "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {"strategy": {"Fixed": 1_000_000_000}},
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split"}, {"type": "ByteLevel"}]},
            "model": {"type": "BPE", "dropout": 0.1},
        });
        let notes = settle(&mut json).unwrap();
        assert!(["truncation", "padding", "dropout"].iter().zip(&notes).all(|(word, note)| note.contains(word)));
        assert_eq!((notes.len(), &json["truncation"], &json["padding"]), (3, &Value::Null, &Value::Null));
        assert_eq!(json["model"], json!({"type": "BPE", "dropout": null}));
        assert!(settle(&mut json).unwrap().is_empty());
        assert!(settle(&mut json!({"model": {"dropout": 0.0}})).unwrap().is_empty(), "it changes nothing");
    }

    #[test]
    fn what_would_multiply_a_text_is_refused() {
        let doubling = vec![replace("a", "aa"); 40];
        let normalizers = json!({"type": "Sequence", "normalizers": doubling});
        let nested = json!({"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": vec![replace("", "ab"); 9]}]});
        let bytes = json!({"type": "Sequence", "pretokenizers": vec![json!({"type": "ByteLevel"}); 40]});
        let any = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y".repeat(100)});
        for (part, step) in [
            ("normalizer", normalizers.clone()),
            ("normalizer", nested),
            ("normalizer", any),
            ("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(2000)})),
            ("pre_tokenizer", bytes),
            ("decoder", json!({"type": "Sequence", "decoders": vec![replace("a", "aa"); 40]})),
        ] {
            let mut json = json!({});
            json[part] = step;
            let reason = settle(&mut json).unwrap_err();
            assert!(reason.starts_with(&format!("`{part}` ")) && reason.contains("at most"), "{reason}");
        }
        // What real ones have.
        let usual = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"}, replace(" ", "\u{2581}")]});
        assert!(settle(&mut json!({"normalizer": usual, "decoder": {"type": "ByteLevel"}})).is_ok());
        assert!(settle(&mut json!({"normalizer": null})).is_ok());
    }
}
