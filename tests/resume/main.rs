//! Runs and evaluations that are stopped, killed and resumed: the end is that of the one that nobody disturbed.

mod broken;
mod evaluation;
mod extend;
mod fork;
mod kills;
mod touched;
mod twice;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The smoke run without its judge, and with a checkpoint every other step.
fn arguments(dir: &Path, name: &str, more: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["train", "configs/smoke.toml", "--json", "run.checkpoint_every=2"].map(str::to_owned).into();
    arguments.push(format!("run.dir={}", dir.display()));
    arguments.push(format!("run.name={name}"));
    arguments.push("run.phases=[\"careful\", \"cold_start\", \"curate\", \"reasoning\"]".to_owned());
    arguments.extend(["phases.careful.steps=8", "phases.reasoning.steps=5"].map(str::to_owned));
    arguments.push("phases.reasoning.filter={ refill = 1, revisit_steps = 2 }".to_owned());
    // Beside them every other rollout is audited, which has a record and a test that go on as well.
    arguments.push("phases.reasoning.audit={ rubric = \"heldout\", share = 0.5, tolerated = 0.0 }".to_owned());
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    arguments
}

fn sapo(arguments: &[String]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.args(arguments).current_dir(root);
    command
}

fn summary(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

fn finish(arguments: &[String]) -> Value {
    summary(&sapo(arguments).output().expect("the binary starts"))
}

/// Starts a run and waits until it says `line`.
fn until(arguments: &[String], line: &str) -> Child {
    let mut child = sapo(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut heard = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(heard.any(|said| said.expect("text").contains(line)), "the run never said `{line}`");
    // The rest is read beside the test, so that the run never waits for its reader.
    std::thread::spawn(move || heard.count());
    child
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

fn same(one: &Value, other: &Value) {
    for key in ["weights_sha256", "metrics_sha256", "evals", "gains", "curation", "logprob_gap_max"] {
        assert_eq!(one[key], other[key], "{key}");
    }
}

/// What a command says that ends with a code.
fn errors_of(arguments: &[String], code: i32) -> String {
    let output = sapo(arguments).output().expect("the binary starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    errors
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file of the run");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Takes away what depends on the clock, and how a process was started.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let timed = |key: &str| {
                ["secs", "us"].contains(&key) || ["time/", "perf/"].iter().any(|prefix| key.starts_with(prefix))
            };
            object.retain(|key, _| !timed(key));
            object.values_mut().for_each(without_times);
        }
        Value::Array(list) => list.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// Files of lines below a folder, by their paths in it.
fn records(run: &Path, folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(run.join(folder)).expect("a folder of the run") {
        let entry = entry.expect("an entry");
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            records(run, &name, found);
        } else if name.ends_with(".jsonl") {
            found.push(name);
        }
    }
}

/// What two runs have recorded is the same, line by line, times aside.
fn same_record(one: &Path, other: &Path) {
    let all = |run: &Path| {
        let mut names = ["metrics.jsonl", "queries.jsonl", "ledger.jsonl"].map(str::to_owned).to_vec();
        names.extend(run.join("audit.jsonl").exists().then(|| "audit.jsonl".to_owned()));
        ["rollouts", "eval", "curation"].iter().for_each(|folder| records(run, folder, &mut names));
        names.sort();
        names
    };
    let names = all(one);
    assert_eq!(names, all(other));
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let [mut one, mut other] = [one, other].map(|run| lines(&run.join(&name)));
        one.iter_mut().chain(&mut other).for_each(without_times);
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        assert!(one == other, "{name}: {} and {} lines; line {differs:?} differs", one.len(), other.len());
    }
}

#[test]
fn a_stopped_run_ends_as_the_undisturbed_one() {
    let dir = tempfile::tempdir().expect("a folder");
    // Products of rounded numbers are the same for sampler and trainer, as exact ones are.
    let narrow = "run.matmul=\"bf16\"";
    let undisturbed = finish(&arguments(dir.path(), "undisturbed", &[narrow]));
    assert!(undisturbed["logprob_gap_max"].as_f64().is_some_and(|gap| gap < 1e-4), "{undisturbed}");
    let stopped = arguments(dir.path(), "stopped", &[narrow]);
    for said in ["careful: 8 to do", "reasoning: 5 to do"] {
        let resumed = arguments(dir.path(), "stopped", &["--resume", narrow]);
        let mut child = until(if said.starts_with("careful") { &stopped } else { &resumed }, said);
        signal(&child, "-INT");
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "after `{said}`");
        let state = std::fs::read_to_string(dir.path().join("stopped/run.json")).expect("run.json");
        assert!(state.contains("\"interrupted\""), "{state}");
    }
    let resumed = finish(&arguments(dir.path(), "stopped", &["--resume", narrow]));
    same(&undisturbed, &resumed);
    // A finished run gives its summary again.
    let again =
        finish(&["train", &format!("--resume={}", dir.path().join("stopped").display()), "--json"].map(str::to_owned));
    assert_eq!(again["weights_sha256"], resumed["weights_sha256"]);
}

#[test]
fn a_killed_run_ends_as_the_undisturbed_one() {
    let dir = tempfile::tempdir().expect("a folder");
    // Nothing is there to resume, so the run begins.
    // The policy as a phase began outlives a kill.
    let kl = "phases.reasoning.kl={ coef = 0.01 }";
    // Moments in eight bits are written in f32, and are the same eight bits again.
    let moments = ["careful", "reasoning"].map(|phase| format!("phases.{phase}.optimizer.moments=\"float8\""));
    let with = |name: &str, more: &[&str]| {
        arguments(dir.path(), name, &[more, &[kl, moments[0].as_str(), moments[1].as_str()]].concat())
    };
    let undisturbed = finish(&with("undisturbed", &["--resume"]));
    let killed = with("killed", &[]);
    let resumed = with("killed", &["--resume"]);
    for (arguments, said) in
        [(&killed, "evaluation (init)"), (&resumed, "cold_start: 4 to do"), (&resumed, "evaluation (reasoning)")]
    {
        let mut child = until(arguments, said);
        signal(&child, "-KILL");
        child.wait().expect("it ends");
    }
    let end = finish(&resumed);
    same(&undisturbed, &end);
    let events = std::fs::read_dir(dir.path().join("killed/tb")).expect("tb").count();
    assert_eq!(events, 1);
}

#[test]
fn a_run_goes_on_when_nobody_listens_any_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = sapo(&arguments(dir.path(), "unheard", &["run.phases=[\"careful\"]"]));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(child.wait().expect("it ends").success(), "it ended when its listener had gone, after: {line}");
}

#[test]
fn another_configuration_is_not_resumed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = until(&arguments(dir.path(), "run", &[]), "careful: 8 to do");
    signal(&child, "-KILL");
    child.wait().expect("it ends");
    let other = arguments(dir.path(), "run", &["--resume", "phases.careful.optimizer.lr=5e-4"]);
    let output = sapo(&other).output().expect("the binary starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("another configuration") && errors.contains("0.0005"), "{errors}");
}
