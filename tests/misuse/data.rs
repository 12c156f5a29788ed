//! Misuses of data: sources, rows, pictures, memory.

use crate::refused;

const SMOKE: [&str; 4] = ["train", "configs/smoke.toml", "run.name=never", "--json"];

fn run_is_refused(more: &[&str], words: &[&str]) {
    refused(&[&SMOKE[..], more].concat(), 2, words);
}

#[test]
fn a_source_that_is_not_there_is_named_with_its_key() {
    run_is_refused(&["data.count.source=nowhere/train.parquet"], &["data.count", "nowhere/train.parquet"]);
    run_is_refused(&["data.count.source=synthetic:cuont"], &["data.count", "did you mean `count`?"]);
    run_is_refused(&["phases.careful.data=[{ use = \"digitz\" }]"], &["phases.careful", "did you mean `digits`?"]);
}

#[test]
fn files_that_hold_no_rows_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.jsonl");
    std::fs::write(&empty, "").expect("written");
    let source = format!("data.count.source={}", empty.display());
    run_is_refused(&[&source], &["empty.jsonl"]);
    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"prompt\": \"1 + 1?\", \"answer\":\n").expect("written");
    refused(&["data", "show", &broken.display().to_string()], 2, &["broken.jsonl"]);
}

#[test]
fn a_run_that_needs_more_memory_than_there_is_does_not_start() {
    let large = [
        "run.decode_rows=1000000",
        "run.cache_mib=10000000",
        "phases.reasoning.prompts_per_step=100000",
        "phases.reasoning.rollouts_per_prompt=16",
        "phases.reasoning.sampling.max_new_tokens=2000",
    ];
    run_is_refused(&large, &["the run needs about", "reasoning holds", "run.allow_over_memory=true"]);
    refused(&["plan", "--model", "2b", "--memory", "80"], 2, &["80GB"]);
}

/// A file of three rows, the second of which is `row`.
fn second(folder: &std::path::Path, name: &str, row: &str) -> String {
    let good = |number: usize| format!("{{\"question\": \"{number} + {number}?\", \"answer\": \"{}\"}}", 2 * number);
    let path = folder.join(name);
    std::fs::write(&path, format!("{}\n{row}\n{}\n", good(1), good(3))).expect("written");
    path.display().to_string()
}

#[test]
fn nothing_of_a_row_is_taken_in_silence() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, row, says) in [
        ("twice.jsonl", r#"{"question": "2+2?", "answer": "5", "answer": "4"}"#, "the key `answer` stands twice"),
        ("empty.jsonl", r#"{"question": " ", "answer": "4"}"#, "the question is empty"),
        ("both.jsonl", r#"{"question": "2+2?", "answer": "4", "solution": "2 + 2 is 4"}"#, "columns.ground_truth"),
        ("two.jsonl", r#"{"question": [{"role": "system", "content": "a"}], "answer": "4"}"#, "row 2"),
        ("nan.jsonl", r#"{"question": "2+2?", "answer": NaN}"#, "not a JSON object"),
    ] {
        let file = second(folder.path(), name, row);
        let place = format!("{name} row 2");
        refused(&["data", "show", &file], 2, &[&place, says]);
        refused(&["reward", "check", "--reward", "exact", "--data", &file], 0, &[&place, says]);
    }
}

#[test]
fn what_may_not_be_meant_is_said_by_file_and_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let spoken = r#"{"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}], "answer": "4",
        "tools": ["zoom"], "rubric": "nope"}"#;
    let file = second(folder.path(), "odd.jsonl", &spoken.replace('\n', " "));
    let remarks = [
        "odd.jsonl row 2: its last message is the assistant's",
        "names the tools `zoom`",
        "asks for the rubric `nope`",
    ];
    refused(&["reward", "check", "--reward", "exact", "--data", &file], 0, &remarks);
    refused(&["eval", "--model", "tiny", "--data", &file, "--rubric", "nope"], 2, &["nope"]);
    let shown = crate::sapo(&["data", "show", &file]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for says in ["its last message is the assistant's", "names the tools `zoom`", "asks for the rubric `nope`"] {
        assert!(shown.contains(says), "{shown}");
    }
    let blank = second(folder.path(), "blank.jsonl", r#"{"question": "2+2?", "answer": ""}"#);
    refused(
        &["reward", "check", "--reward", "exact", "--data", &blank],
        1,
        &["blank.jsonl row 2: its ground truth is empty"],
    );
}

#[test]
fn what_comes_from_data_steers_no_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = r#"{"id": "b\u001b[31m", "question": "2\u001b]0;x\u0007+2?\u009b2J", "answer": "4\u001b[2J\u202e"}"#;
    let file = second(folder.path(), "steers.jsonl", row);
    for arguments in [
        &["data", "show", &file][..],
        &["data", "show", &file, "--json"],
        &["reward", "check", "--reward", "exact", "--data", &file],
        &["data", "show", &format!("{file}[9:]")],
    ] {
        let output = crate::sapo(arguments);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{arguments:?}: {said:?}");
        assert!(!said.is_empty());
    }
    let shown = String::from_utf8_lossy(&crate::sapo(&["data", "show", &file]).stdout).into_owned();
    assert!(shown.contains(r"b\u{1b}[31m") && shown.contains(r"4\u{1b}[2J\u{202e}"), "{shown}");
}

#[test]
fn needles_that_cannot_be_hidden_are_refused_by_their_option() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let out = path("needles.parquet");
    let needle = |kind: &str, more: &[&str], words: &[&str]| {
        refused(&[&["data", "needle", "--kind", kind, "--out", &out][..], more].concat(), 2, words);
        assert!(!std::path::Path::new(&out).exists(), "nothing half done");
    };
    needle("audio", &[], &["text, pictures or video"]);
    needle("text", &["--lengths", "64,64"], &["--lengths", "64 stands twice"]);
    needle("text", &["--lengths", "0"], &["--lengths", "at least 1"]);
    needle("text", &["--lengths", "9"], &["9 words is too short", "take longer ones"]);
    needle("text", &["--depths", "0,150"], &["--depths", "150 is no depth in percent"]);
    needle("text", &["--per-cell", "0"], &["--per-cell"]);
    needle("video", &["--lengths", "100000"], &["--lengths", "at most 10000"]);
    needle("pictures", &["--haystack", "README.md"], &["--haystack", "--kind text"]);
    needle("video", &["--model", "tiny"], &["--model", "--kind text"]);
    needle("text", &["--model", "no-such-model"], &["no-such-model"]);
    needle("text", &["--haystack", &path("nowhere.txt")], &["nowhere.txt"]);
    std::fs::write(folder.path().join("empty.txt"), "\n\n").expect("a file");
    needle("text", &["--haystack", &path("empty.txt")], &["empty.txt", "no word"]);
    std::fs::write(folder.path().join("latin.txt"), b"\xe9t\xe9").expect("a file");
    needle("text", &["--haystack", &path("latin.txt")], &["latin.txt", "UTF-8"]);
    refused(&["data", "needle", "--kind", "text", "--out", &path("n.txt")], 2, &["n.txt", ".parquet or .jsonl"]);
}
