//! An answer with its score: as `samples.jsonl` keeps it, where each line tells by itself what was asked, what is right and what
//! was said, and as the ledger and the record of an evaluation under way keep it.

use std::collections::BTreeMap;

use sapo_datasets::{Dataset, Picture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::encode::rendered;
use crate::ledger::LedgerEntry;
use crate::metrics::sha256;
use crate::sample::{Generator, ScoredGroup, ScoredRollout};

/// Digits of a hash that names a template.
const NAME: usize = 12;

/// An answer with its score.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Its line of `samples.jsonl`.
    pub(super) line: Value,
    /// Whether there is reasoning before the answer.
    pub(super) with_working: bool,
    /// What the ledger keeps of it.
    pub(super) entry: LedgerEntry,
}

/// What the lines of a source have in common: the templates that prompts were made with, by hash.
pub(super) struct Lines {
    /// Hash of the template that questions were put into.
    question: Option<String>,
    /// Hash of the model's chat template.
    chat: String,
    token_limit: usize,
}

impl Lines {
    /// For the samples of a source; the texts of its templates are added to `templates`.
    pub(super) fn new(
        generator: &Generator<'_>,
        dataset: &Dataset,
        token_limit: usize,
        templates: &mut BTreeMap<String, String>,
    ) -> Self {
        let mut name = |text: String| {
            let name = sha256(text.as_bytes())[..NAME].to_owned();
            templates.insert(name.clone(), text);
            name
        };
        let chat = name(generator.processor.template().source());
        Self { question: dataset.prompt_template().map(name), chat, token_limit }
    }

    /// The answers of a group.
    pub(super) fn answers(&self, generator: &Generator<'_>, group: &ScoredGroup, greedy: bool) -> Vec<Answer> {
        let prompt = rendered(generator.processor, &group.prompt.input);
        let answer = |rollout: &ScoredRollout| Answer {
            line: self.line(group, rollout, greedy, &prompt),
            with_working: rollout.reasoned(),
            entry: LedgerEntry::of(&group.prompt.query, rollout, greedy),
        };
        group.rollouts.iter().map(answer).collect()
    }

    fn line(&self, group: &ScoredGroup, rollout: &ScoredRollout, greedy: bool, prompt: &str) -> Value {
        let query = &group.prompt.query;
        json!({
            "query_id": query.id,
            "task": query.task,
            "sample": rollout.rollout.sample,
            "greedy": greedy,
            "question": query.question(),
            "truth": query.ground_truth,
            "images": query.images.iter().map(Picture::sha256).collect::<Vec<_>>(),
            "text": rollout.text(),
            "stop": rollout.rollout.stop,
            "tokens": rollout.rollout.sampled(),
            "token_limit": self.token_limit,
            "thinking_open": rollout.transcript.thinking_open,
            "rubric": group.rubric.name(),
            "score": rollout.score,
            "prompt": prompt,
            "template": self.question,
            "chat_template": self.chat,
        })
    }
}
