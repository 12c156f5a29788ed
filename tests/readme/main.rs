//! Every command of the README, in its order, in a folder where what it names is there.
//!
//! Run as they are written, but for these: steps of checkpoints become those that a short run has; long runs are shortened by
//! overrides, or (the quickstart's other forms, the judge) checked by `sapo config check`; `serve` takes any free port and is
//! ended; `bench init` writes the preset's size in place of 4 GB; what builds or tests the repository (`cargo`) is not run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Overrides that make the quickstart a short run.
const SHORT: [&str; 12] = [
    "run.phases=[\"careful\", \"curate\", \"reasoning\"]",
    "phases.careful.steps=40",
    "phases.careful.optimizer.warmup_steps=1",
    "phases.reasoning.steps=2",
    "phases.reasoning.optimizer.warmup_steps=1",
    "phases.reasoning.prompts_per_step=12",
    "phases.curate.queries_per_source=4",
    "phases.curate.samples=4",
    "eval.heldout.queries_per_source=2",
    "eval.heldout.samples=1",
    "eval.heldout.compare=[]",
    "run.checkpoint_every=20",
];
/// Overrides that make a run of a configuration by `sapo init` a short one.
const SHORT_OWN: [&str; 9] = [
    "phases.cold_start.steps=2",
    "phases.cold_start.batch_size=2",
    "phases.cold_start.optimizer.warmup_steps=0",
    "phases.rl.steps=1",
    "phases.rl.prompts_per_step=2",
    "phases.rl.rollouts_per_prompt=2",
    "phases.rl.optimizer.warmup_steps=0",
    "eval.heldout.queries_per_source=2",
    "run.max_bad_rows_share=1",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.args(words).current_dir(folder);
    command
}

/// Runs a command to its end; a check that finds something ends with 1.
fn ran(folder: &Path, words: &[&str], codes: &[i32]) -> Output {
    let output = command(folder, words).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "sapo {}\n{said}", words.join(" "));
    output
}

/// The commands in the blocks of the page, without their comments.
fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("README.md")).expect("the page");
    let blocks =
        page.split("\n```").skip(1).step_by(2).filter(|block| block.starts_with('\n') || block.starts_with("sh\n"));
    let lines: Vec<String> =
        blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap_or("").trim().to_owned()).collect();
    lines.iter().flat_map(|line| line.split("; ")).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The words of a command; a text in quotes is one, and what a shell would write into a file is left out.
fn words(command: &str) -> Vec<String> {
    let command = command.split(" > ").next().unwrap_or(command);
    let mut words = Vec::new();
    for (index, part) in command.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).expect("a copy"),
        }
    }
}

/// A folder in which all is there that the page's commands speak of.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    copy_folder(&root().join("configs"), &place.join("configs"));
    let fixtures = root().join("tests/fixtures");
    for name in ["tiny-moe", "cases-moe"] {
        copy_folder(&fixtures.join("qwen3_vl").join(name), &place.join("tests/fixtures/qwen3_vl").join(name));
    }
    for name in ["Qwen3-VL-2B-Instruct", "IN"] {
        copy_folder(&fixtures.join("qwen3_vl/tiny-dense"), &place.join(name));
    }
    std::fs::create_dir_all(place.join("tests/fixtures/rewards")).expect("a folder");
    let gold = "tests/fixtures/rewards/math_equivalence.jsonl";
    std::fs::copy(root().join(gold), place.join(gold)).expect("a copy");
    std::fs::copy(root().join("configs/smoke.toml"), place.join("my.toml")).expect("a copy");
    let reward = "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n    \
                  return float(str(ground_truth) in solution_str.split(\"</think>\")[-1].split())\n";
    std::fs::write(place.join("mine.py"), reward).expect("a file");
    let make = |more: &[&str]| _ = ran(place, &[&["data", "make"], more].concat(), &[0]);
    make(&["digits", "--count", "40", "--responses", "careful", "--out", "train.parquet"]);
    make(&["digits", "--count", "40", "--responses", "careful", "--out", "train.jsonl"]);
    make(&["digits", "--count", "4", "--split", "test", "--out", "test.parquet"]);
    ran(place, &["data", "show", "digits", "--count", "1", "--pictures", "shown"], &[0]);
    let picture = std::fs::read_dir(place.join("shown")).expect("a folder").flatten().next().expect("a picture");
    std::fs::copy(picture.path(), place.join("photo.jpg")).expect("a copy");
    // A run with an adapter, for `sapo merge`.
    let lora = "policy.lora={ rank = 2, alpha = 4, targets = [\"q_proj\"] }";
    let more = ["run.name=x", "run.phases=[\"careful\"]", "phases.careful.steps=2", "eval={}", lora];
    ran(place, &[&["train", "configs/smoke.toml"], &more[..]].concat(), &[0]);
    folder
}

