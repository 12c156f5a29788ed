//! Puzzles of several kinds with solutions, other solutions, and answers that only look like one.

use proptest::prelude::*;
use sapo_datasets::Transcript;
use sapo_datasets::synthetic::{self, Style, Task};
use serde_json::json;

use super::*;
use crate::reward::tests::query;

fn value(puzzle: &Value, text: &str) -> Option<f64> {
    let query = query("Solve.", puzzle.clone());
    score(&Item { query: &query, transcript: &Transcript::of_answer("q", text) }).outcome.value()
}

fn seats() -> Value {
    json!({
        "variables": {"Ann": [1, 2, 3], "Bob": [1, 2, 3], "Cid": [1, 2, 3]},
        "constraints": [{"all_different": ["Ann", "Bob", "Cid"]}, {"adjacent": ["Ann", "Bob"]}, {"not_equal": ["Cid", 3]}],
    })
}

#[test]
fn any_solution_counts() {
    for text in [
        "{\"Ann\": 2, \"Bob\": 3, \"Cid\": 1}",
        "{\"Ann\": 3, \"Bob\": 2, \"Cid\": 1}",
        "Ann: 2\nBob: 3\nCid: 1",
        "So **Ann** = 2, Bob = 3, Cid = 1.",
        "<think>{\"Ann\": 1}</think>\\boxed{Ann: 2, Bob: 3, Cid: 1}",
        "- ann: 2\n- BOB: 3\n- cid: 1",
        "```json\n{\"solution\": {\"Ann\": \"2\", \"Bob\": 3.0, \"Cid\": 1}}\n```",
    ] {
        assert_eq!(value(&seats(), text), Some(1.0), "{text}");
    }
    for text in [
        "",
        "{}",
        "{\"Ann\": 1, \"Bob\": 3, \"Cid\": 2}",
        "{\"Ann\": 2, \"Bob\": 1, \"Cid\": 3}",
        "{\"Ann\": 2, \"Bob\": 3}",
        "{\"Ann\": 2, \"Bob\": 3, \"Cid\": 3}",
        "{\"Ann\": 2, \"Bob\": 3, \"Cid\": 9}",
        "{\"Ann\": 2, \"Bob\": 3, \"Cid\": [1, 2]}",
        "Ann: 2\nBob: 3\nCid: 1\nCid: 2",
        "<think>Ann: 2\nBob: 3\nCid: 1",
        "{\"Ann\": 2, \"Bob\": 3, \"Cid\": 1,}",
    ] {
        assert_eq!(value(&seats(), text), Some(0.0), "{text}");
    }
}

#[test]
fn knights_and_knaves() {
    let kinds = json!(["knight", "knave"]);
    let puzzle = json!({
        "variables": {"Ann": kinds, "Bob": kinds},
        "constraints": [{"says": ["Ann", {"not": "Bob"}]}, {"says": ["Bob", {"and": [{"not": "Ann"}, {"not": "Bob"}]}]}],
    });
    assert_eq!(value(&puzzle, "Ann is a knight, Bob is a knave."), Some(1.0));
    assert_eq!(value(&puzzle, "Ann is a knave, Bob is a knight."), Some(0.0));
    assert_eq!(value(&puzzle, "Ann is a knight"), Some(0.0));
}

