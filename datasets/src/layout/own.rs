//! Our own rows: a closed set of keys, further columns in an object of their own; in Parquet some columns are JSON.

use serde_json::{Map, Value, json};

use crate::error::{DatasetError, Result};
use crate::nearest::nearest;

/// The keys of a query file.
const KEYS: [&str; 11] = [
    "id",
    "task",
    "messages",
    CONVERSATIONAL,
    "images",
    "videos",
    "ground_truth",
    "rubric",
    "tools",
    "response",
    "columns",
];
/// The key of a query file that is true where the question was a list of messages before it was written.
pub(crate) const CONVERSATIONAL: &str = "conversational";
/// Columns that hold JSON as text in the Parquet files that we write.
const JSON_COLUMNS: [&str; 5] = ["messages", "videos", "ground_truth", "tools", "columns"];
/// Columns that each of these files has.
const WRITTEN: [&str; 6] = ["messages", "ground_truth", "tools", "columns", "rubric", "prompt"];
/// The column with the response to imitate.
pub const RESPONSE_COLUMN: &str = "response";

/// Whether a Parquet file with these columns is one that we wrote.
pub(super) fn wrote(present: &[String]) -> bool {
    WRITTEN.iter().all(|name| present.iter().any(|column| column == name))
}

/// Whether a row is of our own format: it keeps its further columns in `columns`.
pub(super) fn is_own(values: &Map<String, Value>) -> bool {
    values.get("columns").is_some_and(Value::is_object)
}

/// Turns the JSON texts of a Parquet row that we wrote back into values, and drops what repeats them for people.
pub(super) fn open_json(values: &mut Map<String, Value>, place: &str) -> Result<()> {
    for name in JSON_COLUMNS {
        if let Some(Value::String(text)) = values.get(name) {
            let value = serde_json::from_str(text)
                .map_err(|error| DatasetError::row(place, format!("column `{name}` is not JSON: {error}")))?;
            values.insert(name.to_owned(), value);
        }
    }
    values.shift_remove("answer");
    if values.get("messages").is_some_and(|messages| !messages.is_null()) {
        values.shift_remove("prompt");
    } else if let Some(prompt) = values.shift_remove("prompt") {
        values.insert("messages".to_owned(), prompt);
    }
    Ok(())
}

/// A key that we do not know would be lost.
pub(super) fn refuse_unknown_keys(values: &Map<String, Value>, place: &str) -> Result<()> {
    match values.keys().find(|key| !KEYS.contains(&key.as_str())) {
        Some(key) => {
            let guess = nearest(key, KEYS.into_iter());
            let reason = format!("unknown key `{key}`; {guess} (further columns belong in `columns`)");
            Err(DatasetError::row(place, reason))
        }
        None => Ok(()),
    }
}

/// The response that a row keeps among its further columns.
pub(super) fn response(values: &mut Map<String, Value>) -> Option<String> {
    let columns = values.get_mut("columns")?.as_object_mut()?;
    match columns.get(RESPONSE_COLUMN) {
        Some(Value::String(_)) => columns.shift_remove(RESPONSE_COLUMN)?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Text, or nothing.
pub(super) fn text(value: Option<Value>, key: &str, place: &str) -> Result<Option<String>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(DatasetError::row(place, format!("column `{key}` is {other}; text is wanted"))),
    }
}

/// Names of tools. What others write there (schemas of functions) stays a further column.
pub(super) fn tools(values: &mut Map<String, Value>, is_own: bool, place: &str) -> Result<Vec<String>> {
    let written = values.get("tools").filter(|tools| !tools.is_null()).cloned().unwrap_or_else(|| json!([]));
    match serde_json::from_value(written) {
        Ok(names) => {
            values.shift_remove("tools");
            Ok(names)
        }
        Err(_) if is_own => Err(DatasetError::row(place, "column `tools` is not a list of names")),
        Err(_) => Ok(Vec::new()),
    }
}

/// What is left of a row: further columns, handed to rewards as they are.
pub(super) fn further(mut values: Map<String, Value>, is_own: bool) -> Map<String, Value> {
    let mut columns = match values.shift_remove("columns") {
        Some(Value::Object(columns)) if is_own => columns,
        other => other.map(|value| Map::from_iter([("columns".to_owned(), value)])).unwrap_or_default(),
    };
    columns.extend(values);
    columns.retain(|_, value| is_own || !value.is_null());
    columns
}
