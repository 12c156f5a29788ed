//! The registry: every reward of a config by name, beside those that need no options.

pub mod catalogue;
pub(crate) mod kinds;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::error::{Result, RewardError};
use crate::judge::Judge;
use crate::kind::Endpoints;
use crate::ledger::RewardId;
use crate::reward::{Reward, RewardSpec};
pub use kinds::RewardConfig;

/// Rewards by name. Clones share the rewards, with their workers, clients and caches: a run builds its registry once and
/// makes every rubric from it.
#[derive(Clone, Default)]
pub struct Registry {
    rewards: BTreeMap<String, Arc<dyn Reward>>,
    judges: BTreeMap<String, Arc<Judge>>,
    /// The options of those that a config describes.
    options: BTreeMap<String, serde_json::Value>,
}

/// The kinds that need no options, each under its own name.
static RULES: LazyLock<Registry> = LazyLock::new(|| {
    let served = Endpoints::default();
    let rules = RewardConfig::plain().filter_map(|config| {
        let name = config.kind();
        Some((name.to_owned(), config.build(name, &served).ok()?))
    });
    Registry { rewards: rules.collect(), ..Registry::default() }
});

impl Registry {
    /// The rewards of a config, beside the kinds that need no options under their own names.
    ///
    /// # Errors
    /// When a reward cannot be built; the message names it and the remedy.
    pub fn build(configs: &BTreeMap<String, RewardConfig>, endpoints: &Endpoints) -> Result<Self> {
        let mut registry = Self::rules();
        for (name, config) in configs {
            registry.options.insert(name.clone(), config.options());
            if let RewardConfig::Judge(options) = config {
                let judge = Arc::new(Judge::new(name, options, endpoints)?);
                registry.judges.insert(name.clone(), Arc::clone(&judge));
                registry.insert(name, judge);
            } else {
                registry.insert(name, config.build(name, endpoints)?);
            }
        }
        Ok(registry)
    }

    /// The kinds that need no options, under their own names.
    pub fn rules() -> Self {
        RULES.clone()
    }

    /// Adds a reward of one's own, or replaces one.
    pub fn insert(&mut self, name: &str, reward: Arc<dyn Reward>) {
        self.rewards.insert(name.to_owned(), reward);
    }

    /// The reward of that name.
    ///
    /// # Errors
    /// When there is none; the message names those that are.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Reward>> {
        self.rewards.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.rewards.keys().map(String::as_str).collect();
            let why = if RewardConfig::is_kind(name) {
                format!(
                    "`{name}` needs options: describe it in a config as [rewards.NAME] with kind = \"{name}\" and use NAME \
                     (`sapo reward list {name}` tells the options)"
                )
            } else {
                format!("there is no such reward; describe it in the config, or use one of {}", known.join(", "))
            };
            RewardError::reward(name, why)
        })
    }

    /// Which reward of that name it is: its version and options.
    pub(crate) fn identity(&self, name: &str, spec: &RewardSpec) -> RewardId {
        RewardId::of(spec, self.options.get(name).unwrap_or(&serde_json::Value::Null))
    }

    /// Makes every reward ready that takes time for it, and returns what people should know, a line each.
    ///
    /// # Errors
    /// When a reward cannot work here.
    pub fn prepare(&self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for (name, reward) in &self.rewards {
            told.extend(reward.prepare().map_err(|reason| RewardError::reward(name, reason))?);
        }
        Ok(told)
    }

    /// The judges of the config, by name.
    pub fn judges(&self) -> &BTreeMap<String, Arc<Judge>> {
        &self.judges
    }
}

