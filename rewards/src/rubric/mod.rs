//! A rubric: how the parts of a score are put together, the same for every query of a phase.

mod build;
mod config;
mod ranges;
mod sum;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_util::future::join_all;
use sapo_datasets::{Query, StopReason, Transcript};

use crate::extract;
use crate::ledger::{RewardCall, RewardId, Scored};
use crate::normalise::Normalise;
use crate::registry::Registry;
use crate::reward::{Item, Reward, score_all};
use crate::score::{CORRECT, FailureKind, PartScore, Score, WeightedPart};
pub use config::{GateConfig, OnFailure, OverlongConfig, PartConfig, RubricConfig};

/// What the penalty for length is called in a record.
const OVERLONG: &str = "overlong";

impl RubricConfig {
    /// Scores one transcript by rules alone; for several, build the [`Rubric`] once.
    pub fn score(&self, query: &Query, transcript: &Transcript) -> Score {
        match Rubric::new(self, &Registry::rules()) {
            Ok(rubric) => rubric.score_by_rules(query, transcript),
            Err(error) => failed(FailureKind::Config, &error.to_string()),
        }
    }
}

fn failed(kind: FailureKind, message: &str) -> Score {
    let score = PartScore::failed(kind, message);
    Score::of(vec![WeightedPart { name: CORRECT.to_owned(), weight: 1.0, score }])
}

/// A part with its reward.
struct RewardPart {
    name: String,
    weight: f64,
    clip: Option<[f64; 2]>,
    reward: Arc<dyn Reward>,
    id: Arc<RewardId>,
}

/// A gate with its reward, where that is not one of the parts.
struct Gate {
    config: GateConfig,
    reward: Option<(Arc<dyn Reward>, Arc<RewardId>)>,
}

/// A rubric whose rewards are ready.
pub struct Rubric {
    /// The first is `correct`.
    parts: Vec<RewardPart>,
    gates: Vec<Gate>,
    clip: Option<[f64; 2]>,
    overlong: Option<OverlongConfig>,
    normalise: Normalise,
    on_failure: OnFailure,
}

/// What a reward gave for a batch, and the seconds until it had.
struct Column {
    scores: Vec<PartScore>,
    secs: f64,
}

impl Rubric {
    /// What becomes of a rollout whose score failed.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// Whether and when the rewards of a group are normalised, for [`crate::group_rewards`].
    pub fn normalise(&self) -> Normalise {
        self.normalise
    }

    /// The rewards of the rubric by the names of their parts.
    pub fn rewards(&self) -> impl Iterator<Item = (&str, &dyn Reward)> {
        self.parts.iter().map(|part| (part.name.as_str(), &*part.reward))
    }

    /// What the parts count, by name; penalties are negative.
    pub fn weights(&self) -> impl Iterator<Item = (&str, f64)> {
        self.parts.iter().map(|part| (part.name.as_str(), part.weight))
    }

