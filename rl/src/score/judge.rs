//! Judges: measured against what is known before they are trusted, and watched.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sapo_datasets::{Query, Transcript};
use sapo_rewards::reward::score_all;
use sapo_rewards::{Item, Judge, JudgeCounts, Reward};
use serde::{Deserialize, Serialize};

use super::Rewards;
use crate::error::{Result, RunError};
use crate::metrics::{Metrics, names};

/// What is known of a run's judge, as `judge.json` keeps it. Shares; empty where nothing was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeRecord {
    /// Version of this record.
    pub v: u32,
    /// The reward's name.
    pub name: String,
    /// The model's name in requests.
    pub model: String,
    /// Where the labelled items came from.
    pub calibrated_on: Option<String>,
    /// Labelled items with a verdict.
    pub items: Option<usize>,
    /// Items whose truth is yes.
    pub yes_items: Option<usize>,
    /// Items whose truth is no.
    pub no_items: Option<usize>,
    /// Share of items on which the judge agrees with the truth.
    pub agreement: Option<f64>,
    /// Share of the no-items that it calls yes.
    pub false_yes: Option<f64>,
    /// Share of the yes-items that it calls no.
    pub false_no: Option<f64>,
    /// Mean of its accuracy on yes-items and on no-items.
    pub balanced_accuracy: Option<f64>,
    /// Below this the phase does not start.
    pub min_balanced_accuracy: Option<f64>,
    /// Share of its yes that the exact rule confirms, on held-out answers of the policy before the phase.
    pub precision_before: Option<f64>,
    /// The same after the phase, whose policy may have learned to please it.
    pub precision_after: Option<f64>,
    /// Requests during the run.
    pub calls: u64,
    /// Answers without a verdict.
    pub failed: u64,
    /// Tokens of prompts during the run.
    pub prompt_tokens: u64,
    /// Tokens of replies during the run.
    pub reply_tokens: u64,
    /// Verdicts that needed no call, since they were known.
    pub cache_hits: u64,
    /// Rows with a known verdict that were asked beside the others.
    pub canaries: u64,
    /// Those of them that were judged wrongly.
    pub canary_failures: u64,
    /// Judged answers that an exact rule can tell as well.
    pub ruled: u64,
    /// Those of them of which the rule says the same.
    pub rule_agrees: u64,
}

impl JudgeRecord {
    /// How a judge did on its labelled items, in words.
    pub fn said(&self, name: &str) -> String {
        let share = |value: Option<f64>| value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
        format!(
            "the balanced accuracy of the judge `{name}` is {} on {} labelled items (false yes {}, false no {})",
            share(self.balanced_accuracy),
            self.items.unwrap_or(0),
            share(self.false_yes),
            share(self.false_no),
        )
    }

    /// Adds what a judge was needed for since `before`.
    pub fn add_since(&mut self, now: &JudgeCounts, before: Option<&JudgeCounts>) {
        let since = |of: fn(&JudgeCounts) -> u64| of(now) - before.map_or(0, of);
        self.calls += since(|counts| counts.calls);
        self.failed += since(|counts| counts.failed);
        self.prompt_tokens += since(|counts| counts.prompt_tokens);
        self.reply_tokens += since(|counts| counts.reply_tokens);
        self.cache_hits += since(|counts| counts.cache_hits);
        self.canaries += since(|counts| counts.canaries);
        self.canary_failures += since(|counts| counts.canary_failures);
        self.ruled += since(|counts| counts.ruled);
        self.rule_agrees += since(|counts| counts.rule_agrees);
    }
}

/// An answer of the policy to a query that the judge judges, and what the exact rule says of it.
#[derive(Clone, Debug)]
pub struct RuledAnswer {
    /// What was asked.
    pub query: Arc<Query>,
    /// What was said.
    pub text: String,
    /// Whether the prompt opened the thinking.
    pub thinking_open: bool,
    /// Whether the exact rule passes it.
    pub passed: bool,
}

