//! The real binary on small real runs: the smoke configuration, its determinism, its files, and bad input.

mod audit;
mod filter;
mod judges;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn sapo(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_sapo")).args(arguments).current_dir(root).output().expect("the binary starts")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

fn smoke(dir: &Path, more: &[&str]) -> Output {
    let place = format!("run.dir={}", dir.display());
    let mut arguments = vec!["train", "configs/smoke.toml", &place, "--json"];
    arguments.extend(more);
    sapo(&arguments)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the file is in the run directory");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Held-out results stand in the metrics at their steps, and each sample tells what was asked.
fn recorded(run: &Path, summary: &Value, held_out: &[&Value]) {
    let rows = summary["evals"].as_array().expect("rows").iter();
    for all in rows.filter(|row| row["task"] == "all") {
        let line = held_out.iter().find(|line| line["after"] == all["after"]).expect("a line of the metrics");
        let key = format!("eval/{}/pass@1", all["set"].as_str().expect("a set"));
        assert_eq!((&line[&key], &line[format!("{key}/high")]), (&all["pass_at_1"], &all["ci95"][1]), "{line}");
        let folder = format!(
            "eval/{}-{:06}",
            line["evaluation"].as_str().expect("a set"),
            line["step"].as_u64().expect("a step")
        );
        let results = std::fs::read_to_string(run.join(&folder).join("results.json")).expect("results");
        let results: Value = serde_json::from_str(&results).expect("JSON");
        assert_eq!(results["after"], all["after"]);
        for sample in lines(&run.join(&folder).join("samples.jsonl")) {
            let text = |key: &str| sample[key].as_str().unwrap_or_else(|| panic!("{key} in {sample}"));
            assert!(text("prompt").contains(text("question")) && !sample["truth"].is_null(), "{sample}");
            assert!(results["templates"][text("chat_template")].is_string(), "{sample}");
            for hash in sample["images"].as_array().expect("pictures") {
                let picture = run.join(format!("images/{}.png", hash.as_str().expect("a hash")));
                assert!(picture.is_file(), "{}", picture.display());
            }
        }
    }
    assert!(held_out.len() >= 3, "an evaluation before, between and after");
}

#[test]
fn the_smoke_run_is_the_same_twice_and_its_files_add_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = json(&smoke(dir.path(), &[]));
    let second = json(&smoke(dir.path(), &["run.name=again"]));
    for key in ["weights_sha256", "metrics_sha256", "evals", "gains", "curation", "logprob_gap_max"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    let short = ["run.name=other", "run.seed=2", "run.phases=[\"careful\"]"];
    assert_ne!(first["weights_sha256"], json(&smoke(dir.path(), &short))["weights_sha256"]);
    assert!(first["logprob_gap_max"].as_f64().expect("a number") < 1e-4, "{}", first["logprob_gap_max"]);

    let run = dir.path().join("smoke");
    let metrics = lines(&run.join("metrics.jsonl"));
    let (trained, held_out): (Vec<&Value>, Vec<&Value>) = metrics.iter().partition(|line| line["phase"].is_string());
    let steps: Vec<u64> = trained.iter().filter_map(|line| line["step"].as_u64()).collect();
    assert_eq!(steps, (0..68).collect::<Vec<u64>>(), "steps count over the whole run");
    recorded(&run, &first, &held_out);
    let curated = lines(&run.join("curation/curate.jsonl"));
    assert_eq!(curated.len() as u64, first["curation"]["queries"].as_u64().expect("a count"));
    assert!(curated.iter().all(|line| line["outcomes"].as_array().is_some_and(|outcomes| outcomes.len() == 4)));
    for row in first["evals"].as_array().expect("rows") {
        let count = |key: &str| row[key].as_u64().expect("a count");
        assert_eq!(count("scored") + count("failed"), count("queries") * 2, "samples are scored or failed: {row}");
    }
    let rollouts = lines(&run.join("rollouts/reasoning-000064.jsonl"));
    assert_eq!(rollouts.len(), 16);
    for rollout in &rollouts {
        assert_eq!(rollout["tokens"].as_array().map(Vec::len), rollout["log_probs"].as_array().map(Vec::len));
    }

    judged(&run, &first);

    // The number that the run logged is the number that the checkpoint gives.
    let (checkpoint, config) = (run.join("checkpoints/step-000068"), run.join("config.toml"));
    let (checkpoint, config) = (checkpoint.display().to_string(), config.display().to_string());
    let evaluated = json(&sapo(&["eval", "--model", &checkpoint, "--config", &config, "--json"]));
    let last: Vec<&Value> =
        first["evals"].as_array().expect("rows").iter().filter(|row| row["after"] == "general").collect();
    assert_eq!(last.len(), 9, "six tasks, two apart, and all");
    for (logged, again) in last.iter().zip(evaluated["evals"].as_array().expect("rows")) {
        assert_eq!((&logged["pass_at_1"], &logged["mean_tokens"]), (&again["pass_at_1"], &again["mean_tokens"]));
    }

    // The saved configuration repeats the run.
    let saved = run.join("config.toml").display().to_string();
    let repeated = json(&sapo(&["train", &saved, "run.name=repeated", "--json"]));
    assert_eq!(first["weights_sha256"], repeated["weights_sha256"]);
}

/// General RL asked its judge over HTTP, after measuring it.
fn judged(run: &Path, summary: &Value) {
    let judge = &summary["judge"];
    assert!(judge["calls"].as_u64().is_some_and(|calls| calls > 0), "{judge}");
    assert_eq!(judge["failed"], 0);
    let record: Value =
        serde_json::from_slice(&std::fs::read(run.join("judge.json")).expect("judge.json")).expect("JSON");
    let count = |key: &str| record[key].as_u64().expect("a count");
    assert_eq!(count("items"), count("yes_items") + count("no_items"));
    assert_eq!(judge["agreement_with_rule"], record["agreement"]);
    let rollouts = lines(&run.join("rollouts/general-000066.jsonl"));
    let part = |rollout: &Value| rollout["score"]["parts"]["correct"]["evidence"].to_string();
    let of_task = |task: &str| rollouts.iter().filter(|line| line["task"] == task).map(part).collect::<Vec<_>>();
    assert!(of_task("describe").iter().any(|evidence| evidence.contains("judge says")), "{:?}", of_task("describe"));
    assert!(of_task("digits").iter().all(|evidence| !evidence.contains("judge says")), "{:?}", of_task("digits"));
}

#[test]
fn a_judge_that_is_not_there_or_not_good_enough_stops_the_run_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    refused(&smoke(dir.path(), &[&format!("rewards.same.endpoint=http://{nobody}")]), "cannot be reached");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing was written");
    // On numbers, which it was not made for, the judge is not perfect.
    let output = smoke(
        dir.path(),
        &[
            "run.phases=[\"careful\", \"general\"]",
            "phases.careful.steps=8",
            "rewards.same.min_balanced_accuracy=1.0",
            "rewards.same.calibration.data=synthetic:judge@test[0:300]",
            "rewards.same.calibration.only.kind=number",
        ],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("balanced accuracy") && errors.contains("false yes"), "{errors}");
    assert!(dir.path().join("smoke/checkpoints/step-000008").exists(), "the last good checkpoint is there");
}

fn refused(output: &Output, says: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains(says), "`{says}` is not in: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn bad_input_is_refused_with_its_place_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    refused(&smoke(dir.path(), &["run.sed=1"]), "did you mean `seed`");
    refused(&smoke(dir.path(), &["run.seed=many"]), "seed");
    refused(&smoke(dir.path(), &["policy.model=no-such-model"]), "no-such-model");
    refused(&sapo(&["train", "configs/missing.toml"]), "configs/missing.toml");
    refused(&sapo(&["eval", "--model", "tiny", "--tasks", "arit"]), "arith");
    refused(&smoke(dir.path(), &["run.device=cuda:0"]), "--features cuda");
    refused(&smoke(dir.path(), &["rubrics.general.correct=trut"]), "there is no such reward");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    std::fs::create_dir(dir.path().join("smoke")).expect("a folder");
    refused(&smoke(dir.path(), &[]), "exists already");
}

#[test]
fn a_corrupt_checkpoint_names_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl/tiny-dense");
    for entry in std::fs::read_dir(fixture).expect("the fixture") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let shard = dir.path().join("model-00002-of-00002.safetensors");
    let bytes = std::fs::read(&shard).expect("the shard");
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).expect("written");
    let model = dir.path().display().to_string();
    refused(&sapo(&["eval", "--model", &model, "--queries", "1"]), "model-00002-of-00002.safetensors");
}

