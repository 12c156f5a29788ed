//! What trains, by the real binary: frozen parts, adapters, DeepStack and the load of experts in small runs.

mod phases;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;

fn sapo(arguments: &[String]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_sapo")).args(arguments).current_dir(root).output().expect("the binary starts")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

/// Supervised and reinforcement learning, a few steps each.
fn arguments(dir: &Path, name: &str, more: &[&str]) -> Vec<String> {
    let mut all: Vec<String> =
        ["train", "configs/smoke.toml", "--json", "eval.heldout.queries_per_source=1"].map(str::to_owned).into();
    all.push(format!("run.dir={}", dir.display()));
    all.push(format!("run.name={name}"));
    all.push("run.phases=[\"careful\", \"reasoning\"]".to_owned());
    all.extend(["phases.careful.steps=30", "phases.reasoning.steps=2"].map(str::to_owned));
    all.push(
        "phases.reasoning={ kind = \"rl\", data = [{ use = \"digits\" }], steps = 2, prompts_per_step = 4, rollouts_per_prompt = 8, \
         sampling = { max_new_tokens = 12 }, rubric = \"reasoning\", algorithm = { kind = \"sapo\" }, \
         optimizer = { lr = 1e-3 } }"
            .to_owned(),
    );
    all.extend(more.iter().map(|text| (*text).to_owned()));
    all
}

fn train(dir: &Path, name: &str, more: &[&str]) -> Value {
    json(&sapo(&arguments(dir, name, more)))
}

fn refused(output: &Output, says: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(says.iter().all(|text| errors.contains(text)), "{says:?} not in: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

type Tensors = BTreeMap<String, Vec<u8>>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parsed = SafeTensors::deserialize(&bytes).expect("safetensors");
    parsed.iter().map(|(key, view)| (key.to_owned(), view.data().to_vec())).collect()
}

fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len()
}

#[test]
fn frozen_parts_stay_as_they_are_and_cost_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let freeze = "policy.freeze=[\"vision\", \"deepstack\", \"embeddings\"]";
    let at = |name: &str, step: u64| dir.path().join(format!("{name}/checkpoints/step-{step:06}"));
    let whole = train(dir.path(), "whole", &[]);
    let summary = train(dir.path(), "frozen", &["run.keep.newest=99", freeze]);
    let (first, last) = (at("frozen", 0), at("frozen", 32));
    let (before, after) =
        (tensors(&first.join("policy/model.safetensors")), tensors(&last.join("policy/model.safetensors")));
    let moments = tensors(&last.join("trainer/optimizer.safetensors"));
    assert_eq!(before.len(), after.len());
    let (mut kept, mut changed) = (0, 0);
    for (name, value) in &before {
        let frozen = name.contains("deepstack")
            || name.contains("embed_tokens")
            || (name.contains("model.visual.") && !name.contains("model.visual.merger."));
        assert_eq!(value == &after[name], frozen, "{name}");
        for kind in ["first", "second"] {
            assert_eq!(moments.contains_key(&format!("{kind}.{name}")), !frozen, "{name}");
        }
        *(if frozen { &mut kept } else { &mut changed }) += value.len() as u64;
    }
    assert!(kept > 0 && changed > 0);
    let saved = bytes(&at("whole", 32).join("trainer/optimizer.safetensors"))
        - bytes(&last.join("trainer/optimizer.safetensors"));
    assert!(saved >= 2 * kept, "two moments of {kept} bytes are not there: {saved}");
    let plan = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(dir.path().join(name).join("plan.json")).expect("a plan")).expect("JSON")
    };
    let number = |name: &str, key: &str| plan(name)[key].as_u64().expect("a number");
    assert_eq!(number("whole", "trained_parameters"), number("whole", "parameters"));
    assert_eq!(number("frozen", "trained_parameters"), changed / 4);
    // Two moments of what is frozen are not planned for either.
    let moments = |name: &str| {
        let plan = plan(name);
        let parts = plan["footprint"]["parts"].as_array().expect("parts");
        let careful = parts.iter().find(|part| part["name"] == "careful").expect("the phase");
        careful["optimizer"].as_u64().expect("bytes")
    };
    assert_eq!(moments("whole") - moments("frozen"), 2 * kept);
    assert!(number("whole", "about_bytes") > number("frozen", "about_bytes"));
    assert!(summary["logprob_gap_max"].as_f64().expect("a gap") < 1e-4);

    // A resume knows what is frozen.
    for step in [31, 32] {
        drop(std::fs::remove_dir_all(at("frozen", step)));
    }
    std::fs::remove_file(dir.path().join("frozen/run.json")).expect("a file");
    let resumed = train(dir.path(), "frozen", &["run.keep.newest=99", freeze, "--resume"]);
    assert_eq!(resumed["weights_sha256"], summary["weights_sha256"]);
    assert_eq!(resumed["metrics_sha256"], summary["metrics_sha256"]);
    assert_ne!(whole["weights_sha256"], summary["weights_sha256"]);
}

