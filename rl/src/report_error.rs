//! Why a report cannot be made.

use std::path::PathBuf;

/// What keeps a report from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The folder is not a run directory.
    #[error(
        "{} is not a run directory: it holds neither run.json, metrics.jsonl nor eval/; give the folder of a run, such as \
         runs/quickstart",
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
