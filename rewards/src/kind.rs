//! A kind of reward: the options that a config gives, the reward that they make, and an example for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapo_datasets::Query;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::{Result, RewardError};
use crate::extract;
use crate::reward::{Item, Reward, RewardSpec, Role, Scoring, probe};
use crate::score::{FailureKind, PartScore};

/// Where servers are that a config names as `serve:NAME`: base URLs by name. The run starts those servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(pub BTreeMap<String, String>);

/// A row, and the value it gets with the default options.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// The query's ground truth.
    pub ground_truth: Value,
    /// Further columns of the query.
    pub columns: Value,
    /// The response.
    pub response: &'static str,
    /// What it gets; `None` where somebody else would have to be asked.
    pub value: Option<f64>,
}

impl Example {
    /// A row without further columns.
    pub(crate) fn new(ground_truth: impl Into<Value>, response: &'static str, value: f64) -> Self {
        Self { ground_truth: ground_truth.into(), columns: json!({}), response, value: Some(value) }
    }

    /// A row whose value only a server or a program can tell.
    pub(crate) fn unscored(ground_truth: impl Into<Value>, response: &'static str) -> Self {
        Self { value: None, ..Self::new(ground_truth, response, 0.0) }
    }

    /// With further columns.
    pub(crate) fn columns(self, columns: Value) -> Self {
        Self { columns, ..self }
    }
}

/// The options of a kind.
pub(crate) trait Kind: Sized {
    /// The reward that the options make.
    ///
    /// # Errors
    /// When they make no sense, or what they name is missing; the message names the reward and the remedy.
    fn build(&self, name: &str, served: &Endpoints) -> Result<Arc<dyn Reward>>;

    /// A row and what it gets.
    fn example() -> Example;

    /// The kind without options, when it is a rule that needs none.
    fn plain() -> Option<Self> {
        None
    }
}

/// The options of a rule that scores each item by itself.
pub(crate) trait Verifier: Clone + DeserializeOwned + Send + Sync + 'static {
    /// Its kind and the version of its rules, as `number/1`; it changes when a verdict can change.
    const VERSION: &'static str;
    /// Whether a rubric pays it only beside a right answer, and less than one.
    const IS_BONUS: bool = false;
    /// What it is for.
    const ROLE: Role = Role::Verifier;
    /// Whether the ground truth is an answer that it accepts, and not tests, constraints or nothing at all.
    const TRUTH_IS_ANSWER: bool = true;

    /// Whether the options make sense.
    ///
    /// # Errors
    /// Which one does not, and what it must be.
    fn check(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    /// What an item gets. What cannot be told is a failure, not 0.
    fn score(&self, item: &Item<'_>) -> PartScore;

    /// Whether the ground truth of a query can be read, as [`Reward::check_truth`]: what [`Verifier::score`] says of it
    /// beside some answer, unless the rule knows better.
    ///
    /// # Errors
    /// Why no answer to this query can be scored.
    fn check_truth(&self, query: &Query) -> std::result::Result<(), String> {
        probe(query, |item| self.score(item))
    }

    /// A row and what it gets.
    fn example() -> Example;
}

impl<V: Verifier> Kind for V {
    fn build(&self, name: &str, _: &Endpoints) -> Result<Arc<dyn Reward>> {
        self.check().map_err(|reason| RewardError::reward(name, reason))?;
        let spec = RewardSpec {
            is_bonus: V::IS_BONUS,
            role: Some(V::ROLE),
            truth_is_answer: V::TRUTH_IS_ANSWER,
            ..RewardSpec::rule(name, V::VERSION)
        };
        Ok(Arc::new(Verifying { spec, options: self.clone() }))
    }

    fn example() -> Example {
        <V as Verifier>::example()
    }

    fn plain() -> Option<Self> {
        serde_json::from_value(Value::Object(Map::new())).ok()
    }
}

/// A verifier as a reward.
struct Verifying<V> {
    spec: RewardSpec,
    options: V,
}

impl<V: Verifier> Reward for Verifying<V> {
    fn spec(&self) -> &RewardSpec {
        &self.spec
    }

    fn check_truth(&self, query: &Query) -> std::result::Result<(), String> {
        self.options.check_truth(query)
    }

    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a> {
        Box::pin(std::future::ready(items.iter().map(|item| self.options.score(item)).collect()))
    }
}

/// The answer of an item and its ground truth, handed to `check`; what has no answer is wrong, what has no truth fails.
pub(crate) fn answered(item: &Item<'_>, check: impl Fn(&Value, &str) -> PartScore) -> PartScore {
    let Some(truth) = &item.query.ground_truth else {
        return PartScore::failed(
            FailureKind::GroundTruth,
            format!("the query `{}` has no ground truth", item.query.id),
        );
    };
    match extract::answer(item.transcript) {
        None => PartScore::verdict(false, "the thinking is not closed"),
        Some(answer) => check(truth, answer),
    }
}
