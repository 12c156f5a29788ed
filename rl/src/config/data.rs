//! Which named sources a phase or an evaluation uses, and how much of each.

use std::collections::BTreeMap;

use sapo_datasets::SourceConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::fault::{ConfigError, fault, must, nearest, number};

/// A named source as a phase uses it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceUse {
    /// The name of a source, as in `[data.NAME]`.
    #[serde(rename = "use")]
    pub name: String,
    /// Its share of every batch, relative to the others.
    #[serde(default = "one")]
    pub share: f64,
    /// The rubric for its queries here, in place of the source's and the phase's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rubric: Option<String>,
    /// In place of the source's `hasty`: the share of generated demonstrations that answer at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hasty: Option<f64>,
    /// In place of the source's `only`: columns with the value that they must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<BTreeMap<String, String>>,
    /// In place of the phase's `pool`, in reinforcement learning: the curate phase whose kept queries of this source are
    /// trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// The largest share, relative to the others.
const LARGEST_SHARE: f64 = 1e6;

fn one() -> f64 {
    1.0
}

impl SourceUse {
    /// A source with share 1 and nothing else said.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), share: 1.0, rubric: None, hasty: None, only: None, pool: None }
    }
}

impl Config {
    /// The source that is used, with what is said where it is used.
    ///
    /// # Errors
    /// When nobody defines it; the message has the nearest name.
    pub fn source(&self, used: &SourceUse, place: &str) -> Result<SourceConfig, ConfigError> {
        let mut source = self.data.get(&used.name).cloned().ok_or_else(|| {
            let guess = nearest(&used.name, self.data.keys().map(String::as_str));
            fault(place, format!("uses `{}`, but there is no [data.{0}]{guess}", used.name))
        })?;
        if let Some(hasty) = used.hasty {
            source.hasty = hasty;
        }
        if let Some(only) = &used.only {
            source.only.clone_from(only);
        }
        Ok(source)
    }

    /// The rubric for the queries of a source where a phase or an evaluation uses it.
    pub fn rubric_of<'a>(&'a self, used: &'a SourceUse, rubric: &'a str) -> &'a str {
        let source = self.data.get(&used.name).and_then(|source| source.rubric.as_deref());
        used.rubric.as_deref().or(source).unwrap_or(rubric)
    }

    /// Only reinforcement learning trains on what a curation kept.
    pub(super) fn refuse_pools(&self, place: &str, uses: &[SourceUse]) -> Result<(), ConfigError> {
        let none = uses.iter().all(|used| used.pool.is_none());
        must(none, format!("{place}.data"), "`pool` is for phases of reinforcement learning; leave it out")
    }

    /// What must hold of a list of sources and of the rubrics for them.
    pub(super) fn check_uses(&self, place: &str, uses: &[SourceUse], rubric: Option<&str>) -> Result<(), ConfigError> {
        must(!uses.is_empty(), format!("{place}.data"), "names no source; write data = [{ use = \"NAME\" }]")?;
        for (index, used) in uses.iter().enumerate() {
            let place = format!("{place}.data[{index}]");
            let share = used.share > 0.0 && used.share <= LARGEST_SHARE;
            must(share, format!("{place}.share"), &format!("is {:?}; it must be above 0, at most 1e6", used.share))?;
            let once = uses[..index].iter().all(|other| other.name != used.name);
            must(once, &place, "a source may be used once; add up its shares")?;
            self.source(used, &place)?;
            number(format!("{place}.hasty"), used.hasty.unwrap_or(0.0), 0.0..=1.0)?;
            if let Some(rubric) = rubric {
                self.named_rubric(&place, self.rubric_of(used, rubric))?;
            }
        }
        Ok(())
    }
}
