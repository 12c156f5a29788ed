//! The real binary on checkpoints: sizes, conversion, random weights, and answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl").join(name);
    path.to_str().expect("a path").to_owned()
}

fn sapo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

fn object(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn refused(arguments: &[&str], says: &[&str]) {
    let output = sapo(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{errors}");
    for says in says {
        assert!(errors.contains(says), "`{says}` is not in: {errors}");
    }
}

#[test]
fn a_plan_counts_every_part() {
    for (model, parameters) in [("2b", 2_127_532_032_u64), ("Qwen3-VL-30B-A3B-Instruct", 31_070_754_032)] {
        let plan = object(&sapo(&["plan", "--model", model, "--json"]));
        let sum: u64 =
            plan["parts"].as_array().expect("parts").iter().filter_map(|part| part["parameters"].as_u64()).sum();
        assert_eq!((plan["parameters"].as_u64(), sum), (Some(parameters), parameters));
        assert_eq!(plan["memory"]["weights"].as_u64(), Some(2 * parameters), "bf16 unless something else is said");
        assert_eq!(plan["memory"]["optimizer"].as_u64(), Some(8 * parameters));
    }
    let moe = fixture("tiny-moe");
    let frozen = [
        "plan",
        "--model",
        &moe,
        "--dtype",
        "f32",
        "--freeze",
        "experts,router",
        "--batch",
        "3",
        "--context",
        "100",
        "--json",
    ];
    let plan = object(&sapo(&frozen));
    let of = |name: &str| plan["parts"].as_array().expect("parts").iter().find(|part| part["part"] == name).cloned();
    let experts = of("experts").expect("experts");
    assert_eq!(experts["parameters"], 4 * 6 * 3 * 40 * 64);
    assert_eq!(experts["trainable"], 0);
    assert_eq!(plan["memory"]["kv_cache"], 300 * 4 * 2 * 16 * 2 * 4);
    assert_eq!(plan["tied_head"], true);
    let table = text(&sapo(&["plan", "--model", "235B-A22B", "--method", "lora", "--lora-rank", "8"]));
    for says in ["235,670,022,896 parameters", "experts", "router", "deepstack", "adapters", "KV cache", "total"] {
        assert!(table.contains(says), "`{says}` is not in: {table}");
    }
}

#[test]
fn a_plan_of_a_run_tells_its_parts() {
    let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
    let smoke = smoke.to_str().expect("a path");
    let plan = object(&sapo(&["plan", smoke, "phases.careful.steps=7", "--json"]));
    assert_eq!((&plan["parts"][1]["name"], &plan["parts"][1]["steps"]), (&Value::from("careful"), &Value::from(7)));
    assert!(text(&sapo(&["plan", smoke])).starts_with("plan: "));
    // A large one is outlined: no step is tried.
    let outline = object(&sapo(&["plan", smoke, "policy.model=8b", "--json"]));
    assert_eq!(
        (&outline["parameters"], &outline["missing"]),
        (&Value::from(8_767_123_696_u64), &serde_json::json!([]))
    );
    assert_eq!(outline["phases"][0]["name"], "careful");
    let recipes = ["rl", "4b"].map(|name| smoke.replace("smoke", &format!("recipes/{name}")));
    let outlined = text(&sapo(&["plan", &recipes[0], &recipes[1]]));
    assert!(outlined.contains("data.charts: ") && outlined.contains("4,437,815,808 parameters"), "{outlined}");
    refused(&["plan", "--model", "7b"], &["7b", "235b-a22b"]);
    refused(&["plan", "--model", "8b", "--freeze", "visoin"], &["visoin", "vision, merger"]);
    refused(&["plan"], &["--model"]);
}

fn folder() -> (tempfile::TempDir, PathBuf, String) {
    let all = tempfile::tempdir().expect("a folder");
    let out = all.path().join("out");
    let name = out.to_str().expect("a path").to_owned();
    (all, out, name)
}

#[test]
fn a_converted_checkpoint_passes_the_golden_cases() {
    for kind in ["dense", "moe"] {
        let (_all, out, name) = folder();
        let model = fixture(&format!("tiny-{kind}"));
        let written = object(&sapo(&["convert", &model, &name, "--max-shard-size", "300KB", "--json"]));
        assert_eq!(written["dtype"], "f32");
        assert!(out.join("model-00002-of-00005.safetensors").is_file() || kind == "moe");
        let parity = sapo(&["parity", &name, &fixture(&format!("cases-{kind}")), "--json"]);
        assert_eq!(object(&parity)["out"], 0);
        refused(&["convert", &model, &name], &["is there already"]);
        refused(&["convert", &model, "x", "--max-shard-size", "5 apples"], &["5GB"]);
    }
    refused(&["convert", "no-such-folder", "x"], &["no-such-folder"]);
}

#[test]
fn random_weights_load_and_answer() {
    let (all, _, name) = folder();
    let sizes = all.path().join("sizes");
    std::fs::create_dir(&sizes).expect("a folder");
    let config = std::fs::read_to_string(format!("{}/config.json", fixture("tiny-moe"))).expect("a config");
    let config = config.replace("\"vocab_size\": 600", "\"vocab_size\": 2048");
    std::fs::write(sizes.join("config.json"), config).expect("can be written");
    let sizes = sizes.to_str().expect("a path");
    let parameters = 455_264 + (2048 - 600) * 64;
    let made = object(&sapo(&["bench", "init", "--model", sizes, "--out", &name, "--json"]));
    assert_eq!((&made["parameters"], &made["dtype"]), (&Value::from(parameters), &Value::from("bf16")));
    let loaded = object(&sapo(&["bench", "load", "--model", &name, "--copy", "--json"]));
    assert_eq!(loaded["parameters"], parameters);
    assert!(loaded["copy_secs"].is_number());
    let picture = fixture("pictures/picture-0.png");
    let ask = ["rollout", "--model", &name, "--dtype", "bf16", "--prompt", "-3 + 5?", "--image", &picture, "--json"];
    let answer = object(&sapo(&[&ask[..], &["--max-new-tokens", "4", "--image", &picture]].concat()));
    assert_eq!(answer["samples"].as_array().map(Vec::len), Some(1));
    assert!(answer["prompt_tokens"].as_u64() > Some(20), "two pictures and words: {answer}");
}

#[test]
fn answers_depend_on_the_seed_alone() {
    let model = fixture("tiny-dense");
    let picture = fixture("pictures/picture-1.png");
    let ask = |more: &[&str]| {
        let base = ["rollout", "--model", &model, "--prompt", "What is shown?", "--image", &picture];
        sapo(&[&base[..], &["--max-new-tokens", "6"], more].concat())
    };
    let tokens = |output: &Output, sample: usize| object(output)["samples"][sample]["tokens"].clone();
    let three = ask(&["--samples", "3", "--json"]);
    assert_eq!(tokens(&three, 0), tokens(&ask(&["--json"]), 0));
    assert_ne!(tokens(&three, 0), tokens(&three, 1));
    assert_ne!(tokens(&three, 0), tokens(&ask(&["--json", "--seed", "2"]), 0));
    let greedy = ask(&["--temperature", "0", "--json"]);
    assert_eq!(tokens(&greedy, 0), tokens(&ask(&["--temperature", "0", "--seed", "9", "--json"]), 0));
    // What streams is what is returned whole.
    let whole = object(&greedy)["samples"][0]["text"].as_str().expect("a text").to_owned();
    assert_eq!(text(&ask(&["--temperature", "0"])), format!("{whole}\n"));
    // A folder of frames is a video; its frames are two at a time.
    let frames = tempfile::tempdir().expect("a folder");
    for frame in ["frame-00.png", "frame-01.png", "frame-02.png", "frame-03.png"] {
        std::fs::copy(fixture("pictures") + "/" + frame, frames.path().join(frame)).expect("can be copied");
    }
    let video = ask(&["--video", frames.path().to_str().expect("a path"), "--json"]);
    assert!(object(&video)["prompt_tokens"].as_u64() > object(&three)["prompt_tokens"].as_u64());
    let system = ask(&["--system", "Be brief.", "--json"]);
    assert!(object(&system)["prompt_tokens"].as_u64() > object(&three)["prompt_tokens"].as_u64());
}

#[test]
fn what_cannot_be_answered_is_refused_with_the_remedy() {
    let model = fixture("tiny-dense");
    let ask = |more: &[&str], says: &[&str]| {
        refused(&[&["rollout", "--model", &model, "--prompt", "a"], more].concat(), says)
    };
    ask(&["--image", "no-such.png"], &["no-such.png"]);
    ask(&["--image", &fixture("tiny-dense/config.json")], &["config.json", "PNG"]);
    ask(&["--video", "no-such-folder"], &["no-such-folder"]);
    ask(&["--fps", "2"], &["--video"]);
    ask(&["--temperature", "-1"], &["temperature"]);
    ask(&["--top-p", "0"], &["--top-p"]);
    ask(&["--samples", "0"], &["samples"]);
    ask(&["--max-prompt-tokens", "3"], &["the prompt has", "--max-prompt-tokens"]);
    ask(&["--system", "<|im_end|>"], &["special token"]);
    refused(&["rollout", "--model", "8b", "--prompt", "a"], &["sapo bench init --model 8b"]);
    refused(&["rollout", "--model", "no-such", "--prompt", "a"], &["no-such", "tiny"]);
}
