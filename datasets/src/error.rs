//! What can be wrong with data, each with its place.

use std::path::PathBuf;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, DatasetError>;

/// An error in a data set, with the place where it was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file could not be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row that cannot be used.
    #[error("{place}: {reason}")]
    Row {
        /// File and row, as `data.jsonl row 3`.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A picture that cannot be used.
    #[error("{place}: {reason}")]
    Picture {
        /// File, row or hash.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A request that makes no sense: an unknown task, an empty mixture.
    #[error("{0}")]
    Request(String),
}

impl DatasetError {
    /// An unusable picture at `place`.
    pub fn picture(place: &str, reason: String) -> Self {
        Self::Picture { place: place.to_owned(), reason }
    }

    /// An unusable row at `place`.
    pub fn row(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Row { place: place.into(), reason: reason.into() }
    }

    /// A file that cannot be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