const LORA: &str =
    "policy.lora={ rank = 4, alpha = 16, targets = [\"q_proj\", \"v_proj\", \"down_proj\", \"qkv\", \"linear_fc1\"] }";

fn logged_is_evaluated(dir: &Path, run: &Path, summary: &Value) {
    // The number that the run logged is the number that the checkpoint gives, wherever the run lies.
    let moved = dir.join("elsewhere");
    std::fs::rename(run, &moved).expect("moved");
    let logged: Vec<&Value> =
        summary["evals"].as_array().expect("rows").iter().filter(|row| row["after"] == "reasoning").collect();
    let model = moved.join("checkpoints/step-000032").display().to_string();
    let config = moved.join("config.toml").display().to_string();
    let evaluated = json(&sapo(&["eval", "--model", &model, "--config", &config, "--json"].map(str::to_owned)));
    for (logged, again) in logged.iter().zip(evaluated["evals"].as_array().expect("rows")) {
        assert_eq!((&logged["pass_at_1"], &logged["mean_tokens"]), (&again["pass_at_1"], &again["mean_tokens"]));
    }
    std::fs::rename(&moved, run).expect("moved back");
}

fn merges(dir: &Path, last: &Path, maps: usize, exported: &Tensors) {
    // The command that merges gives the same model, and says what it cannot do.
    let merge = |out: &str, more: &[&str]| {
        let out = dir.join(out).display().to_string();
        let mut all = vec!["merge".to_owned(), last.display().to_string(), out, "--json".to_owned()];
        all.extend(more.iter().map(|text| (*text).to_owned()));
        sapo(&all)
    };
    assert_eq!(json(&merge("merged", &[]))["maps"], maps);
    assert_eq!(tensors(&dir.join("merged/model.safetensors")), *exported);
    refused(&merge("merged", &[]), &["exists already"]);
    refused(
        &merge("other", &["--model", "tests/fixtures/qwen3_vl/tiny-dense"]),
        &["adapter_model.safetensors", "has shape"],
    );
    refused(&merge("other", &["--format", "f8"]), &["f32 or bf16"]);
    assert!(!dir.join("other").exists());
}

fn trains_further(dir: &Path, run: &Path, last: &Path, expected: &[String], exported: &Tensors) {
    // It can be trained further, and taken into a model that trains as a whole.
    let adapter = format!("policy.adapter={}", last.join("adapter").display());
    let base = format!("policy.model={}", run.join("base").display());
    let short = ["run.phases=[\"careful\"]", "phases.careful.steps=2", &base, &adapter];
    train(dir, "further", &short);
    let further = tensors(&dir.join("further/checkpoints/step-000002/adapter/adapter_model.safetensors"));
    assert!(
        further.keys().eq(expected
            .iter()
            .take(expected.len() / 3)
            .map(|key| key.trim_start_matches("first.").to_owned())
            .collect::<Vec<_>>()
            .iter())
    );
    assert!(!dir.join("further/base").exists(), "its model lies in a folder already");
    let base = format!("policy.model={}", last.display());
    train(
        dir,
        "whole",
        &[
            "run.phases=[\"careful\"]",
            "phases.careful.steps=1",
            "phases.careful.optimizer.warmup_steps=0",
            "run.keep.newest=99",
            &base,
        ],
    );
    let absorbed = tensors(&dir.join("whole/checkpoints/step-000000/policy/model.safetensors"));
    assert_eq!(absorbed, *exported);
}

