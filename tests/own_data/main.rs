//! Training on somebody's own data, as docs/own-data.md tells it: its commands, layouts of others, rows that are bad.

mod bad;
mod page;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Sixty of the 1,797 handwritten digits of scikit-learn, as docs/digits.py writes them.
fn digits() -> PathBuf {
    root().join("tests/fixtures/digits.parquet")
}

/// Runs `sapo` in a folder.
fn sapo(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sapo")).args(arguments).current_dir(folder).output().expect("the binary starts")
}

/// What a command says on stderr that ends with this code.
fn said(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

/// A folder with the data, the reward and the configuration where the page has them.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to) in [
        ("tests/fixtures/digits.parquet", "digits.parquet"),
        ("docs/digits_reward.py", "docs/digits_reward.py"),
        ("configs/own-data.toml", "configs/own-data.toml"),
    ] {
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        std::fs::copy(root().join(from), to).expect("a copy");
    }
    folder
}

/// Overrides that make the run of the page a short one.
const SHORT: [&str; 7] = [
    "phases.cold_start.optimizer.warmup_steps=1",
    "phases.rl.optimizer.warmup_steps=1",
    "phases.cold_start.steps=6",
    "phases.cold_start.batch_size=4",
    "phases.rl.steps=2",
    "phases.rl.prompts_per_step=4",
    "eval.heldout.queries_per_source=4",
];

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Python is needed here: where there is none, the test says so, and in CI it fails.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn python_is_there() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(there || std::env::var_os("CI").is_none(), "python3 is needed in CI");
    if !there {
        eprintln!("not tested: there is no python3");
    }
    there
}
