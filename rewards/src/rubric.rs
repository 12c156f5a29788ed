//! A rubric: how the parts of a score are put together, the same for every query of a phase.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use sapo_datasets::{Query, StopReason, Transcript};
use serde::{Deserialize, Serialize};

use crate::concurrent::all;
use crate::error::{Result, RewardError};
use crate::extract;
use crate::ledger::{Asked, RewardId, Scored};
use crate::registry::{Registry, RewardConfig};
use crate::reward::{Item, Reward, score_all};
use crate::score::{CORRECT, FailureKind, Outcome, PartScore, Score, WeightedPart};

/// How a score is put together: `weight * correct + extras - penalties`, then gates and clipping.
///
/// The `correct` part alone decides pass or fail: a value of 0.5 passes. Skipped parts add nothing and weights are not
/// renormalised; a part that fails makes the whole score fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Least and greatest total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<[f64; 2]>,
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
            on_failure: OnFailure::Mask,
            language_penalty: 0.5,
            repetition_penalty: 0.0,
        }
    }
}

/// A reward and what it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The reward's name; the part has the same.
    pub reward: String,
    /// What it counts, above 0.
    #[serde(default = "one")]
    pub weight: f64,
}

/// Parts that add nothing unless a reward reaches a value. Pass or fail is not touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    on_failure: OnFailure,
}