/// Measures a judge on labelled items before it is trusted.
///
/// # Errors
/// When it agrees less with them than its configuration asks for: what it scores must not start.
pub fn calibrate(rewards: &Rewards, judge: &Judge) -> Result<JudgeRecord> {
    let config = judge.config();
    let mut record = JudgeRecord {
        v: 1,
        name: judge.spec().name.clone(),
        model: config.model.clone(),
        min_balanced_accuracy: Some(config.min_balanced_accuracy),
        ..JudgeRecord::default()
    };
    let Some(items) = &config.calibration else {
        let refused = config.min_balanced_accuracy > 0.0;
        return if refused { Err(uncalibrated(&record.name)) } else { Ok(record) };
    };
    let measured = rewards.wait(judge.calibrate(&items.pairs()?))?;
    let share = |count: usize, of: usize| (of > 0).then(|| count as f64 / of as f64);
    record.calibrated_on = Some(items.data.clone());
    record.items = Some(measured.items);
    record.yes_items = Some(measured.yes_items);
    record.no_items = Some(measured.no_items);
    record.agreement = Some(measured.agreement);
    record.false_yes = share(measured.false_yes, measured.no_items);
    record.false_no = share(measured.false_no, measured.yes_items);
    record.balanced_accuracy = Some(measured.balanced_accuracy);
    judge.accept(&measured)?;
    Ok(record)
}

fn uncalibrated(name: &str) -> RunError {
    RunError::User(format!(
        "rewards.{name}: the judge has min_balanced_accuracy above 0 but no labelled items to measure it on; give \
         `calibration.data`, or set min_balanced_accuracy = 0 and trust it unmeasured"
    ))
}

/// The precision of a judge: the share of its yes to answers of the policy that the exact rule confirms. `None` when it
/// never says yes.
pub fn precision(rewards: &Rewards, judge: &Judge, answers: &[RuledAnswer]) -> Option<f64> {
    let transcripts: Vec<Transcript> = answers
        .iter()
        .map(|answer| Transcript {
            thinking_open: answer.thinking_open,
            ..Transcript::of_answer(answer.query.id.clone(), answer.text.clone())
        })
        .collect();
    let items: Vec<Item<'_>> = answers
        .iter()
        .zip(&transcripts)
        .map(|(answer, transcript)| Item { query: &answer.query, transcript })
        .collect();
    let scores = rewards.wait(score_all(judge, &items));
    let yes: Vec<bool> = answers
        .iter()
        .zip(&scores)
        .filter(|(_, score)| score.outcome.value().is_some_and(|value| value >= 0.5))
        .map(|(answer, _)| answer.passed)
        .collect();
    (!yes.is_empty()).then(|| yes.iter().filter(|passed| **passed).count() as f64 / yes.len() as f64)
}

/// What every judge was needed for, by name.
pub type Counts = BTreeMap<String, JudgeCounts>;

/// What the judges were needed for since they were opened.
pub fn counts(rewards: &Rewards) -> Counts {
    rewards.judges().iter().map(|(name, judge)| (name.clone(), judge.counts())).collect()
}

/// Adds to the metrics of a step what the judges of its rubrics did in it.
pub fn record(before: &Counts, now: &Counts, used: &[&str], metrics: &mut Metrics) {
    for name in used {
        let (Some(before), Some(now)) = (before.get(*name), now.get(*name)) else { continue };
        metrics.sum(names::JUDGE_CANARIES, (now.canaries - before.canaries) as f64);
        metrics.sum(names::JUDGE_CANARY_FAILURES, (now.canary_failures - before.canary_failures) as f64);
        let ruled = (now.ruled - before.ruled) as f64;
        metrics.sum(names::JUDGE_RULED, ruled);
        metrics.mean_of(names::JUDGE_RULE_AGREEMENT, (now.rule_agrees - before.rule_agrees) as f64, ruled);
    }
}

/// The sampled answers to queries in a recorded evaluation, with the verdicts of its rule.
///
/// # Errors
/// When the record cannot be read.
pub fn recorded_answers(samples: &Path, queries: Vec<Query>) -> Result<Vec<RuledAnswer>> {
    let queries: BTreeMap<String, Arc<Query>> =
        queries.into_iter().map(|query| (query.id.clone(), Arc::new(query))).collect();
    let text = std::fs::read_to_string(samples).map_err(|source| RunError::io(samples, source))?;
    let mut answers = Vec::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line)
            .map_err(|error| RunError::User(format!("{}: a line is not JSON: {error}", samples.display())))?;
        let query = line["query_id"].as_str().and_then(|id| queries.get(id));
        let sampled = line["greedy"] == false;
        if let (Some(query), true, Some(passed)) = (query, sampled, line["score"]["passed"].as_bool()) {
            let text = line["text"].as_str().unwrap_or_default().to_owned();
            let thinking_open = line["thinking_open"].as_bool().unwrap_or(true);
            answers.push(RuledAnswer { query: Arc::clone(query), text, thinking_open, passed });
        }
    }
    Ok(answers)
}