/// The steps of a run's checkpoints, in order.
fn steps(run: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).expect("checkpoints").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut steps: Vec<String> = names.filter(|name| name.starts_with("step-")).collect();
    steps.sort();
    steps
}

/// A command with a step that its run has, in place of the page's: the newest, or the first that it goes back to.
fn with_steps(place: &Path, word: &str, goes_back: bool) -> String {
    let Some((before, rest)) = word.split_once("/checkpoints/step-") else { return word.to_owned() };
    let run = before.rsplit('=').next().unwrap_or(before);
    let steps = steps(&place.join(run));
    let step = if goes_back { &steps[0] } else { &steps[steps.len() - 1] };
    format!("{before}/checkpoints/{step}{}", rest.trim_start_matches(|letter: char| letter.is_ascii_digit()))
}

/// Starts a server, waits for the line that says where it listens, and ends it.
fn served(place: &Path, words: &[&str]) {
    let mut command = command(place, &[words, &["--port", "0"]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.contains("\"url\""), "{line}");
    let ended = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(ended.success() && child.wait().expect("an end").code().is_some());
}

/// Does what a command of the page says, shortened where the page's own would take minutes.
fn follow(place: &Path, line: &str) {
    let all = words(line);
    let goes_back = line.starts_with("sapo train --resume=");
    let mut all: Vec<String> = all.iter().map(|word| with_steps(place, word, goes_back)).collect();
    assert_eq!(all.remove(0), "sapo", "{line}");
    let mut given: Vec<&str> = all.iter().map(String::as_str).collect();
    // What the page writes twice is written anew.
    drop(std::fs::remove_dir_all(place.join("OUT")));
    let codes: &[i32] = match &given[..] {
        ["train", "sapo.toml", ..] => {
            given.extend(SHORT_OWN);
            &[0]
        }
        ["train", first, rest @ ..]
            if first.ends_with(".toml") && !(*first == "configs/quickstart.toml" && rest.is_empty()) =>
        {
            given[0] = "check";
            given.insert(0, "config");
            &[0]
        }
        ["train", first, ..] if first.ends_with(".toml") => {
            given.extend(SHORT);
            &[0]
        }
        ["data", "tokenizer", ..] => {
            given.extend(["--examples", "20", "--vocabulary", "400"]);
            &[0]
        }
        ["bench", "init", ..] => {
            let at = given.iter().position(|word| *word == "2b").expect("a size");
            given[at] = "tiny";
            &[0]
        }
        // Whether what they look at is good is not the page's concern.
        ["reward", "check" | "sandbox", ..] | ["data", "check", ..] => &[0, 1],
        ["serve", ..] => return served(place, &given),
        ["view", ..] => return served(place, &[&given[..], &["--json"]].concat()),
        _ => &[0],
    };
    ran(place, &given, codes);
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn every_command_of_the_readme_runs() {
    let python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(python || std::env::var_os("CI").is_none(), "python3 is needed in CI");
    if !python {
        eprintln!("not tested: there is no python3");
        return;
    }
    let folder = workplace();
    let all = commands();
    assert!(all.len() >= 35, "{all:?}");
    for line in &all {
        match line.strip_prefix("cargo run --release -- ") {
            Some(rest) => follow(folder.path(), &format!("sapo {rest}")),
            None if line.starts_with("cargo ") => {}
            None => follow(folder.path(), line),
        }
    }
}
