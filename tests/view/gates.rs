//! Tokens by the gate that training computed, and what changed between two evaluations, of real runs.

use serde_json::Value;

use crate::{Viewed, groups, trained_with};

/// The lines of a run's rollouts, file by file.
fn rollouts(run: &std::path::Path) -> Vec<(String, Vec<Value>)> {
    let entries = std::fs::read_dir(run.join("rollouts")).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let read = |name: String| {
        let text = std::fs::read_to_string(run.join("rollouts").join(&name)).expect("a file");
        (format!("rollouts/{name}"), text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
    };
    names.into_iter().map(read).collect()
}

/// A gate that is far from 1 needs a policy that moves far within a step.
const FAST: [&str; 3] =
    ["phases.careful.steps=30", "phases.reasoning.optimizer.lr=2e-2", "phases.reasoning.filter.live=false"];

#[test]
fn the_gate_of_every_token_is_recorded_as_its_update_computed_it_and_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let with = trained_with(dir.path(), "with", 1, &FAST);
    let none: Vec<&str> = FAST.iter().copied().chain(["log.gate_share=0"]).collect();
    let without = trained_with(dir.path(), "without", 1, &none);
    let summary = |run: &std::path::Path| -> Value {
        serde_json::from_slice(&std::fs::read(run.join("summary.json")).expect("a file")).expect("JSON")
    };
    for key in ["weights_sha256", "metrics_sha256"] {
        assert_eq!(summary(&with)[key], summary(&without)[key], "the record changes nothing of the run");
    }
    assert!(rollouts(&without).iter().flat_map(|(_, lines)| lines).all(|line| line.get("gates").is_none()));

    let metrics = std::fs::read_to_string(with.join("metrics.jsonl")).expect("a file");
    let steps: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let viewed = Viewed::start(&[&with]);
    let (mut trained, mut moved) = (0, 0);
    for (file, lines) in rollouts(&with) {
        let mut least = [f64::INFINITY; 2];
        for line in &lines {
            let tokens = line["log_probs"].as_array().expect("log-probs").len();
            assert_eq!(line.get("gates").is_some(), line["in_loss"] == true, "{file}: {line}");
            let Some(gates) = line.get("gates") else { continue };
            let all: Vec<f64> = match gates.as_f64() {
                Some(one) => vec![one; tokens],
                None => gates.as_array().expect("gates").iter().filter_map(Value::as_f64).collect(),
            };
            assert_eq!(all.len(), tokens, "{file}");
            let sign = usize::from(line["advantage"].as_f64().expect("an advantage") <= 0.0);
            least[sign] = all.iter().copied().fold(least[sign], f64::min);
            trained += 1;
            moved += usize::from(all.iter().any(|gate| *gate < 1.0));
        }
        // The metrics of the step were computed from the same gates.
        let number = file.trim_end_matches(".jsonl").rsplit_once('-').expect("a step").1;
        let step: u64 = number.parse().expect("a number");
        let metrics = steps.iter().find(|line| line["step"] == step + 1 && line["phase"] == "reasoning");
        let metrics = metrics.or_else(|| steps.iter().find(|line| line["step"] == step)).expect("a step");
        for (sign, least) in ["pos", "neg"].iter().zip(least) {
            let told = metrics[format!("sapo/gate/{sign}/min")].as_f64();
            assert!(told.is_none_or(|told| (told - least).abs() < 1e-4), "{file} {sign}: {told:?} {least}");
        }
        // What is shown has the gate behind the log-prob, for each token of the answers that were trained on.
        for group in groups(&viewed, &file, "&colour=gate") {
            for answer in group["answers"].as_array().expect("answers") {
                let tokens = answer["tokens"].as_array().expect("tokens");
                let wanted = if answer["in_loss"] == true { 3 } else { 2 };
                assert!(
                    tokens.iter().all(|token| token.as_array().is_some_and(|token| token.len() == wanted)),
                    "{answer}"
                );
            }
        }
    }
    assert!(trained > 0 && moved > 0, "{trained} {moved}");
}

#[test]
fn what_changed_most_between_two_evaluations_comes_first_within_a_run_and_beside_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let runs = [1, 2].map(|seed| trained_with(dir.path(), &format!("r{seed}"), seed, &["phases.careful.steps=60"]));
    let viewed = Viewed::start(&[&runs[0], &runs[1]]);
    let listed = viewed.json("/runs/0/files.json");
    let changes: Vec<&Value> =
        listed["files"].as_array().expect("files").iter().filter(|facts| facts["kind"] == "change").collect();
    let names: Vec<&str> = changes.iter().filter_map(|change| change["file"].as_str()).collect();
    assert_eq!(names, ["change:heldout", "change:heldout:0"]);
    assert!(changes[1]["label"].as_str().is_some_and(|label| label.contains("r2: ")), "{changes:?}");
    for name in names {
        let all = groups(&viewed, name, "");
        let sizes: Vec<f64> = all.iter().map(|group| group["change"].as_f64().expect("a change").abs()).collect();
        assert!(sizes.len() == 32 && sizes.is_sorted_by(|one, other| one >= other), "{name} {sizes:?}");
        for group in &all {
            assert!(!group["before"].as_array().expect("answers").is_empty() && group["marks"].is_array());
            let by = group["rate"].as_f64().expect("a rate") - group["rate_before"].as_f64().expect("a rate");
            assert!((by - group["change"].as_f64().expect("a change")).abs() < 1e-9);
        }
    }
    // The filter alone finds the two evaluations, whatever file is open.
    let file = listed["files"][0]["file"].as_str().expect("a file");
    let found = viewed.json(&format!("/runs/0/groups.json?file={file}&filter=changed"));
    assert_eq!(found["file"], "change:heldout");
    let fitting = groups(&viewed, "change:heldout", "&filter=changed").len();
    assert!(fitting > 0 && found["fitting"] == fitting, "{}", found["fitting"]);
    assert!(found["sides"][0].as_str().is_some_and(|side| side.starts_with("start")), "{}", found["sides"]);
}
