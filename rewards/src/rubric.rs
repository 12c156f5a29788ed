//! A rubric: how the parts of a score are put together, the same for every query of a phase.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use sapo_datasets::{Query, StopReason, Transcript};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::concurrent::all;
use crate::error::{Result, RewardError};
use crate::extract;
use crate::ledger::{Asked, RewardId, Scored};
use crate::length::{self, Overlong};
use crate::normalise::Normalise;
use crate::registry::{Registry, RewardConfig};
use crate::reward::{Item, Reward, score_all};
use crate::score::{CORRECT, FailureKind, Outcome, PartScore, Score, WeightedPart};

/// How a score is put together: `weight * correct + extras - penalties` behind their gates, clipped, less the penalty for
/// length; the total is always the weighted sum of the parts in the record.
///
/// A reply without an answer gets no extra, and one that says nothing at all, not even in its thinking, gets every penalty
/// in full: silence must not be the way around them. Calls of tools pay
/// only beside a right answer, and less than one. The `correct` part alone decides pass or fail: a value of 0.5 passes. Skipped parts add nothing and weights are not
/// renormalised; a part that fails makes the whole score fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RubricConfig {
    /// The reward that decides pass or fail.
    pub correct: String,
    /// What it counts.
    pub weight: f64,
    /// Further rewards that are added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartConfig>,
    /// Rewards that are taken off: 1 is the whole penalty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub penalties: Vec<PartConfig>,
    /// Conditions under which parts count at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateConfig>,
    /// Least and greatest sum of the parts, before the penalty for length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
    /// A penalty near the length limit, taken off after everything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlong: Option<OverlongConfig>,
    /// Whether and when rewards are normalised over their group.
    #[serde(skip_serializing_if = "is_default")]
    pub normalise: Normalise,
    /// What becomes of a rollout whose score failed.
    pub on_failure: OnFailure,
    /// Short for a penalty of this weight: any letter of another script than the prompt's language. 0 turns it off.
    pub language_penalty: f64,
    /// Short for a penalty of this weight: text that repeats itself, in responses as short as a line. 0 turns it off.
    pub repetition_penalty: f64,
}

impl Default for RubricConfig {
    fn default() -> Self {
        Self {
            correct: "exact".to_owned(),
            weight: 1.0,
            parts: Vec::new(),
            penalties: Vec::new(),
            gates: Vec::new(),
            clip: None,
            overlong: None,
            normalise: Normalise::None,
            on_failure: OnFailure::Mask,
            language_penalty: 0.5,
            repetition_penalty: 0.0,
        }
    }
}

/// A reward and what it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The reward's name; the part has the same.
    pub reward: String,
    /// What it counts, above 0.
    #[serde(default = "one")]
    pub weight: f64,
    /// Least and greatest value, before the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
}

/// The soft penalty for overlong responses of DAPO: none up to `max_tokens - buffer_tokens`, then rising to `weight`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverlongConfig {
    /// Tokens at which the penalty is full; the request's limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Over how many tokens before that it rises.
    pub buffer_tokens: usize,
    /// The whole penalty.
    #[serde(default = "one")]
    pub weight: f64,
    /// Only right answers are shaped: wrong ones all get the same.
    #[serde(default)]
    pub correct_only: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Parts that add nothing unless a reward reaches a value. Pass or fail is not touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// The reward that must be reached: one of the rubric's parts, or any other.
    pub reward: String,
    /// The least value that opens the gate.
    #[serde(default = "half")]
    pub min: f64,
    /// The parts behind it.
    #[serde(default = "correct_part")]
    pub parts: Vec<String>,
}

fn one() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

fn correct_part() -> Vec<String> {
    vec![CORRECT.to_owned()]
}

/// What becomes of a rollout whose score failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It leaves its group's statistics, gets advantage 0 and no loss.
    #[default]
    Mask,
    /// The run stops at a checkpoint.
    Stop,
}

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
struct Part {
    name: String,
    weight: f64,
    clip: Option<[f64; 2]>,
    reward: Arc<dyn Reward>,
    id: Arc<RewardId>,
}

/// A gate with its reward, when that is none of the parts.
type Gate = (GateConfig, Option<(Arc<dyn Reward>, Arc<RewardId>)>);

/// A rubric whose rewards are ready.
pub struct Rubric {
    /// The first is `correct`.
    parts: Vec<Part>,
    gates: Vec<Gate>,
    clip: Option<[f64; 2]>,
    overlong: Option<OverlongConfig>,
    normalise: Normalise,
    on_failure: OnFailure,
}

