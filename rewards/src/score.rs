//! A score: named parts, each a value, skipped or failed, and what they add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Why a reward could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The engine failed, so that there is nothing to score.
    Engine,
    /// The reward gave something that is no finite number.
    Invalid,
    /// The reward broke its promise: a wrong number of scores, an unreadable reply.
    Protocol,
    /// No reply within the deadline.
    Timeout,
    /// The other side is overloaded or faulty; a later try may work.
    Unreachable,
    /// The other side refuses: wrong key, model or address. Trying again is useless, the run should stop.
    Unavailable,
    /// The ground truth is missing or cannot be read: a fault of the data.
    GroundTruth,
    /// No part of the rubric applies.
    Empty,
    /// The rubric or reward cannot be used as it is configured.
    Config,
}

/// What one reward says about one transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A number, always finite.
    Value(f64),
    /// The reward does not apply, with the reason.
    Skip(String),
    /// The reward could not tell. This is not 0.
    Failed {
        /// Why.
        kind: FailureKind,
        /// The fault in words.
        message: String,
    },
}

impl Outcome {
    /// A value; a number that is not finite is a failure.
    pub fn of(value: f64) -> Self {
        if value.is_finite() {
            Self::Value(value)
        } else {
            Self::failed(FailureKind::Invalid, format!("the reward gave {value}, which is not a finite number"))
        }
    }

    /// A failure.
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed { kind, message: message.into() }
    }

    /// The number, when there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Skip(_) | Self::Failed { .. } => None,
        }
    }

    fn fields(&self) -> Map<String, Value> {
        let (key, value) = match self {
            Self::Value(value) => ("value", json!(value)),
            Self::Skip(reason) => ("skip", json!(reason)),
            Self::Failed { kind, message } => ("failed", json!({"kind": kind, "message": message})),
        };
        Map::from_iter([(key.to_owned(), value)])
    }

    fn from_fields(fields: &Map<String, Value>) -> Result<Self, String> {
        if let Some(value) = fields.get("value") {
            return value.as_f64().map(Self::of).ok_or_else(|| format!("`value` is not a number: {value}"));
        }
        if let Some(reason) = fields.get("skip") {
            return Ok(Self::Skip(reason.as_str().unwrap_or_default().to_owned()));
        }
        let failed = fields.get("failed").ok_or("a part has neither `value`, `skip` nor `failed`")?;
        let kind = failed.get("kind").cloned().unwrap_or_default();
        let kind = serde_json::from_value(kind).map_err(|error| format!("`failed.kind`: {error}"))?;
        let message = failed.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self::Failed { kind, message })
    }
}

/// What a reward gives for one item: the outcome, what it read as the answer, and why, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct PartScore {
    /// Value, skip or failure.
    pub outcome: Outcome,
    /// The answer that was found in the transcript.
    pub extracted: Option<String>,
    /// Why, in words.
    pub evidence: Option<String>,
    /// What it measured beside its value, all finite; a run logs the mean of each.
    pub metrics: BTreeMap<String, f64>,
}

impl From<Outcome> for PartScore {
    /// The outcome, and nothing beside it.
    fn from(outcome: Outcome) -> Self {
        Self { outcome, extracted: None, evidence: None, metrics: BTreeMap::new() }
    }
}

impl PartScore {
    /// A value with its evidence; a number that is not finite is a failure.
    pub fn value(value: f64, evidence: impl Into<String>) -> Self {
        Self { evidence: Some(evidence.into()), ..Outcome::of(value).into() }
    }

    /// 1 when right, else 0, with its evidence.
    pub fn verdict(right: bool, evidence: impl Into<String>) -> Self {
        Self::value(if right { 1.0 } else { 0.0 }, evidence)
    }

    /// A reward that does not apply.
    pub fn skip(reason: impl Into<String>) -> Self {
        Outcome::Skip(reason.into()).into()
    }

    /// A failure.
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Outcome::failed(kind, message).into()
    }

    /// With the answer that was found.
    #[must_use]
    pub fn extracted(self, text: impl Into<String>) -> Self {
        Self { extracted: Some(text.into()), ..self }
    }
}

/// A part of a [`Score`]: what a reward gave, and what it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedPart {
    /// The part's name in the rubric.
    pub name: String,
    /// What it counts in the total; penalties are negative.
    pub weight: f64,
    /// What the reward gave.
    pub score: PartScore,
}

/// The score of one transcript: `{"total", "passed", "parts": {NAME: {"value" | "skip" | "failed", "weight", ...}}}`; a part
/// has `extracted`, `evidence` and `metrics` where there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The weighted sum of the parts; `None` when a part failed.
    pub total: Option<f64>,
    /// Whether the `correct` part alone passes; `None` when the score failed.
    pub passed: Option<bool>,
    /// The parts in the rubric's order; the first decides pass or fail.
    pub parts: Vec<WeightedPart>,
}

/// What the part that decides pass or fail is called.
pub const CORRECT: &str = "correct";

