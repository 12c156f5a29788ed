//! The judge of a phase: started when the run serves it, measured against what is known, and watched.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sapo_datasets::{Query, Task, Transcript};
use sapo_rewards::reward::score_all;
use sapo_rewards::{Endpoints, Item, Judge, JudgeCounts, Reward, RewardConfig};
use serde::{Deserialize, Serialize};

use crate::config::{Config, RlConfig};
use crate::error::{Result, RunError};
use crate::metrics::{Metrics, names};
use crate::scoring::{Rubrics, Scorer, used_rewards};
use crate::served::Served;

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
    /// Adds what a judge was needed for.
    pub fn add(&mut self, counts: &JudgeCounts) {
        self.calls += counts.calls;
        self.failed += counts.failed;
        self.prompt_tokens += counts.prompt_tokens;
        self.reply_tokens += counts.reply_tokens;
        self.cache_hits += counts.cache_hits;
        self.canaries += counts.canaries;
        self.canary_failures += counts.canary_failures;
        self.ruled += counts.ruled;
        self.rule_agrees += counts.rule_agrees;
    }
}

/// An answer of the policy to a query that the judge judges, and what the exact rule says of it.
#[derive(Clone, Debug)]
pub struct RuledAnswer {
    /// What was asked.
    pub query: Arc<Query>,
    /// What was said.
    pub text: String,
    /// Whether the exact rule passes it.
    pub passed: bool,
}

/// What scores the rollouts of a phase, with the judge's server when the run has started one.
pub struct Judging {
    /// The rewards and the thread that they run on.
    pub scorer: Scorer,
    /// The rubrics of the phase.
    pub rubrics: Rubrics,
    judge: Option<(Arc<Judge>, Vec<Task>)>,
    served: Vec<Served>,
}

impl Judging {
    /// Makes the rewards of a phase ready; starts the server of its judge when the configuration says `serve:MODEL`.
    ///
    /// # Errors
    /// When a reward cannot be built, a server does not start or a judge cannot be reached.
    pub fn start(config: &Config, phase: &RlConfig) -> Result<Self> {
        let rubrics = config.rubrics_of(phase);
        let used = used_rewards(rubrics.values().copied().chain([&config.rubrics[&phase.rubric]]));
        let rewards: BTreeMap<String, RewardConfig> =
            config.rewards.iter().filter(|(name, _)| used.contains(name.as_str())).map(own).collect();
        let (endpoints, served) = serve_judges(&rewards)?;
        let scorer = Scorer::new(&rewards, &endpoints)?;
        let mut ready = Rubrics::one(scorer.rubric(&config.rubrics[&phase.rubric])?);
        for (task, rubric) in rubrics {
            ready = ready.with(task.name(), scorer.rubric(rubric)?);
        }
        let judges = config.judges_of(phase);
        let judge =
            judges.into_iter().next().and_then(|(name, tasks)| Some((scorer.judges().get(name)?.clone(), tasks)));
        if let Some((judge, _)) = &judge {
            scorer.wait(judge.reach())?;
            judge.open_cache(Some(&config.run_path()));
        }
        Ok(Self { scorer, rubrics: ready, judge, served })
    }

    /// The tasks that a judge judges.
    pub fn judged(&self) -> &[Task] {
        self.judge.as_ref().map_or(&[], |(_, tasks)| tasks)
    }