impl Rubric {
    /// Finds the rewards of a rubric.
    ///
    /// # Errors
    /// When a reward is not known, a name comes twice, or a number makes no sense.
    pub fn new(config: &RubricConfig, registry: &Registry) -> Result<Self> {
        let part = |name: &str, reward: &str, weight: f64, clip: Option<[f64; 2]>| {
            let (found, id) = find(registry, reward)?;
            Ok(Part { name: name.to_owned(), weight, clip: ordered(name, clip)?, reward: found, id })
        };
        let mut parts = vec![part(CORRECT, &config.correct, config.weight, None)?];
        for extra in &config.parts {
            let weight = above_zero(&extra.reward, extra.weight)?;
            parts.push(part(&extra.reward, &extra.reward, weight, extra.clip)?);
        }
        for penalty in &config.penalties {
            let weight = above_zero(&penalty.reward, penalty.weight)?;
            parts.push(part(&penalty.reward, &penalty.reward, -weight, penalty.clip)?);
        }
        parts.extend(short_penalties(config)?);
        for (at, part) in parts.iter().enumerate() {
            if parts[..at].iter().any(|other| other.name == part.name)
                || config.overlong.is_some() && part.name == OVERLONG
            {
                return Err(RewardError::Rubric(format!(
                    "`{}` stands twice; leave one out, or set {0}_penalty = 0",
                    part.name
                )));
            }
        }
        above_zero(CORRECT, config.weight)?;
        ordered("the sum", config.clip)?;
        if config.clip.is_some() && config.normalise == Normalise::NormaliseThenSum {
            let fault = "clip bounds the sum of the parts, but with normalise_then_sum parts are normalised before it; \
                         give the parts a clip of their own";
            return Err(RewardError::Rubric(fault.to_owned()));
        }
        if let Some(overlong) = &config.overlong {
            above_zero(OVERLONG, overlong.weight)?;
        }
        let mut gates =
            config.gates.iter().map(|gate| Self::gate(gate, &parts, registry)).collect::<Result<Vec<_>>>()?;
        gates.extend(tool_gates(&parts)?);
        let overlong = config.overlong.clone();
        Ok(Self {
            parts,
            gates,
            clip: config.clip,
            overlong,
            normalise: config.normalise,
            on_failure: config.on_failure,
        })
    }

