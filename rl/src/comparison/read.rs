//! Reads recorded evaluations: the folders that `sapo eval --out` writes, and those in the `eval/` of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Result, RunError};
use crate::eval::{ALL, Evaluation};
use crate::metrics::sha256;

/// What an evaluation's folder holds.
const RESULTS: &str = "results.json";
const SAMPLES: &str = "samples.jsonl";

/// A recorded evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Its folder.
    pub place: String,
    /// The set of queries.
    pub set: String,
    /// What it came after: a phase, or the model that was named.
    pub after: String,
    /// The step of the run.
    pub step: u64,
    /// The seed of its samples and intervals.
    pub(super) seed: u64,
    /// Tasks that are no part of `all`.
    pub(super) unaveraged: Vec<String>,
    /// How answers were sampled, by the names that people know.
    pub(super) sampling: BTreeMap<&'static str, String>,
    /// Its queries by id.
    pub(super) queries: BTreeMap<String, RecordedQuery>,
    /// Tasks in the order of its rows.
    pub(super) order: Vec<String>,
}

/// What was asked and how it was answered. Records of earlier versions do not say what was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RecordedQuery {
    pub(super) task: String,
    pub(super) truth: Option<Value>,
    pub(super) images: Option<Value>,
    /// Hash of the rendered prompt.
    pub(super) prompt: Option<String>,
    pub(super) rubric: String,
    pub(super) sampled: Vec<Option<bool>>,
    pub(super) greedy: Vec<Option<bool>>,
}

impl RecordedQuery {
    /// The verdicts of its sampled or of its greedy answers.
    pub(super) fn passes(&self, greedy: bool) -> &[Option<bool>] {
        if greedy { &self.greedy } else { &self.sampled }
    }
}

/// The evaluations of a place, one for each set of queries: an evaluation's folder, the folder that `sapo eval --out` wrote
/// for several sets, or a run's folder, of which the last evaluation of each set counts.
///
/// # Errors
/// When nothing lies there, or what lies there is no evaluation.
pub(super) fn open(place: &Path) -> Result<Vec<Recorded>> {
    let fault = |reason: &str| Err(RunError::User(format!("{} {reason}", place.display())));
    if !place.exists() {
        return fault(
            "is not there; name a folder that `sapo eval --out` wrote, a run, RUN/eval/NAME-000100, or a JSONL file of verdicts",
        );
    }
    if place.join(RESULTS).is_file() {
        return Ok(vec![Recorded::read(place)?]);
    }
    let in_run = place.join("eval");
    let folders = within(if in_run.is_dir() { &in_run } else { place });
    let mut last: BTreeMap<String, (u64, PathBuf)> = BTreeMap::new();
    for folder in folders {
        let results = results(&folder)?;
        let (set, step) = (set_of(&results, &folder), results["step"].as_u64().unwrap_or(0));
        if last.get(&set).is_none_or(|known| known.0 <= step) {
            last.insert(set, (step, folder));
        }
    }
    if last.is_empty() {
        return fault(
            "holds no evaluation: neither results.json nor, as a run has, eval/NAME-000100/results.json; name a folder that \
             `sapo eval --out` wrote, or a run that has evaluated",
        );
    }
    last.values().map(|(_, folder)| Recorded::read(folder)).collect()
}

/// The folders of evaluations in a folder, in the order of their names.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.join(RESULTS).is_file()).collect();
    folders.sort();
    folders
}

fn results(folder: &Path) -> Result<Value> {
    let path = folder.join(RESULTS);
    let bytes = std::fs::read(&path).map_err(|source| RunError::io(&path, source))?;
    let results: Value = serde_json::from_slice(&bytes)
        .map_err(|error| RunError::User(format!("{}: not JSON ({error})", path.display())))?;
    if results["tasks"].is_array() {
        return Ok(results);
    }
    Err(RunError::User(format!("{}: not the results of an evaluation: `tasks` is missing", path.display())))
}

