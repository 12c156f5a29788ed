//! Rollouts as a run stored them, with the queries that they answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sapo_datasets::{Message, Picture, Query, Role, StopReason, Transcript, Turn};
use sapo_rewards::Score;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::error::{Result, RunError};
use crate::run_dir::read_lines;

/// Files of rollouts, and the run that they belong to.
#[derive(Clone, Debug)]
pub struct Rollouts {
    /// The files, by name.
    pub files: Vec<PathBuf>,
    /// The run's folder, which holds `queries.jsonl`.
    pub run: PathBuf,
}

/// Finds the rollouts of a run's folder, of its `rollouts/`, or of one file.
///
/// # Errors
/// When there are none, or no run around them.
pub fn find(place: &Path) -> Result<Rollouts> {
    let metadata = std::fs::metadata(place).map_err(|source| RunError::io(place, source))?;
    let files = if metadata.is_dir() {
        let folder = if place.join("rollouts").is_dir() { place.join("rollouts") } else { place.to_owned() };
        let entries = std::fs::read_dir(&folder).map_err(|source| RunError::io(&folder, source))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl") && !is_other(path));
        files.sort_by_key(|path| (step_of(path), path.clone()));
        files
    } else {
        vec![place.to_owned()]
    };
    let absolute = std::fs::canonicalize(place).map_err(|source| RunError::io(place, source))?;
    let run = absolute.ancestors().take(4).find(|folder| folder.join("queries.jsonl").is_file());
    match (files.is_empty(), run) {
        (false, Some(run)) => Ok(Rollouts { files, run: run.to_owned() }),
        (true, _) => Err(RunError::User(format!(
            "{} holds no rollouts; name a run's folder, its rollouts/, or a file of rollouts",
            place.display()
        ))),
        (false, None) => Err(RunError::User(format!(
            "no queries.jsonl lies beside or above {}; rollouts are scored with the queries of their run",
            place.display()
        ))),
    }
}

/// Files of a run's folder that hold something else.
fn is_other(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    ["metrics.jsonl", "queries.jsonl", crate::ledger::FILE, crate::audit::FILE].iter().any(|other| name == *other)
}

/// The configuration that lies with the rollouts.
///
/// # Errors
/// When there is none.
pub fn config_of(place: &Path) -> Result<PathBuf> {
    let path = find(place)?.run.join("config.toml");
    if path.is_file() {
        return Ok(path);
    }
    Err(RunError::User(format!("{} is not there; say --config FILE.toml", path.display())))
}

/// `reasoning` and 12 of `reasoning-000012.jsonl`.
fn name_of(path: &Path) -> Option<(String, u64)> {
    let (phase, step) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    Some((phase.to_owned(), step.parse().ok()?))
}

/// The phase that a file of rollouts belongs to.
pub(super) fn phase_of(path: &Path, config: &Config) -> Option<String> {
    name_of(path).map(|(phase, _)| phase).filter(|phase| config.phases.contains_key(phase))
}

/// The step that a file of rollouts, or of an evaluation's samples, belongs to: 12 of `reasoning-000012.jsonl` and of
/// `heldout-000012/samples.jsonl`.
pub(crate) fn step_of(path: &Path) -> Option<u64> {
    let named = if path.ends_with("samples.jsonl") { path.parent()? } else { path };
    name_of(named).map(|(_, step)| step)
}

/// A stored rollout.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) file: String,
    /// Its line in the file, from 1.
    pub(super) number: usize,
    pub(super) phase: Option<String>,
    pub(super) task: String,
    /// The rubric that scored it; files of earlier versions do not say.
    pub(super) rubric: Option<String>,
    pub(super) sample: u64,
    pub(super) transcript: Transcript,
    pub(super) score: Score,
    /// The advantage that the file holds; absent in files that hold none.
    pub(super) advantage: Option<Option<f64>>,
}

/// Reads a file of rollouts, or of an evaluation's samples.
pub(super) fn read(path: &Path, config: &Config) -> Result<Vec<Stored>> {
    let phase = phase_of(path, config);
    let lines = read_lines(path)?;
    let stored = lines.iter().enumerate().map(|(index, line)| {
        one(line, &phase, config, path, index + 1)
            .map_err(|reason| RunError::User(format!("{} line {}: {reason}", path.display(), index + 1)))
    });
    stored.collect()
}

