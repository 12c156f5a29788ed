//! Names of columns: which one holds the question, the ground truth, the pictures; the usual names, or those that a
//! config gives.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{DatasetError, Result};
use crate::nearest::{closest, list, nearest};

/// Which column of a data set holds what, where its names are not among the usual ones. `a.b` is the field `b` of
/// column `a`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Columns {
    /// Column of the question: text, or a list of messages. Default: the first of `messages`, `conversations`,
    /// `prompt`, `problem`, `question`, `query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Column of the ground truth, of any type. Default: `ground_truth`, `answer`, `solution` or
    /// `reward_model.ground_truth`; two of them in one row must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ground_truth: Option<String>,
    /// Column of the pictures: `{bytes, path}`, bytes, a path relative to the file, base64 or a data URL, or a list of
    /// them. Default: `images` or `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<String>,
    /// Column of the videos: a folder of frames, an animated file, `{path, fps}` or `{frames, fps}`, or a list of
    /// them. Default: `videos` or `video`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub videos: Option<String>,
    /// Column of the response to imitate: text, or a list with one assistant message. Default: `response` or
    /// `completion`, else the last message when the assistant speaks it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Column of the task's name. Default: the first of `task`, `data_source`, `ability` that is not null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Column of the row's id, text or a number, unique in the source. Default: `id`, else the file's name and the
    /// number of the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The keys of a `columns` table.
const KEYS: [&str; 7] = ["question", "ground_truth", "images", "videos", "response", "task", "id"];
/// Keys of before, and what they are called now.
const OLD_KEYS: [(&str, &str); 4] =
    [("prompt_key", "question"), ("answer_key", "ground_truth"), ("image_key", "images"), ("video_key", "videos")];

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut columns = Self::default();
        for (key, value) in BTreeMap::<String, String>::deserialize(deserializer)? {
            let field = match key.as_str() {
                "question" => &mut columns.question,
                "ground_truth" => &mut columns.ground_truth,
                "images" => &mut columns.images,
                "videos" => &mut columns.videos,
                "response" => &mut columns.response,
                "task" => &mut columns.task,
                "id" => &mut columns.id,
                other => {
                    return Err(match OLD_KEYS.iter().find(|(old, _)| *old == other) {
                        Some((old, new)) => D::Error::custom(format!("`{old}` is called `{new}` now")),
                        None => D::Error::unknown_field(other, &KEYS),
                    });
                }
            };
            *field = Some(value);
        }
        Ok(columns)
    }
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Question,
    GroundTruth,
    Images,
    Videos,
    Response,
    Task,
    Id,
}

impl Role {
    /// All of them.
    const ALL: [Self; 7] =
        [Self::Question, Self::GroundTruth, Self::Images, Self::Videos, Self::Response, Self::Task, Self::Id];

    /// The key in [`Columns`].
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::GroundTruth => "ground_truth",
            Self::Images => "images",
            Self::Videos => "videos",
            Self::Response => "response",
            Self::Task => "task",
            Self::Id => "id",
        }
    }

    /// The usual names of the column, the first of which wins.
    pub(crate) fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Question => &["messages", "conversations", "prompt", "problem", "question", "query"],
            Self::GroundTruth => &["ground_truth", "answer", "solution", "reward_model.ground_truth"],
            Self::Images => &["images", "image"],
            Self::Videos => &["videos", "video"],
            Self::Response => &["response", "completion"],
            Self::Task => &["task", "data_source", "ability"],
            Self::Id => &["id"],
        }
    }
}

impl Columns {
    /// That a column which may hold something is of a type that cannot be read.
    ///
    /// # Errors
    /// When there is such a column among `unread`, which are names and types.
    pub(crate) fn refuse_unread(&self, place: &str, unread: &[(String, String)]) -> Result<()> {
        let may_hold = |name: &str| {
            Role::ALL.iter().any(|role| match self.named(*role) {
                Some(named) => named.split('.').next() == Some(name),
                None => role.usual().contains(&name),
            })
        };
        match unread.iter().find(|(name, _)| may_hold(name)) {
            Some((name, kind)) => {
                let reason =
                    format!("column `{name}` is of type {kind}, which is not read; write it as text or a number");
                Err(DatasetError::row(place, reason))
            }
            None => Ok(()),
        }
    }

