//! Curves of several runs in one picture: a metric of each by its steps, and which runs differ in their seed alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::run::Run;
use crate::metrics::sha256;

/// The metric that is shown first, where it is there.
const FIRST: &str = "train/reward/mean";
/// Lines of a configuration by which seeds of one run differ.
const OF_SEED: [&str; 3] = ["seed", "name", "dir"];

/// The names of all metrics of the runs, the first of them to begin with.
pub(super) fn names(runs: &[Run]) -> Value {
    let mut names = BTreeSet::new();
    for run in runs {
        lines(run, |line| {
            let numbers = line.as_object().into_iter().flatten().filter(|(_, value)| value.is_number());
            names.extend(numbers.map(|(name, _)| name.clone()).filter(|name| name.contains('/')));
        });
    }
    let first = names.get(FIRST).or_else(|| names.first()).cloned();
    json!({"first": first, "names": names, "runs": runs.iter().map(|run| &run.name).collect::<Vec<_>>()})
}

/// A metric of every run: points of step and value; runs whose configurations differ in seed and name alone have one `pool`.
pub(super) fn of(runs: &[Run], metric: &str) -> Value {
    let of_run = |run: &Run| {
        let mut points: Vec<(f64, f64)> = Vec::new();
        lines(run, |line| points.extend(line["step"].as_f64().zip(line[metric].as_f64())));
        json!({"name": run.name, "pool": pool(run), "points": points})
    };
    Value::Array(runs.iter().map(of_run).collect())
}

fn lines(run: &Run, mut take: impl FnMut(&Value)) {
    let Ok(file) = File::open(run.folder.join("metrics.jsonl")) else { return };
    // The last line may be half written.
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        if let Ok(line) = serde_json::from_slice(&line) {
            take(&line);
        }
    }
}

fn pool(run: &Run) -> Option<String> {
    let text = std::fs::read_to_string(run.folder.join("config.toml")).ok()?;
    let mut table: toml::Table = text.parse().ok()?;
    let of_run = table.get_mut("run")?.as_table_mut()?;
    OF_SEED.iter().for_each(|key| _ = of_run.remove(*key));
    Some(sha256(table.to_string().as_bytes()))
}
