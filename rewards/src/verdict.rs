//! Verdicts: the last JSON object with every key, and nothing else, says which choice was made.

use serde_json::Value;

use crate::extract::MOST_ANSWERS;

/// So many objects are looked at, from the end.
const MOST: usize = 64;

/// The index of a choice for each key of a form.
pub(crate) type Verdict = Vec<u8>;

/// No and yes, in the order of their index.
pub(crate) const NO_YES: &[&str] = &["no", "yes"];
/// Who wins of two, in the order of their index.
pub(crate) const WINNER: &[&str] = &["A", "B", "tie"];
/// The key of a verdict of one part.
pub(crate) const VERDICT: &str = "verdict";

/// What a verdict looks like: its keys, and the choices that each may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) keys: Vec<String>,
    pub(crate) choices: &'static [&'static str],
}

impl Form {
    /// `{"verdict": CHOICE}`.
    pub(crate) fn one(choices: &'static [&'static str]) -> Self {
        Self { keys: vec![VERDICT.to_owned()], choices }
    }

    /// The verdict in a reply; `None` when the last object with all keys has another value than a choice, there is no
    /// such object, or there are too many.
    pub(crate) fn read(&self, reply: &str) -> Option<Verdict> {
        let first = format!("\"{}\"", self.keys.first()?);
        if reply.matches(&first).nth(MOST_ANSWERS).is_some() {
            return None;
        }
        reply.rmatch_indices('{').take(MOST).find_map(|(at, _)| {
            let value = serde_json::Deserializer::from_str(&reply[at..]).into_iter::<Value>().next()?.ok()?;
            let has_all = self.keys.iter().all(|key| value.get(key).is_some());
            has_all.then(|| self.keys.iter().map(|key| self.choice(&value[key])).collect::<Option<Verdict>>())
        })?
    }

    /// The index of a choice.
    fn choice(&self, value: &Value) -> Option<u8> {
        let text = value.as_str()?;
        self.choices.iter().position(|choice| *choice == text).and_then(|at| u8::try_from(at).ok())
    }

    /// Whether a verdict that was kept can be one of this form.
    pub(crate) fn fits(&self, verdict: &Verdict) -> bool {
        verdict.len() == self.keys.len() && verdict.iter().all(|choice| usize::from(*choice) < self.choices.len())
    }
}

/// `{"verdict": "yes"}` is true, `{"verdict": "no"}` false; `None` when the last object with that key says anything else,
/// there is none, or there are too many.
pub(crate) fn yes_or_no(reply: &str) -> Option<bool> {
    Form::one(NO_YES).read(reply).map(|verdict| verdict == [1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_last_object_with_the_key_counts() {
        assert_eq!(yes_or_no("{\"verdict\":\"yes\"}"), Some(true));
        assert_eq!(yes_or_no("They differ.\n{\"verdict\": \"no\"}"), Some(false));
        assert_eq!(yes_or_no("{\"verdict\":\"yes\"} no, {\"verdict\":\"no\"} {\"note\":1}"), Some(false));
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
            assert_eq!(yes_or_no(reply), None, "{reply}");
        }
    }

    #[test]
    fn every_key_must_have_a_choice() {
        let form = Form { keys: vec!["right".to_owned(), "polite".to_owned()], choices: NO_YES };
        assert_eq!(form.read("so {\"polite\": \"no\", \"right\": \"yes\"}"), Some(vec![1, 0]));
        assert_eq!(form.read("{\"right\":\"no\",\"polite\":\"no\"} {\"right\":\"yes\"}"), Some(vec![0, 0]));
        for reply in ["{\"right\":\"yes\"}", "{\"right\":\"yes\",\"polite\":1}", "{\"right\":\"yes\",\"polite\":\"A\"}"]
        {
            assert_eq!(form.read(reply), None, "{reply}");
        }
        assert_eq!(Form::one(WINNER).read("{\"verdict\":\"tie\"}"), Some(vec![2]));
        assert!(form.fits(&vec![0, 1]) && !form.fits(&vec![0, 2]) && !form.fits(&vec![0]));
    }

    proptest! {
        #[test]
        fn nothing_panics(reply in "(\\PC|[{}\"]|\"verdict\":){0,60}") {
            let _ = yes_or_no(&reply);
        }
    }
}
