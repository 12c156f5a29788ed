//! What a low-rank adapter is: beside a linear map `x W` a product `s (x A) B` is learned, and `W` stays as it is.
//!
//! Which maps get one is said as PEFT says it (`targets`). What gives a policy an adapter is in `adapt`.

mod targets;

use serde::{Deserialize, Serialize};

pub use self::targets::Targets;
pub(crate) use self::targets::{ByPattern, Module, as_peft_reads_them, choose, no_adapter_beside};

/// The largest rank: no linear map of any model is wider.
const MAX_RANK: usize = 1 << 16;
/// The largest alpha.
pub(crate) const MAX_ALPHA: f64 = 1e6;

/// What a new adapter is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// The low rank.
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// The linear maps that get an adapter.
    pub targets: Targets,
    /// Those of them that get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Targets>,
    /// Multiplies by `alpha / sqrt(rank)` instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rslora: bool,
}

/// What the adapter of a policy is, as its files say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Rank and targets.
    pub lora: LoraConfig,
    /// Maps with another rank, by regular expression.
    pub rank_pattern: Vec<(String, usize)>,
    /// Maps with another alpha, by regular expression.
    pub alpha_pattern: Vec<(String, f64)>,
    /// The model that it belongs to, as a path.
    pub base_model: Option<String>,
}

impl LoraConfig {
    /// The key that is wrong whatever the model, and what must hold of it, if there is one.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        if !(1..=MAX_RANK).contains(&self.rank) {
            return Some(("rank", format!("is {}; it must be at least 1 and at most {MAX_RANK}", self.rank)));
        }
        if !(self.alpha > 0.0 && self.alpha <= MAX_ALPHA) {
            return Some(("alpha", format!("is {}; it must be a number above 0, at most {MAX_ALPHA}", self.alpha)));
        }
        let exclude = || Some(("exclude", self.exclude.as_ref()?.fault()?));
        self.targets.fault().map(|reason| ("targets", reason)).or_else(exclude)
    }

    /// What the product `A B` is multiplied by.
    pub(crate) fn scale(rank: usize, alpha: f64, rslora: bool) -> f64 {
        if rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_keys_that_are_read_and_no_others() {
        let schema = serde_json::to_value(schemars::schema_for!(LoraConfig)).expect("a schema is JSON");
        let properties = schema["properties"].as_object().expect("an object");
        let mut keys: Vec<&str> = properties.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["alpha", "exclude", "rank", "rslora", "targets"]);
        assert!(properties.values().all(|property| property["description"].is_string()), "{schema}");
        assert_eq!(schema["additionalProperties"], false);
        let mut required: Vec<&str> =
            schema["required"].as_array().expect("a list").iter().filter_map(serde_json::Value::as_str).collect();
        required.sort_unstable();
        assert_eq!(required, ["alpha", "rank", "targets"]);
    }
}
