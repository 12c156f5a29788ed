//! The gold set, the laws of equality, and the traps.

use proptest::prelude::*;

use super::*;

/// One row of the gold set.
#[derive(serde::Deserialize)]
struct Row {
    id: String,
    gold: String,
    prediction: String,
    form: String,
    equal: bool,
    kind: String,
    ambiguous: bool,
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rewards/math_equivalence.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verdict(gold: &str, prediction: &str) -> Verdict {
    equivalent(gold, prediction, Form::Answer).verdict
}

#[test]
fn the_gold_set_is_recognised_without_a_false_accept() {
    let (mut wrong, mut equal, mut recalled, mut accepts) = (Vec::new(), 0, 0, 0);
    for row in rows() {
        let form = if row.form == "answer" { Form::Answer } else { Form::Response };
        let found = equivalent(&row.gold, &row.prediction, form);
        let right = (found.verdict == Verdict::Equal) == row.equal;
        if !right {
            let mark = if row.ambiguous { "ambiguous " } else { "" };
            wrong.push(format!("{mark}{} {} {:?} {:?}: {:?}", row.id, row.kind, row.gold, row.prediction, found));
        }
        if !row.ambiguous {
            equal += usize::from(row.equal);
            recalled += usize::from(row.equal && right);
            accepts += usize::from(!row.equal && !right);
        }
    }
    assert_eq!(accepts, 0, "{wrong:#?}");
    assert!(recalled * 100 >= equal * 97, "{recalled} of {equal}: {wrong:#?}");
}

#[test]
fn near_values_differ_and_traps_end_quickly() {
    assert_eq!(verdict("9007199254740992", "9007199254740993"), Verdict::Different);
    assert_eq!(verdict("5", "500"), Verdict::Different);
    assert_eq!(verdict("\\frac{1}{2}", "0.5"), Verdict::Equal);
    let deep = "(".repeat(100_000);
    for trap in ["10^{10^{10^{10}}}", "9999999999!", "\\frac{1}{0}", "NaN", "__import__('os')", deep.as_str()] {
        assert_ne!(verdict("12", trap), Verdict::Equal, "{}", shortened(trap));
    }
}

proptest! {
    #[test]
    fn no_text_panics(gold in "\\PC{0,40}", prediction in "\\PC{0,40}") {
        let one = verdict(&gold, &prediction);
        prop_assert_eq!(one, verdict(&gold, &prediction));
    }

    #[test]
    fn equality_is_symmetric_on_numbers(a in -999_i64..999, b in 1_i64..999, c in -999_i64..999, d in 1_i64..999) {
        let (x, y) = (format!("{a}/{b}"), format!("\\frac{{{c}}}{{{d}}}"));
        prop_assert_eq!(verdict(&x, &y) == Verdict::Equal, a * d == c * b);
        prop_assert_eq!(verdict(&x, &y), verdict(&y, &x));
    }
}
