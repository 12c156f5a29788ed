//! A sample as `samples.jsonl` keeps it: each line tells by itself what was asked, what is right, and what was said.

use std::collections::BTreeMap;

use sapo_datasets::{Dataset, Picture};
use serde_json::{Value, json};

use crate::encode::rendered;
use crate::metrics::sha256;
use crate::sample::{Generator, ScoredGroup, ScoredRollout};

/// Digits of a hash that names a template.
const NAME: usize = 12;

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

    /// The lines of a group's samples.
    pub(super) fn of_group(&self, generator: &Generator<'_>, group: &ScoredGroup, greedy: bool) -> Vec<Value> {
        let prompt = rendered(generator.processor, &group.prompt.input);
        group.rollouts.iter().map(|rollout| self.line(group, rollout, greedy, &prompt)).collect()
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
