//! `sapo curate`: what it keeps and why, in a run that nobody disturbs and in one that is killed.

mod planted;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The smoke configuration, run in the repository's folder.
fn sapo(arguments: &[String]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.args(arguments).current_dir(root);
    command
}

fn output(arguments: &[String]) -> Output {
    sapo(arguments).output().expect("the binary starts")
}

/// The object that a command prints when it ends well.
fn object(arguments: &[String]) -> Value {
    let output = output(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

/// A command on the smoke configuration in a folder of runs, with more arguments.
fn smoke(command: &str, dir: &Path, name: &str, more: &[String]) -> Vec<String> {
    let mut arguments = strings([command, "configs/smoke.toml", "--json"]);
    arguments.push("run.phases=[\"careful\", \"curate\"]".to_owned());
    arguments.extend([format!("run.dir={}", dir.display()), format!("run.name={name}")]);
    // Two queries are sampled together.
    arguments.extend(strings(["run.decode_rows=8", "phases.curate.queries_per_source=9"]));
    arguments.push("phases.curate.without_pictures={ samples = 2, temperature = 1.0 }".to_owned());
    // A policy of a few steps hardly passes anything; in what language it answers is as good as a coin.
    arguments.extend(strings(["phases.curate.rubric=coin", "run.reward_check.skip=[\"coin\"]"]));
    arguments.push("rubrics.coin={ correct = \"language\", language_penalty = 0 }".to_owned());
    arguments.extend(more.iter().cloned());
    arguments
}

/// A policy that reads some digits: the smoke run's cold start.
fn trained(dir: &Path) -> Vec<String> {
    let more = strings(["run.phases=[\"careful\"]", "eval.heldout.queries_per_source=1"]);
    object(&smoke("train", dir, "cold", &more));
    vec![format!("policy.model={}", dir.join("cold/checkpoints/step-000060").display())]
}

/// The ledger without what depends on the clock.
fn ledger(run: &Path) -> Vec<Value> {
    let mut lines = lines(&run.join("ledger.jsonl"));
    for line in &mut lines {
        for part in line["parts"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            part.as_object_mut().map(|part| part.remove("us"));
        }
    }
    lines
}

/// Whether two runs have the same record, scores, summary and kept set.
fn same(one: &Path, other: &Path, what: &str) {
    for name in ["curate.jsonl", "curate.json", "curate.svg", "curate.parquet"] {
        let (one, other) = (one.join("curation").join(name), other.join("curation").join(name));
        assert_eq!(one.exists(), other.exists(), "{what}: {name}");
        assert!(!one.exists() || bytes(&one) == bytes(&other), "{what}: {name} differs");
    }
    assert_eq!(ledger(one), ledger(other), "{what}");
}

/// Starts a command and kills it when its record has so many lines.
fn kill_at(arguments: &[String], record: &Path, count: usize) {
    let mut child = sapo(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let recorded = || std::fs::read(record).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
    while recorded() < count {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before {count} records");
        std::thread::yield_now();
    }
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
}

#[test]
fn a_curation_that_is_killed_ends_with_the_record_of_one_that_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = trained(dir.path());
    let whole = dir.path().join("whole");
    let said = object(&smoke("curate", dir.path(), "whole", &model));
    let summary = &said["curations"][0];
    assert_eq!(summary["queries"], 18);
    let records = lines(&whole.join("curation/curate.jsonl"));
    assert_eq!(records.len(), 18);
    let varied = |passed: u64| records.iter().filter(|record| record["passed"] == passed).count();
    assert!((0..4).filter(|passed| varied(*passed) > 0).count() > 2, "a record of one outcome shows nothing");
    assert!(!whole.join("checkpoints").exists(), "it trains nothing, and saves no weights");

    let killed = dir.path().join("killed");
    let mut more = model.clone();
    for count in [1, 7, 12] {
        kill_at(&smoke("curate", dir.path(), "killed", &more), &killed.join("curation/curate.jsonl"), count);
        more = [model.clone(), strings(["--resume"])].concat();
    }
    object(&smoke("curate", dir.path(), "killed", &more));
    same(&whole, &killed, "killed");
    // A finished one says the same again.
    assert_eq!(object(&smoke("curate", dir.path(), "killed", &more))["curations"], said["curations"]);

    // A record that ends anywhere, torn or not, with scores behind it.
    let record = bytes(&whole.join("curation/curate.jsonl"));
    for part in [0, 1, 3, 6] {
        let end = record.len() * part / 7;
        let mut run: Value = serde_json::from_slice(&bytes(&killed.join("run.json"))).expect("an object");
        run["status"] = json!("running");
        std::fs::write(killed.join("run.json"), run.to_string()).expect("written");
        std::fs::write(killed.join("curation/curate.jsonl"), &record[..end]).expect("written");
        object(&smoke("curate", dir.path(), "killed", &more));
        same(&whole, &killed, &format!("cut at {end}"));
    }
}

#[test]
fn a_curation_that_is_stopped_says_how_to_go_on_and_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let more = strings(["phases.curate.keep_responses=2", "phases.curate.samples=8"]);
    let mut command = sapo(&smoke("curate", dir.path(), "stopped", &more));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut heard = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(heard.any(|line| line.expect("text").contains("curate: 18 to do")));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success() && heard.any(|line| line.expect("text").contains("sapo curate --resume=")));
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let run = dir.path().join("stopped");
    let resume = strings(["curate", "--json", &format!("--resume={}", run.display())]);
    let said = object(&resume);
    assert_eq!(said["curations"][0]["queries"], 18);
    // At most two right answers of each query are its demonstrations now.
    let shown = object(&strings([
        "data",
        "show",
        "--json",
        "--count",
        "90",
        &run.join("curation/curate.parquet").display().to_string(),
    ]));
    let shown = shown["queries"].as_array().expect("queries").clone();
    assert_eq!(said["curations"][0]["responses"][0], shown.len());
    assert!(!shown.is_empty() && shown.iter().all(|row| row["response"].is_string()), "{shown:?}");
    let records = lines(&run.join("curation/curate.jsonl"));
    for record in records.iter().filter(|record| record["decision"] == "kept") {
        let kept = record["responses"].as_array().expect("responses").iter().filter(|one| one["text"].is_string());
        let samples: Vec<usize> = kept.filter_map(|one| one["sample"].as_u64()).map(|sample| sample as usize).collect();
        assert!(
            (1..=2).contains(&samples.len()) && samples.iter().all(|sample| record["outcomes"][sample] == 1),
            "{record}"
        );
    }
}

