//! What a report takes from a run's saved config.toml. It is read leniently: runs of earlier versions have keys that are
//! refused today.

use toml::{Table, Value};

use crate::config::{AuditConfig, WarnConfig};

/// A saved configuration; empty when it is absent or damaged.
#[derive(Debug, Default)]
pub(super) struct SavedConfig(Table);

impl SavedConfig {
    /// Reads a configuration; damage is noted in `missing`.
    pub(super) fn read(text: Option<&str>, missing: &mut Vec<String>) -> Self {
        let table = text.map(toml::from_str::<Table>);
        let table = table.and_then(|read| {
            read.map_err(|error| missing.push(format!("config.toml cannot be read: {}.", error.message()))).ok()
        });
        Self(table.unwrap_or_default())
    }

    /// The pairs that an evaluation asks to compare; none means the usual ones.
    pub(super) fn compare(&self, set: &str) -> Vec<[String; 2]> {
        let pairs = self.eval(set).and_then(|eval| eval.get("compare")).and_then(Value::as_array).into_iter().flatten();
        let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
            Some([Value::String(from), Value::String(to)]) => Some([from.clone(), to.clone()]),
            _ => None,
        };
        pairs.filter_map(pair).collect()
    }

    /// Names of the tasks of an evaluation that are no part of `all`. A source is named there, so that its own name and
    /// the task that its queries have are both given.
    pub(super) fn unaveraged(&self, set: &str) -> Vec<String> {
        let Some(eval) = self.eval(set) else { return Vec::new() };
        // Runs of earlier versions said `apart`.
        let named = eval.get("unaveraged").or_else(|| eval.get("apart")).map(strings).unwrap_or_default();
        named.into_iter().flat_map(|name| [self.task_of(&name), Some(name)]).flatten().collect()
    }

    /// Labels of the evaluations that follow a phase whose rewards were permuted.
    pub(super) fn shuffled(&self) -> Vec<String> {
        let phases = self.0.get("phases").and_then(Value::as_table).into_iter().flatten();
        let shuffled = phases.filter(|(_, phase)| phase.get("shuffle_rewards").and_then(Value::as_bool) == Some(true));
        // Runs of earlier versions gave the evaluation a name of its own.
        let label = |(name, phase): (&String, &Value)| {
            phase.get("eval_after").and_then(Value::as_str).unwrap_or(name).to_owned()
        };
        shuffled.map(label).collect()
    }

    /// The audit of a phase, where it has one.
    pub(super) fn audit(&self, phase: &str) -> Option<AuditConfig> {
        self.0.get("phases")?.get(phase)?.get("audit")?.clone().try_into().ok()
    }

    /// From where on the run warned; as today where it does not say.
    pub(super) fn warn(&self) -> WarnConfig {
        let table = self.0.get("run").and_then(|run| run.get("warn")).cloned();
        table.and_then(|table| table.try_into().ok()).unwrap_or_default()
    }

    /// The table of an evaluation. Runs of earlier versions have one that needs no name.
    fn eval(&self, set: &str) -> Option<&Table> {
        let eval = self.0.get("eval")?.as_table()?;
        if eval.values().all(Value::is_table) { eval.get(set)?.as_table() } else { Some(eval) }
    }

    /// The task that the queries of a source have, where the configuration says it.
    fn task_of(&self, source: &str) -> Option<String> {
        let source = self.0.get("data")?.get(source)?;
        let generated = source.get("source").and_then(Value::as_str).and_then(|text| text.strip_prefix("synthetic:"));
        let generated = generated.map(|text| text.split(['@', '[']).next().unwrap_or(text));
        source.get("task").and_then(Value::as_str).or(generated).map(str::to_owned)
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SavedConfig {
        let mut missing = Vec::new();
        let config = SavedConfig::read(Some(text), &mut missing);
        assert_eq!(missing, Vec::<String>::new());
        config
    }

    #[test]
    fn each_evaluation_has_its_own_pairs_and_tasks() {
        let config = read(
            "[data.shapes]\nsource = \"synthetic:describe@test[0:9]\"\n[data.maps]\nsource = \"maps.parquet\"\n\
             [eval.geo]\ndata = [\"maps\", \"shapes\"]\nunaveraged = [\"shapes\", \"maps\"]\n\
             compare = [[\"cold\", \"rl\"], [\"init\"], 3]\n[eval.other]\ndata = [\"maps\"]\n\
             [phases.rl]\nshuffle_rewards = true\n[phases.cold]\nkind = \"sft\"\n",
        );
        assert_eq!(config.compare("geo"), [["cold".to_owned(), "rl".to_owned()]]);
        assert_eq!(config.unaveraged("geo"), ["describe", "shapes", "maps"]);
        assert!(config.compare("other").is_empty() && config.unaveraged("other").is_empty());
        assert!(config.compare("absent").is_empty());
        assert_eq!(config.shuffled(), ["rl"]);
    }

    #[test]
    fn a_configuration_of_an_earlier_version_is_read_too() {
        let config = read(
            "[eval]\ntasks = [\"arith\"]\napart = [\"describe\"]\nsamples = 4\n\
             [phases.one]\nshuffle_rewards = true\neval_after = \"reasoning\"\n",
        );
        assert_eq!(config.unaveraged("heldout"), ["describe"]);
        assert!(config.compare("heldout").is_empty());
        assert_eq!(config.shuffled(), ["reasoning"]);
    }

    #[test]
    fn damage_is_noted() {
        let mut missing = Vec::new();
        assert!(SavedConfig::read(Some("[eval"), &mut missing).compare("geo").is_empty());
        assert!(missing[0].starts_with("config.toml cannot be read"), "{missing:?}");
    }
}
