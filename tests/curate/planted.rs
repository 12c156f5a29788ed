//! The planted set: 400 queries of which it is known what is wrong with each, and what `sapo curate` finds of it.
//!
//! What models would have answered is drawn: a query that is too easy passes with 0.99, one that is solved without its picture
//! does so with 0.95, all others pass with 0.05 to 0.75 and are, without their pictures, guessed: with 1 in 4 where there are
//! four choices, with 1 in 1,000 where the answer is free. The rules see the queries themselves.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sapo_datasets::written::parquet;
use sapo_datasets::{Example, Part, Picture, Query, Split, Task, synthetic};
use serde_json::{Value, json};

use super::{lines, object, strings};

/// How many there are of each kind.
const KINDS: [(&str, usize); 6] =
    [("blind", 60), ("unverifiable", 40), ("easy", 40), ("duplicate", 40), ("overlap", 20), ("good", 200)];

/// A query of a kind, from a generated task with pictures; every fifth offers four choices.
fn query(kind: &str, number: usize, split: Split, index: u64) -> Query {
    let task = [Task::Count, Task::Clock, Task::Digits, Task::Locate][number % 4];
    let mut query = synthetic::query(task, split, 11, index);
    query.id = format!("{kind}-{number}");
    if number.is_multiple_of(5) {
        let truth = query.ground_truth.take().map(|truth| truth.to_string()).unwrap_or_default();
        let options = json!({"A": "none of them", "B": truth, "C": "both", "D": "one"});
        query.columns.remove("reward_kind");
        query.columns.insert("choices".to_owned(), options);
        query.ground_truth = Some(json!("B"));
    }
    query
}

/// Makes a query one that cannot be verified, in one of five ways.
fn spoil(query: &mut Query, number: usize) {
    let ask = |query: &mut Query, text: &str| {
        query.messages[0].content = vec![Part::text(text)];
        query.images.clear();
    };
    match number % 5 {
        0 => query.ground_truth = None,
        1 => {
            query.columns.remove("choices");
            query.columns.insert("reward_kind".to_owned(), json!("clock"));
            query.ground_truth = Some(json!("soon after lunch"));
        }
        2 => {
            query.ground_truth = Some(json!("The picture tells of a summer day at the sea with many people ".repeat(3)))
        }
        3 => ask(query, "What is the sum of 3 and 4? And what is their product?"),
        _ => ask(query, "As shown in the figure, the circle has the radius 3. What is the marked length?"),
    }
}

/// Writes the set and what was answered to it; gives the kind of each query.
fn plant(dir: &Path) -> BTreeMap<String, &'static str> {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let (mut queries, mut record, mut kinds, mut index) = (Vec::new(), String::new(), BTreeMap::new(), 0);
    for (kind, count) in KINDS {
        for number in 0..count {
            index += 1;
            let mut query = match kind {
                // The same content as one that is good, and as one of the test set.
                "duplicate" => Query {
                    id: format!("duplicate-{number}"),
                    ..query("good", number, Split::Train, 5000 + number as u64)
                },
                "overlap" => query("overlap", number, Split::Test, number as u64),
                "good" => query("good", number, Split::Train, 5000 + number as u64),
                _ => query(kind, number, Split::Train, index),
            };
            if kind == "unverifiable" {
                spoil(&mut query, number);
            }
            kinds.insert(query.id.clone(), kind);
            let answered = answered(&query, kind, &mut rng).to_string();
            if query.id != "overlap-0" {
                record.push_str(&answered);
                record.push('\n');
            }
            queries.push(query);
        }
    }
    // A row that cannot be used is none of the queries.
    let mut broken = query("broken", 0, Split::Train, 9000);
    let bytes = broken.images[0].bytes();
    broken.images = vec![Picture::from_bytes(&bytes[..bytes.len() / 2], "planted").expect("its first bytes are whole")];
    queries.push(broken);
    let rows = queries.into_iter().map(|query| Ok(Example { query, response: None, spoken: false }));
    parquet::write(&dir.join("planted.parquet"), rows).expect("written");
    std::fs::write(dir.join("answers.jsonl"), record).expect("written");
    kinds
}

/// What models answered to a query, as the record of a curation has it.
fn answered(query: &Query, kind: &str, rng: &mut ChaCha8Rng) -> Value {
    let has_choices = query.columns.contains_key("choices");
    let seen = if kind == "easy" { 0.99 } else { 0.05 + 0.7 * rng.random::<f64>() };
    let blind = match (kind, has_choices) {
        ("blind", _) => 0.95,
        (_, true) => 0.25,
        (_, false) => 0.001,
    };
    let mut draw =
        |rate: f64, count: usize| (0..count).map(|_| u8::from(rng.random::<f64>() < rate)).collect::<Vec<u8>>();
    let (outcomes, blind) = (draw(seen, 16), draw(blind, if has_choices { 8 } else { 4 }));
    let passed = |outcomes: &[u8]| outcomes.iter().filter(|passed| **passed == 1).count();
    let without = json!({"outcomes": blind, "passed": passed(&blind), "scored": blind.len()});
    json!({"query_id": query.id, "task": query.task, "outcomes": outcomes, "passed": passed(&outcomes), "scored": 16,
        "without_pictures": without, "decision": "kept"})
}

const CONFIG: &str = r#"
[run]
name = "planted"
seed = 1
phases = ["curate"]

[policy]
model = "tiny"

[data.planted]
source = "planted.parquet"

[rubrics.right]
correct = "truth"

