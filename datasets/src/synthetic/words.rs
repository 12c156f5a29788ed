//! How questions differ within a task: their language, their difficulty, and the style of their demonstrations.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DatasetError, Result};
use crate::nearest::nearest;

/// How a demonstration answers; its answer is right in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// A worked line, then the answer.
    Careful,
    /// The answer at once.
    Hasty,
}

/// The language of a prompt, and of the answer that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English, `en`.
    #[serde(rename = "en")]
    English,
    /// Chinese, `zh`: the second script.
    #[serde(rename = "zh")]
    Chinese,
}

impl Language {
    /// The code in `columns.language`: `en` or `zh`.
    pub fn code(self) -> &'static str {
        self.choose("en", "zh")
    }

    /// Reads a code.
    pub(super) fn of_code(code: &str) -> Option<Self> {
        [Self::English, Self::Chinese].into_iter().find(|language| language.code() == code)
    }

    pub(super) fn choose<T>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }
}

/// How hard the questions of a task are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Difficulty {
    /// Fewer things, smaller numbers.
    Easy,
    /// The usual questions.
    #[default]
    Medium,
    /// More things, larger numbers, more steps.
    Hard,
}

impl Difficulty {
    /// All difficulties, the easiest first.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Medium, Self::Hard];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        self.choose("easy", "medium", "hard")
    }

    /// Reads a name.
    ///
    /// # Errors
    /// When it is no difficulty; the message names the nearest one.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|difficulty| difficulty.name() == name).ok_or_else(|| {
            let guess = nearest(name, Self::ALL.iter().map(|difficulty| difficulty.name()));
            DatasetError::Request(format!("no difficulty `{name}`; {guess}"))
        })
    }

    pub(super) fn choose<T>(self, easy: T, medium: T, hard: T) -> T {
        match self {
            Self::Easy => easy,
            Self::Medium => medium,
            Self::Hard => hard,
        }
    }
}

impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_answered_with_the_nearest() {
        for difficulty in Difficulty::ALL {
            assert_eq!(Difficulty::parse(difficulty.name()).unwrap(), difficulty);
        }
        let message = Difficulty::parse("meduim").unwrap_err().to_string();
        assert!(message.contains("did you mean `medium`?"), "{message}");
        assert_eq!(Language::of_code("zh"), Some(Language::Chinese));
    }
}
