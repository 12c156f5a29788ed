//! What is compared, what is refused, and that a record gives the figures that the run gave.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::eval::tests::{evaluation, sample_lines};
use crate::progress::Silent;
use crate::run_dir::RunDir;

type Verdicts = Vec<(Vec<Option<bool>>, Option<bool>)>;

/// So many queries, of each of which `passes` of 4 samples pass.
fn task(passes: &[usize]) -> Verdicts {
    let of = |passes: &usize| ((0..4).map(|sample| Some(sample < *passes)).collect(), Some(*passes > 1));
    passes.iter().map(of).collect()
}

/// An evaluation in a folder of its own; `change` is made to each of its samples.
fn put(folder: &Path, tasks: &[Verdicts], change: impl Fn(&mut Value)) {
    let evaluation = evaluation(tasks, 4);
    let dir = RunDir::create(folder, 0, &Silent).unwrap();
    let mut lines = sample_lines(&evaluation);
    // The order of a record does not matter.
    lines.reverse();
    lines.iter_mut().for_each(change);
    dir.append("samples.jsonl", &lines).unwrap();
    dir.write_json("results.json", &evaluation.results(3)).unwrap();
}

fn one(folder: &Path) -> Recorded {
    open(folder).unwrap().remove(0)
}

#[test]
fn a_record_gives_the_figures_that_the_run_gave() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = [
        [task(&[0, 1, 2, 4, 3]), task(&[1, 1, 0]), task(&[4, 2])],
        [task(&[1, 4, 2, 4, 3]), task(&[1, 2, 0]), task(&[0, 2])],
    ];
    let folders = ["a", "b"].map(|name| dir.path().join(name));
    folders.iter().zip(&tasks).for_each(|(folder, tasks)| put(folder, tasks, |_| ()));
    let [before, after] = tasks.map(|tasks| evaluation(&tasks, 4));
    let compared = compare(&one(&folders[0]), &one(&folders[1]), false).unwrap();
    let gains = after.gains_over(&before);
    assert_eq!((compared.rows.len(), compared.shared, compared.left_out), (4, 10, 0));
    for (row, gain) in compared.rows.iter().zip(&gains) {
        assert_eq!((&row.task, row.difference, row.ci95), (&gain.task, gain.gain, gain.ci95));
        assert_eq!((row.greedy_difference, row.greedy_ci95), (Some(gain.greedy_gain), gain.greedy_ci95));
    }
    for (row, [a, b]) in compared.rows.iter().zip(before.rows.iter().zip(&after.rows).map(|(a, b)| [a, b])) {
        assert_eq!((row.a, row.b), (a.pass_at_1, b.pass_at_1), "{}", row.task);
    }
    assert_eq!(compared.differs, Vec::<String>::new());
    let itself = compare(&one(&folders[0]), &one(&folders[0]), false).unwrap();
    assert!(itself.rows.iter().all(|row| row.difference == 0.0 && row.ci95[0] < 0.0 && row.ci95[1] > 0.0));
}

#[test]
fn other_queries_are_refused_with_what_differs_and_what_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| dir.path().join(name));
    put(&a, &[task(&[1, 2, 3]), task(&[1])], |_| ());
    put(&b, &[task(&[1, 2]), task(&[1, 4])], |_| ());
    put(&c, &[task(&[1, 2, 3]), task(&[1])], |sample| sample["truth"] = json!("another"));
    put(&d, &[task(&[1, 2, 3]), task(&[1])], |sample| {
        sample["prompt"] = json!("asked in another way");
        sample["rubric"] = json!("strict");
    });
    let refused =
        |one_place: &Path, other: &Path| compare(&one(one_place), &one(other), false).unwrap_err().to_string();
    let said = refused(&a, &b);
    for words in
        ["3 queries are shared", "1 only in A (1 of logic; the first: `logic-test-7-2`)", "1 only in B (1 of arith"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.ends_with("--shared"), "{said}");
    let shared = compare(&one(&a), &one(&b), true).unwrap();
    assert_eq!((shared.shared, shared.left_out), (3, 2));
    assert_eq!(shared.rows.iter().map(|row| row.queries).collect::<Vec<_>>(), [2, 1, 3]);
    let said = refused(&a, &c);
    assert!(
        said.contains("0 queries are shared") && said.contains("4 with the same id but another ground truth"),
        "{said}"
    );
    assert!(compare(&one(&a), &one(&c), true).is_err(), "nothing is shared");
    let differs = compare(&one(&a), &one(&d), false).unwrap().differs.join("; ");
    assert!(differs.contains("prompts of 4 of 4") && differs.contains("rubrics of 4 of 4"), "{differs}");
}

#[test]
fn a_place_is_an_evaluation_a_folder_of_some_or_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    for (folder, passes) in [("maps-000001", 1), ("maps-000002", 2), ("other-000001", 3)] {
        put(&run.join("eval").join(folder), &[task(&[passes])], |_| ());
        let results = run.join("eval").join(folder).join("results.json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&results).unwrap()).unwrap();
        let (set, step) = folder.split_once('-').unwrap();
        (value["set"], value["step"]) = (json!(set), json!(step.parse::<u64>().unwrap()));
        std::fs::write(&results, value.to_string()).unwrap();
    }
    let named =
        |place: &Path| open(place).unwrap().iter().map(|one| format!("{} {}", one.set, one.step)).collect::<Vec<_>>();
    assert_eq!(named(&run), ["maps 2", "other 1"]);
    assert_eq!(named(&run.join("eval")), ["maps 2", "other 1"]);
    assert_eq!(named(&run.join("eval/maps-000001")), ["maps 1"]);
    let all = compare_all(&open(&run).unwrap(), &open(&run).unwrap(), false).unwrap();
    assert_eq!(all.iter().map(|one| one.set.as_str()).collect::<Vec<_>>(), ["maps", "other"]);
    // One with one, whatever they are called.
    let one_of = |name: &str| open(&run.join("eval").join(name)).unwrap();
    assert_eq!(compare_all(&one_of("maps-000001"), &one_of("other-000001"), false).unwrap().len(), 1);
}

#[test]
fn what_is_no_evaluation_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |place: &Path| open(place).unwrap_err().to_string();
    assert!(refused(&dir.path().join("none")).contains("is not there; name"));
    assert!(refused(dir.path()).contains("holds no evaluation"));
    std::fs::write(dir.path().join("results.json"), "{").unwrap();
    assert!(refused(dir.path()).contains("not JSON"));
    std::fs::write(dir.path().join("results.json"), "{}").unwrap();
    assert!(refused(dir.path()).contains("`tasks` is missing"));
    std::fs::write(dir.path().join("results.json"), r#"{"tasks": []}"#).unwrap();
    std::fs::write(dir.path().join("samples.jsonl"), "").unwrap();
    assert!(refused(dir.path()).contains("has no samples"));
    std::fs::write(dir.path().join("samples.jsonl"), "{\"sample\": 1}\n").unwrap();
    assert!(refused(dir.path()).contains("samples.jsonl line 1: not a sample"));
}