    fn named(&self, role: Role) -> Option<&str> {
        match role {
            Role::Question => &self.question,
            Role::GroundTruth => &self.ground_truth,
            Role::Images => &self.images,
            Role::Videos => &self.videos,
            Role::Response => &self.response,
            Role::Task => &self.task,
            Role::Id => &self.id,
        }
        .as_deref()
    }

    /// The columns among `present` that may hold `role`: the one that is named, or the usual names that are there.
    ///
    /// # Errors
    /// When a column is named that is not there.
    pub(crate) fn of(&self, role: Role, place: &str, present: &[String]) -> Result<Vec<String>> {
        let there = |name: &str| {
            let top = name.split_once('.').map_or(name, |(top, _)| top);
            present.iter().any(|column| column == name || column == top)
        };
        match self.named(role) {
            Some(name) if there(name) => Ok(vec![name.to_owned()]),
            Some(name) => {
                let guess = nearest(name, present.iter().map(String::as_str));
                let key = role.key();
                Err(DatasetError::row(place, format!("no column `{name}`, which columns.{key} names; {guess}")))
            }
            None => Ok(role.usual().iter().filter(|name| there(name)).map(|&name| name.to_owned()).collect()),
        }
    }
}

/// That no column holds a question: what was seen, what was expected, and the nearest.
pub(crate) fn no_question(place: &str, present: &[String]) -> DatasetError {
    let usual = Role::Question.usual();
    let near = usual.iter().find_map(|name| closest(name, present.iter().map(String::as_str)));
    let guess = near.map(|name| format!("; is it `{name}`?")).unwrap_or_default();
    let reason = format!(
        "no column holds a question{guess} (columns: {}; expected one of {}); name it by columns.question",
        list(present.iter().map(String::as_str)),
        list(usual.iter().copied())
    );
    DatasetError::row(place, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn usual_names_are_found_in_order() {
        let columns = Columns::default();
        let there = present(&["answer", "problem", "solution", "reward_model"]);
        let of = |role| columns.of(role, "d", &there).unwrap();
        assert_eq!(of(Role::Question), ["problem"]);
        assert_eq!(of(Role::GroundTruth), ["answer", "solution", "reward_model.ground_truth"]);
        assert!(of(Role::Images).is_empty());
    }

    #[test]
    fn a_named_column_that_is_missing_is_an_error_with_the_nearest() {
        let columns = Columns { question: Some("questoin".to_owned()), ..Columns::default() };
        let there = present(&["question", "answer"]);
        let message = columns.of(Role::Question, "d.parquet", &there).unwrap_err().to_string();
        assert_eq!(message, "d.parquet: no column `questoin`, which columns.question names; did you mean `question`?");
    }

    #[test]
    fn an_unknown_layout_says_what_was_seen_and_expected() {
        let message = no_question("d.jsonl", &present(&["mesages", "uid"])).to_string();
        for says in ["is it `mesages`?", "columns: `mesages`, `uid`", "`conversations`", "columns.question"] {
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn an_old_key_is_answered_with_the_new_one() {
        let read = |text: &str| serde_json::from_str::<Columns>(text);
        let columns = read(r#"{"question":"q","ground_truth":"extra.a"}"#).unwrap();
        assert_eq!(columns.ground_truth.as_deref(), Some("extra.a"));
        assert_eq!(serde_json::to_string(&columns).unwrap(), r#"{"question":"q","ground_truth":"extra.a"}"#);
        let message = read(r#"{"answer_key":"a"}"#).unwrap_err().to_string();
        assert!(message.contains("`answer_key` is called `ground_truth` now"), "{message}");
        assert!(read(r#"{"answr":"a"}"#).unwrap_err().to_string().contains("unknown field `answr`"));
    }
}
