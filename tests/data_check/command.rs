//! `sapo data check` and `sapo data convert` as people run them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::rows::{file, good, with};

fn sapo(folder: &Path, arguments: &[&str], code: i32) -> Output {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sapo")).args(arguments).current_dir(folder).output().expect("the binary");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    output
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_table_a_file_and_an_exit_code() {
    let place = tempfile::tempdir().expect("a folder");
    let lines: Vec<Vec<u8>> = (0..4)
        .map(|number| with(number, &json!({})))
        .chain([with(1, &json!({"id": "again"})), b"{half".to_vec(), with(5, &json!({"images": ["gone.png"]}))])
        .collect();
    file(place.path(), "train.jsonl", &lines);
    file(place.path(), "test.jsonl", &[with(3, &json!({"id": "other"}))]);
    let check = ["data", "check", "train.jsonl", "--against", "test.jsonl"];
    let output = sapo(place.path(), &[&check[..], &["--rejected", "out/bad.jsonl"]].concat(), 1);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["train (train.jsonl)", "test (test.jsonl, evaluation)", "rows", "overlap", "unreadable", "not good"] {
        assert!(table.contains(words), "`{words}` is not in: {table}");
    }
    let text = std::fs::read_to_string(place.path().join("out/bad.jsonl")).expect("the rejected rows");
    let bad: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let firsts: Vec<(u64, &str)> = bad
        .iter()
        .map(|row| (row["row"].as_u64().expect("a row"), row["reasons"][0]["reason"].as_str().expect("a reason")))
        .collect();
    assert_eq!(firsts, [(3, "overlap"), (4, "duplicate"), (5, "unreadable"), (6, "picture_missing")]);
    assert_eq!(bad[0]["reasons"][0]["repeats"], json!({"source": "test", "row": 0, "id": "other"}));
    assert_eq!(bad[1]["reasons"][0]["repeats"], json!({"source": "train", "row": 1, "id": "good-1"}));
    let output = sapo(place.path(), &[&check[..], &["--json", "--max-bad-share", "0.6"]].concat(), 0);
    let found = object(&output);
    assert_eq!((found["rows"].as_u64(), found["good"].as_u64(), found["bad"].as_u64()), (Some(8), Some(4), Some(4)));
    assert_eq!(
        found["sources"][1]["reasons"],
        json!({"unreadable": 1, "picture_missing": 1, "overlap": 1, "duplicate": 1})
    );
    let message = said(&sapo(place.path(), &[&check[..], &["--rejected", "out/bad.jsonl"]].concat(), 2));
    assert!(message.contains("exists already"), "{message}");
}

#[test]
fn what_cannot_be_checked_is_told() {
    let place = tempfile::tempdir().expect("a folder");
    file(place.path(), "train.jsonl", &[with(0, &json!({}))]);
    for (arguments, words) in [
        (&["gone.jsonl"][..], "gone.jsonl"),
        (&["train.jsonl", "--rubric", "right"], "--rubric right: name the configuration"),
        (&["train.jsonl", "--reward", "mathh"], "mathh"),
        (&["train.jsonl", "--model", "nowhere"], "nowhere"),
        (&["train.jsonl", "--near", "1.5"], "0 to 1"),
        (&["clok"], "clok"),
    ] {
        let message = said(&sapo(place.path(), &[&["data", "check"], arguments].concat(), 2));
        assert!(message.contains(words), "{arguments:?}: {message}");
    }
    sapo(
        place.path(),
        &["data", "check", "train.jsonl", "synthetic:clock[0:40]", "count@test", "--reward", "truth"],
        0,
    );
}

#[test]
fn sources_are_converted_and_read_back() {
    let place = tempfile::tempdir().expect("a folder");
    let make = ["data", "make", "clock", "--out", "clocks.jsonl", "--count", "70", "--responses", "careful"];
    sapo(place.path(), &make, 0);
    sapo(place.path(), &["data", "convert", "clocks.jsonl", "--out", "out/clocks.parquet"], 0);
    let shown = |source: &str| object(&sapo(place.path(), &["data", "show", source, "--count", "70", "--json"], 0));
    assert_eq!(shown("out/clocks.parquet")["queries"], shown("clocks.jsonl")["queries"]);
    let again = said(&sapo(place.path(), &["data", "convert", "clocks.jsonl", "--out", "out/clocks.parquet"], 2));
    assert!(again.contains("exists already"), "{again}");
    let endless = said(&sapo(place.path(), &["data", "convert", "clock", "--out", "endless.parquet"], 2));
    assert!(endless.contains("[0:1000]"), "{endless}");
    let lines: Vec<Vec<u8>> =
        (0..6).map(|number| good(number).to_string().into_bytes()).chain([b"{half".to_vec()]).collect();
    file(place.path(), "rows.jsonl", &lines);
    let convert = ["data", "convert", "rows.jsonl", "--out", "rows.parquet"];
    let message = said(&sapo(place.path(), &convert, 1));
    assert!(
        message.contains("rows.jsonl row 7: not a JSON object") && message.contains("nothing is written"),
        "{message}"
    );
    assert!(!place.path().join("rows.parquet").exists());
    let output = sapo(place.path(), &[&convert[..], &["--max-bad-share", "0.2", "--json"]].concat(), 0);
    let found = object(&output);
    assert_eq!((found["written"].as_u64(), found["bad"][0]["row"].as_u64()), (Some(6), Some(6)), "{found}");
    assert_eq!(shown("rows.parquet")["queries"].as_array().map(Vec::len), Some(6));
}
