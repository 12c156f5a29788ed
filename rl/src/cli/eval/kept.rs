//! The folder of `sapo eval --out`: who may write into it, what is on record while it is made, and what it holds in the end:
//! results, samples, the ledger, and the queries with their pictures for the report.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use sapo_datasets::Picture;
use sapo_datasets::written::query_line;
use serde_json::{Map, Value, json};

use super::made_with::differences;
use crate::cli::failed;
use crate::cli::printer::Printer;
use crate::cli::signals::on_signals;
use crate::comparison::Comparison;
use crate::error::{Result, RunError};
use crate::eval::heat_map::HeatMap;
use crate::eval::record::{self, Record};
use crate::eval::{EvalRow, Evaluation};
use crate::ledger::{self, Ledger};
use crate::run::resume::{LOCK, locked};
use crate::run_dir::{RunDir, read_lines};

/// What the evaluation of a folder was made with.
const MADE_WITH: &str = "evaluation.json";
/// The exit code of what was stopped and can be gone on with.
const STOPPED: i32 = 3;

/// The folder that is named, before anything is written.
pub(super) struct Place<'a> {
    folder: &'a Path,
    /// What the evaluation that it holds was made with.
    made_with: Option<Value>,
    lock: Option<File>,
}

impl<'a> Place<'a> {
    /// A folder that is not there yet, or with `resume` one that holds an evaluation to go on with.
    ///
    /// # Errors
    /// When it is there and `resume` is not set, holds something else, or another process writes into it.
    pub(super) fn look(folder: &'a Path, resume: bool) -> Result<Self> {
        let place = folder.display();
        let fault = |reason: String| Err(RunError::User(format!("--out {place} {reason}")));
        if !folder.exists() {
            return Ok(Self { folder, made_with: None, lock: None });
        }
        let written = folder.join(MADE_WITH);
        if !resume {
            let hint = match folder.join(record::FILE).is_file() {
                true => "; it holds an evaluation that is not whole: go on with it by --resume",
                false => "; name another folder, or move it away",
            };
            return fault(format!("exists already{hint}"));
        }
        if !written.is_file() && !is_empty(folder)? {
            return fault(format!(
                "holds no {MADE_WITH}, so it is no evaluation that could be gone on with; name another folder"
            ));
        }
        let lock = locked(folder)?;
        let made_with = read_lines(&written)?.into_iter().next();
        Ok(Self { folder, made_with, lock })
    }

    /// Refuses to go on with an evaluation that was made with something else.
    ///
    /// # Errors
    /// When it was; the message says what differs.
    pub(super) fn check(&self, now: &Map<String, Value>) -> Result<()> {
        let Some(difference) = self.made_with.as_ref().and_then(|there| differences(there, now)) else { return Ok(()) };
        Err(RunError::User(format!(
            "--out {} holds another evaluation: {difference}. Go on with what it was made with, or name another folder",
            self.folder.display()
        )))
    }

    /// Begins, or goes on. From here on Ctrl-C ends the command, since all that is answered is on record.
    ///
    /// # Errors
    /// As [`Place::check`], and when the folder cannot be written.
    pub(super) fn enter(self, made_with: &Map<String, Value>, printer: &'a Printer) -> Result<Folder<'a>> {
        self.check(made_with)?;
        let dir = match self.folder.exists() {
            true => RunDir::open(self.folder, 0, printer),
            false => RunDir::create(self.folder, 0, printer)?,
        };
        let lock = if self.lock.is_some() { self.lock } else { locked(self.folder)? };
        if self.made_with.is_none() {
            let line = format!("{}\n", Value::Object(made_with.clone()));
            dir.write(MADE_WITH, line.as_bytes())?;
        }
        let is_whole = self.made_with.is_some() && whole(self.folder);
        let record = Record::open(dir.clone())?;
        let stopped = go_on(self.folder, "stopped");
        on_signals(move || {
            // The bar is left where it stands, on a line of its own.
            eprintln!();
            failed::failed(&RunError::Stopped(stopped.clone()));
            signal_hook::low_level::exit(STOPPED)
        })?;
        Ok(Folder { dir, record, is_whole, _lock: lock })
    }
}

/// How to go on with a folder after `reason`.
pub(super) fn go_on(folder: &Path, reason: &str) -> String {
    let remedy = "go on with the same command and --resume";
    format!("{reason}; what is answered is kept in {}: {remedy}", folder.display())
}

/// Whether a folder holds nothing that says what it is.
fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(folder).map_err(|source| RunError::io(folder, source))?.flatten();
    // What a kill leaves of the first file that is written.
    let is_left = |name: &str| name == LOCK || name.starts_with(MADE_WITH);
    Ok(entries.all(|entry| is_left(&entry.file_name().to_string_lossy())))
}

