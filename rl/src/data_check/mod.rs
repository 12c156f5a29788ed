//! The check of data: every row through what training does with it, faults by reason, repeats, and what train and
//! evaluation sets share.

mod inspect;
mod reason;
mod rejected;
mod remarks;
mod report;
mod scan;
mod seen;
mod spread;
mod start;
mod target;

use std::io;
use std::path::Path;

use sapo_datasets::DatasetError;
use sapo_policies::processor::Processor;

pub use inspect::{Found, Inspected, Inspector};
pub use reason::Reason;
pub use remarks::{KnownRubrics, Remarks, of_dataset as remarks_of, of_row as remarks_of_row};
pub use report::{Report, SourceReport, Tokens};
pub use scan::in_order;
pub use start::refuse_bad_rows;
pub use target::{Target, of_addresses, of_config, registry_of, rubric_of};

use crate::error::{Result, RunError};
use crate::progress::Progress;
use rejected::RejectedFile;
use seen::{Evaluated, Seen};

/// What rows are held to.
#[derive(Clone, Debug)]
pub struct Limits<'a> {
    /// What makes prompts of rows, with the limit of prompts that was set.
    pub processor: &'a Processor,
    /// Tokens of a response at most, its end counted.
    pub max_response_tokens: Option<usize>,
    /// Similarity of two texts, from 0 to 1, from which on they are near.
    pub near: f64,
    /// Bad rows of a source that are let pass, as a share of its rows.
    pub max_bad_share: f64,
}

/// Checks all rows of some sources, those of evaluations first; every bad one is written to the new file `rejected`.
///
/// # Errors
/// When a source cannot be read at all, or the file cannot be written or exists already.
pub fn check(
    targets: Vec<Target>,
    limits: &Limits<'_>,
    rejected: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Report> {
    let Some(path) = rejected else {
        return check_into(targets, limits, &mut RejectedFile::nowhere(), progress);
    };
    let mut outcome = None;
    let written = sapo_datasets::write_new(path, |file| {
        let mut rejected = RejectedFile::to(file);
        outcome = Some(check_into(targets, limits, &mut rejected, progress));
        match &outcome {
            Some(Ok(_)) => rejected.finish(),
            _ => Err(io::Error::other("the check has ended early")),
        }
    });
    match (outcome, written) {
        (Some(Err(error)), _) => Err(error),
        (Some(Ok(report)), Ok(())) => Ok(report),
        (_, Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(DatasetError::row(path.display().to_string(), "exists already; choose another name").into())
        }
        (_, Err(error)) => Err(RunError::io(path, error)),
        (None, Ok(())) => Err(RunError::Internal("nothing was checked".to_owned())),
    }
}

fn check_into(
    mut targets: Vec<Target>,
    limits: &Limits<'_>,
    rejected: &mut RejectedFile<'_>,
    progress: &dyn Progress,
) -> Result<Report> {
    // What is trained on is compared with what is evaluated, which must be known by then.
    targets.sort_by_key(|target| !target.is_evaluation);
    let mut evaluated = Evaluated::new(limits.near);
    let mut report = Report::new(limits.max_bad_share);
    for target in &targets {
        progress.begin(&target.name, target.rows(), 0);
        report.sources.push(check_one(target, limits, &mut evaluated, rejected, progress)?);
    }
    Ok(report)
}

fn check_one(
    target: &Target,
    limits: &Limits<'_>,
    evaluated: &mut Evaluated,
    rejected: &mut RejectedFile<'_>,
    progress: &dyn Progress,
) -> Result<SourceReport> {
    let inspector = Inspector::new(limits);
    let mut seen = Seen::new(target, limits.near);
    let mut report = SourceReport::of(target);
    let mut done = 0;
    let inspect = |index, example| inspector.inspect(target, index, example);
    scan::in_order(&target.dataset, target.rows(), &inspect, &mut |mut row: Inspected| {
        seen.compare(&mut row, evaluated);
        row.found.sort_by_key(|found| found.reason);
        report.count(&row);
        if !row.found.is_empty() {
            rejected.write(target, &row)?;
        }
        done += 1;
        progress.done(done, &format!("{} bad", report.bad()));
        Ok(())
    })?;
    report.capped = seen.capped();
    Ok(report)
}
