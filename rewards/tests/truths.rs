//! A reward says of a ground truth that it cannot read it, before anybody has answered.

use std::collections::BTreeMap;

use sapo_datasets::{Message, Part, Query, Role};
use sapo_rewards::{Endpoints, Registry, RewardConfig, Rubric, RubricConfig};
use serde_json::{Map, Value, json};

fn query(truth: Option<Value>, columns: Value) -> Query {
    let columns = columns.as_object().cloned().unwrap_or_else(Map::new);
    Query {
        id: "q".to_owned(),
        task: "t".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text("What?")] }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: truth,
        rubric: None,
        tools: Vec::new(),
        columns,
    }
}

/// What a reward of these options says of a truth and columns.
fn said(options: Value, truth: Value, columns: Value) -> Option<String> {
    let config: RewardConfig = serde_json::from_value(options).expect("options");
    let registry = Registry::build(&BTreeMap::from([("it".to_owned(), config)]), &Endpoints::default());
    let reward = registry.expect("a registry").get("it").expect("a reward");
    let truth = Some(truth).filter(|truth| !truth.is_null());
    reward.check_truth(&query(truth, columns)).err()
}

#[test]
fn what_cannot_be_read_is_named() {
    let puzzle = |domain: Value| json!({"variables": {"Ann": domain}, "constraints": [{"less": ["Ann", "Bob"]}]});
    for (options, truth, columns, says) in [
        (json!({"kind": "number"}), json!("four"), json!({}), "is not a number"),
        (json!({"kind": "number"}), json!(null), json!({}), "has no ground truth"),
        (json!({"kind": "numeric"}), json!([1, 2]), json!({}), "is not a number"),
        (json!({"kind": "math"}), json!("x^{2"), json!({}), "cannot be read"),
        (json!({"kind": "math"}), json!(""), json!({}), "is not a text"),
        (json!({"kind": "math"}), json!([]), json!({}), "is not a text"),
        (json!({"kind": "counting"}), json!(-1), json!({}), "is not a count"),
        (json!({"kind": "counting"}), json!("many"), json!({}), "is not a count"),
        (json!({"kind": "text"}), json!(" "), json!({}), "is not a text"),
        (json!({"kind": "text"}), json!({"a": 1}), json!({}), "is not a text"),
        (json!({"kind": "clock"}), json!("25:00"), json!({}), "is not a time"),
        (json!({"kind": "exact"}), json!(true), json!({}), "cannot be verified"),
        (json!({"kind": "exact"}), json!(""), json!({}), "blank"),
        (json!({"kind": "truth"}), json!(true), json!({}), "no verifier reads"),
        (json!({"kind": "truth"}), json!("x"), json!({"reward_kind": "magic"}), "not a known verifier"),
        (json!({"kind": "truth"}), json!("(1, 2"), json!({"reward_kind": "math"}), "cannot be read"),
        (json!({"kind": "verdict"}), json!("maybe"), json!({}), "neither yes nor no"),
        (json!({"kind": "description"}), json!("some things"), json!({}), "not a phrase"),
        (json!({"kind": "grounding"}), json!({"boxes": [[0, 0, 1]]}), json!({}), "task"),
        (json!({"kind": "multiple_choice"}), json!("A"), json!({}), "no column `choices`"),
        (json!({"kind": "multiple_choice"}), json!("Z"), json!({"choices": {"A": "red", "B": "blue"}}), "Z"),
        (json!({"kind": "anls"}), json!(null), json!({}), "has no ground truth"),
        (json!({"kind": "json_schema"}), json!(null), json!({"json_schema": {"type": 7}}), "type"),
        (json!({"kind": "instructions"}), json!(null), json!({"instructions": [{"kind": "x"}]}), "unknown kind"),
        (json!({"kind": "logic"}), json!(null), json!({"puzzle": puzzle(json!([]))}), "domain"),
        (json!({"kind": "logic"}), json!(null), json!({"puzzle": puzzle(json!([1, 2]))}), "Bob"),
        (json!({"kind": "logic"}), json!(null), json!({"puzzle": {"grid": {"size": 0}}}), "size"),
        (json!({"kind": "tool_calls"}), json!(null), json!({"min_calls": "two"}), "min_calls"),
    ] {
        let found = said(options.clone(), truth.clone(), columns.clone());
        assert!(found.as_ref().is_some_and(|found| found.contains(says)), "{options} {truth} {columns}: {found:?}");
    }
}

#[test]
fn what_can_be_read_is_let_pass() {
    for (options, truth, columns) in [
        (json!({"kind": "number"}), json!("1,234.5"), json!({})),
        (json!({"kind": "math"}), json!("\\frac{1}{2}"), json!({})),
        (json!({"kind": "math"}), json!("(A)"), json!({})),
        (json!({"kind": "math"}), json!("not enough information"), json!({})),
        (json!({"kind": "math"}), json!(["x^2+1", "[0, 1)"]), json!({})),
        (json!({"kind": "truth"}), json!("yes"), json!({"reward_kind": "verdict"})),
        (json!({"kind": "grounding"}), json!({"task": "bbox", "boxes": [[0, 0, 9, 9]]}), json!({})),
        (json!({"kind": "multiple_choice"}), json!("B"), json!({"choices": {"A": "red", "B": "blue"}})),
        (json!({"kind": "format"}), json!(null), json!({})),
        (json!({"kind": "language"}), json!(null), json!({})),
        (
            json!({"kind": "logic"}),
            json!({"variables": {"Ann": [1, 2], "Bob": [1, 2]}, "constraints": [{"less": ["Ann", "Bob"]}]}),
            json!({}),
        ),
    ] {
        assert_eq!(said(options.clone(), truth.clone(), columns), None, "{options} {truth}");
    }
}

#[test]
fn a_rubric_asks_all_of_its_rewards() {
    let config = RubricConfig { correct: "number".to_owned(), ..RubricConfig::default() };
    let rubric = Rubric::new(&config, &Registry::rules()).expect("a rubric");
    assert_eq!(rubric.check_truth(&query(Some(json!(4)), json!({}))), Ok(()));
    let fault = rubric.check_truth(&query(Some(json!("four")), json!({}))).expect_err("a fault");
    assert!(fault.starts_with("`correct`: ") && fault.contains("four"), "{fault}");
}

/// Every example of the catalogue has a truth that its own kind reads.
#[test]
fn examples_can_be_read() {
    let mut seen = 0;
    for entry in sapo_rewards::catalogue::catalogue() {
        if let Ok(reward) = Registry::rules().get(entry.kind) {
            let truth = Some(entry.example.ground_truth).filter(|truth| !truth.is_null());
            assert_eq!(reward.check_truth(&query(truth, entry.example.columns)), Ok(()), "{}", entry.kind);
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} kinds");
}
