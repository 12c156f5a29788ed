//! Misuses of evaluations: sets, baselines, comparisons, sampling, endpoints, reports of what is no run.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::{refused, sapo};

/// An evaluation as `sapo eval --out` writes it, of queries with these ids.
fn evaluation(folder: &Path, ids: &[&str]) -> String {
    let row = |task: &str| json!({"task": task, "queries": ids.len(), "scored": ids.len(), "failed": 0, "pass_at_1": 1.0, "ci95": [0.5, 1.0], "greedy": 1.0});
    let results = json!({"v": 1, "set": "eval", "after": "tiny", "step": 0, "seed": 7, "samples": 1, "unaveraged": [],
        "tasks": [row("clock"), row("all")]});
    let sample = |id: &&str| {
        json!({"query_id": id, "task": "clock", "sample": 0, "greedy": false, "truth": "7", "images": [], "text": "7",
            "stop": "eos", "score": {"passed": true, "total": 1.0, "parts": {}}})
    };
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("results.json"), results.to_string()).expect("a file");
    let lines: String = ids.iter().map(|id| format!("{}\n", sample(id))).collect();
    std::fs::write(folder.join("samples.jsonl"), lines).expect("a file");
    folder.display().to_string()
}

/// The arguments of a small evaluation.
fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["eval", "--model", "tiny", "--tasks", "clock", "--queries", "2", "--samples", "1", "--max-new-tokens", "2"][..], more]
        .concat()
}

/// A server that answers every request alike.
fn server(status: &'static str, reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 4096]));
            let length = reply.len();
            let page = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{reply}"
            );
            drop(stream.write_all(page.as_bytes()));
        }
    });
    url
}