impl Rubric {
    /// Finds the rewards of a rubric.
    ///
    /// # Errors
    /// When a reward is not known, a name comes twice, or a number makes no sense.
    pub fn new(config: &RubricConfig, registry: &Registry) -> Result<Self> {
        let part = |name: &str, reward: &str, weight: f64| {
            let (found, id) = find(registry, reward)?;
            Ok(Part { name: name.to_owned(), weight, reward: found, id })
        };
        let mut parts = vec![part(CORRECT, &config.correct, config.weight)?];
        for extra in &config.parts {
            parts.push(part(&extra.reward, &extra.reward, above_zero(&extra.reward, extra.weight)?)?);
        }
        for penalty in &config.penalties {
            parts.push(part(&penalty.reward, &penalty.reward, -above_zero(&penalty.reward, penalty.weight)?)?);
        }
        parts.extend(short_penalties(config)?);
        for (at, part) in parts.iter().enumerate() {
            if parts[..at].iter().any(|other| other.name == part.name) {
                return Err(RewardError::Rubric(format!(
                    "`{}` stands twice; leave one out, or set {0}_penalty = 0",
                    part.name
                )));
            }
        }
        above_zero(CORRECT, config.weight)?;
        if config
            .clip
            .is_some_and(|[least, greatest]| least.partial_cmp(&greatest).is_none_or(std::cmp::Ordering::is_gt))
        {
            return Err(RewardError::Rubric("clip must be [least, greatest]".to_owned()));
        }
        let gates = config.gates.iter().map(|gate| Self::gate(gate, &parts, registry)).collect::<Result<_>>()?;
        Ok(Self { parts, gates, clip: config.clip, on_failure: config.on_failure })
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
            Scored { asked: parts.chain(outer).collect(), score: self.sum(at, &columns, &gates) }
        };
        (0..items.len()).map(scored).collect()
    }

    fn sum(&self, at: usize, columns: &[Vec<PartScore>], gates: &[Vec<PartScore>]) -> Score {
        let mut parts: Vec<WeightedPart> = self
            .parts
            .iter()
            .zip(columns)
            .map(|(part, column)| WeightedPart {
                name: part.name.clone(),
                weight: part.weight,
                score: column[at].clone(),
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
        if let Some((name, score)) = broken {
            parts.push(WeightedPart { name: format!("gate {name}"), weight: 0.0, score });
        }
        if parts.iter().all(|part| matches!(part.score.outcome, Outcome::Skip(_))) {
            let score = PartScore::failed(FailureKind::Empty, "no part of the rubric applies");
            parts.push(WeightedPart { name: "rubric".to_owned(), weight: 0.0, score });
        }
        let mut score = Score::of(parts);
        if let (Some(total), Some([least, greatest])) = (score.total, self.clip) {
            score.total = Some(total.clamp(least, greatest));
        }
        score
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
            parts.push(Part { name: name.to_owned(), weight: -above_zero(name, weight)?, reward, id });
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use sapo_datasets::synthetic::{self, Style, Task};
    use serde_json::json;

    use super::*;
    use crate::reward::tests::{now, query};
    use crate::reward::{RewardSpec, Rule};

    fn rubric(text: &str) -> Result<Rubric> {
        let mut registry = Registry::rules();
        for (name, outcome) in [
            ("half", Outcome::Value(0.5)),
            ("none", Outcome::Value(0.0)),
            ("full", Outcome::Value(1.0)),
            ("skip", Outcome::Skip("not here".to_owned())),
            ("broken", Outcome::failed(FailureKind::Timeout, "too late")),
        ] {
            let score = PartScore { outcome, extracted: None, evidence: None };
            registry
                .insert(name, Arc::new(Rule::new(RewardSpec::rule(name, "test/1"), move |_: &Item<'_>| score.clone())));
        }
        Rubric::new(&serde_json::from_str(text).expect("a config"), &registry)
    }

    fn total(config: &str, answer: &str) -> (Option<f64>, Option<bool>) {
        let query = query("3 + 2?", json!(5));
        let score = now(rubric(config).expect("a rubric").score(&query, &Transcript::of_answer("q", answer)));
        (score.total, score.passed)
    }

    #[test]
    fn parts_add_up_and_only_correct_passes() {
        let base = r#""correct":"number","language_penalty":0"#;
        let with = |more: &str| format!("{{{base}{more}}}");
        assert_eq!(total(&with(""), "5"), (Some(1.0), Some(true)));
        assert_eq!(total(&with(r#","weight":2"#), "5"), (Some(2.0), Some(true)));
        assert_eq!(total(&with(r#","parts":[{"reward":"half","weight":0.5}]"#), "4"), (Some(0.25), Some(false)));
        assert_eq!(total(&with(r#","penalties":[{"reward":"full","weight":3}]"#), "5"), (Some(-2.0), Some(true)));
        assert_eq!(
            total(&with(r#","penalties":[{"reward":"full","weight":3}],"clip":[-1,1]"#), "5"),
            (Some(-1.0), Some(true))
        );
        assert_eq!(total(&with(r#","parts":[{"reward":"skip"}]"#), "5"), (Some(1.0), Some(true)));
        assert_eq!(total(&with(r#","parts":[{"reward":"broken"}]"#), "5"), (None, None));
        assert_eq!(total(r#"{"correct":"skip","language_penalty":0}"#, "5"), (None, None));
        assert_eq!(total(r#"{"correct":"half","language_penalty":0}"#, "5"), (Some(0.5), Some(true)));
    }

    #[test]
    fn gates_close_parts_and_not_the_verdict() {
        let gated =
            r#"{"correct":"number","language_penalty":0,"parts":[{"reward":"full"}],"gates":[{"reward":"none"}]}"#;
        assert_eq!(total(gated, "5"), (Some(1.0), Some(true)));
        let both = r#"{"correct":"number","language_penalty":0,"parts":[{"reward":"full"}],
            "gates":[{"reward":"correct","parts":["full"]}]}"#;
        assert_eq!(total(both, "5"), (Some(2.0), Some(true)));
        assert_eq!(total(both, "4"), (Some(0.0), Some(false)));
        let broken = r#"{"correct":"number","language_penalty":0,"gates":[{"reward":"broken"}]}"#;
        assert_eq!(total(broken, "5"), (None, None));
    }

    #[test]
    fn bad_rubrics_are_refused() {
        for (config, word) in [
            (r#"{"correct":"magic"}"#, "magic"),
            (r#"{"penalties":[{"reward":"language"}]}"#, "language_penalty = 0"),
            (r#"{"parts":[{"reward":"half","weight":-1}]}"#, "above 0"),
            (r#"{"weight":0}"#, "above 0"),
            (r#"{"clip":[1,0]}"#, "clip"),
            (r#"{"gates":[{"reward":"half","parts":["x"]}]}"#, "no part"),
        ] {
            let error = rubric(config).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(word), "{config}: {error}");
        }
        assert!(serde_json::from_str::<RubricConfig>(r#"{"corect":"number"}"#).is_err());
        let waits = RubricConfig { correct: "judge".to_owned(), ..RubricConfig::default() };
        let score = waits.score(&query("?", json!(5)), &Transcript::of_answer("q", "5"));
        assert_eq!(score.failure().map(|(_, kind, _)| kind), Some(FailureKind::Config));
    }

    #[test]
    fn cut_answers_are_wrong_unless_closed_and_errors_are_failures() {
        let query = query("3 + 2?", json!(5));
        let scored = |text: &str, stop| {
            let transcript = Transcript { stop, ..Transcript::of_answer("q", text) };
            let config = RubricConfig { correct: "number".to_owned(), ..RubricConfig::default() };
            let score = config.score(&query, &transcript);
            (score.total, score.passed)
        };
        assert_eq!(scored("5", StopReason::Length), (Some(0.0), Some(false)));
        assert_eq!(scored("\\boxed{5} and so", StopReason::Length), (Some(1.0), Some(true)));
        assert_eq!(scored("5", StopReason::Error), (None, None));
    }

    #[test]
    fn a_batch_scores_as_its_items_do() {
        let rubric = rubric(r#"{"correct":"number","repetition_penalty":0.5}"#).unwrap();
        let query = query("3 + 2?", json!(5));
        let texts = ["5", "4", "<think>5", "十五", "5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5", ""];
        let mut transcripts: Vec<Transcript> = texts.iter().map(|text| Transcript::of_answer("q", *text)).collect();
        transcripts[1].stop = StopReason::Length;
        transcripts[2].stop = StopReason::Error;
        let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query: &query, transcript }).collect();
        let batch = now(rubric.score_batch(&items));
        let single: Vec<Score> = transcripts.iter().map(|transcript| now(rubric.score(&query, transcript))).collect();
        assert_eq!(batch, single);
        let totals: Vec<Option<f64>> = batch.iter().map(|score| score.total).collect();
        assert_eq!(totals, [Some(1.0), Some(0.0), None, Some(-0.5), Some(-0.5), Some(0.0)]);
        assert!(now(rubric.score_batch(&[])).is_empty());
    }

    #[test]
    fn every_demonstration_of_a_reasoning_task_scores_one() {
        for task in Task::REASONING {
            for index in 0..60 {
                for style in [Style::Careful, Style::Hasty] {
                    let shown = synthetic::demonstration(task, 11, index, style);
                    let transcript =
                        Transcript { thinking_open: true, ..Transcript::of_answer(&shown.query.id, &shown.response) };
                    let score = RubricConfig::default().score(&shown.query, &transcript);
                    assert_eq!((score.total, score.passed), (Some(1.0), Some(true)), "{}: {}", task, shown.response);
                }
            }
        }
    }

    #[test]
    fn gold_of_another_query_does_not_pass_and_failures_are_no_zeros() {
        let query = synthetic::query(Task::Arith, sapo_datasets::Split::Train, 1, 0);
        let shown = |text: &str| Transcript { thinking_open: true, ..Transcript::of_answer(&query.id, text) };
        assert_eq!(RubricConfig::default().score(&query, &shown("</think>-1")).passed, Some(false));
        assert_eq!(RubricConfig::default().score(&query, &shown("unclosed 5")).total, Some(0.0));
        let failed = Transcript { stop: StopReason::Error, ..shown("</think>1") };
        let score = RubricConfig::default().score(&query, &failed);
        assert_eq!((score.total, score.passed), (None, None));
    }
}
