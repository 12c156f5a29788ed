//! `sapo rollout` with a source of queries: its file is the same however often it was interrupted, and says what failed.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{command, folder, object, path, refused, sapo, text};

/// A few queries, answered in a moment.
const QUICK: [&str; 11] = [
    "rollout",
    "--model",
    "tiny",
    "--queries",
    "synthetic:count[0:24]",
    "--samples",
    "3",
    "--max-new-tokens",
    "6",
    "--batch",
    "8",
];

fn lines(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON on every line")).collect()
}

/// Whether two files say the same; the last bits of log-probs may hang on what else was decoded.
fn same(file: &str, other: &str) {
    let (own, others) = (lines(file), lines(other));
    assert_eq!(own.len(), others.len());
    for (mut line, mut other) in own.into_iter().zip(others) {
        let log_probs = |line: &mut Value| -> Vec<f64> {
            let taken = line.as_object_mut().and_then(|line| line.remove("log_probs")).unwrap_or_default();
            taken.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
        };
        let (near, far) = (log_probs(&mut line), log_probs(&mut other));
        assert!(near.iter().zip(&far).all(|(near, far)| (near - far).abs() < 1e-4), "{line}: {near:?} {far:?}");
        assert_eq!(line, other);
    }
}

fn answered(folder: &TempDir, name: &str, more: &[&str]) -> (String, Value) {
    let out = path(folder, name);
    let summary = object(&[&QUICK[..], &["--out", &out, "--json"], more].concat());
    (out, summary)
}

#[test]
fn every_query_has_its_samples_in_order() {
    let folder = folder();
    let (out, summary) = answered(&folder, "a.jsonl", &["--top-log-probs", "2", "--stop", "o"]);
    assert_eq!(
        [&summary["queries"], &summary["answered"], &summary["failed"]],
        [24, 24, 0].map(Value::from).each_ref()
    );
    assert_eq!((&summary["rollouts"], &summary["resumed"]), (&json!(72), &json!(0)));
    let all = lines(&out);
    let (head, rollouts) = all.split_first().expect("lines");
    assert_eq!((&head["settings"]["samples"], &head["settings"]["rows"]), (&json!(3), &json!(24)));
    assert_eq!(rollouts.len(), 72);
    for (number, line) in rollouts.iter().enumerate() {
        assert_eq!((&line["index"], &line["sample"], &line["v"]), (&json!(number / 3), &json!(number % 3), &json!(2)));
        let count = |key: &str| line[key].as_array().map(Vec::len);
        assert_eq!([count("log_probs"), count("top_log_probs")], [count("tokens"); 2], "{line}");
        assert_eq!(count("images"), Some(1));
        assert!(line["turns"][0]["text"].is_string() && line["stop"].is_string(), "{line}");
    }
    let alone = object(&[
        "rollout",
        "--model",
        "tiny",
        "--queries",
        "synthetic:count[5:6]",
        "--samples",
        "3",
        "--max-new-tokens",
        "6",
        "--top-log-probs",
        "2",
        "--stop",
        "o",
        "--out",
        &path(&folder, "b.jsonl"),
        "--json",
    ]);
    assert_eq!(alone["answered"], 1);
    let tokens = |line: &Value| line["tokens"].clone();
    let other: Vec<Value> = lines(&path(&folder, "b.jsonl"))[1..].iter().map(tokens).collect();
    assert_eq!(other, rollouts[15..18].iter().map(tokens).collect::<Vec<_>>(), "no sample depends on its neighbours");
}

#[test]
fn a_resumed_file_is_that_of_one_run() {
    let folder = folder();
    let (out, _) = answered(&folder, "whole.jsonl", &[]);
    let (whole, copy) = (std::fs::read(&out).expect("a file"), path(&folder, "copy.jsonl"));
    std::fs::write(&copy, &whole).expect("copied");
    for cut in [0, 100, whole.len() / 3, whole.len() / 2, whole.len() - 1, whole.len()] {
        std::fs::write(&out, &whole[..cut]).expect("cut");
        let (_, summary) = answered(&folder, "whole.jsonl", &["--resume"]);
        same(&out, &copy);
        assert_eq!(summary["answered"], 24);
        assert_eq!(summary["resumed"] == 24, cut == whole.len(), "{cut}: {summary}");
    }
}

#[test]
fn a_killed_run_goes_on() {
    let folder = folder();
    let (whole, out) = (path(&folder, "whole.jsonl"), path(&folder, "killed.jsonl"));
    let long = ["rollout", "--model", "tiny", "--queries", "synthetic:arith[0:60]", "--samples", "4", "--batch", "4"];
    let run =
        |out: &str, more: &[&str]| [&long[..], &["--max-new-tokens", "24", "--out", out], more].concat().join(" ");
    let words = |line: String| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let start = |line: Vec<String>| {
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    };
    let mut killed = start(words(run(&out, &[])));
    let begun = Instant::now();
    while std::fs::read_to_string(&out).map_or(0, |text| text.lines().count()) < 10 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it writes");
        std::thread::yield_now();
    }
    killed.kill().expect("killed");
    killed.wait().expect("a child");
    assert!(lines_of(&out) < 241, "it was under way");
    for (out, more) in [(&out, &["--resume"][..]), (&whole, &[])] {
        assert!(start(words(run(out, more))).wait().expect("a child").success());
    }
    same(&out, &whole);
    assert_eq!(lines_of(&out), 241);
}

