//! What `sapo eval --out` leaves: results, samples, the ledger, and the queries with their pictures for the report.

use std::collections::BTreeSet;
use std::path::Path;

use sapo_datasets::Picture;
use sapo_datasets::written::query_line;

use crate::cli::printer::Printer;
use crate::comparison::Comparison;
use crate::error::{Result, RunError};
use crate::eval::Evaluation;
use crate::ledger::{self, Ledger};
use crate::run_dir::RunDir;

/// A folder that is not there yet.
///
/// # Errors
/// When it is.
pub(super) fn vacant(folder: &Path) -> Result<&Path> {
    if folder.exists() {
        let place = folder.display();
        return Err(RunError::User(format!("--out {place} exists already; name another folder, or move it away")));
    }
    Ok(folder)
}

/// Writes the evaluations into a folder; several have folders of their own in it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn keep(
    folder: &Path,
    evaluations: &[Evaluation],
    compared: &[Comparison],
    printer: &Printer,
) -> Result<()> {
    let folder = RunDir::create(folder, 0, printer)?;
    for evaluation in evaluations {
        let place = if evaluations.len() > 1 { format!("{}/", evaluation.set) } else { String::new() };
        folder.append(&format!("{place}samples.jsonl"), &evaluation.samples)?;
        let entries = Ledger::default().lines(0, Some("samples.jsonl"), &evaluation.entries);
        folder.append(&format!("{place}{}", ledger::FILE), &entries)?;
        folder.write_json(&format!("{place}results.json"), &evaluation.results(0))?;
    }
    queries(&folder, evaluations)?;
    if !compared.is_empty() {
        folder.write_json("comparison.json", &serde_json::json!({"v": 1, "comparisons": compared}))?;
    }
    Ok(())
}

/// Writes each query, and each picture, once.
fn queries(folder: &RunDir<'_>, evaluations: &[Evaluation]) -> Result<()> {
    let (mut written, mut lines) = (BTreeSet::new(), Vec::new());
    for query in evaluations.iter().flat_map(|evaluation| &evaluation.queries) {
        if !written.insert(query.id.clone()) {
            continue;
        }
        for picture in &query.images {
            let name = format!("images/{}.{}", picture.sha256(), picture.extension());
            if written.insert(name.clone()) {
                folder.write_soon(&name, picture.bytes())?;
            }
        }
        let hashes: Vec<String> = query.images.iter().map(|picture: &Picture| picture.sha256().to_owned()).collect();
        lines.push(query_line(query, &hashes));
    }
    folder.append("queries.jsonl", &lines)
}
