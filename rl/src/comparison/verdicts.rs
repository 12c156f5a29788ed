//! Verdicts that other programs wrote: a JSONL file with a line for each answer, of which several may belong to a query.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::read::{Recorded, RecordedQuery};
use crate::error::{Result, RunError};

/// What a query is called by, the first of these that a line has.
const IDS: [&str; 5] = ["query_id", "id", "doc_id", "index", "question"];
/// Where a verdict stands: true or false, 1 or 0; null is a score that failed.
const VERDICTS: [&str; 6] = ["passed", "correct", "is_correct", "exact_match", "acc", "score"];
/// The task of a line that names none.
const ANY: &str = "verdicts";

/// Reads a file of verdicts.
///
/// # Errors
/// When it cannot be read, or a line has no id or no verdict; the message names the line and what it may have.
pub(super) fn read(path: &Path) -> Result<Recorded> {
    let file = File::open(path).map_err(|source| RunError::io(path, source))?;
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut read =
        Recorded { place: path.display().to_string(), set: name.clone(), after: name, ..Recorded::default() };
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|source| RunError::io(path, source))?;
        if line.trim().is_empty() {
            continue;
        }
        let fault = |reason: String| RunError::User(format!("{} line {}: {reason}", path.display(), index + 1));
        let row: Map<String, Value> =
            serde_json::from_str(&line).map_err(|error| fault(format!("not a JSON object ({error})")))?;
        let (id, passed) = (id_of(&row).map_err(fault)?, verdict_of(&row).map_err(fault)?);
        let task = row.get("task").and_then(Value::as_str).unwrap_or(ANY);
        if !read.order.iter().any(|known| known == task) {
            read.order.push(task.to_owned());
        }
        let fresh = || RecordedQuery { task: task.to_owned(), ..RecordedQuery::default() };
        read.queries.entry(id).or_insert_with(fresh).sampled.push(passed);
    }
    if read.queries.is_empty() {
        return Err(RunError::User(format!("{} has no lines, so there is nothing to compare", path.display())));
    }
    Ok(read)
}

fn id_of(row: &Map<String, Value>) -> std::result::Result<String, String> {
    let found = IDS.iter().find_map(|key| row.get(*key).filter(|value| !value.is_null()));
    match found {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(id @ Value::Number(_)) => Ok(id.to_string()),
        Some(other) => Err(format!("the id {other} is neither text nor a number")),
        None => Err(format!("no id; it may stand in {}", IDS.join(", "))),
    }
}

fn verdict_of(row: &Map<String, Value>) -> std::result::Result<Option<bool>, String> {
    let Some((key, value)) = VERDICTS.iter().find_map(|key| Some((key, row.get(*key)?))) else {
        return Err(format!("no verdict; it may stand in {}", VERDICTS.join(", ")));
    };
    // A line of `samples.jsonl` has its verdict within the score.
    let value = if value.is_object() { &value["passed"] } else { value };
    match (value, value.as_f64()) {
        (Value::Null, _) => Ok(None),
        (Value::Bool(passed), _) => Ok(Some(*passed)),
        (_, Some(1.0)) => Ok(Some(true)),
        (_, Some(0.0)) => Ok(Some(false)),
        _ => Err(format!("`{key}` is {value}; a verdict is true or false, 1 or 0, or null where the score failed")),
    }
}

#[cfg(test)]
mod tests {
    use crate::comparison::{compare_all, open};

    #[test]
    fn verdicts_of_other_programs_are_compared_and_a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, lines: &[&str]| {
            let path = folder.path().join(name);
            std::fs::write(&path, lines.join("\n")).unwrap();
            path
        };
        let a = write(
            "a.jsonl",
            &[r#"{"id": 1, "correct": true}"#, r#"{"id": 2, "correct": false}"#, r#"{"id": 3, "correct": 0.0}"#],
        );
        let b = write(
            "b.jsonl",
            &[r#"{"doc_id": 3, "acc": 1}"#, r#"{"doc_id": 1, "acc": 1}"#, r#"{"doc_id": 2, "acc": null}"#, ""],
        );
        let all = compare_all(&open(&a).unwrap(), &open(&b).unwrap(), false).unwrap();
        let row = all[0].rows.last().unwrap();
        assert_eq!((row.queries, row.a, row.b, row.difference), (2, 0.5, 1.0, 0.5));
        for (line, told) in
            [("{}", "no id"), (r#"{"id": 1}"#, "no verdict"), (r#"{"id": 1, "acc": 0.5}"#, "0.5"), ("[]", "not a JSON")]
        {
            let bad = write("bad.jsonl", &[r#"{"id": 7, "acc": 1}"#, line]);
            let said = open(&bad).unwrap_err().to_string();
            assert!(said.contains("line 2") && said.contains(told), "{said}");
        }
    }
}
