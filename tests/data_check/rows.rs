//! Rows that are good, and files of them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Questions that resemble each other in nothing.
const QUESTIONS: [&str; 6] = [
    "How many oranges are left in the basket?",
    "Which of the walls is painted in blue?",
    "Name the tallest building of this street.",
    "At what time does the ferry depart from the island?",
    "Who stands behind the counter of the bakery?",
    "Does the bridge cross a river or a railway line?",
];

/// A row with a truth and a response, and nothing wrong with it.
pub(crate) fn good(number: usize) -> Value {
    json!({
        "id": format!("good-{number}"),
        "problem": QUESTIONS[number % QUESTIONS.len()],
        "answer": format!("{number}"),
        "response": format!("</think>{number}"),
    })
}

/// Writes lines as they are.
pub(crate) fn file(folder: &Path, name: &str, lines: &[Vec<u8>]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, lines.join(&b'\n')).expect("a file");
    path
}

/// A row with some keys set; `null` takes a key away.
pub(crate) fn with(number: usize, keys: &Value) -> Vec<u8> {
    let mut row = good(number);
    for (key, value) in keys.as_object().expect("keys") {
        match value {
            Value::String(text) if text == "-" => {
                row.as_object_mut().expect("a row").shift_remove(key);
            }
            value => row[key] = value.clone(),
        }
    }
    row.to_string().into_bytes()
}
