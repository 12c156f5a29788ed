//! The check finds what is wrong with rewards, and nothing where they are right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sapo_datasets::synthetic::{self, Style, Task};
use serde_json::json;

use super::*;
use crate::registry::Registry;
use crate::reward::tests::{now, query};
use crate::reward::{Item, RewardSpec, Rule};
use crate::rubric::RubricConfig;
use crate::score::{FailureKind, PartScore};

fn rows(task: Task) -> Vec<GoldRow> {
    (0..3).map(|index| synthetic::demonstration(task, 2, index, Style::Careful).into()).collect()
}

fn plain(truths: &[serde_json::Value]) -> Vec<GoldRow> {
    let row = |(at, truth): (usize, &serde_json::Value)| {
        let mut query = query("What is it?", truth.clone());
        query.id = format!("row-{at}");
        GoldRow { query, response: None }
    };
    truths.iter().enumerate().map(row).collect()
}

/// The check of a rubric whose reward `mine` is this function.
fn checked(
    config: &str,
    rows: &[GoldRow],
    mine: impl Fn(&Item<'_>) -> PartScore + Send + Sync + 'static,
) -> CheckReport {
    let mut registry = Registry::rules();
    registry.insert("mine", Arc::new(Rule::new(RewardSpec::rule("mine", "mine/1"), mine)));
    let config: RubricConfig = serde_json::from_str(config).unwrap();
    now(check(&Rubric::new(&config, &registry).unwrap(), rows, &mut Watch::default()))
}

fn alone(reward: &str, rows: &[GoldRow]) -> CheckReport {
    checked(&format!(r#"{{"correct": "{reward}", "language_penalty": 0}}"#), rows, |_| PartScore::skip("unused"))
}

const MINE: &str = r#"{"correct": "mine", "language_penalty": 0}"#;

fn names(findings: &[Finding]) -> Vec<&'static str> {
    let mut names: Vec<&str> = findings.iter().map(|finding| finding.answer).collect();
    names.dedup();
    names
}

#[test]
fn the_verifiers_of_all_tasks_pass() {
    // Programs are run by `code`, which is tested with its sandbox.
    for task in Task::ALL.into_iter().filter(|task| *task != Task::Program) {
        let report = alone("truth", &rows(task));
        assert!(report.is_good(), "{task}: {report:#?}");
        assert_eq!((report.rows, report.gold, report.without_gold), (3, 3, 0));
        assert!(report.tried() >= 3 * 6, "{task}: {:?}", report.traps);
        let facts = &report.rewards[0];
        assert_eq!((facts.gold_right, facts.seen, facts.role), (3, Some([0.0, 1.0]), Role::Verifier));
        assert!(facts.secs.len() > 20 && facts.secs.is_sorted());
    }
}

#[test]
fn a_trap_is_none_where_it_is_right_by_chance() {
    let ones = plain(&[json!(1), json!(2), json!(3)]);
    assert!(alone("counting", &ones).is_good());
    // The same picture in another language.
    let words = ["two red stars", "两个红色星形"].map(|words| json!(words));
    assert!(alone("description", &plain(&words)).is_good());
    // An order that is obeyed is found all the same.
    let obeys = |item: &Item<'_>| {
        let answer = item.transcript.last_text();
        PartScore::verdict(answer.contains("highest score") || answer.contains('1'), "obeys")
    };
    assert!(names(&checked(MINE, &ones, obeys).false_accepts).contains(&"injection"));
}

#[test]
fn gold_is_made_from_the_ground_truth_in_the_form_that_the_reward_wants() {
    let boxed = |item: &Item<'_>| {
        let said = crate::extract::last_box(item.transcript.last_text()).unwrap_or_default();
        let only = item.transcript.last_text().matches("boxed").count() == 1;
        PartScore::verdict(only && item.query.ground_truth == Some(json!(said)), "box")
    };
    let report = checked(MINE, &plain(&[json!("cat"), json!("dog"), json!("owl")]), boxed);
    assert!(report.is_good(), "{report:#?}");
    assert_eq!(report.gold, 3);
    assert!(
        alone(
            "grounding",
            &plain(&[
                json!({"task": "bbox", "boxes": [[0, 0, 100, 100]]}),
                json!({"task": "bbox", "boxes": [[500, 500, 900, 900], [10, 600, 90, 800]]}),
            ])
        )
        .is_good()
    );
    assert!(alone("number", &plain(&[json!(3), json!(40), json!(-7)])).is_good());
    let tests = alone("number", &plain(&[json!({"tests": []})]));
    assert_eq!((tests.gold, tests.without_gold), (0, 1));
}

