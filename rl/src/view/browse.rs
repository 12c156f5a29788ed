//! Every rollout that a run has on disk, by groups: which files there are, and a page of one of them, filtered and sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use sapo_policies::processor::Tokenizer;
use serde_json::{Value, json};

use super::run::Run;
use crate::report::prompt_of;
use crate::rescoring::step_of;

/// Groups on a page.
const PAGE: usize = 20;
/// Tokens of an answer that are shown with their log-probs.
const TOKENS: usize = 4096;

/// Which groups are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// A file of [`files`].
    pub(super) file: String,
    /// `all`, `mixed`, `right`, `wrong`, `truncated`, `unscored`, `no_answer` or `disagree`.
    pub(super) filter: String,
    /// `file`, `best`, `worst` or `mixed`.
    pub(super) sort: String,
    /// A task; all where it is empty.
    pub(super) task: String,
    /// Words that the query's id or an answer holds; all where it is empty.
    pub(super) words: String,
    /// The page, from 0.
    pub(super) page: usize,
}

/// The files of rollouts and of samples, the newest first.
pub(super) fn files(run: &Run) -> Vec<Value> {
    let mut found: Vec<(String, &str)> = Vec::new();
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for name in names(&run.folder.join("rollouts")).into_iter().rev().filter(|name| name.ends_with(".jsonl")) {
        found.push((format!("rollouts/{name}"), "training"));
    }
    for name in names(&run.folder.join("eval")).into_iter().rev() {
        found.push((format!("eval/{name}/samples.jsonl"), "evaluation"));
    }
    found.push(("samples.jsonl".to_owned(), "evaluation"));
    let there = found.into_iter().filter(|(file, _)| run.folder.join(file).is_file());
    there.map(|(file, kind)| json!({"file": file, "kind": kind, "step": step_of(Path::new(&file))})).collect()
}

/// A page of the groups of a file; `None` when the run has no such file.
pub(super) fn groups(run: &Run, asked: &Asked) -> Option<Value> {
    let known = files(run).into_iter().any(|facts| facts["file"] == asked.file.as_str());
    let path = run.folder.join(&asked.file);
    let lines = if known { BufReader::new(File::open(path).ok()?).split(b'\n') } else { return None };
    let (mut order, mut by_id): (Vec<String>, BTreeMap<String, Vec<Value>>) = Default::default();
    let mut tasks = BTreeSet::new();
    for line in lines.map_while(Result::ok) {
        let Ok(line) = serde_json::from_slice::<Value>(&line) else { continue };
        let Some(id) = line["query_id"].as_str().map(str::to_owned) else { continue };
        tasks.extend(line["task"].as_str().map(str::to_owned));
        let group = by_id.entry(id.clone()).or_default();
        if group.is_empty() {
            order.push(id);
        }
        group.push(line);
    }
    let mut chosen: Vec<(String, Vec<Value>)> =
        order.into_iter().filter_map(|id| by_id.remove(&id).map(|group| (id, group))).collect();
    let all = chosen.len();
    chosen.retain(|(id, group)| fits(asked, id, group));
    match asked.sort.as_str() {
        "best" => chosen.sort_by(|(_, a), (_, b)| mean(b).total_cmp(&mean(a))),
        "worst" => chosen.sort_by(|(_, a), (_, b)| mean(a).total_cmp(&mean(b))),
        "mixed" => chosen.sort_by(|(_, a), (_, b)| unevenness(a).total_cmp(&unevenness(b))),
        _ => {}
    }
    let fitting = chosen.len();
    let shown: Vec<(String, Vec<Value>)> = chosen.into_iter().skip(asked.page * PAGE).take(PAGE).collect();
    let ids: BTreeSet<&str> = shown.iter().map(|(id, _)| id.as_str()).collect();
    let (queries, tokenizer) = (queries(run, &ids), tokenizer(run));
    let view = |(id, group): &(String, Vec<Value>)| {
        let asked = queries.get(id).cloned().unwrap_or_else(|| own_query(&group[0]));
        let answers: Vec<Value> = group.iter().map(|line| answer(line, tokenizer.as_ref())).collect();
        json!({"query_id": id, "task": group[0]["task"], "query": asked, "answers": answers,
            "rate": rate(group), "reward": finite(mean(group))})
    };
    Some(json!({"groups": shown.iter().map(view).collect::<Vec<_>>(), "fitting": fitting, "all": all,
        "page": asked.page, "pages": fitting.div_ceil(PAGE), "tasks": tasks}))
}

fn fits(asked: &Asked, id: &str, group: &[Value]) -> bool {
    let (passed, failed) = verdicts(group);
    let any = |is_so: fn(&Value) -> bool| group.iter().any(is_so);
    let kind = match asked.filter.as_str() {
        "mixed" => passed > 0 && failed > 0,
        "right" => passed > 0 && failed == 0,
        "wrong" => passed == 0 && failed > 0,
        "truncated" => any(|line| line["stop"] == "length"),
        "unscored" => any(|line| line["score"]["passed"].is_null()),
        "no_answer" => any(|line| line["score"]["parts"]["correct"]["extracted"].is_null()),
        "disagree" => any(disagrees),
        _ => true,
    };
    let words = asked.words.to_lowercase();
    let said = || group.iter().any(|line| line.to_string().to_lowercase().contains(&words));
    let of_task = asked.task.is_empty() || group[0]["task"] == asked.task.as_str();
    kind && of_task && (words.is_empty() || id.to_lowercase().contains(&words) || said())
}

