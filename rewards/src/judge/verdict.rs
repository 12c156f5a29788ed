//! Verdicts: the last JSON object with the key, and nothing else, says yes or no.

use serde_json::Value;

use crate::extract::MOST_ANSWERS;

/// So many objects are looked at, from the end.
const MOST: usize = 64;

/// `{"verdict": "yes"}` is true, `{"verdict": "no"}` false; `None` when the last object with that key says anything else,
/// there is none, or there are too many.
pub fn verdict(reply: &str) -> Option<bool> {
    if reply.matches("\"verdict\"").nth(MOST_ANSWERS).is_some() {
        return None;
    }
    let object = reply.rmatch_indices('{').take(MOST).find_map(|(at, _)| {
        let value = serde_json::Deserializer::from_str(&reply[at..]).into_iter::<Value>().next()?.ok()?;
        value.get("verdict").cloned()
    })?;
    match object.as_str()? {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_last_object_with_the_key_counts() {
        assert_eq!(verdict("{\"verdict\":\"yes\"}"), Some(true));
        assert_eq!(verdict("They differ.\n{\"verdict\": \"no\"}"), Some(false));
        assert_eq!(verdict("{\"verdict\":\"yes\"} no, {\"verdict\":\"no\"} {\"note\":1}"), Some(false));
        for reply in [
            "",
            "yes",
            "1",
            "{\"verdict\":true}",
            "{\"verdict\":\"Yes, it is\"}",
            "{\"verdict\":\"ye",
            "{\"score\":1}",
            "{\"verdict\":\"yes\"} {\"verdict\":\"maybe\"}",
        ] {
            assert_eq!(verdict(reply), None, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(reply in "(\\PC|[{}\"]|\"verdict\":){0,60}") {
            let _ = verdict(&reply);
        }
    }
}
