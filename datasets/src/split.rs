//! Train, validation and test, told apart by a hash of the question's content.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{DatasetError, Result};
use crate::nearest::nearest;

/// A part of a data set that shares no question with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What the policy learns from: 70 % of all questions.
    Train,
    /// What is looked at while a recipe is chosen: 10 %.
    Validation,
    /// What the reported numbers come from: 20 %.
    Test,
}

impl Split {
    /// All splits, in the usual order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The split to which a question belongs, by the SHA-256 of its content key.
    pub fn of(content: &str) -> Self {
        let digest = Sha256::digest(content.as_bytes());
        match u16::from_be_bytes([digest[0], digest[1]]) % 10 {
            0..=6 => Self::Train,
            7 => Self::Validation,
            _ => Self::Test,
        }
    }

    /// The lower-case name: `train`, `validation`, `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// When it is no split; the message names the nearest one.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|split| split.name() == name).ok_or_else(|| {
            let guess = nearest(name, Self::ALL.iter().map(|split| split.name()));
            DatasetError::Request(format!("no split `{name}`; {guess}"))
        })
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_70_10_20() {
        let mut counts = [0_usize; 3];
        for index in 0..20_000 {
            counts[Split::of(&format!("question {index}")) as usize] += 1;
        }
        assert!((counts[0] as f64 / 20_000.0 - 0.7).abs() < 0.02, "{counts:?}");
        assert!((counts[1] as f64 / 20_000.0 - 0.1).abs() < 0.02, "{counts:?}");
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        assert_eq!(Split::parse("test").unwrap(), Split::Test);
        let message = Split::parse("valdation").unwrap_err().to_string();
        assert!(message.contains("did you mean `validation`"), "{message}");
    }
}
