//! Whole runs whose rollouts come from servers: doubles of SGLang and vLLM that sample with the weights they are handed, from
//! the token ids and pictures that they are sent.

mod backed;
mod dialects;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::backed::Server;
use crate::dialects::{Openai, Sglang, Vllm};

/// The smoke run without its judge, sampled by a server.
fn command(dir: &Path, server: &Server, engine: &str, more: &[&str]) -> Output {
    let mut arguments: Vec<String> =
        ["train", "configs/smoke.toml", "--json", "run.name=run"].map(str::to_owned).into();
    arguments.push(format!("run.dir={}", dir.display()));
    arguments.push("run.phases=[\"careful\", \"curate\", \"reasoning\"]".to_owned());
    let small = ["eval.heldout.queries_per_source=1", "eval.heldout.samples=1", "phases.careful.steps=24"];
    arguments.extend(small.map(str::to_owned));
    let weights = dir.join("weights");
    arguments.push(format!(
        "engine={{ {engine}, endpoints = [\"{}\"], weights_dir = \"{}\", max_in_flight = 8 }}",
        server.url(),
        weights.display()
    ));
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_sapo")).args(&arguments).current_dir(root).output().expect("it starts")
}

/// The summary of a run that has finished, while the server had nothing to complain of.
fn finished(output: &Output, server: &Server) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(server.complaints(), Vec::<String>::new(), "{errors}");
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

fn train(dir: &Path, server: &Server, engine: &str, more: &[&str]) -> Value {
    finished(&command(dir, server, engine, more), server)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// That what was sampled is what the trainer computes for the same tokens, pictures and weights.
fn agrees(dir: &Path, summary: &Value) {
    let gap = summary["logprob_gap_max"].as_f64().expect("a gap");
    assert!(gap < 1e-4, "{gap}");
    let metrics = lines(&dir.join("run/metrics.jsonl"));
    let trained: f64 = metrics.iter().filter_map(|line| line["train/groups/trained"].as_f64()).sum();
    let measured = metrics.iter().filter_map(|line| line["policy/logprob_gap_share"].as_f64()).fold(0.0, f64::max);
    assert!(trained > 0.0 && measured > 0.0, "{trained} groups, gap measured on {measured}");
    let rollouts = |step: u64| lines(&dir.join(format!("run/rollouts/reasoning-{step:06}.jsonl")));
    let steps: Vec<u64> =
        metrics.iter().filter(|line| line["phase"] == "reasoning").filter_map(|line| line["step"].as_u64()).collect();
    let of_step = |step: &u64| -> BTreeSet<u64> {
        rollouts(*step).iter().filter_map(|line| line["policy_version"].as_u64()).collect()
    };
    let versions: Vec<BTreeSet<u64>> = steps.iter().map(of_step).collect();
    assert_eq!(versions.len(), 2);
    assert!(versions.iter().all(|of_step| of_step.len() == 1) && versions[0] < versions[1], "{versions:?}");
    assert!(rollouts(steps[0]).iter().any(|line| line["images"].as_array().is_some_and(|images| !images.is_empty())));
}

#[test]
fn a_run_is_sampled_by_sglang_with_the_weights_of_every_step() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(Sglang);
    let summary = train(dir.path(), &server, "kind = \"sglang\"", &[]);
    agrees(dir.path(), &summary);
    let told = server.loaded();
    assert!(told.first().is_some_and(|first| first == "0"), "{told:?}");
    assert!(told.windows(2).all(|two| two[0].parse::<u64>().ok() < two[1].parse::<u64>().ok()), "{told:?}");
}

#[test]
fn a_run_is_sampled_by_vllm_with_the_adapter_of_every_step() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(Vllm);
    let lora = "policy.lora={ rank = 4, alpha = 16, targets = [\"q_proj\", \"v_proj\", \"down_proj\", \"o_proj\"] }";
    let more = [lora, "phases.careful.optimizer={ lr = 2e-2, warmup_steps = 2, final_lr_ratio = 0.2 }"];
    let summary = train(dir.path(), &server, "kind = \"vllm\", model = \"base\", lora = true", &more);
    agrees(dir.path(), &summary);
    assert!(server.loaded().first().is_some_and(|first| first == "sapo-0"), "{:?}", server.loaded());
}

/// Servers that are gone for too long stop the run where it can be resumed, and no rollout of it is there twice.
#[test]
fn a_run_whose_servers_are_gone_goes_on_when_they_are_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(Sglang);
    let engine = "kind = \"sglang\", gone_secs = 0.2, retry_base_secs = 0.01";
    let whole = 1_000_000;
    server.answers(whole);
    let undisturbed = train(&dir.path().join("undisturbed"), &server, engine, &[]);
    let wanted = whole - server.left();
    // It is gone in the middle of the last step, which 16 rollouts and an evaluation of 8 queries belong to.
    server.answers(wanted - 8 * 2 - 8);
    let stopped = command(dir.path(), &server, engine, &[]);
    let errors = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(3), "{errors}");
    for words in ["no server has answered", server.url().as_str(), "503", "--resume"] {
        assert!(errors.contains(words), "`{words}` is not in: {errors}");
    }
    server.answers(whole);
    let resumed = finished(&command(dir.path(), &server, engine, &["--resume"]), &server);
    for key in ["weights_sha256", "metrics_sha256", "evals"] {
        assert_eq!(resumed[key], undisturbed[key], "{key}");
    }
}

/// What a server of chat completions says greedily is what the model says here: its messages are those of the prompt.
#[test]
fn an_evaluation_asks_a_server_of_chat_completions() {
    let server = Server::start(Openai);
    let remote = format!("engine={{ kind = \"openai\", model = \"served\", endpoints = [\"{}\"] }}", server.url());
    let evaluate = |more: &[&str]| -> Value {
        let shared =
            ["eval", "--json", "--model", "tiny", "--seed", "1", "--queries", "1", "--samples", "1", "--config"];
        let config = ["configs/smoke.toml", "run.phases=[\"curate\"]"];
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
        let output = command.args(shared).args(config).args(more).current_dir(root).output().expect("it starts");
        finished(&output, &server)
    };
    let (here, there) = (evaluate(&[]), evaluate(&[&remote]));
    let rows = |value: &Value, key: &str| -> Vec<Value> {
        value["evals"].as_array().expect("rows").iter().map(|row| row[key].clone()).collect()
    };
    for key in ["set", "task", "queries", "scored", "greedy"] {
        assert_eq!(rows(&here, key), rows(&there, key), "{key}");
    }
    assert_eq!(usize::MAX - server.left(), 16, "a greedy answer and a sample for each of eight queries");
}