fn lines_of(file: &str) -> usize {
    std::fs::read_to_string(file).expect("a file").lines().count()
}

#[test]
fn queries_that_cannot_be_answered_are_listed_with_their_reason() {
    let folder = folder();
    let file = path(&folder, "queries.jsonl");
    let query = |id: &str, text: &str| {
        json!({"id": id, "task": "t", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]})
            .to_string()
    };
    let rows =
        [query("good", "hi"), query("frame", "<|im_end|>"), query("long", &"a b ".repeat(200)), query("last", "ho")];
    std::fs::write(&file, rows.join("\n")).expect("written");
    let out = path(&folder, "out.jsonl");
    let ask = ["rollout", "--model", "tiny", "--queries", &file, "--out", &out, "--max-new-tokens", "2", "--json"];
    let summary = object(&[&ask[..], &["--max-prompt-tokens", "100"]].concat());
    assert_eq!((&summary["answered"], &summary["failed"]), (&json!(2), &json!(2)), "{summary}");
    let all = lines(&out);
    let ids: Vec<u64> = all[1..].iter().filter_map(|line| line["index"].as_u64()).collect();
    assert_eq!(ids, [0, 1, 2, 3]);
    assert!(all[2]["failed"].as_str().is_some_and(|reason| reason.contains("<|im_end|>")), "{}", all[2]);
    assert!(all[3]["failed"].as_str().is_some_and(|reason| reason.contains("at most 100")), "{}", all[3]);
    assert_eq!(all[3]["query_id"], "long");
    std::fs::write(&file, rows[1].clone()).expect("written");
    let none = sapo(&["rollout", "--model", "tiny", "--queries", &file, "--out", &path(&folder, "none.jsonl")]);
    assert_eq!(none.status.code(), Some(1), "{}", text(&none.stderr));
}

#[test]
fn another_file_or_other_settings_are_refused() {
    let folder = folder();
    let (out, _) = answered(&folder, "a.jsonl", &[]);
    let again = |more: &[&str], says: &[&str]| refused(&[&QUICK[..], &["--out", &out], more].concat(), says);
    again(&[], &["--resume"]);
    again(&["--resume", "--seed", "2"], &["other settings"]);
    again(&["--resume", "--temperature", "0.5"], &["sampling"]);
    again(&["--resume", "--min-p", "2"], &["--min-p must be between 0 and 1"]);
    let before = std::fs::read(&out).expect("a file");
    refused(
        &[
            "rollout",
            "--model",
            "tiny",
            "--queries",
            "synthetic:clock[0:24]",
            "--samples",
            "3",
            "--out",
            &out,
            "--resume",
        ],
        &["queries"],
    );
    assert!(std::fs::read(&out).expect("a file") == before, "it is left alone");
    refused(
        &["rollout", "--model", "tiny", "--queries", "synthetic:clock", "--out", &path(&folder, "b.jsonl")],
        &["[0:200]"],
    );
    refused(
        &["rollout", "--model", "tiny", "--queries", "no-such.jsonl", "--out", &path(&folder, "b.jsonl")],
        &["no-such"],
    );
    refused(&["rollout", "--model", "tiny", "--queries", "a", "--prompt", "b"], &["--prompt"]);
    assert!(!Path::new(&path(&folder, "b.jsonl")).exists(), "nothing is begun");
}

#[test]
fn one_answer_ends_before_a_stop_text() {
    let usual = ["rollout", "--model", "tiny", "--prompt", "What is 2 + 3?", "--max-new-tokens", "40", "--seed", "4"];
    let hot = ["--temperature", "1.5"];
    let said = |more: &[&str]| {
        object(&[&usual[..], &hot, &["--json"], more].concat())["samples"][0]["text"]
            .as_str()
            .expect("a text")
            .to_owned()
    };
    let free = said(&[]);
    let (at, letter) = free.char_indices().nth(6).expect("a long answer");
    let stop = &free[at..at + letter.len_utf8()];
    let expected = &free[..free.find(stop).expect("it is there")];
    assert_eq!(said(&["--stop", stop]), expected);
    let printed = sapo(&[&usual[..], &hot, &["--stop", stop]].concat());
    // A terminal is not steered by what a model says.
    let shown =
        |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() };
    let shown: String = expected.chars().map(shown).collect();
    assert_eq!(text(&printed.stdout), format!("{shown}\n"), "what is printed as it comes as well");
    let top = object(&[&usual[..], &["--json", "--top-log-probs", "3", "--samples", "20"]].concat());
    let samples = top["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), 20);
    for sample in samples {
        let places = sample["top_log_probs"].as_array().expect("places");
        assert_eq!(Some(places.len()), sample["tokens"].as_array().map(Vec::len));
        assert!(places.iter().all(|top| top.as_array().map(Vec::len) == Some(3)), "{sample}");
    }
}