#[test]
fn an_adapter_is_trained_saved_resumed_evaluated_and_exported() {
    let dir = tempfile::tempdir().expect("a folder");
    let more = [LORA, "run.keep.newest=99", "policy.export=\"f32\""];
    let summary = train(dir.path(), "lora", &more);
    assert!(summary["logprob_gap_max"].as_f64().expect("a gap") < 1e-4, "{}", summary["logprob_gap_max"]);
    let run = dir.path().join("lora");
    let last = run.join("checkpoints/step-000032");
    assert!(!last.join("policy").exists(), "the model is no part of its adapter");
    let adapter = tensors(&last.join("adapter/adapter_model.safetensors"));
    assert!(adapter.keys().all(|key| key.starts_with("base_model.model.model.") && key.contains(".lora_")));
    assert!(
        adapter.iter().all(|(key, value)| key.contains("lora_A") || value.iter().any(|byte| *byte != 0)),
        "B has moved"
    );
    let moments = tensors(&last.join("trainer/optimizer.safetensors"));
    let expected: Vec<String> = ["first", "second", "steps"]
        .iter()
        .flat_map(|kind| adapter.keys().map(move |key| format!("{kind}.{key}")))
        .collect();
    assert_eq!(moments.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert!(bytes(&last.join("trainer/optimizer.safetensors")) < bytes(&run.join("base/model.safetensors")) / 4);

    // The model beside which it was trained is what the run began with.
    train(
        dir.path(),
        "bare",
        &[
            "run.phases=[\"careful\"]",
            "phases.careful.steps=1",
            "phases.careful.optimizer.warmup_steps=0",
            "run.keep.newest=99",
        ],
    );
    let began = tensors(&dir.path().join("bare/checkpoints/step-000000/policy/model.safetensors"));
    assert_eq!(tensors(&run.join("base/model.safetensors")), began);
    // What is exported is the model with its adapter merged.
    let exported = tensors(&run.join("export/model.safetensors"));
    assert!(exported.keys().eq(began.keys()));
    for (name, value) in &exported {
        let adapted =
            adapter.contains_key(&format!("base_model.model.{}.lora_A.weight", name.trim_end_matches(".weight")));
        assert_eq!(value != &began[name], adapted && name.ends_with(".weight"), "{name}");
    }

    logged_is_evaluated(dir.path(), &run, &summary);

    for step in [31, 32] {
        drop(std::fs::remove_dir_all(run.join(format!("checkpoints/step-{step:06}"))));
    }
    std::fs::remove_file(run.join("run.json")).expect("a file");
    std::fs::remove_dir_all(run.join("export")).expect("a folder");
    let resumed = train(dir.path(), "lora", &[&more[..], &["--resume"]].concat());
    for key in ["weights_sha256", "metrics_sha256", "evals", "logprob_gap_max"] {
        assert_eq!(resumed[key], summary[key], "{key}");
    }

    merges(dir.path(), &last, adapter.len() / 2, &exported);

    trains_further(dir.path(), &run, &last, &expected, &exported);
}

#[test]
fn experts_share_the_load_and_deepstack_can_be_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let moe = "policy.model=tests/fixtures/qwen3_vl/tiny-moe";
    let short = [
        "run.phases=[\"careful\"]",
        "phases.careful.steps=3",
        "phases.careful.batch_size=2",
        "eval.heldout.max_new_tokens=2",
    ];
    let metric = |name: &str, key: &str| -> Vec<Option<f64>> {
        let text = std::fs::read_to_string(dir.path().join(name).join("metrics.jsonl")).expect("metrics");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["phase"].is_string()).map(|line| line[key].as_f64()).collect()
    };
    let run = |name: &str, more: &[&str]| train(dir.path(), name, &[&short[..], more].concat());
    let own = run("own", &[moe]);
    let same = run("same", &[moe, "phases.careful.router_aux_loss_coef=0.001"]);
    let none = run("none", &[moe, "phases.careful.router_aux_loss_coef=0.0"]);
    assert_eq!(own["weights_sha256"], same["weights_sha256"], "the checkpoint's own coefficient is 0.001");
    assert_ne!(own["weights_sha256"], none["weights_sha256"]);
    assert!(metric("own", "train/balance_loss").iter().all(|value| value.is_some_and(|value| value >= 1.0)));
    assert!(metric("none", "train/balance_loss").iter().all(Option::is_none));
    run("routers", &[moe, "policy.freeze=[\"experts\", \"router\"]"]);
    run("dense", &["policy.deepstack=false", "policy.lora={ rank = 2, alpha = 4, targets = \"all-linear\" }"]);
    assert!(metric("dense", "train/balance_loss").iter().all(Option::is_none));
    let base = dir.path().join("dense/base");
    let config: Value =
        serde_json::from_slice(&std::fs::read(base.join("config.json")).expect("a config")).expect("JSON");
    assert_eq!(config["vision_config"]["deepstack_visual_indexes"], serde_json::json!([]));
    assert!(tensors(&base.join("model.safetensors")).keys().all(|key| !key.contains("deepstack")));

    let refuse = |name: &str, more: &[&str], says: &[&str]| {
        refused(&sapo(&arguments(dir.path(), name, &[&short[..], more].concat())), says);
        assert!(!dir.path().join(name).exists(), "nothing is written");
    };
    refuse("no", &["phases.careful.router_aux_loss_coef=0.1"], &["phases.careful.router_aux_loss_coef", "dense"]);
    refuse("no", &["policy.freeze=[\"experts\"]"], &["policy.freeze", "`experts`", "did you mean"]);
    refuse("no", &["policy.freeze=[\"deepstack\"]", "policy.deepstack=false"], &["policy.freeze", "`deepstack`"]);
    refuse("no", &["policy.freeze=[\"txt\"]"], &["freeze", "did you mean `text`"]);
    refuse(
        "no",
        &["policy.lora={ rank = 2, alpha = 4, targets = [\"q_prj\"] }"],
        &["policy.lora", "did you mean `q_proj`"],
    );
    refuse("no", &[moe, "policy.lora={ rank = 2, alpha = 4, targets = [\"down_proj\"] }"], &["policy.lora", "experts"]);
    refuse("no", &["policy.adapter=no-such-folder"], &["no-such-folder"]);
    refuse(
        "no",
        &["policy.adapter=x", "policy.lora={ rank = 2, alpha = 4, targets = [\"q_proj\"] }"],
        &["policy.adapter"],
    );
}

