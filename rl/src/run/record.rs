//! The recorder: the one writer of a run's files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sapo_datasets::{Picture, Query};
use sapo_rollouts::Turn;
use serde_json::{Value, json};

use super::pictures;
use super::shown::shown;
use crate::audit::{self, Audited};
use crate::curation::Curation;
use crate::data::Rejected;
use crate::error::{Result, RunError};
use crate::eval::Evaluation;
use crate::gates::{self, Gates};
use crate::ledger::{self, Ledger, LedgerEntry};
use crate::metrics::Metrics;
use crate::mlflow::Mlflow;
use crate::progress::Progress;
use crate::prometheus;
use crate::run_dir::{EVENTS, REJECTED, RunDir, read_lines};
use crate::sample::{ScoredGroup, ScoredRollout};
use crate::tensorboard;

/// The folder of curations, in a run's: the record of each, what it kept, its summary and its picture.
pub const CURATION: &str = "curation";

/// Which rollouts of a step are trained on.
#[derive(Clone, Copy, Debug)]
pub enum InLoss<'a> {
    /// None.
    None,
    /// All, without advantages.
    All,
    /// Those with an advantage: those of every group, `None` where it is not trained on; and the gates of their tokens.
    By(&'a [Option<Vec<Option<f64>>>], &'a Gates),
}

/// Writes what a run leaves behind.
pub struct Recorder<'a> {
    dir: RunDir<'a>,
    ledger: Ledger,
    logged: BTreeSet<String>,
    rejected: BTreeSet<(String, u64)>,
    /// Pictures that were written, and are not there any more, by their hashes.
    lost: BTreeSet<String>,
    lines: Vec<Value>,
    progress: &'a dyn Progress,
    mlflow: Option<Mlflow>,
}

impl<'a> Recorder<'a> {
    /// A recorder of a new run's folder.
    pub fn new(dir: RunDir<'a>, progress: &'a dyn Progress) -> Self {
        let (ledger, logged, rejected, lost, lines) = Default::default();
        Self { dir, ledger, logged, rejected, lost, lines, progress, mlflow: None }
    }

    /// From now on every step is told to this server too.
    pub fn tell(&mut self, mlflow: Mlflow) {
        self.mlflow = Some(mlflow);
    }

