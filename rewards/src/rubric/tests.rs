//! How scores are put together, and the laws that hold for every rubric.

use proptest::prelude::*;
use sapo_datasets::synthetic::{self, Style, Task};
use serde_json::json;

use super::*;
use crate::error::Result;
use crate::reward::tests::{now, query};
use crate::reward::{RewardSpec, Rule};
use crate::score::Outcome;

fn rubric(text: &str) -> Result<Rubric> {
    let mut registry = Registry::rules();
    for (name, outcome) in [
        ("half", Outcome::Value(0.5)),
        ("none", Outcome::Value(0.0)),
        ("full", Outcome::Value(1.0)),
        ("skip", Outcome::Skip("not here".to_owned())),
        ("broken", Outcome::failed(FailureKind::Timeout, "too late")),
    ] {
        let score = PartScore::from(outcome);
        registry.insert(name, Arc::new(Rule::new(RewardSpec::rule(name, "test/1"), move |_: &Item<'_>| score.clone())));
    }
    Rubric::new(&serde_json::from_str(text).expect("a config"), &registry)
}

fn total(config: &str, answer: &str) -> (Option<f64>, Option<bool>) {
    let query = query("3 + 2?", json!(5));
    let score = now(rubric(config).expect("a rubric").score(&query, &Transcript::of_answer("q", answer)));
    (score.total, score.passed)
}

#[test]
fn parts_add_up_and_only_correct_passes() {
    let base = r#""correct":"number","language_penalty":0"#;
    let with = |more: &str| format!("{{{base}{more}}}");
    assert_eq!(total(&with(""), "5"), (Some(1.0), Some(true)));
    assert_eq!(total(&with(r#","weight":2"#), "5"), (Some(2.0), Some(true)));
    assert_eq!(total(&with(r#","parts":[{"reward":"half","weight":0.5}]"#), "4"), (Some(0.25), Some(false)));
    assert_eq!(total(&with(r#","penalties":[{"reward":"full","weight":3}]"#), "5"), (Some(-2.0), Some(true)));
    assert_eq!(
        total(&with(r#","penalties":[{"reward":"full","weight":3}],"clip":[-1,1]"#), "5"),
        (Some(-1.0), Some(true))
    );
    assert_eq!(total(&with(r#","parts":[{"reward":"skip"}]"#), "5"), (Some(1.0), Some(true)));
    assert_eq!(total(&with(r#","parts":[{"reward":"broken"}]"#), "5"), (None, None));
    assert_eq!(total(r#"{"correct":"skip","language_penalty":0}"#, "5"), (None, None));
    assert_eq!(total(r#"{"correct":"half","language_penalty":0}"#, "5"), (Some(0.5), Some(true)));
}

#[test]
fn gates_close_parts_and_not_the_verdict() {
    let gated = r#"{"correct":"number","language_penalty":0,"parts":[{"reward":"full"}],"gates":[{"reward":"none"}]}"#;
    assert_eq!(total(gated, "5"), (Some(1.0), Some(true)));
    let both = r#"{"correct":"number","language_penalty":0,"parts":[{"reward":"full"}],
        "gates":[{"reward":"correct","parts":["full"]}]}"#;
    assert_eq!(total(both, "5"), (Some(2.0), Some(true)));
    assert_eq!(total(both, "4"), (Some(0.0), Some(false)));
    let broken = r#"{"correct":"number","language_penalty":0,"gates":[{"reward":"broken"}]}"#;
    assert_eq!(total(broken, "5"), (None, None));
}

#[test]
fn bad_rubrics_are_refused() {
    for (config, word) in [
        (r#"{"correct":"magic"}"#, "magic"),
        (r#"{"language_penalty":0.5,"penalties":[{"reward":"language"}]}"#, "language_penalty = 0"),
        (r#"{"parts":[{"reward":"half","weight":-1}]}"#, "above 0"),
        (r#"{"weight":0}"#, "above 0"),
        (r#"{"clip":[1,0]}"#, "clip"),
        (r#"{"gates":[{"reward":"half","parts":["x"]}]}"#, "not a part"),
    ] {
        let error = rubric(config).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(word), "{config}: {error}");
    }
    assert!(serde_json::from_str::<RubricConfig>(r#"{"corect":"number"}"#).is_err());
    let waits = RubricConfig { correct: "judge".to_owned(), ..RubricConfig::default() };
    let score = waits.score(&query("?", json!(5)), &Transcript::of_answer("q", "5"));
    assert_eq!(score.failure().map(|(_, kind, _)| kind), Some(FailureKind::Config));
}

#[test]
fn nobody_is_punished_for_what_was_not_asked_for() {
    let config: RubricConfig = serde_json::from_str(r#"{"correct":"number"}"#).unwrap();
    assert_eq!((config.language_penalty, config.repetition_penalty), (0.0, 0.0));
    let names: Vec<String> =
        Rubric::new(&config, &Registry::rules()).unwrap().rewards().map(|(part, _)| part.to_owned()).collect();
    assert_eq!(names, ["correct"]);
}

#[test]
fn a_score_that_nothing_applies_to_says_what_was_skipped_and_why() {
    let query = query("3 + 2?", json!(5));
    let skipped = rubric(r#"{"correct":"skip"}"#).unwrap();
    let score = now(skipped.score(&query, &Transcript::of_answer("q", "5")));
    let (part, kind, reason) = score.failure().unwrap();
    assert_eq!((part, kind), ("rubric", FailureKind::Empty));
    assert!(reason.contains("`correct`: not here"), "{reason}");
}

#[test]
fn cut_answers_are_wrong_unless_closed_and_errors_are_failures() {
    let query = query("3 + 2?", json!(5));
    let scored = |text: &str, stop| {
        let transcript = Transcript { stop, ..Transcript::of_answer("q", text) };
        let config = RubricConfig { correct: "number".to_owned(), ..RubricConfig::default() };
        let score = config.score(&query, &transcript);
        (score.total, score.passed)
    };
    assert_eq!(scored("5", StopReason::Length), (Some(0.0), Some(false)));
    assert_eq!(scored("\\boxed{5} and so", StopReason::Length), (Some(1.0), Some(true)));
    assert_eq!(scored("5", StopReason::Error), (None, None));
}

#[test]
fn a_batch_scores_as_its_items_do() {
    let rubric = rubric(r#"{"correct":"number","language_penalty":0.5,"repetition_penalty":0.5}"#).unwrap();
    let query = query("3 + 2?", json!(5));
    let texts = ["5", "4", "<think>5", "十五", "5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5", ""];
    let mut transcripts: Vec<Transcript> = texts.iter().map(|text| Transcript::of_answer("q", *text)).collect();
    transcripts[1].stop = StopReason::Length;
    transcripts[2].stop = StopReason::Error;
    let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query: &query, transcript }).collect();
    let batch = now(rubric.score_batch(&items));
    let single: Vec<Score> = transcripts.iter().map(|transcript| now(rubric.score(&query, transcript))).collect();
    assert_eq!(batch, single);
    let totals: Vec<Option<f64>> = batch.iter().map(|score| score.total).collect();
    assert_eq!(totals, [Some(1.0), Some(0.0), None, Some(-0.5), Some(-0.5), Some(-1.0)]);
    assert!(now(rubric.score_batch(&[])).is_empty());
}

#[test]
fn every_demonstration_of_a_reasoning_task_scores_one() {
    for task in Task::REASONING {
        for index in 0..60 {
            for style in [Style::Careful, Style::Hasty] {
                let shown = synthetic::demonstration(task, 11, index, style);
                let transcript =
                    Transcript { thinking_open: true, ..Transcript::of_answer(&shown.query.id, &shown.response) };
                let strict = RubricConfig { language_penalty: 0.5, ..RubricConfig::default() };
                let score = strict.score(&shown.query, &transcript);
                assert_eq!((score.total, score.passed), (Some(1.0), Some(true)), "{}: {}", task, shown.response);
            }
        }
    }
}

#[test]
fn gold_of_another_query_does_not_pass_and_failures_are_no_zeros() {
    let query = synthetic::query(Task::Arith, sapo_datasets::Split::Train, 1, 0);
    let shown = |text: &str| Transcript { thinking_open: true, ..Transcript::of_answer(&query.id, text) };
    assert_eq!(RubricConfig::default().score(&query, &shown("</think>-1")).passed, Some(false));
    assert_eq!(RubricConfig::default().score(&query, &shown("unclosed 5")).total, Some(0.0));
    let failed = Transcript { stop: StopReason::Error, ..shown("</think>1") };
    let score = RubricConfig::default().score(&query, &failed);
    assert_eq!((score.total, score.passed), (None, None));
}

/// A rubric of `correct`, one extra and one penalty with given outcomes, and what it makes of an answer.
fn put_together(outcomes: &[Outcome; 3], more: &str, answer: &str) -> Score {
    let mut registry = Registry::rules();
    for (name, outcome) in ["c", "extra", "penalty"].into_iter().zip(outcomes) {
        let score = PartScore::from(outcome.clone());
        let reward = Rule::new(RewardSpec::rule(name, "test/1"), move |_: &Item<'_>| score.clone());
        registry.insert(name, Arc::new(reward));
    }
    let config = format!(
        r#"{{"correct":"c","language_penalty":0,"parts":[{{"reward":"extra","weight":0.5}}],
            "penalties":[{{"reward":"penalty","weight":0.25}}]{more}}}"#
    );
    let rubric = Rubric::new(&serde_json::from_str(&config).expect("a config"), &registry).expect("a rubric");
    now(rubric.score(&query("?", json!(5)), &Transcript::of_answer("q", answer)))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => (0.0_f64..1.0).prop_map(Outcome::Value),
        1 => Just(Outcome::Skip("not here".to_owned())),
        1 => Just(Outcome::failed(FailureKind::Timeout, "too late")),
    ]
}

fn failed_outcome(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { .. })
}

proptest! {
    #[test]
    fn laws_of_every_rubric(
        outcomes in [outcome(), outcome(), outcome()],
        more in prop::sample::select(vec![
            "",
            r#","clip":[0.1,0.9]"#,
            r#","gates":[{"reward":"correct","parts":["extra"]}]"#,
            r#","gates":[{"reward":"extra","parts":["correct"]}]"#,
            r#","overlong":{"buffer_tokens":5,"max_tokens":10}"#,
            r#","overlong":{"buffer_tokens":5,"max_tokens":10,"correct_only":true},"clip":[0,1]"#,
        ]),
        answer in prop::sample::select(vec!["5", "", " \n"]),
    ) {
        let score = put_together(&outcomes, more, answer);
        let skipped = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Skip(_)));
        // A part that fails makes the whole failed, and so does a rubric of which nothing applies.
        prop_assert_eq!(score.total.is_none(), outcomes.iter().any(failed_outcome) || skipped);
        if let Some(total) = score.total {
            // The total is the sum of the record; what is skipped adds nothing, and weights are not renormalised.
            let sum: f64 = score.parts.iter().filter_map(|part| Some(part.score.outcome.value()? * part.weight)).sum();
            prop_assert!((total - sum).abs() < 1e-12);
            // Passing depends on `correct` alone.
            prop_assert_eq!(score.passed, outcomes[0].value().map(|value| value >= 0.5));
        } else {
            prop_assert_eq!(score.passed, None);
        }
        let record = serde_json::to_value(&score).expect("a record");
        prop_assert_eq!(serde_json::from_value::<Score>(record).expect("a score"), score);
    }

    #[test]
    fn an_empty_reply_never_does_better(outcomes in [outcome(), outcome(), outcome()]) {
        let empty = put_together(&outcomes, "", "").total;
        let said = put_together(&outcomes, "", "an answer").total;
        prop_assert!(empty.zip(said).is_none_or(|(empty, said)| empty <= said + 1e-12));
    }
}

#[test]
fn parts_are_clipped_and_length_comes_last() {
    let outcomes = [Outcome::Value(1.0), Outcome::Value(1.0), Outcome::Value(0.0)];
    let score = |more: &str| put_together(&outcomes, more, "5");
    assert_eq!(score("").total, Some(1.5));
    assert_eq!(score(r#","clip":[0,1]"#).total, Some(1.0));
    assert_eq!(score(r#","clip":[0,1]"#).part("clip").map(|part| part.score.outcome.value()), Some(Some(-0.5)));
    // 0 tokens of 0: the penalty is full, after the clip.
    let long = score(r#","clip":[0,1],"overlong":{"buffer_tokens":5,"max_tokens":0,"weight":0.5}"#);
    assert_eq!((long.total, long.passed), (Some(0.5), Some(true)));
    let wrong = [Outcome::Value(0.0), Outcome::Value(0.0), Outcome::Value(0.0)];
    let shaped = put_together(&wrong, r#","overlong":{"buffer_tokens":5,"max_tokens":0,"correct_only":true}"#, "5");
    assert_eq!(shaped.total, Some(0.0));
    let clipped =
        rubric(r#"{"correct":"full","language_penalty":0,"parts":[{"reward":"half","clip":[0.0,0.25]}]}"#).unwrap();
    let score = now(clipped.score(&query("?", json!(5)), &Transcript::of_answer("q", "x")));
    assert_eq!(score.total, Some(1.25));
    for (config, word) in [
        (r#"{"clip":[0,1],"normalise":"normalise_then_sum"}"#, "clip"),
        (r#"{"parts":[{"reward":"half","clip":[1,0]}]}"#, "clip"),
        (r#"{"overlong":{"buffer_tokens":5,"weight":0}}"#, "above 0"),
    ] {
        assert!(rubric(config).err().map(|error| error.to_string()).unwrap_or_default().contains(word), "{config}");
    }
}

#[test]
fn a_bonus_for_tools_needs_a_right_answer_and_is_less_than_one() {
    let query = query("3 + 2?", json!(5));
    let scored = |answer: &str| {
        let call =
            sapo_datasets::ToolCall::Parsed { name: "zoom".to_owned(), arguments: json!({"bbox_2d": [1, 1, 9, 9]}) };
        let transcript = Transcript { calls: vec![call], ..Transcript::of_answer("q", answer) };
        let config = r#"{"correct":"number","language_penalty":0,"parts":[{"reward":"tool_calls","weight":0.5}]}"#;
        now(rubric(config).expect("a rubric").score(&query, &transcript)).total
    };
    assert_eq!(scored("5"), Some(1.5));
    assert_eq!(scored("4"), Some(0.0));
    assert_eq!(scored(""), Some(0.0));
    let greedy = r#"{"correct":"number","weight":0.8,"parts":[{"reward":"tool_calls","weight":1.2}]}"#;
    assert!(rubric(greedy).err().map(|error| error.to_string()).unwrap_or_default().contains("less"));
}