fn one(
    line: &Value,
    phase: &Option<String>,
    config: &Config,
    path: &Path,
    number: usize,
) -> std::result::Result<Stored, String> {
    let query_id: String = field(line, "query_id")?;
    let turns: Vec<Turn> = match line.get("turns") {
        Some(_) => field(line, "turns")?,
        None => vec![Turn { role: Role::Assistant, text: field(line, "text")? }],
    };
    let tokens = match &line["tokens"] {
        // Tokens of tools are among the ids, and have no log-prob.
        Value::Array(tokens) => line["log_probs"].as_array().map_or(tokens.len(), Vec::len),
        number => number.as_u64().ok_or("`tokens` must be a list or a number")? as usize,
    };
    // Where nothing was injected, the ids of the file are those that the policy sampled.
    let token_ids: Vec<u32> = match &line["tokens"] {
        Value::Array(ids) if ids.len() == tokens => field(line, "tokens")?,
        _ => Vec::new(),
    };
    let limit = line["token_limit"].as_u64().map(|limit| limit as usize);
    let limit_of_phase =
        phase.as_ref().and_then(|phase| Some(config.phases.get(phase)?.as_rl()?.sampling.max_new_tokens));
    let text: String = turns.iter().map(|turn| turn.text.as_str()).collect();
    // Files of earlier versions do not say whether the prompt opened the thinking.
    let opened = text.contains("</think>") && !text.contains("<think>");
    let stop: StopReason = field(line, "stop")?;
    Ok(Stored {
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        number,
        phase: phase.clone(),
        task: line["task"].as_str().unwrap_or_default().to_owned(),
        rubric: line["rubric"].as_str().map(str::to_owned),
        sample: line["sample"].as_u64().ok_or("`sample` must be a number")?,
        score: field(line, "score")?,
        advantage: line.get("advantage").map(Value::as_f64),
        transcript: Transcript {
            turns,
            calls: line.get("calls").map_or(Ok(Vec::new()), |_| field(line, "calls"))?,
            tokens,
            token_ids,
            token_limit: limit.or(limit_of_phase).unwrap_or(usize::MAX),
            stop,
            thinking_open: line["thinking_open"].as_bool().unwrap_or(opened),
            ..Transcript::of_answer(query_id, "")
        },
    })
}

fn field<T: DeserializeOwned>(line: &Value, key: &str) -> std::result::Result<T, String> {
    serde_json::from_value(line[key].clone()).map_err(|error| format!("`{key}`: {error}"))
}

/// The queries of a run.
pub(crate) struct Queries {
    run: PathBuf,
    lines: BTreeMap<String, Value>,
    with_pictures: bool,
}

impl Queries {
    /// Reads the queries of a run; their pictures only when they are looked at, and with `with_pictures` alone.
    pub(crate) fn open(run: &Path, with_pictures: bool) -> Result<Self> {
        let lines = read_lines(&run.join("queries.jsonl"))?;
        let named = |line: Value| Some((line["id"].as_str()?.to_owned(), line));
        Ok(Self { run: run.to_owned(), lines: lines.into_iter().filter_map(named).collect(), with_pictures })
    }

    /// The query that a rollout answers.
    pub(super) fn get(&self, line: &Stored) -> Result<Query> {
        let place = |error: RunError| RunError::User(format!("{} line {}: {error}", line.file, line.number));
        self.query(&line.transcript.query_id).map_err(place)
    }

    /// The query of an id.
    pub(crate) fn query(&self, id: &str) -> Result<Query> {
        let stored = self.lines.get(id).ok_or_else(|| {
            RunError::User(format!("query `{id}` is not in {}", self.run.join("queries.jsonl").display()))
        })?;
        let wrong = |reason: String| RunError::User(format!("query `{id}`: {reason}"));
        let messages: Vec<Message> = field(stored, "messages").map_err(wrong)?;
        let mut images = Vec::new();
        for hash in stored["images"].as_array().into_iter().flatten().filter(|_| self.with_pictures) {
            let hash = hash.as_str().unwrap_or_default();
            let at = |end: &str| self.run.join("images").join(format!("{hash}.{end}"));
            let path = &Picture::extensions().map(at).find(|path| path.is_file()).unwrap_or_else(|| at("png"));
            let bytes = std::fs::read(path).map_err(|source| RunError::io(path, source))?;
            images.push(Picture::from_bytes(bytes, &path.display().to_string())?);
        }
        Ok(Query {
            id: id.to_owned(),
            task: stored["task"].as_str().unwrap_or_default().to_owned(),
            messages,
            conversational: stored["conversational"] == true,
            images,
            videos: Vec::new(), // no reward looks at them
            ground_truth: Some(stored["ground_truth"].clone()).filter(|truth| !truth.is_null()),
            rubric: stored["rubric"].as_str().map(str::to_owned),
            tools: stored.get("tools").map_or(Ok(Vec::new()), |_| field(stored, "tools")).map_err(wrong)?,
            columns: stored["columns"].as_object().cloned().unwrap_or_default(),
        })
    }
}
