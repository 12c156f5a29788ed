//! The real binary and its rewards: the check before a run, stored rollouts scored again, the ledger, failures that stop a
//! run, and a program with a reward of its own.

mod failing;
mod own;
mod page;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

fn command(program: &Path, arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(program).args(arguments).current_dir(root).output().expect("the binary starts")
}

fn sapo(arguments: &[&str]) -> Output {
    command(Path::new(env!("CARGO_BIN_EXE_sapo")), arguments)
}

/// The JSON object on stdout of a command that ends with this code.
fn ended(output: &Output, code: i32) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

/// What a command said that ends with this code.
fn said(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The smoke run cut down to a short cold start and a phase of reinforcement learning without a judge.
fn short(dir: &Path, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["train".to_owned(), "configs/smoke.toml".to_owned(), "--json".to_owned()];
    arguments.push(format!("run.dir={}", dir.display()));
    let overrides = [
        "run.phases=[\"careful\", \"reasoning\"]",
        "run.checkpoint_every=1",
        "phases.careful.steps=20",
        "phases.reasoning={ kind = \"rl\", data = [{ use = \"count\" }, { use = \"digits\" }], steps = 2, prompts_per_step = 4, \
         rollouts_per_prompt = 4, sampling = { max_new_tokens = 12 }, rubric = \"reasoning\", filter = { live = false }, \
         algorithm = { kind = \"sapo\" }, optimizer = { lr = 1e-4 } }",
        "eval.heldout.data=[\"digits\"]",
        "eval.heldout.unaveraged=[]",
        "eval.heldout.queries_per_source=2",
    ];
    arguments.extend(overrides.iter().chain(more).map(|text| (*text).to_owned()));
    arguments
}

fn run(arguments: &[String]) -> Output {
    sapo(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_check_finds_nothing_where_rewards_are_right_and_names_the_rows_where_not() {
    let good = ended(&sapo(&["reward", "check", "configs/smoke.toml", "--rows", "3", "--json"]), 0);
    let checks = good["checks"].as_array().expect("checks");
    let of = |rubric: &str| checks.iter().filter(|check| check["rubric"] == rubric).count();
    // The judged one is asked for: its server is started, and its verdicts are checked.
    assert_eq!((of("heldout"), of("reasoning"), of("judged")), (8, 2, 1));
    for check in checks {
        let rejects = &check["false_rejects"];
        assert_eq!((&rejects["count"], &rejects["of"]), (&json!(0), &json!(3)), "{check}");
        assert!(check["false_accepts"]["ci95"][1].as_f64().is_some_and(|high| high > 0.0 && high < 0.3), "{check}");
        let latency = &check["rewards"][0]["latency_ms"];
        assert!(latency["max"].as_f64() >= latency["p50"].as_f64() && latency["p50"].is_number(), "{check}");
    }

    let wrong = "rubrics.reasoning.correct=clock";
    let found = ended(&sapo(&["reward", "check", "configs/smoke.toml", wrong, "--rubric", "reasoning", "--json"]), 1);
    let digits = found["checks"].as_array().expect("checks").iter().find(|check| check["task"] == "digits");
    let digits = digits.expect("the task");
    assert_eq!((&digits["false_rejects"]["count"], &digits["good"]), (&json!(20), &json!(false)));
    assert_eq!((&digits["findings"][0]["answer"], &digits["findings"][0]["part"]), (&json!("gold"), &json!("correct")));
    assert!(digits["findings"][0]["query_id"].as_str().is_some_and(|id| id.starts_with("digits-")), "{digits}");
    assert!(
        said(&sapo(&["reward", "check", "configs/smoke.toml", "--rubric", "x"]), 2).contains("the configuration has")
    );
}

#[test]
fn a_reward_of_ones_own_is_checked_with_a_file_alone() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
        return;
    }
    let dir = folder();
    let data = dir.path().join("data.jsonl");
    let row = |(at, answer): (usize, &str)| json!({"id": at.to_string(), "prompt": "Which animal?", "answer": answer});
    let rows: Vec<String> = ["cat", "dog", "owl"].into_iter().enumerate().map(|row_| row(row_).to_string()).collect();
    std::fs::write(&data, rows.join("\n")).expect("written");
    let data = data.display().to_string();
    let plugin = dir.path().join("mine.py");
    let reward = format!("{}:score", plugin.display());
    let check = |body: &str| {
        let text = format!("def score(item):\n    said = (item['answer'] or '').strip()\n    return {body}\n");
        std::fs::write(&plugin, text).expect("written");
        sapo(&["reward", "check", "--reward", &reward, "--data", &data, "--json"])
    };
    let strict = ended(&check("1.0 if said == item['ground_truth'] else 0.0"), 0);
    assert_eq!(strict["checks"][0]["false_rejects"]["of"], 3);
    let lenient = ended(&check("1.0 if item['ground_truth'] in said else 0.0"), 1);
    let paid: Vec<&Value> = lenient["checks"][0]["traps"]
        .as_array()
        .expect("traps")
        .iter()
        .filter(|count| count["accepted"].as_u64() > Some(0))
        .map(|count| &count["trap"])
        .collect();
    assert_eq!(paid, ["every_option", "repeated"]);
    let broken = ended(&check("1 / len(said)"), 1);
    assert!(broken["checks"][0]["failures"].as_u64() >= Some(3), "nothing to divide by: {broken}");
    assert!(said(&sapo(&["reward", "check", "--reward", &reward]), 2).contains("--data"));
    // The examples that users start from pass it themselves.
    for shipped in ["verl_reward.py:compute_score", "trl_reward.py:accuracy_reward", "easyr1_reward.py:compute_score"] {
        let reward = format!("rewards/examples/{shipped}");
        let found = ended(&sapo(&["reward", "check", "--reward", &reward, "--data", &data, "--json"]), 0);
        assert_eq!(found["checks"][0]["false_rejects"]["of"], 3, "{shipped}");
    }
}

#[test]
fn a_run_whose_gold_does_not_score_does_not_start_unless_it_is_told_to() {
    let dir = folder();
    let wrong = "rubrics.reasoning.correct=clock";
    let errors = said(&run(&short(dir.path(), &[wrong])), 2);
    for part in
        ["rubric `reasoning`", "4 of 4 gold answers", "count-train-1-0", "run.reward_check.skip=[\"reasoning\"]"]
    {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing was written");
    let unknown = said(&run(&short(dir.path(), &["run.reward_check.skip=[\"reasonin\"]"])), 2);
    assert!(unknown.contains("did you mean `reasoning`"), "{unknown}");
    // A clock's rule cannot read these ground truths, so that rewards of the first step fail as well.
    let skipped = said(&run(&short(dir.path(), &[wrong, "run.reward_check.skip=[\"reasoning\"]"])), 3);
    assert!(skipped.contains("rewards checked") && skipped.contains("rewards failed"), "{skipped}");
}

#[test]
fn stored_rollouts_are_scored_again_and_the_ledger_holds_every_score() {
    let dir = folder();
    ended(&run(&short(dir.path(), &[])), 0);
    let place = dir.path().join("smoke");
    let run = place.display().to_string();
    let score = |more: &[&str]| ended(&sapo(&[&["reward", "score", &run, "--json"], more].concat()), 0);

    let same = score(&[]);
    assert_eq!((&same["rollouts"], &same["groups"]), (&json!(32), &json!(8)));
    for key in ["pass_lost", "pass_gained", "sign_flips", "groups_reordered", "stored_advantage_differs"] {
        assert_eq!(same[key], 0, "{key}: {same}");
    }
    assert!(same["parts"].as_object().expect("parts").values().all(|part| part["changed"] == 0), "{same}");
    assert_eq!(same["total"]["changed"], 0);
    assert_eq!(same, score(&["--rubric", "reasoning"]), "it is the phase's own");
    let samples = place.join("eval/heldout-000020/samples.jsonl").display().to_string();
    let again = ended(&sapo(&["reward", "score", &samples, "--json"]), 0);
    assert_eq!((&again["rollouts"], &again["total"]["changed"]), (&json!(6), &json!(0)), "{again}");

    changed_as_worked_out_by_hand(&place, &dir);
    ledger(&place);
    let missing = said(&sapo(&["reward", "score", &run, "--rubric", "general2"]), 2);
    assert!(missing.contains("the configuration has"), "{missing}");
    said(&sapo(&["reward", "score", &dir.path().display().to_string()]), 2);
}

/// A rubric that takes off a twelfth for every token, worked out here from the files.
fn changed_as_worked_out_by_hand(place: &Path, dir: &TempDir) {
    let out = dir.path().join("new.jsonl");
    let (run, new) = (place.display().to_string(), out.display().to_string());
    let changed = ended(
        &sapo(&[
            "reward",
            "score",
            &run,
            "rewards.long={ kind = \"length\", max_tokens = 12, buffer_tokens = 12 }",
            "rubrics.brief={ correct = \"exact\", language_penalty = 0.5, penalties = [{ reward = \"long\" }] }",
            "--rubric",
            "brief",
            "--out",
            &new,
            "--json",
        ]),
        0,
    );
    let (mut moved, mut before, mut flips, mut reversed, mut totals) = (0.0, 0.0, 0, 0, 0);
    for step in [20, 21] {
        let rollouts = lines(&place.join(format!("rollouts/reasoning-{step:06}.jsonl")));
        for group in rollouts.chunks(4) {
            let old: Vec<f64> = group.iter().map(|line| line["score"]["total"].as_f64().expect("a total")).collect();
            let tokens = |line: &Value| line["tokens"].as_array().map_or(0, Vec::len) as f64;
            let new: Vec<f64> = group.iter().zip(&old).map(|(line, old)| old - tokens(line) / 12.0).collect();
            let (a, b) = (advantages(&old), advantages(&new));
            for at in 0..4 {
                moved += (b[at] - a[at]).abs();
                before += a[at].abs();
                flips += usize::from(a[at] * b[at] < 0.0);
                totals += usize::from(old[at] != new[at]);
                reversed += (at + 1..4).filter(|on| (old[at] - old[*on]) * (new[at] - new[*on]) < 0.0).count();
            }
        }
    }
    assert!(totals > 0);
    assert_eq!(changed["total"]["changed"], totals);
    assert_eq!(changed["sign_flips"], flips);
    assert_eq!(changed["pairs"]["reversed"], reversed);
    assert_eq!((&changed["parts"]["correct"]["changed"], &changed["pass_lost"]), (&json!(0), &json!(0)));
    assert_eq!(changed["parts"]["long"]["values"], json!({"before": 0, "after": 32}));
    match changed["mass_moved"].as_f64() {
        Some(share) => assert!((share - moved / before).abs() < 1e-6, "{share} is not {}", moved / before),
        None => assert_eq!(before, 0.0),
    }
    let written = lines(&out);
    assert_eq!(written.iter().filter(|line| line["score"]["parts"]["long"]["value"].is_number()).count(), 32);
    assert!(written.iter().any(|line| line["name"] == "long" && line["version"] == "length/1"));
}

fn advantages(rewards: &[f64]) -> Vec<f64> {
    let count = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / count;
    let spread = (rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / count).sqrt();
    let equal = rewards.iter().all(|reward| *reward == rewards[0]);
    rewards.iter().map(|reward| if equal { 0.0 } else { (reward - mean) / (spread + 1e-6) }).collect()
}

fn ledger(place: &Path) {
    let ledger = lines(&place.join("ledger.jsonl"));
    let (rewards, scores): (Vec<&Value>, Vec<&Value>) = ledger.iter().partition(|line| line.get("content").is_some());
    // 32 rollouts, and three evaluations of two queries with two samples and a greedy answer each.
    assert_eq!(scores.len(), 32 + 3 * 6);
    let mut known: Vec<&str> = Vec::new();
    for line in &ledger {
        if line.get("content").is_some() {
            assert!(line["version"].is_string() && line["content"].as_str().is_some_and(|hash| hash.len() == 64));
            let id = line["reward"].as_str().expect("an id");
            assert!(!known.contains(&id), "a reward has one line");
            known.push(id);
        } else {
            for part in line["parts"].as_object().expect("parts").values() {
                assert!(known.contains(&part["reward"].as_str().expect("an id")), "its line comes before: {line}");
            }
        }
    }
    let named = |name: &str| rewards.iter().any(|line| line["name"] == name);
    assert!(named("exact") && named("truth") && named("language"));
    let file = "rollouts/reasoning-000021.jsonl";
    let of_step: Vec<&&Value> = scores.iter().filter(|line| line["file"] == file).collect();
    let rollouts = lines(&place.join(file));
    assert_eq!(of_step.len(), rollouts.len());
    for (line, rollout) in of_step.iter().zip(&rollouts) {
        assert_eq!(
            (&line["query_id"], &line["sample"], &line["step"]),
            (&rollout["query_id"], &rollout["sample"], &json!(21))
        );
        assert_eq!(line["total"], rollout["score"]["total"]);
        for (name, part) in rollout["score"]["parts"].as_object().expect("parts") {
            assert_eq!(line["parts"][name]["value"], part["value"], "{name}");
        }
        let asked = rollout["stop"] != "length";
        assert_eq!(
            line["parts"]["correct"]["us"].is_number(),
            asked,
            "a cut answer is settled without a question: {line}"
        );
    }
    let mut metrics = lines(&place.join("metrics.jsonl"));
    metrics.retain(|line| line["phase"].is_string());
    let last = metrics.last().expect("a step");
    for name in ["correct/mean", "correct/std", "correct/at_min", "correct/at_max", "correct/no_spread"] {
        assert!(last[&format!("train/reward/{name}")].is_number(), "{name}: {last}");
    }
    assert!(last["time/reward/language/p99_ms"].is_number(), "{last}");
}