#[test]
fn a_run_that_curates_writes_the_same_and_is_resumed_within_the_phase() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = trained(dir.path());
    object(&smoke("curate", dir.path(), "alone", &model));
    let quick = strings(["eval.heldout.queries_per_source=1"]);
    let run = dir.path().join("run");
    kill_at(&smoke("train", dir.path(), "run", &quick), &run.join("curation/curate.jsonl"), 5);
    let resumed = [quick, strings(["--resume"])].concat();
    let summary = object(&smoke("train", dir.path(), "run", &resumed));
    assert_eq!(summary["curation"]["queries"], 18);
    let record = |name: &str| bytes(&dir.path().join(name).join("curation/curate.jsonl"));
    assert_eq!(record("alone"), record("run"), "trained within the run, or before it");
    let in_phase =
        |run: &Path| ledger(run).into_iter().filter(|line| line["step"] == 60 && line["greedy"].is_null()).count();
    assert!(in_phase(&run) >= 18 * 4, "{}", in_phase(&run));
}

#[test]
fn stopping_early_takes_the_first_samples_of_the_whole_and_the_record_of_one_run_serves_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = trained(dir.path());
    let more = |more: &[&str]| [model.clone(), more.iter().map(|text| (*text).to_owned()).collect()].concat();
    object(&smoke("curate", dir.path(), "whole", &more(&["phases.curate.samples=8"])));
    let early = object(&smoke(
        "curate",
        dir.path(),
        "early",
        &more(&["phases.curate.samples=8", "phases.curate.sequential={ error = 0.02, round = 2 }"]),
    ));
    let (whole, early_run) = (dir.path().join("whole"), dir.path().join("early"));
    let summary = &early["curations"][0];
    assert!(summary["samples"].as_u64() < summary["samples_of_all"].as_u64(), "{summary}");
    let (all, some) = (lines(&whole.join("curation/curate.jsonl")), lines(&early_run.join("curation/curate.jsonl")));
    for (all, some) in all.iter().zip(&some) {
        let of = |record: &Value| record["outcomes"].as_array().expect("outcomes").clone();
        assert!(of(all).starts_with(&of(some)), "{all} {some}");
        let sampled = some["decision"] != "dropped_without_pictures";
        assert_eq!(sampled && of(some).len() < 8, some["stopped"].is_string(), "{some}");
        if some["stopped"] == "settled" {
            assert_eq!(some["decision"], all["decision"], "{all} {some}");
        }
    }
    // The same rules on the record give the same decisions; nothing is sampled.
    let record = whole.join("curation/curate.jsonl").display().to_string();
    let by = |rest: &str| format!("phases.curate.{rest}={{ record = \"{record}\" }}");
    let again = vec![by("by"), by("without_pictures.by")];
    let said = object(&smoke("curate", dir.path(), "again", &again));
    let again = lines(&dir.path().join("again/curation/curate.jsonl"));
    for (all, again) in all.iter().zip(&again) {
        assert_eq!((&all["decision"], &all["outcomes"]), (&again["decision"], &again["outcomes"]));
    }
    assert_eq!(said["curations"][0]["queries"], 18);
    let scored = std::fs::read_to_string(dir.path().join("again/ledger.jsonl")).unwrap_or_default();
    assert_eq!(scored, "", "nothing was scored");
}

