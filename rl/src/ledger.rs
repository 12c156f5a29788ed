//! The ledger of a run, `ledger.jsonl`: a line for every score, and one for every reward before its first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use sapo_datasets::{Query, Transcript};
use sapo_rewards::ledger::{Origin, input_digest, line};
use sapo_rewards::{RewardCall, Score, Scored};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Result, RunError};
use crate::sample::ScoredRollout;

/// The file's name in a run's folder.
pub const FILE: &str = "ledger.jsonl";

/// What the ledger keeps of one scored answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedgerEntry {
    query_id: String,
    sample: usize,
    greedy: bool,
    /// What was scored, where it is not an answer to the query as it stands.
    #[serde(skip)]
    scored: Option<&'static str>,
    input: String,
    score: Score,
    calls: Vec<RewardCall>,
}

impl LedgerEntry {
    /// The entry of a rollout; `greedy` marks those that an evaluation does not sample.
    pub fn of(query: &Query, scored: &ScoredRollout, greedy: bool) -> Self {
        Self {
            query_id: query.id.clone(),
            sample: scored.rollout.sample,
            greedy,
            scored: None,
            input: scored.input.clone(),
            score: scored.score.clone(),
            calls: scored.calls.clone(),
        }
    }

    /// The entry of something else than a rollout: `scored` says what, and `number` which of them.
    pub fn of_other(query: &Query, transcript: &Transcript, scored: (&'static str, usize), by: &Scored) -> Self {
        Self {
            query_id: query.id.clone(),
            sample: scored.1,
            greedy: false,
            scored: Some(scored.0),
            input: input_digest(query, transcript),
            score: by.score.clone(),
            calls: by.calls.clone(),
        }
    }

    /// The score.
    pub(crate) fn score(&self) -> &Score {
        &self.score
    }

    /// The same entry with the word for what was scored.
    #[must_use]
    pub fn scored(self, scored: &'static str) -> Self {
        Self { scored: Some(scored), ..self }
    }
}

/// Whether a line describes a reward, and not a score.
pub(crate) fn is_reward(line: &str) -> bool {
    line.starts_with("{\"v\":1,\"reward\":")
}

/// Which rewards have their line already.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    known: BTreeSet<String>,
}

impl Ledger {
    /// The ledger of a run's folder, which may have none yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(run: &Path) -> Result<Self> {
        let path = run.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(RunError::io(path, error)),
        };
        let mut known = BTreeSet::new();
        for text in BufReader::new(file).lines() {
            let text = text.map_err(|error| RunError::io(&path, error))?;
            // Lines of scores are many, and need not be parsed.
            if is_reward(&text) {
                let line: Value = serde_json::from_str(&text).unwrap_or_default();
                known.extend(line["reward"].as_str().map(str::to_owned));
            }
        }
        Ok(Self { known })
    }

    /// The lines of some entries; `file` is the run's file that holds the responses with their evidence, if one does.
    pub fn lines(&mut self, step: u64, file: Option<&str>, entries: &[LedgerEntry]) -> Vec<Value> {
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            for call in &entry.calls {
                if self.known.insert(call.reward.short().to_owned()) {
                    lines.push(call.reward.line());
                }
            }
            let (query_id, sample) = (entry.query_id.as_str(), entry.sample);
            let origin = Origin { step, file, query_id, sample, input: &entry.input };
            let mut line = line(origin, &entry.score, &entry.calls);
            if entry.greedy {
                line["greedy"] = true.into();
            }
            if let Some(scored) = entry.scored {
                line["scored"] = scored.into();
            }
            lines.push(line);
        }
        lines
    }
}
