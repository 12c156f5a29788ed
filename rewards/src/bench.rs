//! Gold sets: how often a verifier reaches their labels, and how long its slowest row takes.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Result, RewardError};
use crate::extract::after_thinking;
use crate::verifiers::grounding::{self, GroundingTask, Truth};
use crate::verifiers::math;
use crate::verifiers::multiple_choice;
use crate::verifiers::repetition;

/// A kind of gold set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoldKind {
    /// Rows with `choices`, `gold`, `response`, `extracted`, `correct`.
    MultipleChoice,
    /// Rows with `task`, `gold`, `response`, `valid`, `parsed` and the scores.
    Grounding,
    /// Rows with `text`, `repetitive`.
    Repetition,
    /// Rows with `expected_language`, `text`, `mixed`, `wrong_language`.
    LanguageMixing,
    /// Rows with `gold`, `prediction`, `form`, `equal`.
    MathEquivalence,
}

impl GoldKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::MultipleChoice, Self::Grounding, Self::Repetition, Self::LanguageMixing, Self::MathEquivalence];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple_choice",
            Self::Grounding => "grounding",
            Self::Repetition => "repetition",
            Self::LanguageMixing => "language_mixing",
            Self::MathEquivalence => "math_equivalence",
        }
    }
}

/// What a bench found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Rows that count.
    pub rows: usize,
    /// The share of rows with all labels reached.
    pub accuracy: f64,
    /// The share of rows with a positive label that were found; 1 when there is none.
    pub recall: f64,
    /// Rows with a negative label that were taken for positive.
    pub false_accepts: usize,
    /// Rows with a positive label that were missed.
    pub false_rejects: usize,
    /// Rows where the verifier could not tell, apart from those it found different; only mathematics says so.
    pub unknown: usize,
    /// Milliseconds of the slowest row, after one row to warm up.
    pub slowest_ms: f64,
    /// The ids of the rows with a label that was not reached.
    pub wrong_ids: Vec<String>,
    /// Rows that were left out because their label depends on a policy.
    pub ambiguous: usize,
}

/// What a row says, and what was found.
struct Verdict {
    right: bool,
    wanted: bool,
    found: bool,
    unknown: bool,
}

/// Runs a verifier over the rows of a gold set.
///
/// # Errors
/// When a row lacks a field of its kind.
pub fn bench(kind: GoldKind, rows: &[Value]) -> Result<BenchReport> {
    let judge = match kind {
        GoldKind::MultipleChoice => choice,
        GoldKind::Grounding => ground,
        GoldKind::Repetition => repeat,
        GoldKind::LanguageMixing => language_mixing,
        GoldKind::MathEquivalence => math_equivalence,
    };
    let counted = rows.iter().enumerate().filter(|(_, row)| row.get("ambiguous") != Some(&Value::Bool(true)));
    let counted: Vec<(usize, &Value)> = counted.collect();
    let mut report = BenchReport {
        rows: counted.len(),
        accuracy: 1.0,
        recall: 1.0,
        false_accepts: 0,
        false_rejects: 0,
        unknown: 0,
        slowest_ms: 0.0,
        wrong_ids: Vec::new(),
        ambiguous: rows.len() - counted.len(),
    };
    if let Some((at, row)) = counted.first() {
        judge(row).map_err(|reason| RewardError::row(at + 1, reason))?;
    }
    let mut positive = 0;
    for (at, row) in counted {
        let start = Instant::now();
        let verdict = judge(row).map_err(|reason| RewardError::row(at + 1, reason))?;
        report.slowest_ms = report.slowest_ms.max(start.elapsed().as_secs_f64() * 1e3);
        positive += usize::from(verdict.wanted);
        report.false_accepts += usize::from(verdict.found && !verdict.wanted);
        report.false_rejects += usize::from(!verdict.found && verdict.wanted);
        report.unknown += usize::from(verdict.unknown);
        if !verdict.right {
            let id = row.get("id").and_then(Value::as_str);
            report.wrong_ids.push(id.map_or_else(|| format!("row {}", at + 1), str::to_owned));
        }
    }
    if report.rows > 0 {
        report.accuracy = 1.0 - report.wrong_ids.len() as f64 / report.rows as f64;
    }
    if positive > 0 {
        report.recall = 1.0 - report.false_rejects as f64 / positive as f64;
    }
    Ok(report)
}

type Judged = std::result::Result<Verdict, String>;

fn field<'r>(row: &'r Value, key: &str) -> std::result::Result<&'r Value, String> {
    row.get(key).ok_or_else(|| format!("no field `{key}`"))
}

fn text<'r>(row: &'r Value, key: &str) -> std::result::Result<&'r str, String> {
    field(row, key)?.as_str().ok_or_else(|| format!("`{key}` is not a text"))
}

fn flag(row: &Value, key: &str) -> std::result::Result<bool, String> {
    field(row, key)?.as_bool().ok_or_else(|| format!("`{key}` is neither true nor false"))
}

