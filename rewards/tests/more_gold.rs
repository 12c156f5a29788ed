//! The project's own rows beside the gold sets: families of answers, hard negatives, and hostile ones.

use sapo_rewards::bench::{BenchReport, GoldKind, bench};
use serde_json::Value;

fn report(kind: GoldKind) -> BenchReport {
    report_of(kind, "more")
}

fn report_of(kind: GoldKind, set: &str) -> BenchReport {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rewards");
    let text = std::fs::read_to_string(format!("{folder}/{}_{set}.jsonl", kind.name())).expect("the rows");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    bench(kind, &rows).expect("rows of this kind")
}

#[test]
fn the_figures_are_reached_on_more_rows() {
    for (kind, least_rows, least) in [
        (GoldKind::MathEquivalence, 2_500, 0.99),
        (GoldKind::MultipleChoice, 740, 1.0),
        (GoldKind::Grounding, 100, 1.0),
        (GoldKind::Repetition, 150, 0.98),
        (GoldKind::LanguageMixing, 250, 0.98),
    ] {
        let report = report(kind);
        assert!(report.rows >= least_rows && report.accuracy >= least, "{}: {report:?}", kind.name());
    }
}

#[test]
fn no_wrong_answer_of_mathematics_choices_or_grounding_is_accepted() {
    for kind in [GoldKind::MathEquivalence, GoldKind::MultipleChoice, GoldKind::Grounding] {
        let report = report(kind);
        assert_eq!(report.false_accepts, 0, "{}: {report:?}", kind.name());
    }
}

#[test]
fn mathematics_as_people_write_it_is_recognised_without_a_false_accept() {
    for (set, least_rows) in [("people", 300), ("kinds", 200), ("graders", 1_400)] {
        let report = report_of(GoldKind::MathEquivalence, set);
        assert_eq!((report.false_accepts, report.rows >= least_rows), (0, true), "{set}: {report:?}");
        assert!(report.recall >= 0.98, "{set}: {report:?}");
        assert!(report.unknown > 0, "what cannot be told is counted apart: {report:?}");
    }
}
