//! The `[data.NAME]` table of a config: where a source lies, and how its rows become queries.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::Columns;
use crate::synthetic::Difficulty;

/// A named source of queries, for training and evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Where the rows are: `FILE.parquet`, `FILE.jsonl`, `FILE.json` (a list of rows), a folder, a glob of files
    /// (`data/train-*.parquet`), or a generated task (`synthetic:clock`). `@SPLIT` behind it chooses a split, and
    /// `[a:b]` the rows from a up to, not including, b: `geo3k.parquet@test[0:200]`. A relative path starts where
    /// the command is run.
    pub source: String,
    /// Name of the task, under which rewards, metrics and tables list the rows. Default: what the row's column
    /// `task`, `data_source` or `ability` says, else the source's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Name of the rubric that scores the rows, unless a row's column `rubric` names another. Default: the phase's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rubric: Option<String>,
    /// Which column holds what; needed only where the names are not recognised.
    #[serde(default, skip_serializing_if = "is_default")]
    pub columns: Columns,
    /// Template (minijinja) of the last user message, over the row's columns and `content`, the question as it was
    /// found: `{{ content }} Put the answer in \boxed{}.`; or the path of a file that holds the template. Default:
    /// the question as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// System message of every query; it replaces the row's own. Default: the row's own, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Keeps only the rows whose columns have these values, as in `{ language = "en" }`. Numbers are compared as
    /// they are written. Default: all rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<String, String>,
    /// How hard the questions are: `easy`, `medium` or `hard`; of generated tasks only. Default: medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<Difficulty>,
    /// Share of the demonstrations that answer at once, without working, between 0 and 1; of generated tasks only.
    /// Default: 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hasty: f64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_written_back() {
        let text = r#"{"source":"a.parquet@test","columns":{"question":"q"},"difficulty":"hard","hasty":0.5}"#;
        let config: SourceConfig = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&config).unwrap(), text);
        assert!(serde_json::from_str::<SourceConfig>(r#"{"source":"a","promt":"x"}"#).is_err());
    }

    #[test]
    fn every_key_is_documented() {
        let schema = serde_json::to_value(schemars::schema_for!(SourceConfig)).unwrap();
        for table in [&schema["properties"], &schema["$defs"]["Columns"]["properties"]] {
            let keys = table.as_object().unwrap();
            assert!(keys.len() >= 7);
            for (key, about) in keys {
                assert!(about["description"].is_string(), "{key}");
            }
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