    /// Says how the run has ended to whoever else was told of it.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn finish(&mut self, status: &str) -> Result<()> {
        let left = self.mlflow.take().and_then(|mlflow| mlflow.finish(status));
        left.map_or(Ok(()), |left| self.say(&left))
    }

    /// Reads what the run has written so far, so that nothing is written twice. Gives a word of the pictures that are not there
    /// any more, if some are not.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn catch_up(&mut self) -> Result<Option<String>> {
        let path = self.dir.path();
        self.lines = read_lines(&path.join("metrics.jsonl"))?;
        let queries = read_lines(&path.join("queries.jsonl"))?;
        self.logged = queries.iter().filter_map(|line| line["id"].as_str().map(str::to_owned)).collect();
        self.lost = pictures::lost(path, &queries)?;
        let rejected = read_lines(&path.join(REJECTED))?;
        let row = |line: &Value| Some((line["source"].as_str()?.to_owned(), line["index"].as_u64()?));
        self.rejected = rejected.iter().filter_map(row).collect();
        self.ledger = Ledger::open(path)?;
        self.make_events()?;
        Ok(pictures::said(&self.lost))
    }

    /// Makes the TensorBoard file again from the metrics, where it is gone.
    fn make_events(&self) -> Result<()> {
        if self.lines.is_empty() || self.dir.path().join(EVENTS).exists() {
            return Ok(());
        }
        let mut bytes = tensorboard::header(now_secs());
        self.lines.iter().for_each(|line| bytes.extend(tensorboard::events(line, now_secs())));
        self.dir.append_bytes(EVENTS, &bytes)
    }

    /// The run's folder.
    pub fn dir(&self) -> &RunDir<'a> {
        &self.dir
    }

    /// The run's folder as a path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The lines of the metrics so far.
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// From now on a full disk is not waited for.
    pub fn do_not_wait(&mut self) {
        self.dir = self.dir.without_waiting();
    }

    /// Says something, and keeps it in the run's log.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn say(&self, text: &str) -> Result<()> {
        self.progress.say(text);
        self.log(text)
    }

    /// Keeps something in the run's log.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn log(&self, text: &str) -> Result<()> {
        self.dir.append_bytes("log.txt", format!("{} {text}\n", jiff::Timestamp::now()).as_bytes())
    }

    /// Begins the files that have a beginning.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(&self, config: &str) -> Result<()> {
        self.dir.write("config.toml", config.as_bytes())?;
        self.dir.append_bytes(EVENTS, &tensorboard::header(now_secs()))
    }

    /// Writes the metrics of a step.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn step(&mut self, step: u64, phase: &str, metrics: &Metrics, secs: f64) -> Result<()> {
        let line = metrics.line(step, phase, secs);
        self.dir.replace(prometheus::FILE, prometheus::text(&line).as_bytes())?;
        self.metrics_line(line)?;
        match metrics.not_finite().as_slice() {
            [] => Ok(()),
            names => self.say(&format!(
                "warning: not a finite number at step {step}, and null in the metrics: {}",
                names.join(", ")
            )),
        }
    }

    /// Writes a line of the metrics, and tells whoever is told of them.
    fn metrics_line(&mut self, line: Value) -> Result<()> {
        self.dir.append("metrics.jsonl", std::slice::from_ref(&line))?;
        self.dir.append_bytes(EVENTS, &tensorboard::events(&line, now_secs()))?;
        let trouble = self.mlflow.as_ref().and_then(|mlflow| mlflow.step(&line));
        self.lines.push(line);
        trouble.map_or(Ok(()), |trouble| self.say(&trouble))
    }

    /// Writes the rollouts of a step, with their queries and scores, and which of them are trained on.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn rollouts(&mut self, file: &str, step: u64, groups: &[ScoredGroup], in_loss: InLoss<'_>) -> Result<()> {
        let mut lines = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            for (at, rollout) in group.rollouts.iter().enumerate() {
                let (advantage, gate) = match in_loss {
                    InLoss::By(all, gates) => {
                        (all.get(index).and_then(|group| group.as_ref()?.get(at).copied()?), gates.of(index, at))
                    }
                    InLoss::None | InLoss::All => (None, None),
                };
                let trained = advantage.is_some() || matches!(in_loss, InLoss::All);
                let mut line = rollout_line(group, rollout, advantage, trained);
                if let Some(gate) = gate {
                    line[gates::KEY] = gate;
                }
                lines.push(line);
            }
        }
        self.dir.append(file, &lines)?;
        self.scores(Some(file), step, groups)?;
        self.queries(groups.iter().map(|group| &group.prompt.query))
    }

    /// Writes the scores of some groups into the ledger; `file` holds the responses with their evidence, if one does.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn scores(&mut self, file: Option<&str>, step: u64, groups: &[ScoredGroup]) -> Result<()> {
        let entry =
            |(group, rollout): (&ScoredGroup, &ScoredRollout)| LedgerEntry::of(&group.prompt.query, rollout, false);
        let scored = groups.iter().flat_map(|group| group.rollouts.iter().map(move |rollout| (group, rollout)));
        let entries: Vec<LedgerEntry> = scored.map(entry).collect();
        self.dir.append(ledger::FILE, &self.ledger.lines(step, file, &entries))
    }

    /// Writes the audit of a step, with its scores in the ledger.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn audit(&mut self, step: u64, audited: &Audited) -> Result<()> {
        let lines: serde_json::Result<Vec<Value>> = audited.lines.iter().map(serde_json::to_value).collect();
        self.dir.append(audit::FILE, &lines.map_err(|error| RunError::Internal(error.to_string()))?)?;
        self.dir.append(ledger::FILE, &self.ledger.lines(step, Some(audit::FILE), &audited.entries))
    }

    /// Writes an evaluation that took `secs` seconds into a folder of its own, whose name is returned, and its results as a
    /// line of the metrics; lets go of its samples.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn evaluation(&mut self, step: u64, evaluation: &mut Evaluation, secs: f64) -> Result<String> {
        let folder = evaluation_folder(&evaluation.set, step);
        let samples = format!("eval/{folder}/samples.jsonl");
        self.dir.append_bytes(EVENTS, &tensorboard::shown(&shown(evaluation), step, now_secs()))?;
        self.dir.append(&samples, &std::mem::take(&mut evaluation.samples))?;
        let entries = std::mem::take(&mut evaluation.entries);
        self.dir.append(ledger::FILE, &self.ledger.lines(step, Some(&samples), &entries))?;
        self.dir.write_json(&format!("eval/{folder}/results.json"), &evaluation.results(step))?;
        self.rejected(&std::mem::take(&mut evaluation.rejected))?;
        let queries = std::mem::take(&mut evaluation.queries);
        self.queries(queries.iter())?;
        self.metrics_line(evaluation.metrics_line(step, secs))?;
        Ok(folder)
    }

    /// Lists rows that could not be used, each once.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn rejected(&mut self, rows: &[Rejected]) -> Result<()> {
        for row in rows {
            if self.rejected.insert((row.source.clone(), row.index)) {
                self.dir.append(REJECTED, &[json!(row)])?;
                self.say(&format!("a row is left out: data.{} row {}: {}", row.source, row.index + 1, row.reason))?;
            }
        }
        Ok(())
    }

    /// Writes the record of a query that a curation has looked at, with its scores before it: a resume goes on behind the
    /// last record, and takes away scores that have none.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn curation(&mut self, name: &str, step: u64, record: &Curation, entries: &[LedgerEntry]) -> Result<()> {
        if !entries.is_empty() {
            self.dir.append(ledger::FILE, &self.ledger.lines(step, None, entries))?;
        }
        let line = serde_json::to_value(record).map_err(|error| RunError::Internal(error.to_string()))?;
        self.dir.append(&curation_file(name), &[line])
    }

    /// Writes each query, and each picture, once.
    fn queries<'q>(&mut self, queries: impl Iterator<Item = &'q Arc<Query>>) -> Result<()> {
        let mut lines = Vec::new();
        for query in queries {
            let is_new = self.logged.insert(query.id.clone());
            for picture in query.images.iter().filter(|one| self.lost.remove(one.sha256()) || is_new) {
                let name = format!("images/{}.{}", picture.sha256(), picture.extension());
                // One that a power cut has torn has another length.
                let there = std::fs::metadata(self.dir.path().join(&name));
                if there.ok().is_none_or(|there| there.len() != picture.bytes().len() as u64) {
                    self.dir.write_soon(&name, picture.bytes())?;
                }
            }
            if !is_new {
                continue;
            }
            let hashes: Vec<String> = query.images.iter().map(|picture| picture.sha256().to_owned()).collect();
            lines.push(sapo_datasets::written::query_line(query, &hashes));
        }
        self.dir.append("queries.jsonl", &lines)
    }
}

