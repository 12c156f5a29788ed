//! The ledger: which reward, in which version, said what of which input, and how long it took; one line of JSON each.

use std::sync::Arc;

use sapo_datasets::hex;
use sapo_datasets::{Part, Query, Transcript};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::reward::RewardSpec;
use crate::score::{Outcome, Score};

/// A reward as it was when it scored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RewardId {
    /// Its name in the config.
    pub name: String,
    /// Its kind and the version of its rules; for plugins with the hash of their file, for judges with their prompt.
    pub version: String,
    /// SHA-256 over version and options: equal hashes, equal rules.
    pub content: String,
}

impl RewardId {
    /// The identity of a reward with these options (null where it has none).
    pub fn of(spec: &RewardSpec, options: &Value) -> Self {
        let content = sha256(format!("{}\n{options}", spec.version).as_bytes());
        Self { name: spec.name.clone(), version: spec.version.clone(), content }
    }

    /// What the lines of the ledger call it.
    pub fn short(&self) -> &str {
        self.content.get(..12).unwrap_or(&self.content)
    }

    /// Its own line in the ledger, which stands before the first that refers to it.
    pub fn line(&self) -> Value {
        json!({
            "v": 1,
            "reward": self.short(),
            "name": self.name,
            "version": self.version,
            "content": self.content,
        })
    }
}

/// What one reward of a rubric gave for one transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardCall {
    /// The part of the score, or `gate NAME` for a reward that only opens a gate.
    pub part: String,
    /// Which reward.
    pub reward: Arc<RewardId>,
    /// Seconds that it took; `None` when it was not asked, since the matter was settled without it.
    pub secs: Option<f64>,
    /// What it gave.
    pub outcome: Outcome,
}

/// A score with the rewards that were asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The score.
    pub score: Score,
    /// Every reward of the rubric, parts first.
    pub calls: Vec<RewardCall>,
}

/// Where a score belongs.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The run's step.
    pub step: u64,
    /// The file of the run that holds the response with its evidence; `None` when no file does.
    pub file: Option<&'a str>,
    /// The query.
    pub query_id: &'a str,
    /// The number of the sample.
    pub sample: usize,
    /// [`input_digest`] of what was scored.
    pub input: &'a str,
}

/// The line of a score. Evidence stands in the file that it points to; where there is none, in the line itself.
pub fn line(origin: Origin<'_>, score: &Score, calls: &[RewardCall]) -> Value {
    let mut parts = Map::new();
    for one in calls {
        let mut fields = Map::new();
        fields.insert("reward".to_owned(), json!(one.reward.short()));
        match &one.outcome {
            Outcome::Value(value) => fields.insert("value".to_owned(), json!(value)),
            Outcome::Skip(_) => fields.insert("status".to_owned(), json!("skip")),
            Outcome::Failed { kind, .. } => fields.insert("failed".to_owned(), json!(kind)),
        };
        if let Some(secs) = one.secs {
            fields.insert("us".to_owned(), json!((secs * 1e6).round() as u64));
        }
        let found = score.part(&one.part).map(|part| &part.score);
        if let Some(found) = found.filter(|found| !found.metrics.is_empty()) {
            fields.insert("metrics".to_owned(), json!(found.metrics));
        }
        if origin.file.is_none() {
            let message = match &one.outcome {
                Outcome::Skip(reason) => Some(reason.clone()),
                Outcome::Failed { message, .. } => Some(message.clone()),
                Outcome::Value(_) => found.and_then(|found| found.evidence.clone()),
            };
            let extracted = found.and_then(|found| found.extracted.clone());
            for (key, text) in [("evidence", message), ("extracted", extracted)] {
                fields.extend(text.map(|text| (key.to_owned(), text.into())));
            }
        }
        parts.insert(one.part.clone(), Value::Object(fields));
    }
    let mut line = Map::new();
    line.insert("v".to_owned(), json!(1));
    line.insert("step".to_owned(), json!(origin.step));
    line.extend(origin.file.map(|file| ("file".to_owned(), file.into())));
    line.insert("query_id".to_owned(), json!(origin.query_id));
    line.insert("sample".to_owned(), json!(origin.sample));
    line.insert("input".to_owned(), json!(origin.input));
    line.insert("total".to_owned(), json!(score.total));
    line.insert("passed".to_owned(), json!(score.passed));
    line.insert("parts".to_owned(), Value::Object(parts));
    Value::Object(line)
}