#[test]
fn evaluations_of_other_queries_are_not_compared() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = evaluation(&dir.path().join("a"), &["q1", "q2", "q3"]);
    let b = evaluation(&dir.path().join("b"), &["q2", "q3", "q4", "q5"]);
    let words = ["2 queries are shared", "1 only in A (1 of clock; the first: `q1`)", "2 only in B", "--shared"];
    refused(&["compare", &a, &b], 2, &words);
    let output = sapo(&["compare", &a, &b, "--shared", "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let compared = &object["comparisons"][0];
    assert_eq!((compared["shared"].as_u64(), compared["left_out"].as_u64()), (Some(2), Some(3)));
    assert_eq!(compared["rows"][0]["difference"], 0.0);
    // Nothing in common is nothing to compare.
    let c = evaluation(&dir.path().join("c"), &["q9"]);
    refused(&["compare", &a, &c, "--shared"], 2, &["0 queries are shared", "same seed"]);
}

#[test]
fn what_is_no_evaluation_is_not_compared() {
    let dir = tempfile::tempdir().expect("a folder");
    let a = evaluation(&dir.path().join("a"), &["q1"]);
    refused(&["compare", &a, "nowhere"], 2, &["nowhere", "is not there", "sapo eval --out"]);
    refused(&["compare", &a, "configs"], 2, &["configs", "holds no evaluation"]);
    std::fs::write(dir.path().join("a/samples.jsonl"), "{\"query_id\": 3}\n").expect("a file");
    refused(&["compare", &a, &a], 2, &["samples.jsonl line 1", "query_id"]);
    std::fs::write(dir.path().join("a/samples.jsonl"), "").expect("a file");
    refused(&["compare", &a, &a], 2, &["no samples"]);
}

#[test]
fn a_baseline_must_be_there_and_of_the_same_queries() {
    let dir = tempfile::tempdir().expect("a folder");
    refused(&eval(&["--baseline", "nowhere"]), 2, &["nowhere", "is not there"]);
    let other = evaluation(&dir.path().join("other"), &["clock-test-7-0", "clock-test-7-9"]);
    let out = dir.path().join("out").display().to_string();
    let words = ["--baseline", "shared: 1", "only there: 1", "clock-test-7-9", "only here: 1", "--seed"];
    refused(&eval(&["--baseline", &other, "--out", &out]), 2, &words);
    assert!(!Path::new(&out).exists(), "it is refused before anything is asked");
}

#[test]
fn a_sampling_that_makes_no_sense_is_refused() {
    for temperature in ["-1", "0", "nan", "101"] {
        refused(&eval(&["--temperature", temperature]), 2, &["--temperature", "above 0 and at most 100"]);
    }
    for top_p in ["0", "1.5", "-0.5"] {
        refused(&eval(&["--top-p", top_p]), 2, &["--top-p", "above 0 and at most 1"]);
    }
    refused(&eval(&["--samples", "0"]), 2, &["--samples"]);
}

#[test]
fn an_endpoint_that_does_not_answer_is_told_at_once() {
    let broken = server("500 Internal Server Error", "{\"error\": \"out of memory\"}");
    let words = ["--endpoint", broken.as_str(), "500", "out of memory", "--served-model"];
    refused(&eval(&["--endpoint", &broken, "--served-model", "m"]), 2, &words);
    refused(&eval(&["--endpoint", &broken]), 2, &["/v1/models", "500"]);
    let empty = server("200 OK", "{\"data\": []}");
    refused(&eval(&["--endpoint", &empty]), 2, &["lists no model"]);
    refused(&eval(&["--endpoint", &empty, "--served-model", "m"]), 2, &["holds no choices[0].message"]);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    refused(&eval(&["--endpoint", &format!("http://{nobody}")]), 2, &["--endpoint", "was lost"]);
    refused(&eval(&["--endpoint", "localhost:8000"]), 2, &["must begin with http"]);
    refused(&eval(&["--served-model", "m"]), 2, &["--endpoint"]);
    refused(&eval(&["--endpoint", &broken, "--api-key-env", "SAPO_NO_SUCH_KEY"]), 2, &["SAPO_NO_SUCH_KEY"]);
}

#[test]
fn a_model_that_is_none_is_refused_before_rewards_are_started() {
    let mut arguments = eval(&[]);
    arguments[2] = "no-such-model";
    refused(&arguments, 2, &["no-such-model", "neither a preset"]);
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().display().to_string();
    arguments[2] = &folder;
    refused(&arguments, 2, &[&folder, "config.json"]);
}

#[test]
fn data_that_cannot_be_evaluated_on_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("a file");
        dir.path().join(name).display().to_string()
    };
    let data = |file: &str| -> Vec<String> {
        ["eval", "--model", "tiny", "--samples", "1", "--data", file].map(str::to_owned).to_vec()
    };
    let refuse = |file: &str, words: &[&str]| {
        let arguments = data(file);
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2, words);
    };
    let empty = path("empty.jsonl", "");
    refuse(&empty, &["empty.jsonl"]);
    let unlabelled = path("unlabelled.jsonl", "{\"question\": \"What is 1 + 1?\"}\n");
    refuse(&unlabelled, &["no ground truth", "row 1"]);
    refuse("nowhere.parquet", &["nowhere.parquet"]);
    refuse("synthetic:clock", &["has no end", "--queries"]);
}

#[test]
fn a_template_that_is_none_is_refused() {
    refused(&eval(&["--template", "nowhere.jinja"]), 2, &["nowhere.jinja"]);
    refused(&eval(&["--template", "Answer briefly."]), 2, &["without a variable", "{{ content }}"]);
    refused(&eval(&["--template", "{{ content"]), 2, &["cannot be parsed"]);
    refused(&eval(&["--template", "{{ colour }} {{ content }}"]), 2, &["template fails", "the row has"]);
}