/// The set of an evaluation; earlier versions called it `name`.
fn set_of(results: &Value, folder: &Path) -> String {
    let said = [&results["set"], &results["name"]].into_iter().filter_map(Value::as_str).find(|name| !name.is_empty());
    let folder = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    said.map_or_else(|| folder.rsplit_once('-').map_or(folder.clone(), |(name, _)| name.to_owned()), str::to_owned)
}

impl Recorded {
    fn read(folder: &Path) -> Result<Self> {
        let mut read = Self::of_results(&results(folder)?, folder);
        let path = folder.join(SAMPLES);
        let file = File::open(&path).map_err(|source| RunError::io(&path, source))?;
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|source| RunError::io(&path, source))?;
            let sample: Value = serde_json::from_str(&line).map_err(|error| {
                RunError::User(format!("{} line {}: not JSON ({error})", path.display(), index + 1))
            })?;
            if !read.add(&sample) {
                let place = format!("{} line {}", path.display(), index + 1);
                return Err(RunError::User(format!("{place}: not a sample: `query_id` or `task` is missing")));
            }
        }
        if read.queries.is_empty() {
            return Err(RunError::User(format!("{} has no samples, so there is nothing to compare", path.display())));
        }
        Ok(read)
    }

    /// An evaluation that was just made, and is called so.
    pub fn of(evaluation: &Evaluation, place: &str) -> Self {
        let mut read = Self::of_results(&evaluation.results(0), Path::new(place));
        evaluation.samples.iter().for_each(|sample| _ = read.add(sample));
        read
    }

    fn of_results(results: &Value, folder: &Path) -> Self {
        let unaveraged = results["unaveraged"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let keys = [
            ("samples", "samples a query"),
            ("temperature", "temperature"),
            ("top_p", "top_p"),
            ("top_k", "top_k"),
            ("presence_penalty", "presence penalty"),
            ("max_new_tokens", "token limit"),
        ];
        let said = keys.into_iter().filter(|(key, _)| !results[*key].is_null());
        let rows = results["tasks"].as_array().into_iter().flatten().filter_map(|row| row["task"].as_str());
        Self {
            place: folder.display().to_string(),
            set: set_of(results, folder),
            after: results["after"].as_str().unwrap_or_default().to_owned(),
            step: results["step"].as_u64().unwrap_or(0),
            seed: results["seed"].as_u64().unwrap_or(0),
            unaveraged: unaveraged.map(str::to_owned).collect(),
            sampling: said.map(|(key, name)| (name, results[key].to_string())).collect(),
            queries: BTreeMap::new(),
            order: rows.filter(|task| *task != ALL).map(str::to_owned).collect(),
        }
    }

    /// The ids of its queries.
    pub fn ids(&self) -> BTreeSet<&str> {
        self.queries.keys().map(String::as_str).collect()
    }

    /// Takes a line of the samples in; false where it is none.
    fn add(&mut self, sample: &Value) -> bool {
        let (Some(id), Some(task)) = (sample["query_id"].as_str(), sample["task"].as_str()) else { return false };
        if !self.order.iter().any(|known| known == task) {
            self.order.push(task.to_owned());
        }
        let query = self.queries.entry(id.to_owned()).or_insert_with(|| RecordedQuery {
            task: task.to_owned(),
            truth: sample.get("truth").cloned(),
            images: sample.get("images").cloned(),
            prompt: sample["prompt"].as_str().map(|prompt| sha256(prompt.as_bytes())),
            rubric: sample["rubric"].as_str().unwrap_or_default().to_owned(),
            ..RecordedQuery::default()
        });
        let passes = if sample["greedy"] == true { &mut query.greedy } else { &mut query.sampled };
        passes.push(sample["score"]["passed"].as_bool());
        true
    }

    /// Its tasks: those that count first, each kind in the order of its rows.
    pub(super) fn tasks(&self) -> Vec<&str> {
        let counted = |task: &&String| !self.unaveraged.contains(task);
        let (counted, apart): (Vec<&String>, Vec<&String>) = self.order.iter().partition(counted);
        counted.into_iter().chain(apart).map(String::as_str).collect()
    }
}