    fn gate(gate: &GateConfig, parts: &[Part], registry: &Registry) -> Result<Gate> {
        let known = |name: &str| parts.iter().any(|part| part.name == name);
        if let Some(name) = gate.parts.iter().find(|name| !known(name)) {
            return Err(RewardError::Rubric(format!("a gate stands before `{name}`, which is no part of this rubric")));
        }
        let reward = if known(&gate.reward) { None } else { Some(find(registry, &gate.reward)?) };
        Ok((gate.clone(), reward))
    }

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
        let gates = self.gates.iter().filter_map(|(_, reward)| reward.as_ref().map(|(_, id)| id));
        self.parts.iter().map(|part| &part.id).chain(gates)
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
        self.score_with_account(query, transcript).await.score
    }

    /// Scores one transcript, and says which reward gave what and how long it took.
    pub async fn score_with_account(&self, query: &Query, transcript: &Transcript) -> Scored {
        let mut scores = self.account_batch(&[Item { query, transcript }]).await;
        let none = || Scored { score: failed(FailureKind::Protocol, "no score for one item"), asked: Vec::new() };
        scores.pop().unwrap_or_else(none)
    }

    /// Scores many transcripts; rewards that wait for others (judges) wait side by side.
    ///
    /// An answer that the token limit cut is wrong unless its tag or box is closed, and no reward is asked about it. An
    /// engine's error fails the score.
    pub async fn score_batch(&self, items: &[Item<'_>]) -> Vec<Score> {
        self.account_batch(items).await.into_iter().map(|scored| scored.score).collect()
    }

    /// The seconds of a batch count for each of its items.
    async fn account_batch(&self, items: &[Item<'_>]) -> Vec<Scored> {
        let settled: Vec<Option<PartScore>> = items.iter().map(|item| settled(item.transcript)).collect();
        let open: Vec<Item<'_>> =
            items.iter().zip(&settled).filter(|(_, settled)| settled.is_none()).map(|(item, _)| *item).collect();
        let asked = self.parts.iter().enumerate();
        let asked = asked.map(|(at, part)| timed(&*part.reward, if at == 0 { &open } else { items }));
        let (mut columns, secs): (Vec<_>, Vec<_>) = all(asked.collect()).await.into_iter().unzip();
        let gates = self.gates.iter().filter_map(|(_, reward)| reward.as_ref().map(|(reward, _)| &**reward));
        let gates: Vec<(Vec<PartScore>, f64)> = all(gates.map(|reward| timed(reward, items)).collect()).await;
        let (gates, gate_secs): (Vec<_>, Vec<_>) = gates.into_iter().unzip();
        let not_asked: Vec<bool> = settled.iter().map(Option::is_some).collect();
        let mut verdicts = std::mem::take(&mut columns[0]).into_iter();
        columns[0] = settled
            .into_iter()
            .map(|settled| {
                settled
                    .or_else(|| verdicts.next())
                    .unwrap_or_else(|| PartScore::failed(FailureKind::Protocol, "no score"))
            })
            .collect();
        let scored = |at: usize| {
            let parts =
                self.parts.iter().zip(&columns).zip(&secs).enumerate().map(|(index, ((part, column), secs))| {
                    let secs = (index > 0 || !not_asked[at]).then_some(*secs);
                    let outcome = column[at].outcome.clone();
                    Asked { part: part.name.clone(), reward: Arc::clone(&part.id), secs, outcome }
                });
            let outer = self.gates.iter().filter_map(|(gate, reward)| Some((gate, &reward.as_ref()?.1)));
            let outer = outer.zip(&gates).zip(&gate_secs).map(|(((gate, id), column), secs)| Asked {
                part: format!("gate {}", gate.reward),
                reward: Arc::clone(id),
                secs: Some(*secs),
                outcome: column[at].outcome.clone(),
            });
            Scored { asked: parts.chain(outer).collect(), score: self.sum(items[at].transcript, at, &columns, &gates) }
        };
        (0..items.len()).map(scored).collect()
    }

    fn sum(&self, transcript: &Transcript, at: usize, columns: &[Vec<PartScore>], gates: &[Vec<PartScore>]) -> Score {
        let mut parts: Vec<WeightedPart> = self
            .parts
            .iter()
            .zip(columns)
            .map(|(part, column)| WeightedPart {
                name: part.name.clone(),
                weight: part.weight,
                score: clipped(column[at].clone(), part.clip),
            })
            .collect();
        let mut outer = gates.iter();
        let mut broken = None;
        let mut closed: Vec<(&str, String)> = Vec::new();
        for (gate, reward) in &self.gates {
            let score = match reward {
                Some(_) => outer.next().map(|column| &column[at]),
                None => parts.iter().find(|part| part.name == gate.reward).map(|part| &part.score),
            };
            match score.map(|score| &score.outcome) {
                Some(Outcome::Value(value)) if *value < gate.min => {
                    closed.extend(
                        gate.parts
                            .iter()
                            .map(|name| (name.as_str(), format!("{} is {value}, below {}", gate.reward, gate.min))),
                    );
                }
                Some(Outcome::Failed { kind, message }) => {
                    broken = Some((gate.reward.clone(), PartScore::failed(*kind, message.clone())));
                }
                _ => {}
            }
        }
        for (name, reason) in closed {
            if let Some(part) = parts.iter_mut().find(|part| part.name == name) {
                part.weight = 0.0;
                let evidence = part.score.evidence.take().unwrap_or_default();
                part.score.evidence = Some(format!("{evidence}; adds nothing: {reason}"));
            }
        }
        if is_blank(extract::answer(transcript).unwrap_or_else(|| transcript.reasoning())) {
            self.without_answer(&mut parts, is_silent(transcript));
        }
        if let Some((name, score)) = broken {
            parts.push(WeightedPart { name: format!("gate {name}"), weight: 0.0, score });
        }
        if parts.iter().all(|part| matches!(part.score.outcome, Outcome::Skip(_))) {
            let score = PartScore::failed(FailureKind::Empty, "no part of the rubric applies");
            parts.push(WeightedPart { name: "rubric".to_owned(), weight: 0.0, score });
        }
        let score = Score::of(parts);
        let Some(total) = score.total else { return score };
        // What is put right and taken off afterwards are parts too, so that the total is the sum of the record.
        let mut parts = score.parts;
        if let Some(clipped) =
            self.clip.map(|[least, greatest]| total.clamp(least, greatest)).filter(|sum| *sum != total)
        {
            let score = PartScore::value(clipped - total, format!("the sum {total} is clipped to {clipped}"));
            parts.push(WeightedPart { name: "clip".to_owned(), weight: 1.0, score });
        }
        if let Some(rule) = &self.overlong {
            parts.push(overlong(rule, transcript, score.passed));
        }
        Score::of(parts)
    }

    /// A reply without an answer: no extra, and every penalty in full when it is silent.
    fn without_answer(&self, parts: &mut [WeightedPart], silent: bool) {
        for (part, own) in parts.iter_mut().zip(&self.parts).skip(1) {
            if part.score.outcome.value().is_none() {
                continue;
            }
            if own.weight > 0.0 {
                part.weight = 0.0;
                part.score.evidence = Some("adds nothing: there is no answer".to_owned());
            } else if silent {
                let whole = own.clip.map_or(own.reward.spec().range.1, |[_, greatest]| greatest);
                part.score = PartScore::value(whole, "nothing is said: the whole penalty");
            }
        }
    }
}

fn find(registry: &Registry, name: &str) -> Result<(Arc<dyn Reward>, Arc<RewardId>)> {
    let reward = registry.get(name)?;
    let id = Arc::new(registry.identity(name, reward.spec()));
    Ok((reward, id))
}

/// The scores of a batch, and the seconds from the question to the last answer.
async fn timed(reward: &dyn Reward, items: &[Item<'_>]) -> (Vec<PartScore>, f64) {
    let started = Instant::now();
    let scores = score_all(reward, items).await;
    (scores, started.elapsed().as_secs_f64())
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

/// What the penalty for length is called in a record.
const OVERLONG: &str = "overlong";

fn overlong(rule: &OverlongConfig, transcript: &Transcript, passed: Option<bool>) -> WeightedPart {
    let score = if rule.correct_only && passed != Some(true) {
        PartScore::skip("only right answers are shaped by their length")
    } else if is_silent(transcript) {
        PartScore::value(1.0, "nothing is said: the whole penalty")
    } else {
        length::score(transcript, Overlong { max_tokens: rule.max_tokens, buffer_tokens: rule.buffer_tokens })
    };
    WeightedPart { name: OVERLONG.to_owned(), weight: -rule.weight, score }
}

/// Whether a reply says nothing at all, neither in its thinking nor after it.
fn is_silent(transcript: &Transcript) -> bool {
    is_blank(extract::answer(transcript).unwrap_or_default()) && is_blank(transcript.reasoning())
}

fn is_blank(text: &str) -> bool {
    !text.chars().any(|letter| !letter.is_whitespace() && !letter.is_control() && !extract::is_invisible(letter))
}

fn clipped(mut score: PartScore, clip: Option<[f64; 2]>) -> PartScore {
    let (Some(value), Some([least, greatest])) = (score.outcome.value(), clip) else { return score };
    let kept = value.clamp(least, greatest);
    if kept != value {
        score.outcome = Outcome::Value(kept);
        score.evidence = Some(format!("{}; {value} is clipped to {kept}", score.evidence.unwrap_or_default()));
    }
    score
}

fn ordered(name: &str, clip: Option<[f64; 2]>) -> Result<Option<[f64; 2]>> {
    match clip {
        Some([least, greatest]) if !(least.is_finite() && greatest.is_finite() && least <= greatest) => {
            Err(RewardError::Rubric(format!("the clip of {name} must be [least, greatest]")))
        }
        clip => Ok(clip),
    }
}

/// Gates before bonuses for tool calls: they must not be worth more than a right answer, nor anything without one.
fn tool_gates(parts: &[Part]) -> Result<Vec<Gate>> {
    let Some((correct, extras)) = parts.split_first() else { return Ok(Vec::new()) };
    let bonuses =
        extras.iter().filter(|part| part.weight > 0.0 && part.reward.spec().version.starts_with("tool_calls/"));
    bonuses
        .map(|part| {
            if part.weight >= correct.weight {
                return Err(RewardError::Rubric(format!(
                    "the bonus `{}` counts {}, and a right answer {}: it must count less",
                    part.name, part.weight, correct.weight
                )));
            }
            Ok((GateConfig { reward: CORRECT.to_owned(), min: half(), parts: vec![part.name.clone()] }, None))
        })
        .collect()
}

fn above_zero(name: &str, weight: f64) -> Result<f64> {
    if weight.is_finite() && weight > 0.0 {
        return Ok(weight);
    }
    Err(RewardError::Rubric(format!("the weight {weight} of `{name}` must be above 0 (penalties are taken off)")))
}

/// Bytes of a loop in responses as short as a line.
const SHORT_SPAN_BYTES: usize = 24;

fn short_penalties(config: &RubricConfig) -> Result<Vec<Part>> {
    let language = RewardConfig::Language { strict_script: true, thinking: true };
    let repetition = RewardConfig::Repetition { span_bytes: SHORT_SPAN_BYTES };
    let mut parts = Vec::new();
    for (name, weight, reward) in
        [("language", config.language_penalty, language), ("repetition", config.repetition_penalty, repetition)]
    {
        if weight != 0.0 {
            let id = reward.options();
            let reward = reward.rule(name)?.ok_or_else(|| RewardError::Rubric(format!("`{name}` is no rule")))?;
            let id = Arc::new(RewardId::of(reward.spec(), &id));
            parts.push(Part { name: name.to_owned(), weight: -above_zero(name, weight)?, clip: None, reward, id });
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
