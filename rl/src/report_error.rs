//! Why a report cannot be made.

use std::path::PathBuf;

/// What keeps a report from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The folder is neither a run directory nor that of an evaluation.
    #[error(
        "{} is not a run directory, which holds run.json, metrics.jsonl or eval/, nor an evaluation's, which holds \
         results.json; give the folder of a run, such as runs/quickstart, or one that `sapo eval --out` wrote",
        .0.display()
    )]
    NoRun(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A fault of this program.
    #[error("internal fault: the report cannot be rendered ({0}); please report it")]
    Render(String),
}
