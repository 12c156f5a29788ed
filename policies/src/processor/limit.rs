//! How long a prompt may be, and what is done with a longer one.

use serde::{Deserialize, Serialize};

/// What is done with a prompt that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// It is an error.
    #[default]
    Refuse,
    /// Whole pictures and videos are left out, the earliest in the conversation first, until the rest fits; a prompt
    /// whose text alone is too long is an error.
    DropPictures,
}

/// How long a prompt may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptLimit {
    /// Tokens at most, placeholders counted.
    pub tokens: usize,
    /// What is done with a longer one.
    pub too_long: TooLong,
}