fn choice(row: &Value) -> Judged {
    let choices = multiple_choice::read_choices(field(row, "choices")?).ok_or("`choices` holds no options")?;
    let wanted = flag(row, "correct")?;
    let chosen = multiple_choice::chosen(text(row, "response")?, &choices).map(String::from);
    let found = chosen.as_deref() == Some(text(row, "gold")?);
    let same = chosen.as_deref() == field(row, "extracted")?.as_str();
    Ok(Verdict { right: same && found == wanted, wanted, found, unknown: false })
}

fn ground(row: &Value) -> Judged {
    const CLOSE: f64 = 1e-6;
    let task: GroundingTask = serde_json::from_value(field(row, "task")?.clone()).map_err(|error| error.to_string())?;
    let boxes = serde_json::from_value(field(row, "gold")?.clone()).map_err(|error| error.to_string())?;
    let truth = Truth { task, boxes };
    let places = match after_thinking(text(row, "response")?) {
        Some(answer) => grounding::parse(answer, task),
        None => Err("unclosed thinking".to_owned()),
    };
    let fit = places.as_ref().map_or(grounding::Fit { mean: 0.0, f1: 0.0 }, |places| grounding::fit(&truth, places));
    let labels: &[(&str, f64)] = match task {
        GroundingTask::Bbox => &[("mean_iou", fit.mean), ("f1_50", fit.f1)],
        GroundingTask::Point => &[("point_score", fit.mean)],
    };
    let mut right = true;
    for (key, value) in labels {
        let label = field(row, key)?.as_f64().ok_or_else(|| format!("`{key}` is not a number"))?;
        right &= (label - value).abs() <= CLOSE;
    }
    let parsed: Option<Vec<Vec<f64>>> = serde_json::from_value(field(row, "parsed")?.clone()).unwrap_or_default();
    let (wanted, found) = (flag(row, "valid")?, places.is_ok());
    Ok(Verdict { right: right && wanted == found && parsed == places.ok(), wanted, found, unknown: false })
}

fn repeat(row: &Value) -> Judged {
    let wanted = flag(row, "repetitive")?;
    let found = repetition::sign(text(row, "text")?, repetition::Repetition::default()).is_some();
    Ok(Verdict { right: wanted == found, wanted, found, unknown: false })
}

fn math_equivalence(row: &Value) -> Judged {
    let form = match text(row, "form")? {
        "answer" => math::Form::Answer,
        "response" => math::Form::Response,
        other => return Err(format!("`form` is `{other}`; `answer` and `response` are known")),
    };
    let wanted = flag(row, "equal")?;
    let verdict = math::equivalent(text(row, "gold")?, text(row, "prediction")?, form).verdict;
    let found = verdict == math::Verdict::Equal;
    Ok(Verdict { right: found == wanted, wanted, found, unknown: verdict == math::Verdict::Unknown })
}

fn language_mixing(row: &Value) -> Judged {
    let finding = crate::verifiers::language::examine(text(row, "text")?, text(row, "expected_language")?);
    let (mixed, wrong) = (flag(row, "mixed")?, flag(row, "wrong_language")?);
    let right = finding.mixed == mixed && finding.wrong_language == wrong;
    let found = finding.mixed || finding.wrong_language;
    Ok(Verdict { right, wanted: mixed || wrong, found, unknown: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gold(kind: GoldKind) -> Vec<Value> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rewards");
        let text = std::fs::read_to_string(format!("{folder}/{}.jsonl", kind.name())).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn the_figures_on_the_gold_sets_are_reached() {
        for (kind, least) in [
            (GoldKind::MultipleChoice, 0.95),
            (GoldKind::Grounding, 1.0),
            (GoldKind::Repetition, 0.9),
            (GoldKind::LanguageMixing, 0.88),
        ] {
            let report = bench(kind, &gold(kind)).unwrap();
            assert!(report.accuracy >= least, "{}: {report:?}", kind.name());
            assert!(report.slowest_ms < 20.0, "{}: {report:?}", kind.name());
        }
    }

    #[test]
    fn labels_are_counted_by_what_they_want() {
        let rows = [
            serde_json::json!({"id": "a", "text": "x", "repetitive": true}),
            serde_json::json!({"id": "b", "text": "x".repeat(500), "repetitive": false}),
            serde_json::json!({"id": "c", "text": "x", "repetitive": false}),
            serde_json::json!({"id": "d", "text": "x", "repetitive": true, "ambiguous": true}),
        ];
        let report = bench(GoldKind::Repetition, &rows).unwrap();
        assert_eq!((report.rows, report.ambiguous, report.false_accepts, report.false_rejects), (3, 1, 1, 1));
        assert_eq!((report.recall, report.wrong_ids.len()), (0.0, 2));
        assert!(bench(GoldKind::Repetition, &[serde_json::json!({"text": 5})]).is_err());
    }
}
