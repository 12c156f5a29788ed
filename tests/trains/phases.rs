//! What phases may ask for: KL, entropy, importance weights, a teacher, parts of their own that train.

use std::path::Path;

use serde_json::Value;

use super::{arguments, json, refused, sapo, tensors, train};

/// The metrics of a phase, step by step.
fn steps(dir: &Path, name: &str, phase: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(name).join("metrics.jsonl")).expect("metrics");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    lines.filter(|line| line["phase"] == phase).collect()
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("{key} in {line}"))
}

/// The engine of this process and the trainer agree to the bit, so that the correction changes nothing.
#[test]
fn importance_weights_of_the_local_engine_are_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = train(dir.path(), "plain", &[]);
    let corrected = train(dir.path(), "corrected", &["phases.reasoning.importance={}"]);
    assert_eq!(plain["weights_sha256"], corrected["weights_sha256"]);
    for step in steps(dir.path(), "corrected", "reasoning") {
        assert_eq!(number(&step, "policy/importance/mean"), 1.0);
        assert_eq!((number(&step, "policy/importance/capped"), number(&step, "policy/logprob_gap_max")), (0.0, 0.0));
        assert_eq!(number(&step, "policy/logprob_gap_share"), 1.0, "the gap is known of every token");
    }
}

#[test]
fn a_policy_is_measured_from_where_its_phase_began_and_held_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let kl = |coef: &str, more: &str| format!("phases.reasoning.kl={{ coef = {coef}{more} }}");
    let longer = "phases.reasoning.steps=4";
    let of = |name: &str, kl: &str| {
        let hash = train(dir.path(), name, &[longer, kl])["weights_sha256"].clone();
        let all = steps(dir.path(), name, "reasoning");
        (hash, all.iter().map(|step| number(step, "policy/kl/mean")).collect::<Vec<f64>>())
    };
    let (light, free) = of("light", &kl("1e-9", ""));
    let (heavy, held) = of("heavy", &kl("1.0", ""));
    assert!(free[0] < free[3] && free[3] > 0.0, "{free:?}");
    assert!(held[3] < free[3], "{held:?} {free:?}");
    let reward = of("reward", &kl("1e-9", ", within = \"reward\", estimator = \"k1\"")).0;
    assert!(light != heavy && light != reward);
    assert!(dir.path().join("heavy/reference/reasoning/policy/model.safetensors").is_file());
    let bonus = train(dir.path(), "bonus", &[longer, &kl("1e-9", ""), "phases.reasoning.entropy_coef=0.02"]);
    assert_ne!(bonus["weights_sha256"], light);
    // The policy with its adapter off is where the phase began, when nothing was trained before.
    let lora = "policy.lora={ rank = 4, alpha = 16, targets = [\"q_proj\", \"v_proj\"] }";
    let fresh = ["run.phases=[\"reasoning\"]", longer, lora];
    let base = |name: &str, from: &str| {
        let kl = kl("0.1", &format!(", from = \"{from}\""));
        train(dir.path(), name, &[&fresh[..], &[kl.as_str()]].concat())["weights_sha256"].clone()
    };
    assert_eq!(base("base", "base"), base("start", "start"));
    let none = sapo(&arguments(dir.path(), "none", &[&kl("0.1", ", from = \"base\"")]));
    refused(&none, &["phases.reasoning.kl.from", "no adapter"]);
}

#[test]
fn a_teacher_is_approached_on_own_answers_and_on_given_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    // The teacher is what another run has trained.
    train(dir.path(), "teacher", &["run.phases=[\"careful\"]"]);
    let teacher = dir.path().join("teacher/checkpoints/step-000030/policy");
    let distill = |more: &str| {
        format!(
            "phases.learn={{ kind = \"distill\", teacher = \"{}\", data = [{{ use = \"digits\" }}], steps = 12, \
             prompts_per_step = 6, optimizer = {{ lr = 1e-3 }}{more} }}",
            teacher.display()
        )
    };
    let on_policy =
        ", on_policy = { rollouts_per_prompt = 2, sampling = { max_new_tokens = 12 }, rubric = \"reasoning\" }";
    for (name, more) in [
        ("own", on_policy.to_owned()),
        ("forward", format!("{on_policy}, divergence = \"forward\"")),
        ("given", ", divergence = { mixed = 0.5 }".to_owned()),
    ] {
        train(dir.path(), name, &["run.phases=[\"learn\"]", "phases.careful.steps=30", &distill(&more)]);
        let all = steps(dir.path(), name, "learn");
        let (first, last) = (number(&all[0], "train/distance"), number(&all[11], "train/distance"));
        assert!(last < 0.8 * first && last > 0.0, "{name}: {first} to {last}");
        let rollouts = dir.path().join(name).join("rollouts/learn-000000.jsonl");
        assert_eq!(rollouts.is_file(), name != "given");
    }
    let text = std::fs::read_to_string(dir.path().join("own/rollouts/learn-000000.jsonl")).expect("rollouts");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() == 12 && lines.iter().all(|line| line["in_loss"] == true && line["advantage"].is_null()));
    let stranger = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl/tiny-dense");
    let other = distill("").replace(&teacher.display().to_string(), &stranger.display().to_string());
    let failed = sapo(&arguments(dir.path(), "other", &["run.phases=[\"learn\"]", &other]));
    refused(&failed, &["phases.learn.teacher", "another vocabulary"]);
    assert!(!dir.path().join("other").exists(), "it is told before there is a run");
}

#[test]
fn each_phase_trains_the_parts_that_it_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let more = [
        "run.keep.newest=99",
        "policy.freeze=[\"embeddings\"]",
        "phases.careful.freeze=[\"vision\", \"deepstack\", \"text\", \"embeddings\"]",
        "phases.careful.max_tokens=40",
        "phases.careful.weighting=\"token\"",
    ];
    let whole = train(dir.path(), "run", &more);
    let at = |step: u64| tensors(&dir.path().join(format!("run/checkpoints/step-{step:06}/policy/model.safetensors")));
    let [start, middle, end] = [0, 30, 32].map(at);
    for name in start.keys() {
        let merger = name.contains("model.visual.merger.");
        assert_eq!(start[name] != middle[name], merger, "the first phase: {name}");
        assert_eq!(middle[name] != end[name], !name.contains("embed_tokens"), "the second phase: {name}");
    }
    let rejected = std::fs::read_to_string(dir.path().join("run/data/rejected.jsonl")).expect("rows that are too long");
    assert!(rejected.contains("the phase takes 40 (max_tokens)"), "{rejected}");
    // What is resumed in the second phase trains that phase's parts.
    std::fs::remove_dir_all(dir.path().join("run/checkpoints/step-000032")).expect("a folder");
    std::fs::remove_file(dir.path().join("run/run.json")).expect("a file");
    let resumed = json(&sapo(&arguments(dir.path(), "run", &[&more[..], &["--resume"]].concat())));
    assert_eq!(resumed["weights_sha256"], whole["weights_sha256"]);
    refused(
        &sapo(&arguments(dir.path(), "none", &["phases.reasoning.freeze=[\"experts\"]"])),
        &["phases.reasoning.freeze", "`experts`"],
    );
}