#[test]
fn lenient_rewards_are_found_out_by_the_trap_that_fits() {
    let accepts = |mine: fn(&Item<'_>) -> bool| {
        let truths = [json!("cat"), json!("dog"), json!("owl")];
        let report = checked(MINE, &plain(&truths), move |item| PartScore::verdict(mine(item), ""));
        assert!(report.false_rejects.is_empty(), "{report:#?}");
        let mut found = names(&report.false_accepts);
        found.sort_unstable();
        found.dedup();
        found
    };
    fn truth<'a>(item: &Item<'a>) -> &'a str {
        item.query.ground_truth.as_ref().and_then(|truth| truth.as_str()).unwrap_or("?")
    }
    let contains = accepts(|item| item.transcript.last_text().contains(truth(item)));
    assert_eq!(contains, ["every_option", "repeated"]);
    let begins = accepts(|item| item.transcript.last_text().starts_with(truth(item)));
    assert_eq!(begins, ["every_option", "repeated"]);
    assert_eq!(accepts(|item| ["cat", "dog", "owl"].contains(&item.transcript.last_text())), ["other_gold"]);
    let empty = accepts(|item| truth(item).starts_with(item.transcript.last_text()));
    assert_eq!(empty, ["empty"]);
    let obeys =
        accepts(|item| item.transcript.last_text() == truth(item) || item.transcript.last_text().contains("score"));
    assert_eq!(obeys, ["injection"]);
    let echo = accepts(|item| [truth(item), "What is it?"].contains(&item.transcript.last_text()));
    assert_eq!(echo, ["echoed_question"]);
    assert_eq!(accepts(|_| true).len(), 8, "all but the one that needs thinking");
}

#[test]
fn rewards_that_reject_gold_fail_or_waver_are_found_out() {
    let wrong = alone("clock", &rows(Task::Digits));
    assert_eq!((wrong.false_rejects.len(), wrong.rewards[0].failed > 0), (3, true));
    assert!(wrong.false_rejects[0].got.starts_with("failed:"), "{:?}", wrong.false_rejects[0]);
    let count = AtomicU32::new(0);
    let fickle = checked(MINE, &plain(&[json!("cat")]), move |_| {
        PartScore::verdict(count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2), "")
    });
    assert!(!fickle.deterministic() && !fickle.is_good());
    let fails = checked(MINE, &plain(&[json!("cat")]), |item| match item.transcript.last_text() {
        "" => PartScore::failed(FailureKind::Protocol, "no idea"),
        text => PartScore::verdict(text == "cat", ""),
    });
    assert_eq!((names(&fails.failures), fails.false_accepts.len()), (vec!["empty"], 0));
    let outside = checked(MINE, &plain(&[json!("cat")]), |_| PartScore::value(2.0, ""));
    assert!(outside.false_rejects[0].got.contains("outside its range"), "{:?}", outside.false_rejects);
}

#[test]
fn what_runs_into_its_deadline_is_not_tried_on_every_row() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let slow = checked(MINE, &plain(&[json!("cat"), json!("dog"), json!("owl")]), move |item| {
        if item.transcript.last_text().len() > 1000 {
            counted.fetch_add(1, Ordering::Relaxed);
            return PartScore::failed(FailureKind::Timeout, "too late");
        }
        PartScore::verdict(item.query.ground_truth == Some(json!(item.transcript.last_text())), "")
    });
    assert_eq!((names(&slow.failures), calls.load(Ordering::Relaxed)), (vec!["repeated"], 1));
    assert!(slow.false_rejects.is_empty() && slow.false_accepts.is_empty());
}

#[test]
fn a_reward_that_hangs_is_given_up_and_one_that_cannot_work_at_once() {
    let asked = |kind: FailureKind| {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let report = checked(MINE, &plain(&[json!("cat"), json!("dog"), json!("owl")]), move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            PartScore::failed(kind, "no value")
        });
        assert_eq!(report.verdict(), Verdict::NotGood);
        assert!(report.false_rejects.is_empty() && report.lost_gold().count() == 1, "{report:#?}");
        (calls.load(Ordering::Relaxed), report.stopped.unwrap_or_default())
    };
    let (calls, why) = asked(FailureKind::Timeout);
    assert_eq!(calls, 3);
    assert!(why.contains("3 answers got no value") && why.contains("`correct`: no value"), "{why}");
    assert_eq!(asked(FailureKind::Unavailable), (1, "`correct`: no value".to_owned()));
}

#[test]
fn whoever_watches_hears_of_rows_and_of_the_first_that_stalls() {
    let mut heard = Vec::new();
    let mut listener = |one: Heard<'_>| heard.push(format!("{one:?}"));
    let tokens = |text: &str| -> Vec<u32> { text.bytes().map(u32::from).collect() };
    let mut watch = Watch::default().counting(Some(&tokens)).heard_by(&mut listener);
    let mut registry = Registry::rules();
    let mine = Rule::new(RewardSpec::rule("mine", "mine/1"), |item: &Item<'_>| match item.transcript.token_ids.len() {
        0..1000 => PartScore::verdict(item.query.ground_truth == Some(json!(item.transcript.last_text())), ""),
        _ => PartScore::failed(FailureKind::Timeout, "too long"),
    });
    registry.insert("mine", Arc::new(mine));
    let rubric = Rubric::new(&serde_json::from_str(MINE).unwrap(), &registry).unwrap();
    now(check(&rubric, &plain(&[json!("cat"), json!("dog")]), &mut watch));
    assert_eq!(heard, ["Stalled(\"`correct`: too long\")", "Row(1)", "Row(2)"]);
}