impl Score {
    /// Adds up parts. A skipped part adds nothing; a failed one, or nothing at all, fails the score.
    pub fn of(parts: Vec<WeightedPart>) -> Self {
        let values: Vec<f64> =
            parts.iter().filter_map(|part| Some(part.score.outcome.value()? * part.weight)).collect();
        let failed = parts.iter().any(|part| matches!(part.score.outcome, Outcome::Failed { .. }));
        let total = (!failed && !values.is_empty()).then(|| values.iter().sum()).filter(|sum: &f64| sum.is_finite());
        let correct = parts.iter().find(|part| part.name == CORRECT);
        let passed = correct.and_then(|part| part.score.outcome.value()).map(|value| value >= 0.5);
        Self { total, passed: passed.filter(|_| total.is_some()), parts }
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&WeightedPart> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// Why the score failed: the first part that failed, with its name.
    pub fn failure(&self) -> Option<(&str, FailureKind, &str)> {
        self.parts.iter().find_map(|part| match &part.score.outcome {
            Outcome::Failed { kind, message } => Some((part.name.as_str(), *kind, message.as_str())),
            Outcome::Value(_) | Outcome::Skip(_) => None,
        })
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = Map::new();
        for part in &self.parts {
            let mut fields = part.score.outcome.fields();
            fields.insert("weight".to_owned(), json!(part.weight));
            for (key, text) in [("extracted", &part.score.extracted), ("evidence", &part.score.evidence)] {
                if let Some(text) = text {
                    fields.insert(key.to_owned(), json!(text));
                }
            }
            if !part.score.metrics.is_empty() {
                fields.insert("metrics".to_owned(), json!(part.score.metrics));
            }
            parts.insert(part.name.clone(), Value::Object(fields));
        }
        json!({"total": self.total, "passed": self.passed, "parts": parts}).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            total: Option<f64>,
            passed: Option<bool>,
            parts: Map<String, Value>,
        }
        let raw = Raw::deserialize(deserializer)?;
        let parts = raw.parts.into_iter().map(read_part).collect::<Result<_, String>>();
        Ok(Self { total: raw.total, passed: raw.passed, parts: parts.map_err(serde::de::Error::custom)? })
    }
}

fn read_part((name, value): (String, Value)) -> Result<WeightedPart, String> {
    let fields = value.as_object().ok_or_else(|| format!("the part `{name}` is not an object"))?;
    let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let outcome = Outcome::from_fields(fields).map_err(|fault| format!("part `{name}`: {fault}"))?;
    let weight = fields.get("weight").and_then(Value::as_f64).unwrap_or(1.0);
    let metrics = fields.get("metrics").map_or(Ok(BTreeMap::new()), |metrics| serde_json::from_value(metrics.clone()));
    let metrics = metrics.map_err(|fault| format!("part `{name}`: metrics: {fault}"))?;
    let score = PartScore { outcome, extracted: text("extracted"), evidence: text("evidence"), metrics };
    Ok(WeightedPart { name, weight, score })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, weight: f64, score: PartScore) -> WeightedPart {
        WeightedPart { name: name.to_owned(), weight, score }
    }

    #[test]
    fn penalties_never_change_pass_and_skips_add_nothing() {
        let score = Score::of(vec![
            part(CORRECT, 1.0, PartScore::verdict(true, "85 = 85").extracted("85")),
            part("language", -0.5, PartScore::verdict(true, "mixed")),
            part("repetition", -0.5, PartScore::skip("too short")),
        ]);
        assert_eq!((score.total, score.passed), (Some(0.5), Some(true)));
    }

    #[test]
    fn a_failed_part_fails_the_score() {
        let right = part(CORRECT, 1.0, PartScore::verdict(true, ""));
        let failed = part("judge", 1.0, PartScore::failed(FailureKind::Timeout, "no reply in 5 s"));
        let score = Score::of(vec![right, failed]);
        assert_eq!((score.total, score.passed), (None, None));
        assert_eq!(score.failure(), Some(("judge", FailureKind::Timeout, "no reply in 5 s")));
        assert_eq!(Score::of(vec![part(CORRECT, 1.0, PartScore::skip("no truth"))]).total, None);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(matches!(Outcome::of(value), Outcome::Failed { kind: FailureKind::Invalid, .. }));
        }
    }

    #[test]
    fn the_record_is_read_back() {
        let score = Score::of(vec![
            part(
                CORRECT,
                1.0,
                PartScore {
                    metrics: [("acc".to_owned(), 1.0)].into(),
                    ..PartScore::value(0.75, "85 = 85").extracted("85")
                },
            ),
            part("x", 0.5, PartScore::skip("does not apply")),
        ]);
        let written = serde_json::to_value(&score).unwrap();
        assert_eq!(written["parts"]["correct"]["value"], json!(0.75));
        assert_eq!(written["parts"]["correct"]["metrics"], json!({"acc": 1.0}));
        assert_eq!(written["parts"]["x"], json!({"skip": "does not apply", "weight": 0.5}));
        assert_eq!(serde_json::from_value::<Score>(written).unwrap(), score);
        let failed = r#"{"total":null,"passed":null,"parts":{"y":{"failed":{"kind":"timeout","message":"5 s"}}}}"#;
        let failed: Score = serde_json::from_str(failed).unwrap();
        assert_eq!(failed.failure(), Some(("y", FailureKind::Timeout, "5 s")));
    }
}
