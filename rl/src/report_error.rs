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
    /// A run that is to be pooled with another differs from it in these keys.
    #[error(
        "{} is no other seed of {}: the configurations differ in {}. Runs are pooled that differ in run.seed, run.name and \
         run.dir alone; compare others with --against, or beside one another with `sapo view`",
        .0.display(),
        .1.display(),
        .2.join(", ")
    )]
    NotPooled(PathBuf, PathBuf, Vec<String>),
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
