//! What can be wrong with a checkpoint, a picture or a prompt, each with its place.

use std::path::PathBuf;

/// Results of this crate.
pub type Result<T> = std::result::Result<T, PolicyError>;

/// An error in a policy's files or inputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A file could not be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file of a checkpoint that does not say what it must.
    #[error("{file}: {reason}")]
    File {
        /// The file's name or path.
        file: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A tensor of a checkpoint: missing, unexpected, mis-shaped or corrupt.
    #[error("{file}: tensor `{key}` {reason}")]
    Tensor {
        /// The file's name or path.
        file: String,
        /// The tensor's key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Messages, pictures or a template that cannot be turned into tokens.
    #[error("{0}")]
    Input(String),
}

impl PolicyError {
    /// A checkpoint file that does not say what it must.
    pub fn file(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::File { file: file.into(), reason: reason.into() }
    }

    /// A tensor that cannot be used.
    pub fn tensor(file: impl Into<String>, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Tensor { file: file.into(), key: key.into(), reason: reason.into() }
    }

    /// A prompt that cannot be used.
    pub fn input(reason: impl Into<String>) -> Self {
        Self::Input(reason.into())
    }

    /// A file that cannot be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
