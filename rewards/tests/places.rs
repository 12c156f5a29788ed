//! Where mathematics looks for an answer, what it says when it cannot tell, and a judge that is asked about just that.

use std::collections::BTreeMap;

use sapo_datasets::{Message, Part, Query, Role, Transcript};
use sapo_rewards::{Endpoints, Outcome, PartScore, Registry, RewardConfig, Rubric, RubricConfig};
use serde_json::{Value, json};

fn query(truth: &str) -> Query {
    Query {
        id: "q".to_owned(),
        task: "sum".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text("What is it?")] }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: Some(json!(truth)),
        rubric: None,
        tools: Vec::new(),
        columns: serde_json::Map::new(),
    }
}

/// What a reward gives for an answer, told by a rubric of it alone.
fn given(config: Value, truth: &str, answer: &str) -> PartScore {
    let reward: RewardConfig = serde_json::from_value(config).expect("a reward");
    let rewards = BTreeMap::from([("x".to_owned(), reward)]);
    let registry = Registry::build(&rewards, &Endpoints::default()).expect("a registry");
    let rubric = Rubric::new(&RubricConfig { correct: "x".to_owned(), ..RubricConfig::default() }, &registry);
    let score = rubric.expect("a rubric").score_by_rules(&query(truth), &Transcript::of_answer("q", answer));
    score.parts.into_iter().next().expect("a part").score
}

#[test]
fn a_looser_place_accepts_what_a_stricter_one_does_and_more() {
    let replies = [
        ("So it is \\boxed{12}.", [1.0, 1.0, 1.0]),
        ("<answer>12</answer>", [0.0, 1.0, 1.0]),
        ("The answer is 12.", [0.0, 1.0, 1.0]),
        ("3 * 4 = 12\n#### 12", [0.0, 1.0, 1.0]),
        ("La respuesta es 12.", [0.0, 1.0, 1.0]),
        ("Hence, there are 12 ways.", [0.0, 0.0, 1.0]),
        ("12", [0.0, 0.0, 1.0]),
        ("There are 12 cats and 13 dogs.", [0.0, 0.0, 0.0]),
        ("The answer is not 12.", [0.0, 0.0, 0.0]),
    ];
    for (reply, values) in replies {
        for (place, value) in ["boxed", "marked", "last"].into_iter().zip(values) {
            let score = given(json!({"kind": "math", "answer": place}), "12", reply);
            assert_eq!(score.outcome, Outcome::Value(value), "{place}: {reply}: {score:?}");
        }
    }
    let wrong: Result<RewardConfig, _> = serde_json::from_value(json!({"kind": "math", "answer": "anywhere"}));
    assert!(wrong.is_err());
}

#[test]
fn what_cannot_be_told_gets_nothing_and_says_so() {
    let unknown = |truth: &str, answer: &str| {
        let score = given(json!({"kind": "math"}), truth, answer);
        assert_eq!(score.outcome, Outcome::Value(0.0), "{score:?}");
        score.metrics["unknown"]
    };
    assert_eq!(unknown("12", "\\boxed{13}"), 0.0);
    assert_eq!(unknown("an odd number", "\\boxed{\\text{one that 2 does not divide}}"), 1.0);
    assert_eq!(unknown("12", "Let me think about cats and dogs for a while."), 1.0);
}

#[test]
fn a_judge_is_not_asked_about_what_the_rule_can_tell() {
    // Nobody listens there: a call would fail.
    let judge = json!({"kind": "judge", "endpoint": "http://127.0.0.1:9", "only_unknown": true, "cache": "off"});
    for (answer, value) in [("\\boxed{0.5}", 1.0), ("\\boxed{2}", 0.0)] {
        let score = given(judge.clone(), "\\frac{1}{2}", answer);
        assert_eq!(score.outcome, Outcome::Value(value), "{score:?}");
        assert!(score.evidence.is_some_and(|evidence| evidence.starts_with("not asked")));
    }
    let of_criteria =
        json!({"kind": "judge", "endpoint": "http://127.0.0.1:9", "only_unknown": true, "prompt": "pairwise-v1"});
    let reward: RewardConfig = serde_json::from_value(of_criteria).expect("a reward");
    let rewards = BTreeMap::from([("x".to_owned(), reward)]);
    assert!(Registry::build(&rewards, &Endpoints::default()).is_err());
}
