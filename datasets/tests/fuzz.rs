//! Rows of data, changed in every way: read or refused by file and row, within time and memory.

#[path = "../../tests/fuzz/kit.rs"]
mod kit;

use std::fs;
use std::path::Path;

use sapo_datasets::synthetic::{Task, query};
use sapo_datasets::{Columns, Dataset, Example, OpenContext, SourceConfig, Split, written};
use serde_json::json;

/// Reads every row of a file as training would; true where one can be used.
fn read(folder: &Path, name: &str, bytes: &[u8], columns: &Columns) -> bool {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file");
    let config =
        SourceConfig { source: path.display().to_string(), columns: columns.clone(), ..SourceConfig::default() };
    let Ok(dataset) = Dataset::open("mine", &config, &OpenContext::default()) else { return false };
    let mut good = false;
    dataset.visit(0, dataset.len().unwrap_or(0).min(16), &mut |index, row| match row {
        Ok(_) => good |= dataset.check_row(index).is_ok(),
        Err(error) => assert!(!error.to_string().is_empty()),
    });
    good
}

fn lines() -> Vec<Vec<u8>> {
    let user = |content: serde_json::Value| json!({"role": "user", "content": content});
    let clock = query(Task::Clock, Split::Train, 1, 0).images[0].clone();
    let url = {
        use base64::Engine as _;
        format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(clock.bytes()))
    };
    let rows = [
        json!({"id": "a", "problem": "2+2?", "answer": "4", "level": 3}),
        json!({"messages": [user(json!("2+2?")), {"role": "assistant", "content": "4"}], "ground_truth": 4}),
        json!({"messages": [user(json!([{"type": "image"}, {"type": "text", "text": "What?"}]))], "images": [url]}),
        json!({"conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A"}], "image": url}),
        json!({"prompt": [user(json!("a"))], "reward_model": {"ground_truth": [1, 2.5, null]}, "data_source": "x"}),
        json!({"id": 7, "messages": [user(json!([{"type": "text", "text": "Hi"}]))], "rubric": "r", "tools": ["t"], "columns": {"x": 1}}),
    ];
    let mut seeds: Vec<Vec<u8>> =
        rows.iter().map(|row| format!("{row}\n{row2}\n", row2 = json!({"x": 1})).into_bytes()).collect();
    seeds.extend(rows.iter().map(|row| format!("[{row}]").into_bytes()));
    seeds
}

#[test]
fn rows_of_json_are_read_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = [
        "\"role\":\"assistant\"",
        "\"messages\":",
        "\"images\":",
        "\"columns\":{}",
        "/dev/zero",
        "/proc/kmsg",
        ",",
        "\n",
    ];
    kit::Door { name: "rows", seeds: lines(), words: &words, mend: None }.run(|bytes| {
        let name = if bytes.starts_with(b"[") { "rows.json" } else { "rows.jsonl" };
        read(folder.path(), name, bytes, &Columns::default())
    });
}

#[test]
fn parquet_is_read_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("own.parquet");
    let rows = (0..6)
        .map(|index| Ok(Example { query: query(Task::Clock, Split::Train, 1, index), response: None, spoken: false }));
    written::parquet::write(&own, rows).expect("a file");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/digits.parquet");
    let seeds = [own, fixture].map(|path| fs::read(path).expect("a file")).to_vec();
    kit::Door { name: "parquet", seeds, words: &["PAR1"], mend: None }
        .run(|bytes| read(folder.path(), "rows.parquet", bytes, &Columns::default()));
}
