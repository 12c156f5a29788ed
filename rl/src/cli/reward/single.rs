//! A reward that the command line names: one of a configuration, a kind, or a Python function, with options.

use std::collections::BTreeMap;

use sapo_rewards::RewardConfig;
use toml::{Table, Value};

use crate::config::merge::{override_of, set};
use crate::error::{Result, RunError};

/// Puts the reward of that name among the rewards, with these options (`key=value`). Kinds without options are known
/// without it.
///
/// # Errors
/// When an option is none of its kind, or a file is named without a function.
pub(super) fn single(name: &str, options: &[String], rewards: &mut BTreeMap<String, RewardConfig>) -> Result<()> {
    let mut table = match rewards.get(name) {
        Some(known) => {
            let value = Value::try_from(known).map_err(|error| RunError::Internal(error.to_string()))?;
            value.as_table().cloned().unwrap_or_default()
        }
        None if name.contains(".py:") => described("process", Some(name)),
        None if name.ends_with(".py") => {
            return Err(RunError::User(format!("--reward {name}: say which function of it, as {name}:compute_score")));
        }
        None if options.is_empty() => return Ok(()),
        None => described(name, None),
    };
    for option in options {
        let (path, value) = override_of(option)?;
        set(&mut table, &path, value).map_err(|reason| RunError::User(format!("--option {option}: {reason}")))?;
    }
    let reward = Value::Table(table).try_into::<RewardConfig>();
    let reward = reward.map_err(|error| RunError::User(format!("--reward {name}: {}", error.message())))?;
    rewards.insert(name.to_owned(), reward);
    Ok(())
}

fn described(kind: &str, python: Option<&str>) -> Table {
    let mut table = Table::new();
    table.insert("kind".to_owned(), kind.into());
    if let Some(place) = python {
        table.insert("python".to_owned(), place.into());
    }
    table
}

#[cfg(test)]
mod tests {
    use sapo_rewards::ProcessConfig;

    use super::*;

    fn one(name: &str, options: &[&str]) -> Result<RewardConfig> {
        let mut rewards = BTreeMap::new();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        single(name, &options, &mut rewards)?;
        Ok(rewards.remove(name).unwrap())
    }

    #[test]
    fn options_are_those_of_a_configuration() {
        let RewardConfig::Process(found) = one("m.py:f", &["range=[-1, 1]", "kwargs.weight=0.5"]).unwrap() else {
            panic!("a process")
        };
        let kwargs = serde_json::Map::from_iter([("weight".to_owned(), 0.5.into())]);
        let python = Some("m.py:f".to_owned());
        assert_eq!(*found, ProcessConfig { python, range: [-1.0, 1.0], kwargs, ..ProcessConfig::default() });
        assert_eq!(one("length", &["buffer_tokens=8"]).unwrap().kind(), "length");
    }

    #[test]
    fn faults_name_the_option() {
        let fault = |name: &str, option: &str| one(name, &[option]).unwrap_err().to_string();
        assert!(fault("m.py:f", "rang=[0, 2]").contains("rang"));
        assert!(fault("m.py:f", "range").contains("key=value"));
        assert!(fault("m.py", "range=[0,2]").contains("m.py:compute_score"));
        assert!(fault("lengthy", "buffer_tokens=8").contains("lengthy"));
    }
}