/// The NAMEs of `serve:NAME` that a config's judges need; the run starts them before it builds the registry.
pub fn served_judges(configs: &BTreeMap<String, RewardConfig>) -> Vec<&str> {
    let names = configs.values().filter_map(|config| match config {
        RewardConfig::Judge(options) => options.serve_name(),
        _ => None,
    });
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use sapo_datasets::Transcript;
    use sapo_datasets::synthetic::{self, Style, Task};

    use super::*;
    use crate::reward::tests::now;
    use crate::reward::{Item, score_all};
    use crate::verifiers::grounding::{Grounding, Metric};

    fn value(reward: &str, query: &sapo_datasets::Query, transcript: &Transcript) -> Option<f64> {
        let reward = Registry::rules().get(reward).unwrap();
        now(score_all(&*reward, &[Item { query, transcript }]))[0].outcome.value()
    }

    /// Those whose answers `truth` can tell: programs are run by `code`, which is tested with its sandbox.
    fn told_by_truth() -> impl Iterator<Item = Task> {
        Task::ALL.into_iter().filter(|task| *task != Task::Program)
    }

    #[test]
    fn every_gold_of_every_task_scores_one_in_both_styles() {
        for task in told_by_truth() {
            for index in 0..40 {
                for style in [Style::Careful, Style::Hasty] {
                    let shown = synthetic::demonstration(task, 11, index, style);
                    let whole = Transcript { thinking_open: true, ..Transcript::of_answer("q", &shown.response) };
                    assert_eq!(value("truth", &shown.query, &whole), Some(1.0), "{task}: {}", shown.response);
                    // A judge's working puts the words of two texts side by side: it is no prose.
                    let penalties = if task == Task::Judge { &[][..] } else { &["language", "repetition"] };
                    for penalty in penalties {
                        assert_eq!(
                            value(penalty, &shown.query, &whole),
                            Some(0.0),
                            "{task} {penalty}: {}",
                            shown.response
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn rewards_agree_with_the_solvers_on_answers_of_other_queries() {
        for task in told_by_truth() {
            let shown: Vec<_> = (0..30).map(|index| synthetic::demonstration(task, 5, index, Style::Hasty)).collect();
            for (one, other) in shown.iter().zip(shown.iter().skip(1)) {
                let answer = other.response.trim_start_matches("</think>");
                let transcript = Transcript { thinking_open: true, ..Transcript::of_answer("q", &other.response) };
                let language = |query: &sapo_datasets::Query| query.columns["language"].clone();
                // The rule for descriptions is blind to the language, the solver is not.
                if language(&one.query) == language(&other.query) {
                    let solved = synthetic::is_correct(&one.query, answer);
                    assert_eq!(
                        value("truth", &one.query, &transcript),
                        Some(f64::from(u8::from(solved))),
                        "{task}: {answer}"
                    );
                }
            }
        }
    }

    #[test]
    fn configs_are_closed_and_named_by_kind() {
        let read = |text: &str| serde_json::from_str::<RewardConfig>(text);
        let grounding = read(r#"{"kind":"grounding","threshold":0.5}"#).unwrap();
        assert_eq!(grounding, Grounding { metric: Metric::MeanIou, threshold: Some(0.5) }.into());
        assert!(read(r#"{"kind":"number","tolerance":1}"#).is_err());
        assert!(read(r#"{"kind":"judge","endpont":"x"}"#).is_err());
        assert!(read(r#"{"kind":"process","comand":["x"]}"#).is_err());
        assert!(read(r#"{"kind":"http","uri":"x"}"#).is_err());
        assert!(read(r#"{"kind":"magic"}"#).is_err());
        let judge = read(r#"{"kind":"judge","model":"m"}"#).unwrap();
        assert_eq!(serde_json::from_value::<RewardConfig>(serde_json::to_value(&judge).unwrap()).unwrap(), judge);
        let configs = BTreeMap::from([("a".to_owned(), judge)]);
        assert_eq!(served_judges(&configs), ["judge"]);
        assert!(Registry::build(&configs, &Endpoints::default()).err().unwrap().to_string().contains("rewards.a"));
        let served = Endpoints(BTreeMap::from([("judge".to_owned(), "http://127.0.0.1:9".to_owned())]));
        assert_eq!(Registry::build(&configs, &served).unwrap().judges().len(), 1);
        assert!(Registry::rules().get("magic").err().unwrap().to_string().contains("number"));
    }
}