/// Python is what most plugins are written in; where there is none, this has nothing to try.
#[test]
fn a_plugin_scores_the_rollouts_of_a_run() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let plugin = dir.path().join("mine.py");
    let text = "def score(item):\n    if len(item['response']) % 5 == 0:\n        raise ValueError('no idea')\n    return 1.0 if item['answer'] else 0.25\n";
    std::fs::write(&plugin, text).expect("written");
    let summary = json(&smoke(
        dir.path(),
        &[
            "run.phases=[\"careful\", \"reasoning\"]",
            "phases.careful.steps=20",
            "phases.reasoning={ kind = \"rl\", data = [{ use = \"digits\" }], steps = 2, prompts_per_step = 4, \
             rollouts_per_prompt = 8, sampling = { max_new_tokens = 12 }, rubric = \"mine\", \
             algorithm = { kind = \"sapo\" }, optimizer = { lr = 1e-4 }, max_failed_share = 0.9 }",
            "rubrics.mine={ correct = \"mine\", language_penalty = 0.0 }",
            &format!("rewards.mine={{ kind = \"process\", python = \"{}:score\" }}", plugin.display()),
        ],
    ));
    assert!(summary["weights_sha256"].is_string());
    let rollouts = lines(&dir.path().join("smoke/rollouts/reasoning-000020.jsonl"));
    let parts: Vec<&Value> = rollouts.iter().map(|rollout| &rollout["score"]["parts"]["correct"]).collect();
    let failed = parts.iter().filter(|part| part["failed"]["message"].to_string().contains("no idea")).count();
    let scored = parts.iter().filter(|part| part["value"].is_number()).count();
    let cut = rollouts.iter().filter(|rollout| rollout["stop"] == "length").count();
    assert_eq!(parts.iter().filter(|part| part["value"] == 0.0).count(), cut, "an answer that is cut is wrong");
    assert!(failed + scored == 32 && scored > 0, "{failed} failed, {scored} scored: {parts:?}");
    for rollout in rollouts.iter().filter(|rollout| !rollout["score"]["parts"]["correct"]["failed"].is_null()) {
        assert_eq!((&rollout["score"]["total"], &rollout["in_loss"]), (&Value::Null, &Value::Bool(false)));
    }
}
