//! Laws of the rows: `all` is the mean of what counts, denominators add up, nothing is gained over itself.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sapo_datasets::{Split, Task, synthetic};

use super::asking::refuse_unclear;
use super::*;
use crate::data::Prompt;

const TASKS: [(Task, bool); 3] = [(Task::Logic, true), (Task::Arith, true), (Task::Provoke, false)];
/// Verdicts of the samples of each query, then of its greedy answer.
pub(crate) type Verdicts = Vec<(Vec<Option<bool>>, Option<bool>)>;

/// The lines of `samples.jsonl` that such an evaluation has.
pub(crate) fn sample_lines(evaluation: &Evaluation) -> Vec<Value> {
    let truths: BTreeMap<&str, &Option<Value>> =
        evaluation.queries.iter().map(|query| (query.id.as_str(), &query.ground_truth)).collect();
    let mut lines = Vec::new();
    for (outcomes, greedy) in evaluation.records.values().flat_map(|record| {
        record.sampled.iter().map(|one| (one, false)).chain(record.greedy.iter().map(|one| (one, true)))
    }) {
        let line = |(sample, passed): (usize, &Option<bool>)| {
            json!({"query_id": outcomes.query_id, "task": outcomes.task, "sample": sample, "greedy": greedy,
                "truth": truths[outcomes.query_id.as_str()], "images": [], "prompt": "asked", "rubric": "exact",
                "text": "so</think>7", "stop": if passed.is_none() { "length" } else { "eos" },
                "score": {"passed": passed, "total": null, "parts": {}}})
        };
        lines.extend(outcomes.passes.iter().enumerate().map(line));
    }
    lines
}

/// An evaluation with these verdicts, task by task; the last of three is no part of `all`.
pub(crate) fn evaluation(tasks: &[Verdicts], samples: usize) -> Evaluation {
    let decoded = EvalSampling {
        samples,
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        presence_penalty: 0.0,
        max_new_tokens: 9,
        seed: 7,
        decode_rows: 8,
    };
    let mut evaluation = Evaluation::new("reasoning", decoded);
    for ((task, counted), verdicts) in TASKS.iter().zip(tasks) {
        let queries: Vec<Query> =
            (0..verdicts.len() as u64).map(|index| synthetic::query(*task, Split::Test, 7, index)).collect();
        let mut record = TaskRecord { counted: *counted, ..TaskRecord::default() };
        for (query, (sampled, greedy)) in queries.iter().zip(verdicts) {
            let of = |passes: &[Option<bool>]| QueryOutcomes {
                query_id: query.id.clone(),
                task: query.task.clone(),
                passes: passes.to_vec(),
            };
            record.sampled.push(of(sampled));
            record.greedy.push(of(&[*greedy]));
            record.said.extend(sampled.iter().map(|passed| Said {
                passed: *passed,
                answer: passed.map(|passed| if passed { "7".to_owned() } else { "8".to_owned() }),
                reward: passed.map(f64::from),
                tokens: 3,
                with_working: *passed == Some(true),
                truncated: passed.is_none(),
                metrics: Vec::new(),
            }));
            evaluation.queries.push(Arc::new(query.clone()));
        }
        evaluation.records.insert(task.name().to_owned(), record);
        evaluation.order.push(task.name().to_owned());
    }
    evaluation.close();
    evaluation
}

fn verdicts(samples: usize) -> impl Strategy<Value = Vec<Verdicts>> {
    let one = || prop::option::weighted(0.8, any::<bool>());
    let query = (prop::collection::vec(one(), samples), one());
    prop::collection::vec(prop::collection::vec(query, 1..5), TASKS.len())
}

fn row<'a>(evaluation: &'a Evaluation, task: &str) -> Option<&'a EvalRow> {
    evaluation.rows.iter().find(|row| row.task == task)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn all_is_the_mean_of_the_counted_tasks(tasks in verdicts(3)) {
        let evaluation = evaluation(&tasks, 3);
        let rated: Vec<&EvalRow> =
            evaluation.rows.iter().filter(|row| ["logic", "arith"].contains(&row.task.as_str())).collect();
        let scored: Vec<&&EvalRow> = rated.iter().filter(|row| row.scored > 0).collect();
        match row(&evaluation, ALL) {
            None => prop_assert!(scored.is_empty()),
            Some(all) => {
                let mean = scored.iter().map(|row| row.pass_at_1).sum::<f64>() / scored.len() as f64;
                prop_assert!((all.pass_at_1 - mean).abs() < 1e-12);
                prop_assert_eq!(all.queries, rated.iter().map(|row| row.queries).sum::<usize>());
                prop_assert_eq!(all.failed, rated.iter().map(|row| row.failed).sum::<usize>());
                prop_assert_eq!(evaluation.rows.last().map(|row| row.task.as_str()), Some(ALL));
            }
        }
    }

    #[test]
    fn what_is_apart_has_a_row_and_does_not_touch_all(tasks in verdicts(2), other in verdicts(2)) {
        let whole = evaluation(&tasks, 2);
        let without = evaluation(&tasks[..2], 2);
        prop_assert_eq!(json!(row(&whole, ALL)), json!(row(&without, ALL)));
        prop_assert!(row(&whole, "provoke").is_some());
        let gains = whole.gains_over(&evaluation(&other, 2));
        let alone = without.gains_over(&evaluation(&other[..2], 2));
        let of = |gains: &[Gain], task: &str| gains.iter().find(|gain| gain.task == task).cloned();
        prop_assert_eq!(of(&gains, ALL), of(&alone, ALL));
        prop_assert_eq!(of(&alone, "provoke"), None);
    }

    #[test]
    fn denominators_add_up(tasks in verdicts(4)) {
        for row in &evaluation(&tasks, 4).rows {
            prop_assert_eq!(row.scored + row.failed, row.queries * 4, "{}", row.task);
        }
    }

    #[test]
    fn nothing_is_gained_over_itself(tasks in verdicts(3)) {
        let evaluation = evaluation(&tasks, 3);
        for gain in evaluation.gains_over(&evaluation) {
            prop_assert_eq!((gain.gain, gain.greedy_gain), (0.0, 0.0));
            prop_assert!(gain.ci95[0] <= 0.0 && gain.ci95[0] == -gain.ci95[1], "{:?}", gain.ci95);
        }
    }
}