    /// Measures the judge on labelled items before it is trusted; nothing without a judge.
    ///
    /// # Errors
    /// When it agrees less with them than its configuration asks for: the phase must not start.
    pub fn calibrate(&self) -> Result<Option<JudgeRecord>> {
        let Some((judge, _)) = &self.judge else { return Ok(None) };
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
            return if refused { Err(uncalibrated(&record.name)) } else { Ok(Some(record)) };
        };
        let measured = self.scorer.wait(judge.calibrate(&items.pairs()?))?;
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
        Ok(Some(record))
    }

    /// The share of the judge's yes to answers of the policy that the exact rule confirms; `None` when there is no
    /// judge, or it never says yes.
    pub fn precision(&self, answers: &[RuledAnswer]) -> Option<f64> {
        let (judge, _) = self.judge.as_ref()?;
        let transcripts: Vec<Transcript> = answers
            .iter()
            .map(|answer| Transcript {
                thinking_open: true,
                ..Transcript::of_answer(answer.query.id.clone(), answer.text.clone())
            })
            .collect();
        let items: Vec<Item<'_>> = answers
            .iter()
            .zip(&transcripts)
            .map(|(answer, transcript)| Item { query: &answer.query, transcript })
            .collect();
        let scores = self.scorer.wait(score_all(&**judge, &items));
        let yes: Vec<bool> = answers
            .iter()
            .zip(&scores)
            .filter(|(_, score)| score.outcome.value().is_some_and(|value| value >= 0.5))
            .map(|(answer, _)| answer.passed)
            .collect();
        (!yes.is_empty()).then(|| yes.iter().filter(|passed| **passed).count() as f64 / yes.len() as f64)
    }

    /// What the judge was needed for since it was started; nothing without one.
    pub fn counts(&self) -> Option<JudgeCounts> {
        self.judge.as_ref().map(|(judge, _)| judge.counts())
    }

    /// What the run has spent on its judge before counts in the judge's budget.
    pub fn carry(&self, record: &JudgeRecord) {
        if let Some((judge, _)) = &self.judge {
            judge.carry(record.calls, record.prompt_tokens, record.reply_tokens);
        }
    }

    /// What the judge has to tell people.
    pub fn take_notes(&self) -> Vec<String> {
        self.judge.as_ref().map(|(judge, _)| judge.take_notes()).unwrap_or_default()
    }

    /// Stops the run when nothing can be judged any more.
    ///
    /// # Errors
    /// [`RunError::Stopped`] with the reason.
    pub fn go_on(&self) -> Result<()> {
        match self.judge.as_ref().and_then(|(judge, _)| Some((judge, judge.stopped()?))) {
            None => Ok(()),
            Some((judge, reason)) => Err(RunError::Stopped(format!("rewards.{}: {reason}", judge.spec().name))),
        }
    }

    /// Adds to the metrics of a step what its judge did in it; nothing without one.
    pub fn record(&self, before: Option<JudgeCounts>, metrics: &mut Metrics) {
        let (Some(now), Some(before)) = (self.counts(), before) else { return };
        metrics.set(names::JUDGE_CANARIES, (now.canaries - before.canaries) as f64);
        metrics.set(names::JUDGE_CANARY_FAILURES, (now.canary_failures - before.canary_failures) as f64);
        let ruled = (now.ruled - before.ruled) as f64;
        metrics.set(names::JUDGE_RULED, ruled);
        metrics.set(names::JUDGE_RULE_AGREEMENT, (now.rule_agrees - before.rule_agrees) as f64 / ruled);
    }

    /// Largest resident memory of the servers that the run has started, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.served.iter().map(Served::peak_rss_bytes).sum()
    }
}

/// Starts the servers that judges ask for by `serve:MODEL`; they end with what is returned.
///
/// # Errors
/// When one does not start.
pub fn serve_judges(rewards: &BTreeMap<String, RewardConfig>) -> Result<(Endpoints, Vec<Served>)> {
    let (mut endpoints, mut served) = (Endpoints::default(), Vec::new());
    for reward in rewards.values() {
        let RewardConfig::Judge(judge) = reward else { continue };
        if let Some(model) = judge.serve_name() {
            let server = Served::start(model, &judge.model, judge.max_tokens as usize)?;
            endpoints.0.insert(model.to_owned(), server.url().to_owned());
            served.push(server);
        }
    }
    Ok((endpoints, served))
}

fn own((name, reward): (&String, &RewardConfig)) -> (String, RewardConfig) {
    (name.clone(), reward.clone())
}

fn uncalibrated(name: &str) -> RunError {
    RunError::User(format!(
        "rewards.{name}: the judge has min_balanced_accuracy above 0 but no labelled items to measure it on; give \
         `calibration.data`, or set min_balanced_accuracy = 0 and trust it unmeasured"
    ))
}

/// Asks every judge of the run that is not served by it whether it is there, before anything is trained.
///
/// # Errors
/// When one cannot be reached.
pub fn reach_all(config: &Config) -> Result<()> {
    let remote = config.rewards.iter().filter(|(_, reward)| match reward {
        RewardConfig::Judge(judge) => judge.serve_name().is_none(),
        _ => false,
    });
    let remote: BTreeMap<String, RewardConfig> = remote.map(own).collect();
    if remote.is_empty() {
        return Ok(());
    }
    let scorer = Scorer::new(&remote, &Endpoints::default())?;
    for judge in scorer.judges().values() {
        scorer.wait(judge.reach())?;
    }
    Ok(())
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
            .map_err(|error| RunError::User(format!("{}: a line is no JSON: {error}", samples.display())))?;
        let query = line["query_id"].as_str().and_then(|id| queries.get(id));
        let sampled = line["greedy"] == false;
        if let (Some(query), true, Some(passed)) = (query, sampled, line["score"]["passed"].as_bool()) {
            let text = line["text"].as_str().unwrap_or_default().to_owned();
            answers.push(RuledAnswer { query: Arc::clone(query), text, passed });
        }
    }
    Ok(answers)
}
