//! Python functions with foreign signatures, and the examples that people start from.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

/// Whether there is Python. Without it these tests have nothing to try: they say so, and fail where everything must be
/// tried.
pub(super) fn python_is_here() -> bool {
    let found = Command::new("python3").args(["-c", "pass"]).stdin(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    assert!(found || std::env::var_os("CI").is_none(), "CI is set, but python3 is not installed");
    if !found {
        drop(writeln!(std::io::stderr(), "skipped: python3 is not installed"));
    }
    found
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn function(place: &str) -> ProcessConfig {
    ProcessConfig { python: Some(place.to_owned()), workers: 1, ..ProcessConfig::default() }
}

/// A file with Python code that goes when it is dropped.
pub(super) struct Code(PathBuf);

impl Code {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("sapo_plugin_{}_{name}.py", std::process::id()));
        fs::write(&file, text).unwrap();
        Self(file)
    }

    pub(super) fn config(&self, name: &str) -> ProcessConfig {
        function(&format!("{}:{name}", self.0.display()))
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

async fn scored(config: &ProcessConfig, responses: &[&str]) -> Vec<PartScore> {
    let pairs: Vec<_> = responses.iter().map(|response| pair(json!("5"), response)).collect();
    scores(&Plugin::process("plugin", config).unwrap(), &pairs).await
}

#[tokio::test]
async fn the_examples_score_what_they_say() {
    if !python_is_here() {
        return;
    }
    let example = |place: &str| function(&examples().join(place).display().to_string());
    let own = examples().join("json_lines.py").display().to_string();
    let own = ProcessConfig { command: vec!["python3".to_owned(), own], ..ProcessConfig::default() };
    for (name, config) in [
        ("verl", example("verl_reward.py:compute_score")),
        ("trl", example("trl_reward.py:accuracy_reward")),
        ("easyr1", example("easyr1_reward.py:compute_score")),
        ("own", own),
    ] {
        let scored = scored(
            &config,
            &["<think>3, 4, 5</think>\\boxed{5}", "\\boxed{6}", "", "5 or \\boxed{}", "\\boxed{4} or \\boxed{5}"],
        )
        .await;
        assert_eq!(values(&scored), [1.0, 0.0, 0.0, 0.0, 0.0].map(Some), "{name}: {scored:?}");
    }
}

#[tokio::test]
async fn functions_get_what_their_signatures_ask_for() {
    if !python_is_here() {
        return;
    }
    let code = Code::new(
        "signatures",
        r#"
def verl(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": data_source == "test" and solution_str == "5" == ground_truth and extra_info == {"level": "easy"}}

def trl(completions, level, **columns):
    assert columns["prompts"] == ["3 + 2?"] * len(completions), columns
    return [float(said == truth and easy == "easy") for said, truth, easy in
            zip(completions, columns["ground_truth"], level)]

def talk(prompts, completions, **columns):
    assert prompts[0] == [{"role": "user", "content": "3 + 2?"}], prompts
    return [float(said[0]["content"] == "5") for said in completions]

def single(reward_input):
    return {"overall": float(reward_input["response"] == reward_input["ground_truth"]), "format": 0.0}

def several(reward_inputs: list, weight=1.0):
    return [{"overall": weight * (one["response"] == one["ground_truth"])} for one in reward_inputs]

def typed(reward_input: "list[dict]"):
    return several(reward_input)

def plain(item):
    return item["answer"] == item["ground_truth"]

def items(items):
    return [{"value": item["answer"] == item["ground_truth"], "evidence": "compared"} for item in items]
"#,
    );
    for name in ["verl", "trl", "talk", "single", "several", "typed", "plain", "items"] {
        let config = ProcessConfig { messages: (name == "talk").then_some(true), ..code.config(name) };
        let mut pairs = vec![pair(json!("5"), "5"), pair(json!("5"), "6")];
        for (query, _) in &mut pairs {
            query.columns.insert("level".to_owned(), json!("easy"));
        }
        let scored = scores(&Plugin::process("plugin", &config).unwrap(), &pairs).await;
        assert_eq!(values(&scored), [Some(1.0), Some(0.0)], "{name}: {scored:?}");
    }
}

#[tokio::test]
async fn functions_get_the_columns_of_the_data_by_name() {
    if !python_is_here() {
        return;
    }
    let code = Code::new(
        "columns",
        r#"
def verl(data_source, solution_str, ground_truth, extra_info):
    return data_source == "openai/gsm8k" and extra_info == {"split": "train", "index": 7} and ground_truth == "5"

def trl(prompts, completions, solution, extra_info, data_source):
    return [float(truth == "5" and extra["index"] == 7 and source == "openai/gsm8k")
            for truth, extra, source in zip(solution, extra_info, data_source)]

def renamed(completions, answer, **columns):
    return [float(truth == "5" and "solution" not in columns) for truth in answer]

def own_column(completions, solution):
    return [float(said == "steps") for said in solution]
"#,
    );
    for name in ["verl", "trl", "renamed", "own_column"] {
        let mut pairs = vec![pair(json!("5"), "5")];
        let columns = &mut pairs[0].0.columns;
        columns.insert("data_source".to_owned(), json!("openai/gsm8k"));
        columns.insert("extra_info".to_owned(), json!({"split": "train", "index": 7}));
        if name == "own_column" {
            columns.insert("solution".to_owned(), json!("steps"));
        }
        let scored = scores(&Plugin::process("plugin", &code.config(name)).unwrap(), &pairs).await;
        assert_eq!(values(&scored), [Some(1.0)], "{name}: {scored:?}");
    }
}

#[tokio::test]
async fn whatever_a_function_does_the_other_items_keep_their_scores() {
    if !python_is_here() {
        return;
    }
    let code = Code::new(
        "faults",
        r#"
import os, sys

def one(said):
    print("noise", said)
    if said == "raise": raise KeyError("table")
    if said == "exit": sys.exit(0)
    if said == "die": os._exit(0)
    if said == "read": return sys.stdin.read() == ""
    if said == "write": os.write(1, b'{"id": 1, "outcomes": []}\n')
    return {"none": None, "nan": float("nan"), "inf": float("inf"), "text": "1.0", "dict": {"acc": 1.0},
            "list": [1.0], "huge": 10 ** 400, "right": True, "write": 1}.get(said, 0)

def single(item):
    return one(item["response"])

def batch(prompts, completions, **columns):
    if "short" in completions: return [0.0]
    return [one(said) for said in completions]
"#,
    );
    for name in ["single", "batch"] {
        let said = [
            "right", "raise", "exit", "right", "die", "nan", "inf", "text", "dict", "list", "huge", "none", "read",
            "write", "right", "wrong", "short",
        ];
        let scored = scored(&code.config(name), &said).await;
        for (said, score) in said.iter().zip(&scored) {
            match *said {
                "right" | "read" | "write" => {
                    assert_eq!(score.outcome, Outcome::Value(1.0), "{name} {said}: {score:?}")
                }
                "wrong" => assert_eq!(score.outcome, Outcome::Value(0.0), "{name}: {score:?}"),
                // One value for one item is right.
                "short" => assert_eq!(score.outcome, Outcome::Value(0.0), "{name}: {score:?}"),
                "none" => assert!(matches!(score.outcome, Outcome::Skip(_)), "{name}: {score:?}"),
                "die" => assert_eq!(failure(score).0, FailureKind::Unreachable, "{name}"),
                _ => assert_eq!(failure(score).0, FailureKind::Protocol, "{name} {said}"),
            }
        }
        assert!(failure(&scored[1]).1.contains("KeyError"), "{:?}", scored[1]);
    }
}

#[tokio::test]
async fn code_that_cannot_be_used_says_why() {
    if !python_is_here() {
        return;
    }
    let code = Code::new("broken", "def two(a, b):\n    return 1\n");
    for (name, says) in [("two", "completions"), ("three", "no function `three`")] {
        let scored = scored(&ProcessConfig { max_restarts: 0, ..code.config(name) }, &["5"]).await;
        let (kind, message) = failure(&scored[0]);
        assert_eq!(kind, FailureKind::Unavailable);
        assert!(message.contains(says), "{message}");
    }
    let code = Code::new("import", "import sapo_no_such_module\n");
    let scored = scored(&ProcessConfig { max_restarts: 0, ..code.config("f") }, &["5"]).await;
    assert!(failure(&scored[0]).1.contains("sapo_no_such_module"), "{scored:?}");
}
