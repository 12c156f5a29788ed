//! The queries that answers are of, as a run recorded them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};

/// What is asked, in words: its messages, those of others than the user with who speaks.
pub(crate) fn prompt_of(messages: &Value) -> String {
    let mut prompt = String::new();
    for message in messages.as_array().into_iter().flatten() {
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            content => content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect(),
        };
        if !prompt.is_empty() {
            prompt.push_str("\n\n");
        }
        if message["role"] != "user" {
            prompt.push_str(&format!("{}: ", message["role"].as_str().unwrap_or("?")));
        }
        prompt.push_str(&text);
    }
    prompt
}

/// The queries of these ids as the run recorded them: question, truth and pictures.
pub(crate) fn queries(folder: &Path, ids: &BTreeSet<&str>) -> BTreeMap<String, Value> {
    let around = [folder.to_owned(), folder.join(".."), folder.join("../..")];
    let files = around.iter().map(|folder| folder.join("queries.jsonl"));
    let Some(file) = files.into_iter().find_map(|path| File::open(path).ok()) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        let Ok(query) = serde_json::from_slice::<Value>(&line) else { continue };
        let Some(id) = query["id"].as_str().filter(|id| ids.contains(id)) else { continue };
        let shown = json!({"question": prompt_of(&query["messages"]), "truth": query["ground_truth"], "images": query["images"]});
        found.insert(id.to_owned(), shown);
        if found.len() == ids.len() {
            break;
        }
    }
    found
}