#[test]
fn rows_stand_in_order_and_apart_tasks_before_all() {
    let one = || vec![(vec![Some(true), Some(false)], Some(true))];
    let evaluation = evaluation(&[one(), one(), one()], 2);
    let tasks: Vec<&str> = evaluation.rows.iter().map(|row| row.task.as_str()).collect();
    assert_eq!(tasks, ["logic", "arith", "provoke", "all"]);
    let gained: Vec<String> = evaluation.gains_over(&evaluation).into_iter().map(|gain| gain.task).collect();
    assert_eq!(gained, tasks);
    let written = evaluation.results(12);
    assert_eq!((written["step"].as_u64(), written["samples"].as_u64()), (Some(12), Some(2)));
    assert_eq!(written["tasks"].as_array().map(Vec::len), Some(4));
}

#[test]
fn its_line_of_the_metrics_has_the_numbers_of_the_table() {
    let one = |passes: &[bool]| vec![(passes.iter().map(|pass| Some(*pass)).collect(), Some(true))];
    let mut evaluation = evaluation(&[one(&[true, false]), one(&[false, false])], 2);
    "maps".clone_into(&mut evaluation.set);
    let line = evaluation.metrics_line(12, 3.5);
    let said = |key: &str| line[key].as_f64();
    assert_eq!(
        (line["step"].as_u64(), &line["evaluation"], &line["after"]),
        (Some(12), &json!("maps"), &json!("reasoning"))
    );
    assert_eq!(
        (said("eval/maps/pass@1"), said("eval/maps/logic/pass@1"), said("time/eval_secs")),
        (Some(0.25), Some(0.5), Some(3.5))
    );
    assert_eq!(said("eval/maps/arith/pass@1/low"), Some(0.0));
    assert!(said("eval/maps/arith/pass@1/high") > Some(0.5), "0 of 1 says little: {line}");
    assert!(line.get("phase").is_none(), "it is no step of a phase");
}

#[test]
fn more_than_a_few_cut_answers_are_warned_of() {
    let query = |cut: bool| (vec![if cut { None } else { Some(true) }], Some(true));
    let of =
        |cut: usize| evaluation(&[(0..100).map(|at| query(at < cut)).collect()], 1).warning_of_cuts("--max-new-tokens");
    assert_eq!((of(0), of(2)), (None, None));
    let said = of(3).unwrap();
    assert!(
        said.starts_with("3.0 % of the answers were cut at 9 tokens") && said.ends_with("raise --max-new-tokens"),
        "{said}"
    );
}

#[test]
fn pass_at_16_is_told_from_sixteen_samples_on() {
    let passes = |count: usize| (0..16).map(|sample| Some(sample < count)).collect::<Vec<_>>();
    let tasks = |samples: usize| {
        let cut = |count| (passes(count)[..samples].to_vec(), Some(true));
        vec![vec![cut(1)], vec![cut(0), cut(3)]]
    };
    let sixteen = evaluation(&tasks(16), 16);
    assert_eq!(row(&sixteen, "arith").and_then(|row| row.pass_at_16), Some(0.5));
    assert_eq!(row(&sixteen, ALL).and_then(|row| row.pass_at_16), Some(0.75));
    let written = serde_json::to_value(&sixteen.rows[0]).unwrap();
    assert_eq!(written["pass_at_16"], 1.0);
    let fewer = evaluation(&tasks(15), 15);
    assert!(fewer.rows.iter().all(|row| row.pass_at_16.is_none()));
    assert!(serde_json::to_value(&fewer.rows[0]).unwrap().get("pass_at_16").is_none());
}

#[test]
fn ids_come_once_and_no_task_is_called_all() {
    let prompt = |query: Query| Prompt {
        query: Arc::new(query),
        response: None,
        part: 0,
        index: 0,
        input: sapo_policies::PolicyInput::of_text(vec![1]),
    };
    let query = |index| synthetic::query(Task::Clock, Split::Test, 7, index);
    let mut ids = BTreeSet::new();
    refuse_unclear(&prompt(query(0)), &mut ids).unwrap();
    let twice = refuse_unclear(&prompt(query(0)), &mut ids).unwrap_err().to_string();
    assert!(twice.contains("`clock-test-7-0` comes twice"), "{twice}");
    let all = Query { task: ALL.to_owned(), ..query(1) };
    assert!(refuse_unclear(&prompt(all), &mut ids).unwrap_err().to_string().contains("clock-test-7-1"));
}