#[test]
fn a_report_is_of_a_run_or_of_an_evaluation() {
    refused(&["report", "configs"], 2, &["configs", "not a run directory", "results.json", "sapo eval --out"]);
    refused(&["report", "nowhere"], 2, &["nowhere", "not a run directory"]);
    refused(&["report", "configs", "nowhere"], 2, &["nowhere", "not a run directory"]);
    let dir = tempfile::tempdir().expect("a folder");
    let place = evaluation(&dir.path().join("a"), &["q1"]);
    let output = sapo(&["report", &place, "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    for key in ["page", "twin"] {
        assert!(Path::new(object[key].as_str().expect("a path")).is_file(), "{object}");
    }
}

#[test]
fn sets_and_rubrics_that_are_not_there_are_named() {
    let config = ["--config", "configs/smoke.toml"];
    refused(&[&["eval", "--model", "tiny", "--set", "helout"][..], &config].concat(), 2, &["--set helout", "heldout"]);
    refused(
        &[&["eval", "--model", "tiny", "--rubric", "strict"][..], &config].concat(),
        2,
        &["--rubric strict", "general"],
    );
    refused(&eval(&["--rubric", "judge"]), 2, &["--rubric judge"]);
    refused(&eval(&["--out", "configs"]), 2, &["--out configs", "exists already"]);
}

/// Two evaluations of the same queries: what they print is what they keep, and the same twice.
#[test]
fn an_evaluation_is_compared_with_its_baseline() {
    let dir = tempfile::tempdir().expect("a folder");
    let [before, after] = ["before", "after"].map(|name| dir.path().join(name).display().to_string());
    let made = sapo(&eval(&["--out", &before]));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(said.contains("cut at 2 tokens") && said.contains("--max-new-tokens"), "{said}");
    let more = ["--temperature", "0.5", "--system", "Answer.", "--template", "{{ content }} Now.", "--out", &after];
    let made = sapo(&eval(&[&more[..], &["--baseline", &before, "--json"]].concat()));
    let object: Value = serde_json::from_slice(&made.stdout).expect("one JSON object");
    let compared = &object["comparisons"][0];
    assert_eq!((compared["shared"].as_u64(), &compared["rows"][1]["task"]), (Some(2), &json!("all")));
    let differs = compared["differs"].to_string();
    assert!(differs.contains("temperature") && differs.contains("prompts of 2 of 2"), "{differs}");
    let again = sapo(&["compare", &before, &after, "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).expect("one JSON object");
    assert_eq!(again["comparisons"][0]["rows"], compared["rows"]);
    let samples = std::fs::read_to_string(Path::new(&after).join("samples.jsonl")).expect("samples");
    let sample: Value = serde_json::from_str(samples.lines().next().expect("a line")).expect("JSON");
    let text = |key: &str| sample[key].as_str().expect("text").to_owned();
    assert!(text("question").ends_with("Now.") && text("prompt").contains("Answer."), "{sample}");
    let results = std::fs::read_to_string(Path::new(&after).join("results.json")).expect("results");
    let results: Value = serde_json::from_str(&results).expect("JSON");
    assert_eq!(results["templates"][text("template")], "{{ content }} Now.");
    let picture = sample["images"][0].as_str().expect("a hash");
    assert!(Path::new(&after).join(format!("images/{picture}.png")).is_file());
}

#[test]
fn what_is_no_evaluation_is_not_gone_on_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    refused(&eval(&["--resume"]), 2, &["--out"]);
    // An evaluation of a version that did not say what it was made with, and a file.
    evaluation(&dir.path().join("old"), &["q1"]);
    refused(&eval(&["--out", &path("old"), "--resume"]), 2, &["old", "holds no evaluation.json", "another folder"]);
    std::fs::write(dir.path().join("file"), "").expect("a file");
    refused(&eval(&["--out", &path("file"), "--resume"]), 2, &["file"]);
    std::fs::create_dir(dir.path().join("torn")).expect("a folder");
    std::fs::write(dir.path().join("torn/evaluation.json"), "{\"sets\":").expect("a file");
    refused(&eval(&["--out", &path("torn"), "--resume"]), 2, &["evaluation.json line 1"]);
    std::fs::write(dir.path().join("torn/evaluation.json"), "{\"sets\":{}}\n").expect("a file");
    refused(
        &eval(&["--out", &path("torn"), "--resume"]),
        2,
        &["holds another evaluation", "sets.eval is nothing there"],
    );
}
