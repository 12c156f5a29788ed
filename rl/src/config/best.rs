//! `run.keep.best`: the number of an evaluation by which the best checkpoint is told.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is compared.
const STATISTICS: [&str; 3] = ["pass_at_1", "greedy", "pass_at_16"];

/// A number of a row of an evaluation, `SET/TASK/STATISTIC`: more is better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BestBy {
    /// The evaluation, `eval.SET`.
    pub set: String,
    /// The row: a task, or `all`.
    pub task: String,
    /// `pass_at_1`, `greedy` or `pass_at_16`.
    pub statistic: String,
}

impl fmt::Display for BestBy {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}/{}", self.set, self.task, self.statistic)
    }
}

impl FromStr for BestBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not SET/TASK/STATISTIC, such as heldout/all/pass_at_1");
        // A task may have a slash in its name.
        let (set, rest) = text.split_once('/').ok_or_else(shape)?;
        let (task, statistic) = rest.rsplit_once('/').ok_or_else(shape)?;
        if set.is_empty() || task.is_empty() {
            return Err(shape());
        }
        if !STATISTICS.contains(&statistic) {
            return Err(format!("`{statistic}` is none of {}", STATISTICS.join(", ")));
        }
        Ok(Self { set: set.to_owned(), task: task.to_owned(), statistic: statistic.to_owned() })
    }
}

impl TryFrom<String> for BestBy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<BestBy> for String {
    fn from(best: BestBy) -> Self {
        best.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_and_written() {
        let best: BestBy = "heldout/a/b/greedy".parse().unwrap();
        assert_eq!((best.set.as_str(), best.task.as_str(), best.statistic.as_str()), ("heldout", "a/b", "greedy"));
        assert_eq!(best.to_string(), "heldout/a/b/greedy");
        for wrong in ["heldout", "heldout/pass_at_1", "heldout//pass_at_1", "/all/greedy"] {
            assert!(wrong.parse::<BestBy>().unwrap_err().contains("SET/TASK/STATISTIC"), "{wrong}");
        }
        assert!("heldout/all/reward".parse::<BestBy>().unwrap_err().contains("`reward` is none of"));
    }
}
