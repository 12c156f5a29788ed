//! Response filters for cold-start data: what a response must be like to be imitated. What can be scored is a part of a
//! rubric; a guess is told by its reasoning.

use std::sync::LazyLock;

use regex::Regex;
use sapo_datasets::Transcript;
use sapo_rewards::{Outcome, Score};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a part of the query's rubric must give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartLimit {
    /// The part: `correct`, a part or penalty of the rubric (`language`, `repetition`, `length`, a format, a judge), or
    /// `overlong`.
    pub part: String,
    /// Its least value; what is below is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Its greatest value; what is above is dropped. A penalty of 0 is none at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// What became of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Which sample it is; absent for the response of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
    /// Why it is not kept; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The text of a sampled response that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Response {
    /// Whether it is fit to be imitated.
    pub fn is_kept(&self) -> bool {
        self.reason.is_none()
    }
}

impl PartLimit {
    /// Why a score does not do; `None` when it does. A part that could not tell does not: nobody can vouch for it.
    pub fn objection(&self, score: &Score) -> Option<String> {
        let name = &self.part;
        let Some(part) = score.part(name) else { return Some(format!("{name}: the rubric has no such part")) };
        let evidence = part.score.evidence.as_deref().map(|evidence| format!(" ({evidence})")).unwrap_or_default();
        match &part.score.outcome {
            Outcome::Value(value) if self.at_least.is_some_and(|least| *value < least) => {
                Some(format!("{name}: {value} is below {}{evidence}", self.at_least.unwrap_or_default()))
            }
            Outcome::Value(value) if self.at_most.is_some_and(|most| *value > most) => {
                Some(format!("{name}: {value} is above {}{evidence}", self.at_most.unwrap_or_default()))
            }
            Outcome::Value(_) | Outcome::Skip(_) => None,
            Outcome::Failed { message, .. } => Some(format!("{name}: cannot be told: {message}")),
        }
    }
}

/// What says that an answer was guessed.
static GUESSES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?ix) \b(?: i(?:'ll|\ will|'m\ going\ to|\ am\ going\ to|\ would|'d|\ have\ to|\ must|\ can\ only)?\ (?:just\ |simply\ )?guess
            | (?:just|simply|only|purely|at\ best)\ (?:a\ )?(?:wild\ |random\ |lucky\ )?guess(?:ing)?
            | my\ (?:best\ )?guess\ is | take\ a\ (?:wild\ )?guess | random(?:ly)?\ (?:pick|choose|choice|guess)
            | pick(?:ing)?\ (?:one\ )?at\ random )\b
          | 我猜 | 猜测一下 | 随便选 | 瞎猜 | 蒙一个",
    )
    .ok()
});

/// Why a right answer counts as guessed: fewer than `least` tokens of reasoning, or words that say so. `tokens` are those
/// of [`Transcript::reasoning`].
pub fn guessed(transcript: &Transcript, tokens: usize, least: usize) -> Option<String> {
    if tokens < least {
        return Some(format!("guess: {tokens} tokens of reasoning, fewer than {least}"));
    }
    let found = GUESSES.as_ref()?.find(transcript.reasoning())?;
    Some(format!("guess: it says `{}`", found.as_str()))
}

#[cfg(test)]
mod tests {
    use sapo_rewards::{FailureKind, PartScore, WeightedPart};

    use super::*;

    fn score(parts: &[(&str, PartScore)]) -> Score {
        let part = |(name, score): &(&str, PartScore)| WeightedPart {
            name: (*name).to_owned(),
            weight: 1.0,
            score: score.clone(),
        };
        Score::of(parts.iter().map(part).collect())
    }

    #[test]
    fn a_part_out_of_its_limits_is_the_reason() {
        let score = score(&[
            ("correct", PartScore::verdict(false, "41 is not 42")),
            ("language", PartScore::value(0.0, "clean")),
            ("length", PartScore::skip("short")),
            ("judge", PartScore::failed(FailureKind::Timeout, "no reply")),
        ]);
        let limit = |part: &str, at_least, at_most| PartLimit { part: part.to_owned(), at_least, at_most };
        let objection = |part: &str, least, most| limit(part, least, most).objection(&score);
        assert_eq!(objection("correct", Some(0.5), None).unwrap(), "correct: 0 is below 0.5 (41 is not 42)");
        assert_eq!(objection("correct", None, Some(0.5)), None);
        assert_eq!(objection("language", None, Some(0.0)), None);
        assert_eq!(objection("length", Some(1.0), None), None, "what does not apply is no objection");
        assert!(objection("judge", Some(0.5), None).unwrap().contains("no reply"));
        assert!(objection("nothing", Some(0.5), None).unwrap().contains("no such part"));
    }

    #[test]
    fn a_guess_is_short_or_says_so() {
        let said = |text: &str| guessed(&Transcript::of_answer("q", text), 40, 32);
        assert!(guessed(&Transcript::of_answer("q", "7"), 0, 32).unwrap().contains("0 tokens"));
        for text in [
            "<think>I'll guess seven.</think>7",
            "<think>hard. my best guess is 7</think>7",
            "<think>我猜是七</think>7",
        ] {
            assert!(said(text).unwrap().contains("it says"), "{text}");
        }
        for text in ["<think>Guessing games aside: 3 + 4 = 7</think>7", "<think>3 + 4 = 7</think>my guess is 7"] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