/// Rows of a cold start, each with what is to be said against it.
fn demonstrations(path: &Path) -> Vec<(&'static str, &'static str)> {
    let think = "The first number is three and the second is four, so that I add them one by one: four, five, six, seven. \
                 Three and four together are seven, as counting backwards from seven by four shows: six, five, four, three.";
    let looped = format!("<think>{}</think>7", "so I add again. ".repeat(60));
    let rows = [
        ("good", "", format!("<think>{think}</think>7")),
        ("wrong", "correct", format!("<think>{think}</think>8")),
        ("guess", "guess", "<think>seven</think>7".to_owned()),
        ("says", "guess", format!("<think>{think} My best guess is seven.</think>7")),
        ("looped", "repetition", looped),
        ("mixed", "language", format!("<think>{think} 所以答案是七。</think>7")),
        ("absent", "response", String::new()),
    ];
    let text: Vec<String> = rows
        .iter()
        .map(|(id, _, response)| {
            let mut row = json!({"id": id, "prompt": "What is 3 + 4?", "ground_truth": 7});
            if !response.is_empty() {
                row["response"] = json!(response);
            }
            row.to_string()
        })
        .collect();
    std::fs::write(path, text.join("\n") + "\n").expect("written");
    rows.into_iter().map(|(id, reason, _)| (id, reason)).collect()
}

/// A cold start whose responses are looked at, and nothing is asked.
const COLD: &str = r#"
[run]
name = "cold"
seed = 1
phases = ["clean"]
[policy]
model = "tiny"
[data.cold]
source = "cold.jsonl"
[rubrics.right]
correct = "truth"
language_penalty = 0.5
repetition_penalty = 0.5
[phases.clean]
kind = "curate"
data = [{ use = "cold" }]
samples = 0
sampling = { max_new_tokens = 8 }
rubric = "right"
guess_below = 32
response_filters = [
  { part = "correct", at_least = 0.5 },
  { part = "language", at_most = 0 },
  { part = "repetition", at_most = 0.2 },
]
"#;

#[test]
fn responses_that_are_not_to_be_imitated_are_dropped_with_their_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let wanted = demonstrations(&dir.path().join("cold.jsonl"));
    let config = dir.path().join("cold.toml");
    std::fs::write(&config, COLD).expect("written");
    let run = |name: &str| {
        strings([
            "curate",
            &config.display().to_string(),
            &format!("run.dir={}", dir.path().display()),
            &format!("run.name={name}"),
            "run.reward_check.rows_per_source=0",
        ])
    };
    let said = output(&run("table"));
    let table = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(table.contains("no fit response") && table.contains("responses kept: 1 of 6"), "{table}");
    for (record, (id, reason)) in lines(&dir.path().join("table/curation/clean.jsonl")).iter().zip(&wanted) {
        let found = record["reason"].as_str().unwrap_or_default();
        assert_eq!((record["query_id"].as_str(), found.split(':').next()), (Some(*id), Some(*reason)), "{record}");
        assert_eq!(record["decision"] == "kept", reason.is_empty(), "{record}");
    }
    let kept = object(&strings([
        "data",
        "show",
        &dir.path().join("table/curation/clean.parquet").display().to_string(),
        "--json",
    ]));
    assert!(kept.to_string().contains("count backwards") || kept.to_string().contains("\"good\""), "{kept}");
    let mut wrong = run("wrong");
    wrong.push("phases.clean.response_filters=[{ part = \"lengthy\", at_most = 1 }]".to_owned());
    let refused = output(&wrong);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{errors}");
    assert!(errors.contains("no part `lengthy`; it has correct, language, repetition"), "{errors}");
}

#[test]
fn what_cannot_be_read_is_told_before_anything_is_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = |more: &str| {
        let output = output(&smoke("curate", dir.path(), "refused", &strings([more])));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more}: {errors}");
        assert!(!dir.path().join("refused").exists(), "{more}: there is no run directory");
        errors
    };
    assert!(error("phases.curate.by={ record = \"none.jsonl\" }").contains("no such record"));
    assert!(error("phases.curate.drop.stronger=none.jsonl").contains("none.jsonl"));
    assert!(error("phases.curate.by={ model = \"no/such\" }").contains("no model no/such"));
    assert!(error("phases.curate.drop_never_solved=true").contains("is now `drop = { never_solved = true }`"));
    assert!(error("phases.curate.drop.above=1.5").contains("at most 1"));
    assert!(error("phases.curate.query_filters=[{ rubric = \"reasonin\" }]").contains("did you mean `reasoning`"));
    assert!(error("run.phases=[\"careful\"]").contains("docs/curation.md"));
}