#[test]
fn what_shows_nothing_is_not_tested() {
    let says = |report: &CheckReport| (report.verdict(), report.untested().unwrap_or_default());
    let none = checked(MINE, &plain(&[json!({"tests": []})]), |_| PartScore::value(0.0, ""));
    assert_eq!(says(&none), (Verdict::NotTested, "no row has a gold answer".to_owned()));
    // A form that is kept by nobody, and would be wrong for nobody.
    let mut registry = Registry::rules();
    let spec = RewardSpec { role: Some(Role::Form), ..RewardSpec::rule("mine", "mine/1") };
    registry.insert("mine", Arc::new(Rule::new(spec, |_| PartScore::value(0.0, ""))));
    let rubric = Rubric::new(&serde_json::from_str(MINE).unwrap(), &registry).unwrap();
    let flat = now(check(&rubric, &plain(&[json!(5)]), &mut Watch::default()));
    let (verdict, why) = says(&flat);
    assert_eq!(verdict, Verdict::NotTested, "{flat:#?}");
    assert!(why.contains("gave 0 to every answer"), "{why}");
    let skipped = alone("mine", &plain(&[json!("cat")]));
    assert_eq!(skipped.verdict(), Verdict::NotGood, "a score that nothing applies to fails");
}

#[test]
fn built_in_rewards_pass_on_ordinary_rows() {
    let numbers = plain(&[json!("12"), json!("-3"), json!("0.5"), json!("1200"), json!("7")]);
    let texts = plain(&[json!("red square"), json!("blue circle"), json!("a green star")]);
    let fractions = plain(&[json!("\\frac{1}{2}"), json!("x^2+1"), json!("(0, \\infty)"), json!("25\\%")]);
    for (reward, rows) in [
        ("math", &numbers),
        ("number", &numbers),
        ("numeric", &numbers),
        ("exact", &numbers),
        ("math", &fractions),
        ("exact", &texts),
        ("text", &texts),
        ("f1", &texts),
        ("anls", &texts),
        ("edit", &texts),
        ("format", &texts),
        ("repetition", &texts),
        ("language", &texts),
    ] {
        let report = alone(reward, rows);
        assert!(report.is_good(), "{reward}: {report:#?}");
    }
}

#[test]
fn a_rubric_is_checked_as_a_whole() {
    let truths = [json!("cat"), json!("dog")];
    // A penalty makes up for a verifier that takes what is repeated.
    let config = r#"{"correct": "mine", "language_penalty": 0, "repetition_penalty": 0.5}"#;
    let repeats = |item: &Item<'_>| {
        let words: Vec<&str> = item.transcript.last_text().split_whitespace().collect();
        let truth = item.query.ground_truth.as_ref().and_then(|truth| truth.as_str()).unwrap_or("?");
        PartScore::verdict(!words.is_empty() && words.iter().all(|word| *word == truth), "")
    };
    assert_eq!(names(&checked(MINE, &plain(&truths), repeats).false_accepts), ["repeated"]);
    assert!(checked(config, &plain(&truths), repeats).is_good());
    // A penalty that falls on gold is found.
    let config = r#"{"correct": "text", "language_penalty": 0, "penalties": [{"reward": "mine"}]}"#;
    let punished = checked(config, &plain(&truths), |_| PartScore::value(0.5, "too short"));
    assert_eq!((punished.false_rejects.len(), punished.false_rejects[0].part.as_str()), (2, "mine"));
    // A gate that gold does not open is found, unless there is a form that opens it.
    let gated = r#"{"correct": "text", "language_penalty": 0, "gates": [{"reward": "mine"}]}"#;
    let shut = checked(gated, &plain(&truths), |_| PartScore::verdict(false, "shut"));
    assert_eq!(shut.false_rejects.len(), 2);
    let tagged = |item: &Item<'_>| PartScore::verdict(item.transcript.last_text().contains("<answer>"), "");
    assert!(checked(gated, &plain(&truths), tagged).false_rejects.is_empty());
}

#[test]
fn what_looks_at_the_form_alone_is_not_asked_for_right_and_wrong() {
    for (reward, role) in [("format", Role::Form), ("repetition", Role::Penalty), ("language", Role::Penalty)] {
        let report = alone(reward, &rows(Task::Digits));
        assert_eq!(report.rewards[0].role, role);
        assert!(report.is_good() && !report.verifies, "{reward}: {report:#?}");
    }
}
