//! What can be wrong with a reward or a rubric before anything is scored.

/// Results of this crate.
pub type Result<T> = std::result::Result<T, RewardError>;

/// An error in the description of rewards, with its place and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// A reward cannot be built from its options.
    #[error("rewards.{name}: {reason}")]
    Reward {
        /// The reward's name.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A rubric cannot be built.
    #[error("rubric: {0}")]
    Rubric(String),
    /// A row of a gold set cannot be read.
    #[error("row {row}: {reason}")]
    Row {
        /// Counted from 1.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// A judge or its calibration cannot be used.
    #[error("{0}")]
    Judge(String),
}

impl RewardError {
    pub(crate) fn reward(name: &str, reason: impl Into<String>) -> Self {
        Self::Reward { name: name.to_owned(), reason: reason.into() }
    }

    pub(crate) fn row(row: usize, reason: impl Into<String>) -> Self {
        Self::Row { row, reason: reason.into() }
    }
}
