//! The commands of the page, one after the other, with a run that is shortened.

use super::{SHORT, lines, python_is_there, root, said, sapo, workplace};

/// The commands in the blocks of the page that are marked as shell.
fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/own-data.md")).expect("the page");
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(""));
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_page_works() {
    if !python_is_there() {
        return;
    }
    let folder = workplace();
    let place = folder.path();
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let newest = std::fs::read_dir(place.join("runs/own-data/checkpoints"))
            .ok()
            .and_then(|entries| entries.flatten().map(|entry| entry.file_name()).max());
        let command = command.replace("NEWEST", &newest.unwrap_or_default().to_string_lossy());
        let mut words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(words.remove(0), "sapo", "{command}");
        if words[0] == "train" {
            words.extend(SHORT);
        }
        said(&sapo(place, &words), 0);
    }
    let run = place.join("runs/own-data");
    let rollouts = lines(&run.join("rollouts/rl-000006.jsonl"));
    assert_eq!(rollouts.len(), 4 * 8);
    let answered = |line: &serde_json::Value| line["score"]["parts"]["correct"]["value"].is_number();
    assert!(rollouts.iter().all(answered), "the Python function scored every answer");
    assert!(rollouts.iter().all(|line| line["images"].as_array().is_some_and(|images| images.len() == 1)));
    assert!(run.join("report.html").is_file());
    // The whole run again, from what `sapo init` wrote.
    let mine =
        ["train", "mine.toml", "phases.rl.steps=1", "phases.rl.prompts_per_step=2", "phases.rl.rollouts_per_prompt=2"];
    let more = [
        "phases.cold_start.optimizer.warmup_steps=0",
        "phases.rl.optimizer.warmup_steps=0",
        "phases.cold_start.steps=1",
        "phases.cold_start.batch_size=2",
        "eval.heldout.queries_per_source=2",
    ];
    said(&sapo(place, &[&mine[..], &more[..]].concat()), 0);
}

#[test]
fn the_reference_page_and_the_schema_are_current() {
    let folder = workplace();
    let output = sapo(folder.path(), &["config", "reference"]);
    said(&output, 0);
    let kept = std::fs::read_to_string(root().join("docs/config.md")).expect("docs/config.md");
    let now = String::from_utf8(output.stdout).expect("text");
    assert!(kept == now, "docs/config.md is out of date: sapo config reference > docs/config.md");
    let output = sapo(folder.path(), &["config", "schema"]);
    said(&output, 0);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for key in ["run", "policy", "data", "rewards", "rubrics", "phases", "eval"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}
