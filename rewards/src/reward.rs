//! The reward trait: whole batches in, one part score for each item out, in order.

use std::pin::Pin;

use sapo_datasets::{Query, Transcript};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::score::{FailureKind, Outcome, PartScore};

/// One thing to score.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// What was asked.
    pub query: &'a Query,
    /// What was said.
    pub transcript: &'a Transcript,
}

/// What a reward is for, which decides what a check before a run asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It tells right from wrong: gold gets the most, and no trap does.
    Verifier,
    /// It looks at the form alone: what says nothing may be well-formed, so neither gold nor traps are held against it.
    Form,
    /// It is taken off: gold gets the least.
    Penalty,
}

/// What a reward says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardSpec {
    /// Its name in the config.
    pub name: String,
    /// Its kind and the version of its rules, as `number/1`; it changes when a verdict can change.
    pub version: String,
    /// The least and the greatest value that it gives.
    pub range: (f64, f64),
    /// Whether it looks at pictures.
    pub needs_pictures: bool,
    /// Whether equal inputs always get equal values.
    pub deterministic: bool,
    /// Whether a rubric pays it only beside a right answer, and less than that: what is easily earned without any use.
    pub is_bonus: bool,
    /// What it is for; `None` when only the rubric can tell: a verifier as its `correct` part, else something about form.
    pub role: Option<Role>,
    /// Whether the ground truth is an answer that it accepts, and not tests, constraints or nothing at all.
    pub truth_is_answer: bool,
}

impl RewardSpec {
    /// A rule with values in 0..=1 that needs no picture.
    pub fn rule(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            range: (0.0, 1.0),
            needs_pictures: false,
            deterministic: true,
            is_bonus: false,
            role: None,
            truth_is_answer: true,
        }
    }
}

/// The scores of a batch, to be waited for.
pub type Scoring<'a> = Pin<Box<dyn Future<Output = Vec<PartScore>> + Send + 'a>>;

/// Something that scores transcripts.
pub trait Reward: Send + Sync {
    /// What it says of itself.
    fn spec(&self) -> &RewardSpec;

    /// Makes ready what takes time before the first item, and says what people should know of it.
    ///
    /// # Errors
    /// When the reward cannot work here; the message says why.
    fn prepare(&self) -> std::result::Result<Option<String>, String> {
        Ok(None)
    }

    /// Whether it can read what `query` says is right: its ground truth, and the columns that it goes by. Nothing is
    /// asked of anybody else. What says nothing here may still fail when it scores.
    ///
    /// # Errors
    /// Why it cannot score any answer to this query.
    fn check_truth(&self, query: &Query) -> std::result::Result<(), String> {
        _ = query;
        Ok(())
    }

    /// One part score for each item, in order. It must not panic; what cannot be told is a failure, not 0.
    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a>;
}

/// A reward that is a plain function of one item.
pub struct Rule<F> {
    spec: RewardSpec,
    check: F,
}

impl<F: Fn(&Item<'_>) -> PartScore + Send + Sync> Rule<F> {
    /// A reward made of `check`.
    pub fn new(spec: RewardSpec, check: F) -> Self {
        Self { spec, check }
    }
}

impl<F: Fn(&Item<'_>) -> PartScore + Send + Sync> Reward for Rule<F> {
    fn spec(&self) -> &RewardSpec {
        &self.spec
    }

    fn check_truth(&self, query: &Query) -> std::result::Result<(), String> {
        probe(query, |item| (self.check)(item))
    }

    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a> {
        Box::pin(std::future::ready(items.iter().map(|item| (self.check)(item)).collect()))
    }
}

/// What a rule says of the ground truth when it is asked about some answer: rules read the truth first.
pub(crate) fn probe(query: &Query, score: impl Fn(&Item<'_>) -> PartScore) -> std::result::Result<(), String> {
    let transcript = Transcript::of_answer(&query.id, "0");
    match score(&Item { query, transcript: &transcript }).outcome {
        Outcome::Failed { kind: FailureKind::GroundTruth, message } => Err(message),
        Outcome::Value(_) | Outcome::Skip(_) | Outcome::Failed { .. } => Ok(()),
    }
}

/// Scores a batch and holds the reward to its promises: one score for each item, finite, within the declared range.
pub async fn score_all(reward: &dyn Reward, items: &[Item<'_>]) -> Vec<PartScore> {
    let scores = reward.score(items).await;
    let spec = reward.spec();
    if scores.len() != items.len() {
        let message = format!("`{}` gave {} scores for {} items", spec.name, scores.len(), items.len());
        return vec![PartScore::failed(FailureKind::Protocol, message); items.len()];
    }
    scores.into_iter().map(|score| within(spec, score)).collect()
}

fn within(spec: &RewardSpec, mut score: PartScore) -> PartScore {
    if let Outcome::Value(value) = score.outcome {
        let (least, greatest) = spec.range;
        score.outcome = if value.is_finite() && !(least..=greatest).contains(&value) {
            let message = format!("`{}` gave {value}, outside its range {least}..{greatest}", spec.name);
            Outcome::failed(FailureKind::Invalid, message)
        } else {
            Outcome::of(value)
        };
    }
    score
}

#[cfg(test)]
pub(crate) mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Runs a future that never has to wait.
    pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a rule does not wait"),
        }
    }

    /// A query with a ground truth, and nothing else.
    pub(crate) fn query(question: &str, truth: serde_json::Value) -> Query {
        Query {
            id: "q".to_owned(),
            task: "test".to_owned(),
            messages: vec![sapo_datasets::Message {
                role: sapo_datasets::Role::User,
                content: vec![sapo_datasets::Part::text(question)],
            }],
            conversational: false,
            images: Vec::new(),
            videos: Vec::new(),
            ground_truth: Some(truth),
            rubric: None,
            tools: Vec::new(),
            columns: serde_json::Map::new(),
        }
    }

    struct Broken(RewardSpec, Vec<PartScore>);

    impl Reward for Broken {
        fn spec(&self) -> &RewardSpec {
            &self.0
        }

        fn score<'a>(&'a self, _: &'a [Item<'a>]) -> Scoring<'a> {
            Box::pin(std::future::ready(self.1.clone()))
        }
    }

    #[test]
    fn promises_are_held() {
        let query = query("1+1?", 2.into());
        let transcript = Transcript::of_answer("q", "2");
        let items = [Item { query: &query, transcript: &transcript }; 2];
        let value = |value: f64| PartScore::from(Outcome::Value(value));
        let kinds = |given: Vec<PartScore>| -> Vec<Option<FailureKind>> {
            let scores = now(score_all(&Broken(RewardSpec::rule("b", "b/1"), given), &items));
            let kind = |score: &PartScore| match score.outcome {
                Outcome::Failed { kind, .. } => Some(kind),
                Outcome::Value(_) | Outcome::Skip(_) => None,
            };
            scores.iter().map(kind).collect()
        };
        assert_eq!(kinds(vec![value(1.0)]), [Some(FailureKind::Protocol); 2]);
        assert_eq!(kinds(vec![value(1.0); 3]), [Some(FailureKind::Protocol); 2]);
        assert_eq!(kinds(vec![value(1.0), value(f64::NAN)]), [None, Some(FailureKind::Invalid)]);
        assert_eq!(kinds(vec![value(2.0), value(0.0)]), [Some(FailureKind::Invalid), None]);
    }
}