/// The folder of an evaluation's record, in `eval/`.
pub fn evaluation_folder(set: &str, step: u64) -> String {
    format!("{set}-{step:06}")
}

/// The file of a curation's record, in the run's folder.
pub fn curation_file(name: &str) -> String {
    format!("{CURATION}/{name}.jsonl")
}

/// Seconds since 1970, for records that carry a time; no number of a run depends on it.
fn now_secs() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

/// The line of a rollout: its tokens are the record, its texts a view of them.
fn rollout_line(group: &ScoredGroup, scored: &ScoredRollout, advantage: Option<f64>, in_loss: bool) -> Value {
    let (query, rollout) = (&group.prompt.query, &scored.rollout);
    let turn = |(turn, text): (&Turn, &sapo_datasets::Turn)| json!({"role": text.role, "text": text.text, "sampled": turn.is_sampled(), "tokens": turn.ids().len()});
    json!({
        "v": 2,
        "query_id": query.id,
        "task": query.task,
        "sample": rollout.sample,
        "seed": rollout.seed,
        "policy_version": rollout.policy_version,
        "turns": rollout.turns.iter().zip(&scored.transcript.turns).map(turn).collect::<Vec<_>>(),
        "tokens": rollout.ids().collect::<Vec<u32>>(),
        "log_probs": rollout.log_probs(),
        "token_limit": scored.transcript.token_limit,
        "thinking_open": scored.transcript.thinking_open,
        "stop": rollout.stop,
        "images": query.images.iter().map(Picture::sha256).collect::<Vec<_>>(),
        "rubric": group.rubric.name(),
        "score": scored.score,
        "advantage": advantage,
        "in_loss": in_loss,
    })
}
