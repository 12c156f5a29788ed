//! What can end a command, and the exit code that says so.

use std::path::PathBuf;

use sapo_datasets::DatasetError;
use sapo_policies::PolicyError;

use crate::config::ConfigError;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, RunError>;

/// An error of a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A configuration that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Data that cannot be used.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// A model or prompt that cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A reward or rubric that cannot be used.
    #[error(transparent)]
    Reward(#[from] sapo_rewards::RewardError),
    /// A report that cannot be made.
    #[error(transparent)]
    Report(#[from] crate::report_error::ReportError),
    /// A file that cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A run that was stopped by something outside of it: it goes on from its last checkpoint.
    #[error("{0}")]
    Stopped(String),
    /// A device that could not compute, as when its memory is full. A run goes on from its last checkpoint.
    #[error(
        "the device failed: {0}. If its memory is full, let it do less at a time: `run.token_budget`, \
         `run.decode_rows`, `run.cache_mib`, `--cache-mib`; `sapo plan` tells what a run needs, and `sapo train --resume` goes on with one"
    )]
    Device(String),
    /// A number that had to be finite was not: what a run has learned is of no use from there on.
    #[error("{0}")]
    NotFinite(String),
    /// Anything else that the caller can mend.
    #[error("{0}")]
    User(String),
    /// A fault of this program.
    #[error("internal fault: {0}; please report it")]
    Internal(String),
}

impl RunError {
    /// A file that cannot be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// Whether the disk had no room, which time may mend.
    pub fn is_disk_full(&self) -> bool {
        let source = match self {
            Self::Io { source, .. }
            | Self::Policy(PolicyError::Io { source, .. })
            | Self::Data(DatasetError::Io { source, .. })
            | Self::Report(crate::report_error::ReportError::Write { source, .. }) => source,
            _ => return false,
        };
        // A limit on the size of files (`ulimit -f`) is a disk that is full for one file.
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}