    /// Which rewards it asks, those of gates too.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<RewardId>> {
        let gates = self.gates.iter().filter_map(|gate| gate.reward.as_ref().map(|(_, id)| id));
        self.parts.iter().map(|part| &part.id).chain(gates)
    }

    /// Whether every reward, those of gates too, can read what a query says is right.
    ///
    /// # Errors
    /// The first that cannot, and why.
    pub fn check_truth(&self, query: &Query) -> Result<(), String> {
        let gates = self.gates.iter().filter_map(|gate| Some((&gate.config.reward, &gate.reward.as_ref()?.0)));
        let rewards = self.parts.iter().map(|part| (&part.name, &part.reward)).chain(gates);
        let mut faults = rewards.filter_map(|(name, reward)| Some((name, reward.check_truth(query).err()?)));
        faults.next().map_or(Ok(()), |(name, fault)| Err(format!("`{name}`: {fault}")))
    }

    /// Scores one transcript at once, for rubrics of rule rewards: one that has to wait for others gives a failed score
    /// that says so.
    pub fn score_by_rules(&self, query: &Query, transcript: &Transcript) -> Score {
        let scoring = std::pin::pin!(self.score(query, transcript));
        match scoring.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(score) => score,
            Poll::Pending => failed(FailureKind::Config, "a reward of this rubric waits for others"),
        }
    }

    /// Scores one transcript.
    pub async fn score(&self, query: &Query, transcript: &Transcript) -> Score {
        self.score_with_calls(query, transcript).await.score
    }

    /// Scores one transcript, and says which reward gave what and how long it took.
    pub async fn score_with_calls(&self, query: &Query, transcript: &Transcript) -> Scored {
        let mut scores = self.score_batch_with_calls(&[Item { query, transcript }]).await;
        let none = || Scored { score: failed(FailureKind::Protocol, "no score for one item"), calls: Vec::new() };
        scores.pop().unwrap_or_else(none)
    }

    /// Scores many transcripts; rewards that wait for others (judges) wait side by side.
    ///
    /// An answer that the token limit cut is wrong unless its tag or box is closed, and no reward is asked about it. An
    /// engine's error fails the score.
    pub async fn score_batch(&self, items: &[Item<'_>]) -> Vec<Score> {
        self.score_batch_with_calls(items).await.into_iter().map(|scored| scored.score).collect()
    }

    /// Scores many transcripts, and says which reward gave what. The seconds of a batch count for each of its items.
    async fn score_batch_with_calls(&self, items: &[Item<'_>]) -> Vec<Scored> {
        let settled: Vec<Option<PartScore>> = items.iter().map(|item| settled(item.transcript)).collect();
        let open = items.iter().zip(&settled).filter(|(_, settled)| settled.is_none());
        let open: Vec<Item<'_>> = open.map(|(item, _)| *item).collect();
        let asked = self.parts.iter().enumerate();
        let asked = asked.map(|(at, part)| timed(&*part.reward, if at == 0 { &open } else { items }));
        let mut columns = join_all(asked).await;
        let gates = self.gates.iter().filter_map(|gate| gate.reward.as_ref());
        let gates = join_all(gates.map(|(reward, _)| timed(&**reward, items))).await;
        let is_settled: Vec<bool> = settled.iter().map(Option::is_some).collect();
        if let Some(correct) = columns.first_mut() {
            let mut verdicts = std::mem::take(&mut correct.scores).into_iter();
            let none = || PartScore::failed(FailureKind::Protocol, "no score");
            let scores = settled.into_iter().map(|settled| settled.or_else(|| verdicts.next()).unwrap_or_else(none));
            correct.scores = scores.collect();
        }
        let scored = |at: usize| {
            let given = columns.iter().map(|column| column.scores[at].clone()).collect();
            let outer: Vec<&PartScore> = gates.iter().map(|column| &column.scores[at]).collect();
            Scored {
                calls: self.calls(at, is_settled[at], &columns, &gates),
                score: self.sum(items[at].transcript, given, &outer),
            }
        };
        (0..items.len()).map(scored).collect()
    }

    /// The calls of the rewards for one item of a batch, parts first.
    fn calls(&self, at: usize, is_settled: bool, columns: &[Column], gates: &[Column]) -> Vec<RewardCall> {
        let call = |part: String, reward: &Arc<RewardId>, secs: Option<f64>, column: &Column| RewardCall {
            part,
            reward: Arc::clone(reward),
            secs,
            outcome: column.scores[at].outcome.clone(),
        };
        let parts = self.parts.iter().zip(columns).enumerate().map(|(index, (part, column))| {
            let secs = (index > 0 || !is_settled).then_some(column.secs);
            call(part.name.clone(), &part.id, secs, column)
        });
        let outer = self.gates.iter().filter_map(|gate| Some((&gate.config.reward, &gate.reward.as_ref()?.1)));
        let outer = outer.zip(gates);
        let outer = outer.map(|((name, id), column)| call(format!("gate {name}"), id, Some(column.secs), column));
        parts.chain(outer).collect()
    }
}

/// The scores of a batch, and the seconds from the question to the last answer.
async fn timed(reward: &dyn Reward, items: &[Item<'_>]) -> Column {
    let started = Instant::now();
    let scores = score_all(reward, items).await;
    Column { scores, secs: started.elapsed().as_secs_f64() }
}

/// What needs no reward: the engine failed, or the answer was cut.
fn settled(transcript: &Transcript) -> Option<PartScore> {
    let answer = extract::answer(transcript);
    match transcript.stop {
        StopReason::Error => Some(PartScore::failed(FailureKind::Engine, "the engine failed")),
        StopReason::Length if !answer.is_some_and(extract::is_closed) => {
            Some(PartScore::verdict(false, "cut by the token limit before the answer was closed"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
