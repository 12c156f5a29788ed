//! The ledger of a run, `ledger.jsonl`: a line for every score, and one for every reward before its first.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use sapo_datasets::Query;
use sapo_rewards::ledger::{Origin, line};
use sapo_rewards::{RewardCall, Score};
use serde_json::Value;

use crate::asking::Answer;
use crate::error::{Result, RunError};

/// The file's name in a run's folder.
pub const FILE: &str = "ledger.jsonl";

/// What the ledger keeps of one scored answer.
#[derive(Clone, Debug)]
pub struct Account {
    query_id: String,
    sample: usize,
    greedy: bool,
    input: String,
    score: Score,
    asked: Vec<RewardCall>,
}

impl Account {
    /// The account of an answer; `greedy` marks those that an evaluation does not sample.
    pub fn of(query: &Query, answer: &Answer, greedy: bool) -> Self {
        Self {
            query_id: query.id.clone(),
            sample: answer.rollout.sample,
            greedy,
            input: answer.input.clone(),
            score: answer.score.clone(),
            asked: answer.asked.clone(),
        }
    }
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
            if text.starts_with("{\"v\":1,\"reward\":") {
                let line: Value = serde_json::from_str(&text).unwrap_or_default();
                known.extend(line["reward"].as_str().map(str::to_owned));
            }
        }
        Ok(Self { known })
    }

    /// The lines of some accounts; `file` is the run's file that holds the responses with their evidence, if one does.
    pub fn lines(&mut self, step: u64, file: Option<&str>, accounts: &[Account]) -> Vec<Value> {
        let mut lines = Vec::with_capacity(accounts.len());
        for account in accounts {
            for asked in &account.asked {
                if self.known.insert(asked.reward.short().to_owned()) {
                    lines.push(asked.reward.line());
                }
            }
            let (query_id, sample) = (account.query_id.as_str(), account.sample);
            let origin = Origin { step, file, query_id, sample, input: &account.input };
            let mut line = line(origin, &account.score, &account.asked);
            if account.greedy {
                line["greedy"] = true.into();
            }
            lines.push(line);
        }
        lines
    }
}