/// A digest of all that a reward may look at: the query with its ground truth, columns and pictures, and the transcript.
pub fn input_digest(query: &Query, transcript: &Transcript) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(query.id.as_bytes());
    for message in &query.messages {
        add(message.role.as_str().as_bytes());
        for part in &message.content {
            add(match part {
                Part::Text { text } => text.as_bytes(),
                Part::Image => b"\0image",
                Part::Video => b"\0video",
            });
        }
    }
    for picture in query.images.iter().chain(&transcript.pictures) {
        add(picture.sha256().as_bytes());
    }
    add(query.ground_truth.as_ref().map(Value::to_string).unwrap_or_default().as_bytes());
    // Keys in their own order, as files may give them in any.
    let columns: std::collections::BTreeMap<_, _> = query.columns.iter().collect();
    add(json!(columns).to_string().as_bytes());
    for turn in &transcript.turns {
        add(turn.role.as_str().as_bytes());
        add(turn.text.as_bytes());
    }
    add(json!([transcript.calls, transcript.stop, transcript.thinking_open]).to_string().as_bytes());
    // Their ids follow from the text, and not every record holds them.
    add(&(transcript.tokens as u64).to_le_bytes());
    add(&(transcript.token_limit as u64).to_le_bytes());
    hex(&hash.finalize()[..12])
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::tests::query;
    use crate::score::FailureKind;

    #[test]
    fn the_identity_changes_with_version_and_options_alone() {
        let id = |name: &str, version: &str, options: Value| RewardId::of(&RewardSpec::rule(name, version), &options);
        let base = id("a", "number/1", json!({"kind": "number"}));
        assert_eq!(base.content, id("b", "number/1", json!({"kind": "number"})).content);
        assert_ne!(base.content, id("a", "number/2", json!({"kind": "number"})).content);
        assert_ne!(base.content, id("a", "number/1", json!({"kind": "number", "x": 1})).content);
        assert_eq!((base.short().len(), base.content.len()), (12, 64));
    }

    #[test]
    fn inputs_are_told_apart() {
        let said = Transcript::of_answer("q", "5");
        let base = query("3 + 2?", json!(5));
        let mut columns = base.clone();
        columns.columns.insert("x".to_owned(), json!(1));
        let digests = [
            input_digest(&base, &said),
            input_digest(&query("3 + 3?", json!(5)), &said),
            input_digest(&query("3 + 2?", json!("5")), &said),
            input_digest(&columns, &said),
            input_digest(&base, &Transcript::of_answer("q", "6")),
            input_digest(&base, &Transcript { thinking_open: true, ..said.clone() }),
            input_digest(&base, &Transcript { tokens: 4, ..said.clone() }),
        ];
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{at}");
        }
        assert_eq!(digests[0], input_digest(&base, &said));
    }

    #[test]
    fn a_line_says_who_said_what_and_points_to_the_evidence() {
        let reward = Arc::new(RewardId::of(&RewardSpec::rule("mine", "process/1 ab"), &Value::Null));
        let asked =
            |outcome: Outcome, secs| RewardCall { part: "correct".to_owned(), reward: reward.clone(), secs, outcome };
        let origin = Origin { step: 3, file: Some("rollouts/x-000003.jsonl"), query_id: "q", sample: 1, input: "ab" };
        let score = Score { total: None, passed: None, parts: Vec::new() };
        let failed = [asked(Outcome::failed(FailureKind::Timeout, "too late"), Some(0.25))];
        let short = line(origin, &score, &failed);
        assert_eq!(short["parts"]["correct"], json!({"reward": reward.short(), "failed": "timeout", "us": 250_000}));
        assert_eq!((&short["file"], &short["step"]), (&json!("rollouts/x-000003.jsonl"), &json!(3)));
        let whole = line(Origin { file: None, ..origin }, &score, &failed);
        assert_eq!((&whole["parts"]["correct"]["evidence"], whole.get("file")), (&json!("too late"), None));
        let settled = line(origin, &score, &[asked(Outcome::Value(0.0), None)]);
        assert_eq!(settled["parts"]["correct"], json!({"reward": reward.short(), "value": 0.0}));
    }
}
