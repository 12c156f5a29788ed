//! The kit for a GPU: its script runs each check under a limit of its own, and where there is no GPU each says so.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(more: &[&str]) -> (Output, Vec<Value>) {
    let out = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/run");
    let output = Command::new("bash")
        .arg(script)
        .args(["--out", &out.path().display().to_string()])
        .args(more)
        // Hides a GPU that the machine may have.
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .expect("bash starts");
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    if output.status.code() != Some(2) {
        let kept = std::fs::read_to_string(out.path().join("checks.jsonl")).expect("the lines are kept");
        let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert_eq!(kept, lines);
    }
    (output, lines)
}

const BINARY: [&str; 2] = ["--binary", env!("CARGO_BIN_EXE_sapo")];

#[test]
fn without_a_gpu_every_check_says_so() {
    let (output, lines) = run(&BINARY);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let named = |name: &str| lines.iter().find(|line| line["check"] == name).unwrap_or_else(|| panic!("no {name}"));
    for name in [
        "machine",
        "greedy-cold",
        "greedy-warm",
        "parity-dense",
        "parity-moe",
        "smoke",
        "smoke-warm",
        "quickstart",
        "flat",
        "2b",
        "bench-rollout-256",
    ] {
        // What the kit asks of the binary is there, and with these options.
        assert_eq!(named(name)["known"], true, "{}", named(name));
    }
    for name in ["bench-train", "bench-step", "beside-rollout-1", "beside-train"] {
        assert!(named(name)["command"].as_str().is_some_and(|command| command.contains("--model")), "{}", named(name));
    }
    assert!(lines.iter().all(|line| line["status"] == "no gpu"), "{lines:?}");
}

#[test]
fn a_check_tells_what_it_gave_or_why_it_failed() {
    let of = |device: &str| {
        let (output, lines) = run(&[&BINARY[..], &["--device", device, "--only", "parity-dense"]].concat());
        assert_eq!(lines.len(), 1, "{lines:?}");
        (output.status.code(), lines[0].clone())
    };
    let (code, line) = of("cpu");
    assert_eq!((code, &line["status"], &line["result"]["out"]), (Some(0), &"passed".into(), &0.into()), "{line}");
    let (code, line) = of("gpu:0");
    let kind = &line["result"]["error"]["kind"];
    assert_eq!((code, &line["status"], kind), (Some(1), &"failed".into(), &"usage".into()), "{line}");
    assert!(line["why"].as_str().is_some_and(|why| why.contains("`gpu:0` is not a device")), "{line}");
}

#[test]
fn what_is_not_there_is_refused() {
    for (more, says) in [
        (&["no-such-kit.tar.xz"][..], "no-such-kit.tar.xz is not there"),
        (&["--binary", "no-such-binary"], "no-such-binary is no program"),
        (&["--cuda"], "no option --cuda"),
        (&[], "which binary?"),
    ] {
        let (output, lines) = run(more);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(says) && lines.is_empty(), "{more:?}: {errors}");
    }
}