/// Whether parts that tell right from wrong say different things of an answer, such as a judge and a rule.
fn disagrees(line: &Value) -> bool {
    let parts = line["score"]["parts"].as_object().into_iter().flatten();
    let told = parts.filter(|(_, part)| part["weight"].as_f64().is_some_and(|weight| weight >= 0.0));
    let verdicts: Vec<f64> = told.filter_map(|(_, part)| part["value"].as_f64()).collect();
    verdicts.contains(&0.0) && verdicts.contains(&1.0)
}

fn verdicts(group: &[Value]) -> (usize, usize) {
    let count = |wanted: bool| group.iter().filter(|line| line["score"]["passed"] == wanted).count();
    (count(true), count(false))
}

fn rate(group: &[Value]) -> Option<f64> {
    let (passed, failed) = verdicts(group);
    (passed + failed > 0).then(|| passed as f64 / (passed + failed) as f64)
}

fn unevenness(group: &[Value]) -> f64 {
    rate(group).map_or(1.0, |rate| (rate - 0.5).abs())
}

/// The mean reward; those without one come last however groups are sorted.
fn mean(group: &[Value]) -> f64 {
    let totals: Vec<f64> = group.iter().filter_map(|line| line["score"]["total"].as_f64()).collect();
    if totals.is_empty() { f64::NAN } else { totals.iter().sum::<f64>() / totals.len() as f64 }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// What an answer shows: what was said, its verdict and parts, and its tokens with their log-probs.
fn answer(line: &Value, tokenizer: Option<&Tokenizer>) -> Value {
    let turns = line["turns"].as_array().cloned().unwrap_or_default();
    let text = line["text"]
        .as_str()
        .map(str::to_owned)
        .unwrap_or_else(|| turns.iter().filter_map(|turn| turn["text"].as_str()).collect::<Vec<_>>().join("\n"));
    let mut shown = json!({"text": text, "tokens": tokens(line, tokenizer)});
    for key in ["sample", "greedy", "stop", "score", "advantage", "in_loss", "policy_version", "seed", "thinking_open"]
    {
        shown[key] = line[key].clone();
    }
    if turns.len() > 1 {
        shown["turns"] = Value::Array(turns);
    }
    shown
}

/// The texts of the sampled tokens with their log-probs; a character that several tokens make stands at the last of them.
fn tokens(line: &Value, tokenizer: Option<&Tokenizer>) -> Option<Vec<(String, f64)>> {
    let tokenizer = tokenizer?;
    let ids: Vec<u32> = serde_json::from_value(line["tokens"].clone()).ok()?;
    let log_probs: Vec<f64> = serde_json::from_value(line["log_probs"].clone()).ok()?;
    if ids.len() != log_probs.len() || ids.len() > TOKENS {
        return None;
    }
    let mut shown = Vec::with_capacity(ids.len());
    let mut bytes: Vec<u8> = Vec::new();
    for (id, log_prob) in ids.iter().zip(log_probs) {
        bytes.extend_from_slice(tokenizer.bytes().get(*id));
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(error) if error.error_len().is_none() => String::new(),
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        if !text.is_empty() || bytes.is_empty() {
            bytes.clear();
        }
        shown.push((text, log_prob));
    }
    Some(shown)
}

/// The tokenizer of the newest checkpoint, if there is one.
fn tokenizer(run: &Run) -> Option<Tokenizer> {
    let entries = std::fs::read_dir(run.folder.join("checkpoints")).ok()?.flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path().join("policy/tokenizer.json")).collect();
    paths.sort();
    let path = paths.into_iter().rev().find(|path| path.is_file())?;
    Tokenizer::from_bytes(&std::fs::read(path).ok()?, "tokenizer.json").ok()
}

/// The queries of these ids as the run recorded them.
fn queries(run: &Run, ids: &BTreeSet<&str>) -> BTreeMap<String, Value> {
    let around = [run.folder.clone(), run.folder.join(".."), run.folder.join("../..")];
    let files = around.iter().map(|folder| folder.join("queries.jsonl"));
    let Some(file) = files.into_iter().find_map(|path| File::open(path).ok()) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        let Ok(query) = serde_json::from_slice::<Value>(&line) else { continue };
        let Some(id) = query["id"].as_str().filter(|id| ids.contains(id)) else { continue };
        let shown = json!({"question": prompt_of(&query["messages"]), "truth": query["ground_truth"], "images": query["images"]});
        found.insert(id.to_owned(), shown);
        if found.len() == ids.len() {
            break;
        }
    }
    found
}

/// What a line of samples says of its query by itself.
fn own_query(line: &Value) -> Value {
    json!({"question": line["question"], "truth": line["truth"], "images": line["images"]})
}
