//! Types of reward that a Rust program brings along: it names them once, and its configs use them like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Result, RewardError};
use crate::kind::{Endpoints, Example, Kind};
use crate::reward::Reward;

/// Makes a reward from its name in the config and its options, or says what is wrong with them.
pub type Build = dyn Fn(&str, &Map<String, Value>) -> std::result::Result<Arc<dyn Reward>, String> + Send + Sync;

/// A type that a Rust program brings along: it calls `sapo::main` with its types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomConfig {
    /// The name under which the type was registered.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its own options.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// Types of reward by name.
#[derive(Clone, Default)]
pub struct Kinds(BTreeMap<String, Arc<Build>>);

impl Kinds {
    /// With another type; a later one of the same name takes its place.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        build: impl Fn(&str, &Map<String, Value>) -> std::result::Result<Arc<dyn Reward>, String> + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(name.into(), Arc::new(build));
        self
    }

    fn build(&self, name: &str, config: &CustomConfig) -> Result<Arc<dyn Reward>> {
        let Some(build) = self.0.get(&config.kind) else {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            let known = match known.is_empty() {
                true => "this program brings none along (see `sapo::main`)".to_owned(),
                false => format!("this program brings along {}", known.join(", ")),
            };
            return Err(RewardError::reward(name, format!("type = \"{}\": no such type; {known}", config.kind)));
        };
        build(name, &config.options).map_err(|reason| RewardError::reward(name, reason))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The types of this process. They are the program's as its code is, and every registry of it knows them.
static KINDS: OnceLock<Kinds> = OnceLock::new();

/// Makes types known to every registry of this process; once, before the first one is built.
///
/// # Errors
/// When that has been done already.
pub fn install(kinds: Kinds) -> Result<()> {
    let twice = |_| RewardError::Rubric("the types of this program are installed once".to_owned());
    KINDS.set(kinds).map_err(twice)
}

impl Kind for CustomConfig {
    fn build(&self, name: &str, _: &Endpoints) -> Result<Arc<dyn Reward>> {
        KINDS.get_or_init(Kinds::default).build(name, self)
    }

    fn example() -> Example {
        Example::unscored(85, "85")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::tests::{now, query};
    use crate::reward::{Item, RewardSpec, Rule, score_all};
    use crate::score::PartScore;

    fn kinds() -> Kinds {
        Kinds::default().with("prefix", |name, options| {
            let prefix = options.get("text").and_then(Value::as_str).ok_or("options.text is wanted")?.to_owned();
            let check = move |item: &Item<'_>| PartScore::verdict(item.transcript.last_text().starts_with(&prefix), "");
            Ok(Arc::new(Rule::new(RewardSpec::rule(name, "prefix/1"), check)))
        })
    }

    #[test]
    fn a_type_is_built_with_its_options_and_faults_name_the_reward() {
        let config = |text: &str| serde_json::from_str::<CustomConfig>(text).unwrap();
        let reward = kinds().build("mine", &config(r#"{"type": "prefix", "options": {"text": "So"}}"#)).unwrap();
        let query = query("?", 1.into());
        let value = |text: &str| {
            let transcript = sapo_datasets::Transcript::of_answer("q", text);
            now(score_all(&*reward, &[Item { query: &query, transcript: &transcript }]))[0].outcome.value()
        };
        assert_eq!((value("So be it"), value("Be it so")), (Some(1.0), Some(0.0)));
        let fault = |text: &str| kinds().build("mine", &config(text)).err().unwrap().to_string();
        assert!(fault(r#"{"type": "prefix"}"#).contains("rewards.mine: options.text"));
        assert!(fault(r#"{"type": "suffix"}"#).contains("brings along prefix"));
        assert!(
            Kinds::default().build("mine", &config(r#"{"type": "x"}"#)).err().unwrap().to_string().contains("none")
        );
    }
}
