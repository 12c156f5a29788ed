//! What can be wrong with data, each with its place.

use std::path::PathBuf;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, DatasetError>;

/// What of a row cannot be used: what a check counts by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The row as a whole: no JSON object, a damaged page of Parquet.
    #[default]
    Unreadable,
    /// A column holds what it must not, or two columns disagree.
    Columns,
    /// Nothing is asked, or nothing could be answered.
    Question,
    /// A message or a part of it is of no known form.
    Messages,
    /// The messages name other pictures or videos than there are.
    Marks,
    /// A picture is not where its row says.
    PictureMissing,
    /// A picture is of no known format, or damaged.
    PictureDamaged,
    /// A picture has more bytes or pixels than are taken.
    PictureTooLarge,
    /// A video is not there, or cannot be used.
    Video,
    /// The prompt template fails on the row.
    Template,
}

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
        /// What of the row it is about.
        fault: Fault,
    },
    /// A picture that cannot be used.
    #[error("{place}: {reason}")]
    Picture {
        /// File, row or hash.
        place: String,
        /// What is wrong and what to do.
        reason: String,
        /// What of the row it is about.
        fault: Fault,
    },
    /// A request that makes no sense: an unknown task, an empty mixture.
    #[error("{0}")]
    Request(String),
}

impl DatasetError {
    /// An unusable picture at `place`.
    pub fn picture(place: &str, reason: String) -> Self {
        Self::Picture { place: place.to_owned(), reason, fault: Fault::PictureDamaged }
    }

    /// An unusable row at `place`.
    pub fn row(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Row { place: place.into(), reason: reason.into(), fault: Fault::default() }
    }

    /// A file that cannot be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// What of a row it is about.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Row { fault, .. } | Self::Picture { fault, .. } => *fault,
            Self::Io { .. } | Self::Request(_) => Fault::Unreadable,
        }
    }

    /// The same error, about this: where nobody nearer to it has said more.
    #[must_use]
    pub(crate) fn about(mut self, what: Fault) -> Self {
        if let Self::Row { fault: fault @ Fault::Unreadable, .. } = &mut self {
            *fault = what;
        }
        self
    }

    /// The same error, about this, whoever said what.
    #[must_use]
    pub(crate) fn because(mut self, what: Fault) -> Self {
        if let Self::Row { fault, .. } | Self::Picture { fault, .. } = &mut self {
            *fault = what;
        }
        self
    }
}
