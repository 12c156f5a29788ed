//! What becomes of groups that are not trained on: they are counted, replaced from their source, and asked once a step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::{json, lines, smoke};

/// Reinforcement learning on a policy that can do next to nothing, so that most groups have no signal.
fn weak(dir: &Path, name: &str, option: &str) -> Vec<Value> {
    let option = format!("phases.reasoning.{option}");
    let name = format!("run.name={name}");
    let more = [
        name.as_str(),
        "run.phases=[\"careful\", \"curate\", \"reasoning\"]",
        "phases.careful.steps=6",
        "phases.curate.queries_per_source=12",
        "phases.reasoning.steps=3",
        option.as_str(),
    ];
    json(&smoke(dir, &more));
    let metrics = lines(&dir.join(&name[9..]).join("metrics.jsonl"));
    metrics.into_iter().filter(|line| line["phase"] == "reasoning").collect()
}

fn count(line: &Value, key: &str) -> usize {
    line[key].as_f64().unwrap_or(0.0) as usize
}

/// The queries of a step, by source.
fn asked(run: &Path, step: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let file = run.join(format!("rollouts/reasoning-{:06}.jsonl", step["step"].as_u64().expect("a step")));
    let mut asked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines(&file) {
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        asked.entry(text("task")).or_default().insert(text("query_id"));
    }
    asked
}

#[test]
fn dropped_groups_are_replaced_from_their_source_and_all_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = weak(dir.path(), "plain", "filter={ refill = 0 }");
    let refilled = weak(dir.path(), "refilled", "filter={ refill = 2 }");
    let trained = |steps: &[Value]| steps.iter().map(|step| count(step, "train/groups/trained")).sum::<usize>();
    let kinds = ["train/groups/trained", "train/groups/no_signal", "train/groups/too_easy"];
    for step in &plain {
        assert_eq!(kinds.iter().map(|kind| count(step, kind)).sum::<usize>(), 4);
        assert_eq!(step.get("train/groups/refilled"), None, "nothing is written of what did not happen");
    }
    for step in &refilled {
        let more = count(step, "train/groups/refilled");
        assert_eq!(kinds.iter().map(|kind| count(step, kind)).sum::<usize>(), 4 + more, "{step}");
        assert!(more <= 2 * 4 && count(step, "train/groups/trained") <= 4, "{step}");
        let asked = asked(&dir.path().join("refilled"), step);
        assert_eq!(asked.values().map(BTreeSet::len).sum::<usize>(), 4 + more, "no query is asked twice in a step");
    }
    // The first batch is the same for both.
    let dropped_first = 4 - count(&plain[0], "train/groups/trained");
    assert!(dropped_first > 0, "the policy is weak");
    assert!(count(&refilled[0], "train/groups/refilled") >= dropped_first);
    assert!(trained(&refilled) >= trained(&plain));
}

#[test]
fn a_step_that_asks_more_than_it_needs_stops_when_it_has_enough() {
    let dir = tempfile::tempdir().expect("a folder");
    let steps = weak(dir.path(), "over", "oversample_prompts=3");
    for step in &steps {
        let asked = asked(&dir.path().join("over"), step);
        assert_eq!(asked.values().map(BTreeSet::len).sum::<usize>(), 4, "as many as without: {step}");
        assert_eq!(count(step, "rollout/stopped_groups"), 3, "{step}");
    }
    let again = weak(dir.path(), "again", "oversample_prompts=3");
    let counts = |steps: &[Value]| steps.iter().map(|step| count(step, "rollout/stopped_rollouts")).collect::<Vec<_>>();
    assert_eq!(counts(&steps), counts(&again), "who is done first is no matter of time");
}
