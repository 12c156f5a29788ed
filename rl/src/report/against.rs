//! A run or an evaluation beside another: differences paired by query, and in what their configurations differ.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use crate::comparison::{Comparison, compare_all, open};

/// Keys by which any two runs differ.
const OWN: [&str; 3] = ["run.name", "run.dir", "run.seed"];

/// What another run is to this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Against {
    /// Its folder.
    pub place: String,
    /// A comparison for each set of queries that both have; A is the other one.
    pub comparisons: Vec<Comparison>,
    /// Why there is none.
    pub refused: Option<String>,
    /// Keys of the configuration that differ, with what stands there and here; empty is nothing.
    pub config: Vec<[String; 3]>,
}

/// Compares the last evaluations of two folders; what cannot be compared is said, and is no error.
pub(super) fn against(here: &Path, there: &Path) -> Against {
    let compared = open(there).and_then(|there| compare_all(&there, &open(here)?, true));
    let (comparisons, refused) = match compared {
        Ok(comparisons) => (comparisons, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Against { place: there.display().to_string(), comparisons, refused, config: differences(here, there) }
}

pub(super) fn differences(here: &Path, there: &Path) -> Vec<[String; 3]> {
    let keys = |folder: &Path| {
        let text = std::fs::read_to_string(folder.join("config.toml")).unwrap_or_default();
        let mut keys = BTreeMap::new();
        flat(&toml::from_str::<Table>(&text).unwrap_or_default(), "", &mut keys);
        keys
    };
    let (here, there) = (keys(here), keys(there));
    let all: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let differs = all.into_iter().filter(|key| here.get(*key) != there.get(*key) && !OWN.contains(&key.as_str()));
    let value = |of: &BTreeMap<String, String>, key: &str| of.get(key).cloned().unwrap_or_default();
    differs.map(|key| [key.clone(), value(&there, key), value(&here, key)]).collect()
}

/// Every key with a value that is no table, by its whole path.
fn flat(table: &Table, place: &str, found: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        match value {
            Value::Table(inner) => flat(inner, &key, found),
            value => _ = found.insert(key, value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_differ_by_key_and_their_own_names_do_not_count() {
        let [one, other] = [("a", "lr = 1e-3", "x = 1"), ("b", "lr = 2e-3", "")].map(|(name, lr, more)| {
            let folder = tempfile::tempdir().unwrap();
            let text = format!("[run]\nname = \"{name}\"\n[phases.sft.optimizer]\n{lr}\n{more}\n");
            std::fs::write(folder.path().join("config.toml"), text).unwrap();
            folder
        });
        let found = against(one.path(), other.path());
        let rows: Vec<[&str; 3]> = found.config.iter().map(|row| [0, 1, 2].map(|at| row[at].as_str())).collect();
        assert_eq!(rows, [["phases.sft.optimizer.lr", "0.002", "0.001"], ["phases.sft.optimizer.x", "", "1"]]);
        assert!(found.comparisons.is_empty() && found.refused.is_some());
    }
}