#[test]
fn frozen_weights_are_kept_in_bf16_and_what_trains_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let careful = ["run.phases=[\"careful\"]", "phases.careful.steps=4"];
    let run = |name: &str, more: &[&str]| {
        train(dir.path(), name, &[&careful[..], more].concat());
        let checkpoints = dir.path().join(name).join("checkpoints");
        let mut folders: Vec<_> =
            std::fs::read_dir(checkpoints).expect("checkpoints").map(|one| one.expect("one").path()).collect();
        folders.sort();
        folders.pop().expect("a checkpoint")
    };
    let rounded = |bytes: &[u8]| bytes.chunks(4).all(|four| four[..2] == [0, 0]);
    let saved =
        tensors(&run("frozen", &["run.dtype=bf16", "policy.freeze=[\"text\"]"]).join("policy/model.safetensors"));
    for (key, bytes) in &saved {
        let frozen = key.contains("language_model") && !key.contains("embed_tokens");
        // Norms and biases may be whole numbers by themselves; matrices that train are not.
        if frozen || key.contains("attn.qkv.weight") {
            assert_eq!(rounded(bytes), frozen, "{key}");
        }
    }
    // An adapter learns beside weights in bf16; the export joins both in f32, and the base is as it was.
    let lora = "policy.lora={ rank = 4, alpha = 8, targets = [\"q_proj\", \"down_proj\"] }";
    run("adapter", &["run.dtype=bf16", lora, "policy.export=f32"]);
    let base = tensors(&dir.path().join("adapter/base/model.safetensors"));
    assert!(base.values().all(|bytes| rounded(bytes)));
    let export = tensors(&dir.path().join("adapter/export/model.safetensors"));
    for (key, bytes) in &export {
        let adapted = key.contains("q_proj") || key.contains("down_proj");
        assert_eq!(bytes == &base[key], !adapted, "{key}");
    }
    refused(&sapo(&arguments(dir.path(), "whole", &["run.dtype=bf16"])), &["run.dtype", "policy.lora"]);
}