[phases.curate]
kind = "curate"
data = [{ use = "planted" }]
sampling = { max_new_tokens = 40 }
rubric = "right"
by = { record = "answers.jsonl" }
without_pictures = { by = { record = "answers.jsonl" } }
query_filters = [{ rubric = "right" }]
query_rules = ["no_ground_truth", "unreadable_ground_truth", "free_generation", "several_questions", "missing_picture"]
"#;

/// Of each planted kind at least 95 % are found, by the rule that is there for it, and of the rest at most 2 % are dropped.
#[test]
fn what_was_planted_is_found_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let kinds = plant(dir.path());
    assert_eq!(kinds.len(), 400);
    let config = dir.path().join("planted.toml");
    std::fs::write(&config, CONFIG).expect("written");
    let path = |path: &Path| path.display().to_string();
    let runs = dir.path().join("runs");
    let mut arguments = strings(["curate", "--json", "run.reward_check.rows_per_source=0"]);
    arguments.extend([path(&config), format!("run.dir={}", path(&runs))]);
    let said = object(&arguments);
    let summary = &said["curations"][0];
    assert_eq!((&summary["queries"], &summary["bad_rows"]), (&json!(400), &json!(1)), "{summary}");

    let (mut found, mut wrongly): (BTreeMap<&str, BTreeMap<String, usize>>, Vec<Value>) = Default::default();
    for record in lines(&runs.join("planted/curation/curate.jsonl")) {
        let decision = record["decision"].as_str().expect("a decision").to_owned();
        let Some(kind) = kinds.get(record["query_id"].as_str().expect("an id")) else {
            assert_eq!(decision, "unusable", "{record}");
            continue;
        };
        if *kind == "good" && decision != "kept" {
            wrongly.push(record["reason"].clone());
        }
        *found.entry(*kind).or_default().entry(decision).or_default() += 1;
    }
    let count = |kind: &str, decision: &str| found[kind].get(decision).copied().unwrap_or(0);
    for (kind, decision, all) in [
        ("blind", "dropped_without_pictures", 60),
        ("unverifiable", "dropped_by_filter", 40),
        ("easy", "dropped_too_easy", 40),
    ] {
        assert!(100 * count(kind, decision) >= 95 * all, "{kind}: {found:?} {wrongly:?}");
    }
    // Duplicates and what overlaps are found by `sapo data check`: here they are as good as any.
    let rest = ["good", "duplicate", "overlap"];
    let kept: usize = rest.iter().map(|kind| count(kind, "kept") + count(kind, "undecided")).sum();
    assert_eq!(count("overlap", "undecided"), 1, "nobody has answered it: {found:?}");
    assert!(100 * (260 - kept) <= 2 * 260, "{found:?} {wrongly:?}");
    // What is kept is a source: all of it is read again.
    let kept = runs.join("planted/curation/curate.parquet");
    let shown = object(&[strings(["data", "show", "--json", "--count", "400"]), vec![path(&kept)]].concat());
    let kept: usize = found.keys().map(|kind| count(kind, "kept") + count(kind, "undecided")).sum();
    assert_eq!(shown["queries"].as_array().map(Vec::len), Some(kept), "{found:?}");
}

/// Of the same set, `sapo data check` finds what repeats and what the test set has too.
#[test]
fn repeats_and_overlaps_of_the_same_set_are_found_by_the_check() {
    let dir = tempfile::tempdir().expect("a folder");
    let kinds = plant(dir.path());
    let test = (0..100).map(|number| query("test", number, Split::Test, number as u64));
    let rows = test.map(|query| Ok(Example { query, response: None, spoken: false }));
    parquet::write(&dir.path().join("test.parquet"), rows).expect("written");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let mut arguments = strings(["data", "check", "--json", "--max-bad-share", "1"]);
    arguments.extend([file("planted.parquet"), "--against".to_owned(), file("test.parquet")]);
    arguments.extend(["--rejected".to_owned(), file("rejected.jsonl")]);
    object(&arguments);
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in lines(&dir.path().join("rejected.jsonl")) {
        let found = row["reasons"].as_array().expect("reasons").iter();
        let found = found.map(|found| found["reason"].as_str().expect("text").to_owned()).collect();
        reasons.insert(row["id"].as_str().unwrap_or_default().to_owned(), found);
    }
    let has = |id: &str, wanted: &str| reasons.get(id).is_some_and(|all| all.iter().any(|one| one.ends_with(wanted)));
    // Of two rows that say the same, the first is kept.
    let repeats = (0..40).filter(|number| {
        has(&format!("good-{number}"), "duplicate") != has(&format!("duplicate-{number}"), "duplicate")
    });
    let repeats = repeats.count();
    let overlaps = (0..20).filter(|number| has(&format!("overlap-{number}"), "overlap")).count();
    let is_rest = |id: &str, kind: &str| match kind {
        "blind" | "easy" => true,
        "good" => id.trim_start_matches("good-").parse().is_ok_and(|number: usize| number >= 40),
        _ => false,
    };
    let rest: Vec<&String> = kinds.iter().filter(|(id, kind)| is_rest(id, kind)).map(|(id, _)| id).collect();
    let wronged: Vec<_> = rest.iter().filter_map(|id| Some((id, reasons.get(id.as_str())?))).collect();
    assert_eq!(rest.len(), 260);
    assert!(repeats >= 38, "{repeats} of 40 repeats");
    assert!(overlaps >= 19, "{overlaps} of 20 overlaps");
    assert!(wronged.len() * 50 <= rest.len(), "{wronged:?}");
}