/// Whether the evaluation of a folder has come to its end: the record is taken away last.
fn whole(folder: &Path) -> bool {
    !folder.join(record::FILE).exists() && !results_of(folder).is_empty()
}

/// The results of a folder: its own, or those of the sets in it.
fn results_of(folder: &Path) -> Vec<Value> {
    let read = |folder: &Path| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(folder.join("results.json")).ok()?).ok()
    };
    let within = || {
        let mut folders: Vec<_> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders.iter().filter_map(|folder| read(folder)).collect()
    };
    read(folder).map_or_else(within, |results| vec![results])
}

/// The folder that an evaluation is written into.
pub(super) struct Folder<'a> {
    dir: RunDir<'a>,
    /// What is answered so far.
    pub(super) record: Record<'a>,
    /// Whether everything is there already.
    pub(super) is_whole: bool,
    _lock: Option<File>,
}

impl Folder<'_> {
    /// The rows of an evaluation that is whole, in the order of the sets.
    pub(super) fn rows(&self) -> Vec<EvalRow> {
        let results = results_of(self.dir.path());
        let rows = results.iter().flat_map(|results| results["tasks"].as_array().cloned().unwrap_or_default());
        rows.filter_map(|row| serde_json::from_value(row).ok()).collect()
    }

    /// Its heat maps.
    pub(super) fn heat_maps(&self) -> Vec<HeatMap> {
        let maps = results_of(self.dir.path())
            .into_iter()
            .filter_map(|mut results| serde_json::from_value::<Vec<HeatMap>>(results["heat_maps"].take()).ok());
        maps.flatten().collect()
    }

    /// Writes the evaluations; several have folders of their own. Whatever a kill left of an earlier try is written anew, and the
    /// record is taken away when all is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(self, evaluations: &[Evaluation], compared: &[Comparison]) -> Result<()> {
        let dir = &self.dir;
        for evaluation in evaluations {
            let place = if evaluations.len() > 1 { format!("{}/", evaluation.set) } else { String::new() };
            write_lines(dir, &format!("{place}samples.jsonl"), &evaluation.samples)?;
            let entries = Ledger::default().lines(0, Some("samples.jsonl"), &evaluation.entries);
            write_lines(dir, &format!("{place}{}", ledger::FILE), &entries)?;
            dir.write_json(&format!("{place}results.json"), &evaluation.results(0))?;
        }
        queries(dir, evaluations)?;
        if !compared.is_empty() {
            dir.write_json("comparison.json", &json!({"v": 1, "comparisons": compared}))?;
        }
        dir.sync()?;
        self.record.finish()
    }
}

/// Writes a file of lines in one piece.
fn write_lines(dir: &RunDir<'_>, name: &str, lines: &[Value]) -> Result<()> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    dir.write(name, text.as_bytes())
}

/// Writes each query, and each picture, once.
fn queries(dir: &RunDir<'_>, evaluations: &[Evaluation]) -> Result<()> {
    let (mut written, mut lines) = (BTreeSet::new(), Vec::new());
    for query in evaluations.iter().flat_map(|evaluation| &evaluation.queries) {
        if !written.insert(query.id.clone()) {
            continue;
        }
        for picture in &query.images {
            let name = format!("images/{}.{}", picture.sha256(), picture.extension());
            if written.insert(name.clone()) {
                dir.write_soon(&name, picture.bytes())?;
            }
        }
        let hashes: Vec<String> = query.images.iter().map(|picture: &Picture| picture.sha256().to_owned()).collect();
        lines.push(query_line(query, &hashes));
    }
    write_lines(dir, "queries.jsonl", &lines)
}
