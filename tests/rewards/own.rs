//! The program of `rl/examples/custom_reward.rs`: the same command with a reward of its own.

use super::{Path, command, folder, lines, said, sapo, short};

#[test]
fn a_rust_program_brings_a_reward_along_and_is_the_same_command() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sapo"));
    let example = binary.with_file_name("examples").join("custom_reward");
    assert!(example.is_file(), "{} is not there: `cargo test --workspace` builds examples", example.display());
    let place = folder();
    let dir = place.path();
    let own = [
        "rewards.brief={ kind = \"custom\", type = \"brief\", options = { most_words = 1 } }",
        "rubrics.reasoning.parts=[{ reward = \"brief\", weight = 0.25 }]",
        "phases.careful.steps=2",
        "phases.reasoning.steps=1",
    ];
    let arguments = short(dir, &own);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let without = said(&sapo(&arguments), 2);
    assert!(without.contains("type = \"brief\": no such type"), "{without}");

    let wrong = "rewards.brief.options.most_words=few";
    let refused = said(&command(&example, &[&arguments[..], &[wrong]].concat()), 2);
    assert!(refused.contains("rewards.brief") && refused.contains("options.most_words"), "{refused}");

    said(&command(&example, &arguments), 0);
    let rollouts = lines(&dir.join("smoke/rollouts/reasoning-000002.jsonl"));
    let mut seen = 0;
    for rollout in &rollouts {
        let part = &rollout["score"]["parts"]["brief"];
        let text = rollout["turns"][0]["text"].as_str().expect("text");
        let answer = text.split_once("</think>").map(|(_, answer)| answer);
        let brief = answer.is_some_and(|answer| answer.split_whitespace().count() <= 1);
        assert_eq!(part["value"].as_f64(), Some(f64::from(u8::from(brief))), "{rollout}");
        seen += 1;
    }
    assert_eq!(seen, 16);
    let ledger = lines(&dir.join("smoke/ledger.jsonl"));
    assert!(ledger.iter().any(|line| line["name"] == "brief" && line["version"] == "brief/1"));
}
