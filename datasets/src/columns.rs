//! Names of foreign columns: which one holds the prompt, the answer, the pictures; and the nearest known name.

use serde::{Deserialize, Serialize};

use crate::error::{DatasetError, Result};

/// Which columns of a foreign data set hold what. A key that is `None` is looked for under the usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The column with the question; else the first of `prompt`, `problem`, `question`.
    pub prompt_key: Option<String>,
    /// The column with the ground truth; else the first of `ground_truth`, `answer`, `solution`.
    pub answer_key: Option<String>,
    /// The column with the pictures; else the first of `images`, `image`.
    pub image_key: Option<String>,
    /// The column with the videos; else the first of `videos`, `video`.
    pub video_key: Option<String>,
}

/// The usual names of the column with the question.
pub(crate) const PROMPT_NAMES: [&str; 3] = ["prompt", "problem", "question"];
/// The usual names of the column with the ground truth.
pub(crate) const ANSWER_NAMES: [&str; 3] = ["ground_truth", "answer", "solution"];
/// The usual names of the column with the pictures.
pub(crate) const IMAGE_NAMES: [&str; 2] = ["images", "image"];
/// The usual names of the column with the videos.
pub(crate) const VIDEO_NAMES: [&str; 2] = ["videos", "video"];

impl Columns {
    /// The prompt column among `present`.
    ///
    /// # Errors
    /// When there is none; the message lists what is there.
    pub fn prompt(&self, place: &str, present: &[&str]) -> Result<String> {
        find(self.prompt_key.as_deref(), &PROMPT_NAMES, "prompt_key", place, present)?.ok_or_else(|| {
            let nearest =
                PROMPT_NAMES.iter().chain(&["messages"]).find_map(|name| closest(name, present.iter().copied()));
            let guess = nearest.map(|name| format!("; is it `{name}`?")).unwrap_or_default();
            DatasetError::row(
                place,
                format!("no column for the prompt{guess} (columns: {}); name it by `prompt_key`", list(present)),
            )
        })
    }

    /// The answer column among `present`, if there is one.
    ///
    /// # Errors
    /// When `answer_key` names a column that is not there.
    pub fn answer(&self, place: &str, present: &[&str]) -> Result<Option<String>> {
        find(self.answer_key.as_deref(), &ANSWER_NAMES, "answer_key", place, present)
    }

    /// The picture column among `present`, if there is one.
    ///
    /// # Errors
    /// When `image_key` names a column that is not there.
    pub fn images(&self, place: &str, present: &[&str]) -> Result<Option<String>> {
        find(self.image_key.as_deref(), &IMAGE_NAMES, "image_key", place, present)
    }

    /// The video column among `present`, if there is one.
    ///
    /// # Errors
    /// When `video_key` names a column that is not there.
    pub fn videos(&self, place: &str, present: &[&str]) -> Result<Option<String>> {
        find(self.video_key.as_deref(), &VIDEO_NAMES, "video_key", place, present)
    }
}

fn find(named: Option<&str>, usual: &[&str], key: &str, place: &str, present: &[&str]) -> Result<Option<String>> {
    match named {
        Some(name) if present.contains(&name) => Ok(Some(name.to_owned())),
        Some(name) => {
            let guess = nearest(name, present.iter().copied());
            Err(DatasetError::row(place, format!("no column `{name}` as {key} says; {guess}")))
        }
        None => Ok(usual.iter().find(|name| present.contains(name)).map(|&name| name.to_owned())),
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A hint for a name that is not known: the nearest one, or all of them.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match closest(name, known.clone()) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("known: {}", list(&known.collect::<Vec<_>>())),
    }
}

/// The known name within a third of the length in edits, if there is one.
fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.chars().count().max(3) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour.
fn edits(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut table = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let replaced = table[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            table[i][j] = replaced.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                table[i][j] = table[i][j].min(table[i - 2][j - 2] + 1);
            }
        }
    }
    table[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_names_are_found_in_order() {
        let columns = Columns::default();
        assert_eq!(columns.prompt("d", &["problem", "answer"]).unwrap(), "problem");
        assert_eq!(columns.answer("d", &["problem", "answer"]).unwrap().as_deref(), Some("answer"));
        assert_eq!(columns.images("d", &["problem", "answer"]).unwrap(), None);
    }

    #[test]
    fn a_named_column_that_is_missing_is_an_error_with_the_nearest() {
        let columns = Columns { prompt_key: Some("questoin".to_owned()), ..Columns::default() };
        let message = columns.prompt("d.parquet", &["question", "answer"]).unwrap_err().to_string();
        assert!(message.contains("d.parquet") && message.contains("did you mean `question`"), "{message}");
    }

    #[test]
    fn a_misspelt_prompt_column_is_guessed() {
        let message = Columns::default().prompt("d.jsonl row 1", &["mesages", "id"]).unwrap_err().to_string();
        assert!(message.contains("is it `mesages`?"), "{message}");
    }

    #[test]
    fn golden_distances() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("trian", "train"), 1);
        assert_eq!(edits("红色", "绿色"), 1);
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in "[a-c]{0,6}", b in "[a-c]{0,6}") {
            prop_assert_eq!(edits(&a, &b), edits(&b, &a));
            prop_assert_eq!(edits(&a, &b) == 0, a == b);
            prop_assert!(edits(&a, &b) <= a.len().max(b.len()) && edits(&a, &b) >= a.len().abs_diff(b.len()));
        }
    }
}
