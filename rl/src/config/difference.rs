//! In what two configurations differ, key by key.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::Config;
use super::fault::ConfigError;

/// What a key is said to be where there is none.
const NONE: &str = "not set";

/// A key that two configurations have with other values, or that only one of them has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key, with its full path.
    pub key: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub now: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} = {} (before: {})", self.key, self.now, self.before)
    }
}

impl Config {
    /// In what this configuration differs from one before it, in the order of keys.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn differences(&self, before: &Self) -> Result<Vec<Difference>, ConfigError> {
        let (before, now) = (leaves(before)?, leaves(self)?);
        let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let differing = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
        let said = |of: Option<&String>| of.cloned().unwrap_or_else(|| NONE.to_owned());
        let difference =
            |key: &String| Difference { key: key.clone(), before: said(before.get(key)), now: said(now.get(key)) };
        Ok(differing.map(difference).collect())
    }
}

impl Config {
    /// Every value by its full path, as TOML writes it.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn values(&self) -> Result<Vec<(String, String)>, ConfigError> {
        Ok(leaves(self)?.into_iter().collect())
    }
}

/// Every value that is no table, by its full path.
fn leaves(config: &Config) -> Result<BTreeMap<String, String>, ConfigError> {
    let value = Value::try_from(config).map_err(|error| super::fault::fault("config", error.to_string()))?;
    let mut leaves = BTreeMap::new();
    collect(&value, String::new(), &mut leaves);
    Ok(leaves)
}

fn collect(value: &Value, path: String, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(value, path, leaves);
            }
        }
        // As people write it: 1e-30, and not thirty noughts.
        Value::Float(number) => _ = leaves.insert(path, format!("{number:?}")),
        leaf => _ = leaves.insert(path, leaf.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_differs_is_told_with_its_whole_key() {
        let smoke = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
        let of = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
            Config::compose(std::slice::from_ref(&smoke), &overrides).unwrap()
        };
        let before = of(&[]);
        let now = of(&["phases.careful.steps=70", "policy.max_prompt_tokens=99"]);
        let told: Vec<String> = now.differences(&before).unwrap().iter().map(Difference::to_string).collect();
        let wanted = ["phases.careful.steps = 70 (before: 60)", "policy.max_prompt_tokens = 99 (before: not set)"];
        assert_eq!(told, wanted);
        assert_eq!(before.differences(&before).unwrap(), []);
    }
}
