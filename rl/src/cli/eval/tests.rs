//! Figures of a table, of JSON and of the report are the same, digit for digit, whatever the counts are.

use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cli::compare;
use crate::cli::printer::{gains, table};
use crate::comparison::{compare_all, open};
use crate::eval::tests::{Verdicts, evaluation, sample_lines};
use crate::eval::{Evaluation, Gain};
use crate::figures::{interval, percent, points};
use crate::progress::Silent;
use crate::report;
use crate::run_dir::RunDir;

fn verdicts() -> impl Strategy<Value = Vec<Verdicts>> {
    let one = || prop::option::weighted(0.9, any::<bool>());
    let query = (prop::collection::vec(one(), 3), one());
    prop::collection::vec(prop::collection::vec(query, 1..40), 3)
}

/// Writes an evaluation as a run keeps it, its samples in another order than they were made.
fn put(run: &Path, step: u64, evaluation: &Evaluation) {
    let dir = RunDir::open(run, 0, &Silent);
    let mut lines = sample_lines(evaluation);
    lines.reverse();
    dir.append(&format!("eval/maps-{step:06}/samples.jsonl"), &lines).unwrap();
    dir.write_json(&format!("eval/maps-{step:06}/results.json"), &evaluation.results(step)).unwrap();
}

fn named(tasks: &[Verdicts], after: &str) -> Evaluation {
    let mut evaluation = evaluation(tasks, 3).under(after);
    evaluation.belong_to("maps");
    evaluation
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<String> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

fn numbers(value: &Value) -> [f64; 2] {
    [value[0].as_f64().unwrap(), value[1].as_f64().unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn table_json_and_report_agree(before in verdicts(), after in verdicts()) {
        let run = tempfile::tempdir().unwrap();
        // The same queries on both sides.
        let shared = |tasks: &[Verdicts], other: &[Verdicts]| -> Vec<Verdicts> {
            tasks.iter().zip(other).map(|(task, other)| task[..task.len().min(other.len())].to_vec()).collect()
        };
        let first = named(&shared(&before, &after), "init");
        let last = named(&shared(&after, &before), "rl");
        prop_assume!(first.rows.last().is_some_and(|row| row.task == "all"));
        prop_assume!(last.rows.last().is_some_and(|row| row.task == "all"));
        put(run.path(), 0, &first);
        put(run.path(), 7, &last);

        // What is printed, and what --json says of the same rows.
        let printed = table(&last.rows);
        let said = serde_json::from_str::<Value>(&json!(last.rows).to_string()).unwrap();
        let page = report::render(&report::build(run.path()).unwrap()).unwrap();
        let (page, twin) = page.split_once("id=\"report\">").unwrap();
        let twin: Value = serde_json::from_str(twin.split_once("</script>").unwrap().0).unwrap();
        let stage = &twin["sets"][0]["stages"][1];
        for (line, row) in printed.lines().skip(1).zip(said.as_array().unwrap()) {
            let task = row["task"].as_str().unwrap();
            let shown = stage["rows"].as_array().unwrap().iter().find(|shown| shown["task"] == task).unwrap();
            prop_assert_eq!(&shown["pass_at_1"], &row["pass_at_1"]);
            prop_assert_eq!(&shown["ci95"], &row["ci95"]);
            prop_assert_eq!(&shown["greedy"], &row["greedy"]);
            if row["scored"] == 0 {
                continue;
            }
            let [pass, greedy, cut] = ["pass_at_1", "greedy", "truncated"].map(|key| percent(row[key].as_f64().unwrap_or(f64::NAN)));
            let bounds = interval(numbers(&row["ci95"]));
            let cells = cells(line);
            prop_assert_eq!(&cells[3..7], &[pass.clone(), bounds.clone(), greedy.clone(), cut][..], "{}", line);
            let html = format!("{pass}</td><td class=\"wrap\">{bounds}</td>");
            prop_assert!(page.contains(&html), "{} is not in the page", html);
        }

        // What a run says of its gains, what the report finds in the record, and what `sapo compare` finds there.
        let told: Vec<Gain> = last.gains_over(&first);
        let recorded = [0, 7].map(|step| open(&run.path().join(format!("eval/maps-{step:06}"))).unwrap());
        let compared = compare_all(&recorded[0], &recorded[1], false).unwrap();
        let listed = compare::text(&compared);
        for (gain, row) in told.iter().zip(&compared[0].rows) {
            prop_assert_eq!((&gain.task, gain.gain, gain.ci95), (&row.task, row.difference, row.ci95));
            let shown = twin["sets"][0]["gains"].as_array().unwrap().iter().find(|shown| shown["task"] == gain.task.as_str());
            let shown = shown.unwrap();
            prop_assert_eq!((shown["gain"].as_f64(), numbers(&shown["ci95"])), (Some(gain.gain), gain.ci95));
            let line = listed.lines().find(|line| line.starts_with(&format!("{} ", gain.task))).unwrap();
            prop_assert!(line.contains(&format!("{}  {}", points(gain.gain), interval(gain.ci95))), "{}", line);
        }
        let all = told.iter().find(|gain| gain.task == "all").unwrap();
        let words = format!("{} points {}", points(all.gain), interval(all.ci95));
        prop_assert!(gains(&told).contains(&words) && listed.contains(&words) && page.contains(&words), "{}", words);
    }
}