#[test]
fn every_kind_of_constraint() {
    let holds = |constraint: Value| {
        let puzzle = json!({
            "variables": {"a": [1], "b": [2], "c": [4], "t": [true], "f": [false], "w": ["red"]},
            "constraints": [constraint],
        });
        value(&puzzle, "{\"a\": 1, \"b\": 2, \"c\": 4, \"t\": true, \"f\": false, \"w\": \"red\"}")
    };
    for (constraint, kept) in [
        (json!({"all_different": ["a", "b", "c"]}), 1.0),
        (json!({"all_different": ["a", 1]}), 0.0),
        (json!({"equal": ["w", {"value": "Red"}]}), 1.0),
        (json!({"equal": ["a", "b"]}), 0.0),
        (json!({"not_equal": ["a", "b"]}), 1.0),
        (json!({"less": ["a", "b", "c"]}), 1.0),
        (json!({"less": ["b", "a"]}), 0.0),
        (json!({"less_or_equal": ["a", 1]}), 1.0),
        (json!({"greater": ["c", "b"]}), 1.0),
        (json!({"adjacent": ["b", "a"]}), 1.0),
        (json!({"next_to_right": ["a", "b"]}), 1.0),
        (json!({"next_to_right": ["b", "a"]}), 0.0),
        (json!({"distance": ["a", "c", 3]}), 1.0),
        (json!({"between": ["b", "c", "a"]}), 1.0),
        (json!({"sum": {"of": ["a", "b"], "is": 3}}), 1.0),
        (json!({"product": {"of": ["b", "c"], "is": 8}}), 1.0),
        (json!({"difference": {"of": ["c", "a"], "is": 2}}), 0.0),
        (json!({"in": ["a", [1, 3]]}), 1.0),
        (json!({"and": ["t", {"not": "f"}]}), 1.0),
        (json!({"or": ["f", "f"]}), 0.0),
        (json!({"xor": ["t", "f"]}), 1.0),
        (json!({"implies": ["t", "f"]}), 0.0),
        (json!({"iff": ["f", {"equal": ["a", "b"]}]}), 1.0),
        (json!({"count": {"of": ["t", "f", "t"], "is": 2}}), 1.0),
        (json!({"says": ["f", {"equal": ["a", "b"]}]}), 1.0),
    ] {
        assert_eq!(holds(constraint.clone()), Some(kept), "{constraint}");
    }
    for faulty in [json!({"magic": ["a"]}), json!({}), json!({"less": ["w", "a"]}), json!("nobody"), json!({"not": {}})]
    {
        assert_eq!(holds(faulty.clone()), None, "{faulty}");
    }
}

#[test]
fn grids() {
    let sudoku =
        json!({"grid": {"size": 4, "box": [2, 2], "givens": [[1, 0, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]}});
    for text in [
        "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1",
        "1234\n3412\n2143\n4321",
        "1 2 | 3 4\n3 4 | 1 2\n----+----\n2 1 | 4 3\n4 3 | 2 1",
        "[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]",
        "{\"grid\": [[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]}",
        "1 3 2 4\n4 2 3 1\n3 1 4 2\n2 4 1 3",
    ] {
        assert_eq!(value(&sudoku, text), Some(1.0), "{text}");
    }
    for text in [
        "",
        "1 2 3 4",
        "2 1 3 4\n3 4 1 2\n1 2 4 3\n4 3 2 1",
        "1 2 3 4\n2 3 4 1\n3 4 1 2\n4 1 2 3",
        "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 2",
        "1 0 0 4\n0 0 0 0\n0 0 0 0\n0 0 0 0",
        "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\n1 1 1 1",
    ] {
        assert_eq!(value(&sudoku, text), Some(0.0), "{text}");
    }
    let latin = json!({"grid": {"size": 3, "symbols": ["a", "b", "c"]}});
    assert_eq!(value(&latin, "A B C\nB C A\nC A B"), Some(1.0));
    assert_eq!(value(&json!({"grid": {"size": 3, "box": [2, 2]}}), "1"), None);
    assert_eq!(value(&json!({"variables": {}}), "1"), None);
    assert_eq!(value(&json!("x"), "1"), None);
}

#[test]
fn the_synthetic_task_is_checked_by_its_constraints() {
    for index in 0..60 {
        let shown = synthetic::demonstration(Task::Logic, 3, index, Style::Careful);
        let verdict = |text: &str| {
            let transcript = Transcript { thinking_open: true, ..Transcript::of_answer("q", text) };
            score(&Item { query: &shown.query, transcript: &transcript }).outcome.value()
        };
        assert_eq!(verdict(&shown.response), Some(1.0), "{}", shown.response);
        for other in ["Ann", "Bob", "Cid", "Dan", "小明"] {
            let right = synthetic::is_correct(&shown.query, other);
            assert_eq!(verdict(&format!("</think>{other}")), Some(f64::from(u8::from(right))), "{other}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "(\\PC|[0-9A-C:=,{}\"\n \\[\\]|]){0,80}") {
        let _ = value(&seats(), &text);
        let _ = value(&json!({"grid": {"size": 2}}), &text);
    }
}
