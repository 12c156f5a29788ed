//! From a merged table to a configuration; what does not fit is named by its whole key, in words.

use serde_path_to_error::Segment;
use toml::{Table, Value};

use super::Config;
use super::fault::{ConfigError, fault, nearest};

/// Reads a table.
///
/// # Errors
/// Names the key with its whole path; for an unknown one the nearest that is known.
pub(super) fn config(merged: &Table) -> Result<Config, ConfigError> {
    deserialized(merged).map_err(|mut wrong| {
        wrong.path.extend(missed(merged, &wrong));
        let unknown = wrong
            .quoted_after("unknown field `")
            .filter(|name| wrong.path.last().is_none_or(|last| last.key() != Some(name)));
        let more = unknown.map(|name| Step::Key(name.to_owned()));
        let path: Vec<Step> = wrong.path.iter().cloned().chain(more).collect();
        fault(written(&path), in_words(&wrong.message))
    })
}

/// What serde says of a table, and where.
struct Wrong {
    path: Vec<Step>,
    message: String,
}

impl Wrong {
    /// The name in backquotes of a message that begins so.
    fn quoted_after(&self, start: &str) -> Option<&str> {
        self.message.strip_prefix(start)?.split('`').next()
    }

    /// Whether the message is about this key or value; `None` where it does not tell.
    fn speaks_of(&self, key: &str, value: &Value) -> Option<bool> {
        if let Some(name) = self.quoted_after("unknown field `") {
            return Some(name == key);
        }
        if let Some(name) = self.quoted_after("unknown variant `") {
            return Some(value.as_str() == Some(name) || value.get(name).is_some());
        }
        let typed = self.message.starts_with("invalid type: ") || self.message.starts_with("invalid value: ");
        typed.then(|| self.names(value))
    }

    /// Whether the message has this value in it, or an item of this list.
    fn names(&self, value: &Value) -> bool {
        let found = self.message.split(", expected").next().unwrap_or_default();
        let mut items = value.as_array().into_iter().flatten();
        found.contains(&as_serde_says(value)) || items.any(|item| self.names(item))
    }
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        if let Self::Key(key) = self { Some(key) } else { None }
    }
}

fn written(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

fn deserialized(table: &Table) -> Result<Config, Wrong> {
    serde_path_to_error::deserialize(Value::Table(table.clone())).map_err(|error| {
        let steps = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        Wrong { path: steps.collect(), message: error.inner().message().trim_end().to_owned() }
    })
}

/// The rest of the path of what is wrong. A choice by its `kind` is read in one piece, so that serde knows no key within it.
/// It is found by trying: the value that the message speaks of, and without which it says something else; and for a key that is
/// missing, the table that takes it.
fn missed(merged: &Table, wrong: &Wrong) -> Vec<Step> {
    let mut root = Value::Table(merged.clone());
    let Some(node) = at(&mut root, &wrong.path).cloned() else { return Vec::new() };
    let mut inner = Vec::new();
    within(&node, &mut Vec::new(), &mut inner);
    let whole = |rest: &[Step]| -> Vec<Step> { wrong.path.iter().chain(rest).cloned().collect() };
    let said_without = |rest: &[Step]| -> Option<Option<String>> {
        let (last, before) = rest.split_last()?;
        let mut tried = Value::Table(merged.clone());
        at(&mut tried, &whole(before))?.as_table_mut()?.remove(last.key()?);
        Some(says(&tried))
    };
    if let Some(name) = wrong.quoted_after("missing field `") {
        let said_with = |rest: &[Step]| -> Option<Option<String>> {
            let mut tried = Value::Table(merged.clone());
            let table = at(&mut tried, &whole(rest))?.as_table_mut().filter(|table| !table.contains_key(name))?;
            table.insert(name.to_owned(), Value::Boolean(true));
            Some(says(&tried))
        };
        let unknown = format!("unknown field `{name}`");
        let takes = |rest: &&Vec<Step>| {
            said_with(rest)
                .is_some_and(|said| said.is_none_or(|said| said != wrong.message && !said.starts_with(&unknown)))
        };
        // The outer before the inner: the key may be one that both know.
        return [Vec::new()].iter().chain(inner.iter().rev()).find(takes).cloned().unwrap_or_default();
    }
    let is_to_blame = |rest: &&Vec<Step>| {
        let (Some(said), Some(key)) = (said_without(rest), rest.last().and_then(Step::key)) else { return false };
        let value = at(&mut node.clone(), rest).cloned();
        match (said, value.and_then(|value| wrong.speaks_of(key, &value))) {
            (_, Some(false)) => false,
            (None, _) => true,
            (Some(said), Some(true)) => said != wrong.message,
            // What is needed is missed when it is taken away, whatever is wrong.
            (Some(said), None) => said != wrong.message && !said.starts_with(&format!("missing field `{key}`")),
        }
    };
    inner.iter().find(is_to_blame).cloned().unwrap_or_default()
}

/// What is wrong with a table, if something is.
fn says(table: &Value) -> Option<String> {
    deserialized(table.as_table()?).err().map(|wrong| wrong.message)
}

/// A value as a message of serde names it.
fn as_serde_says(value: &Value) -> String {
    match value {
        Value::String(text) => format!("string {text:?}"),
        Value::Integer(number) => format!("integer `{number}`"),
        Value::Float(number) => {
            let text = number.to_string();
            let point = if text.contains('.') || !number.is_finite() { "" } else { ".0" };
            format!("floating point `{text}{point}`")
        }
        Value::Boolean(is) => format!("boolean `{is}`"),
        Value::Datetime(_) | Value::Table(_) => "map".to_owned(),
        Value::Array(_) => "sequence".to_owned(),
    }
}

fn at<'a>(root: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key.as_str()),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// The paths of all values within one, the inner before the outer.
fn within(value: &Value, path: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
    let mut step = |step: Step, value: &Value| {
        path.push(step);
        within(value, path, paths);
        paths.push(path.clone());
        path.pop();
    };
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| step(Step::Key(key.clone()), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| step(Step::Index(index), value)),
        _ => {}
    }
}

/// Types as serde names them, and in words; longer names before those that they begin with.
const TYPES: [(&str, &str); 13] = [
    ("expected u64", "expected a whole number from 0 up"),
    ("expected u32", "expected a whole number from 0 up"),
    ("expected u16", "expected a whole number from 0 up"),
    ("expected usize", "expected a whole number from 0 up"),
    ("expected i64", "expected a whole number"),
    ("expected f64", "expected a number"),
    ("expected a boolean", "expected true or false"),
    ("expected a sequence", "expected a list"),
    ("expected a string", "expected a text"),
    ("expected path string", "expected a path"),
    ("expected a map", "expected a table"),
    ("expected internally tagged enum", "expected a table with a `kind`, of the choice"),
    ("floating point `", "number `"),
];

/// A message of serde for people, with the nearest known name where one is not known.
fn in_words(message: &str) -> String {
    for (start, what) in [("unknown field", "key"), ("unknown variant", "choice")] {
        let mut quoted = message.split('`').skip(1).step_by(2);
        if let (true, Some(name)) = (message.starts_with(start), quoted.next()) {
            return format!("there is no such {what} as `{name}`{}", nearest(name, quoted));
        }
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return format!("the key {key} is missing; add it");
    }
    let text = TYPES.iter().fold(message.to_owned(), |text, (name, words)| text.replace(name, words));
    let text = text.strip_prefix("invalid type: ").map(|rest| format!("is the wrong type: {rest}")).unwrap_or(text);
    text.strip_prefix("invalid value: ").map(|rest| format!("cannot be: {rest}")).unwrap_or(text)
}
