//! A pinned curve: sixty steps of warming up, ten of supervised learning and ten of reinforcement learning from a fixed
//! seed give the numbers of `pinned.jsonl`. What moves or renames code keeps them bit for bit.
//!
//! A change that alters them on purpose says why in its commit and pins them anew:
//! `SAPO_PIN=1 cargo test --workspace --profile verify --test curve`.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

/// What is pinned of each step, in full precision.
const PINNED: [&str; 6] =
    ["step", "train/loss", "optim/grad_norm", "train/reward/mean", "policy/entropy/mean", "rollout/length/mean"];
/// How far another kind of machine may be off, as a share.
const TOLERANCE: f64 = 1e-5;

/// The kind of machine: its numbers are the same bit for bit only where kernels and threads are.
fn machine() -> Value {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx512f") { "avx512" } else { "avx2" };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "";
    json!({"arch": std::env::consts::ARCH, "vectors": vectors, "threads": threads})
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn pinned_of(line: &Value) -> Value {
    let some = PINNED.iter().filter_map(|key| Some(((*key).to_owned(), line.get(key)?.clone())));
    Value::Object(some.collect::<Map<_, _>>())
}

fn run() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_sapo"))
        .args(["train", "tests/curve/curve.toml", "--json", &format!("run.dir={}", folder.path().display())])
        .current_dir(root)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metrics = std::fs::read_to_string(folder.path().join("curve/metrics.jsonl")).expect("metrics");
    let mut metrics = lines(&metrics);
    // Evaluations are no steps.
    metrics.retain(|line| line["phase"].is_string());
    // On a CPU the sampler's log-probs are the trainer's, bit for bit.
    let gaps: Vec<f64> = metrics.iter().filter_map(|line| line.get("policy/logprob_gap_max")?.as_f64()).collect();
    assert!(!gaps.is_empty() && gaps.iter().all(|gap| *gap == 0.0), "{gaps:?}");
    metrics.iter().map(pinned_of).collect()
}

#[test]
fn the_curve_is_the_pinned_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/curve/pinned.jsonl");
    let now = run();
    if std::env::var_os("SAPO_PIN").is_some() {
        let text: String = [machine()].iter().chain(&now).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).expect("the pinned curve is written");
    }
    let pinned = lines(&std::fs::read_to_string(&path).expect("the pinned curve"));
    let (kind, pinned) = pinned.split_first().expect("the machine comes first");
    assert_eq!(pinned.len(), now.len());
    let trained =
        now.iter().filter(|line| line.get("train/reward/mean").is_some() && line.get("optim/grad_norm").is_some());
    assert!(trained.count() >= 5, "the curve learns from rewards");
    if *kind == machine() {
        assert_eq!(pinned, now);
        return;
    }
    for (pinned, now) in pinned.iter().zip(&now) {
        let (pinned, now) = (pinned.as_object().expect("an object"), now.as_object().expect("an object"));
        assert!(pinned.keys().eq(now.keys()), "{pinned:?} {now:?}");
        for (key, value) in pinned {
            let (was, is) = (value.as_f64().expect("a number"), now[key].as_f64().expect("a number"));
            assert!((was - is).abs() <= TOLERANCE * was.abs().max(1e-12), "{key}: {is}, pinned {was}");
        }
    }
}
