//! Audited answers in groups: by task, by part of a score, by length; of each the shares on which the graders differ.

use std::collections::BTreeSet;

use super::super::audited::{Breakdown, BreakdownRow, Share};
use crate::audit::{AuditLine, Found};
use crate::stats::{QueryOutcomes, mean_interval};

/// The part that decides pass or fail.
const CORRECT: &str = "correct";
/// From this value on a part pays, as `correct` passes.
const PAYS: f64 = 0.5;

/// The share that differs among the answers that the trained rubric passes, or among those that it fails; the answers to one
/// query in one step are one cluster, and each query counts alike. `None` without such answers.
pub(super) fn share(lines: &[&AuditLine], passes: bool) -> Option<Share> {
    let of_kind: Vec<&&AuditLine> = lines.iter().filter(|line| line.trained_passes() == Some(passes)).collect();
    let clusters = of_kind.chunk_by(|one, next| (one.step, &one.query_id) == (next.step, &next.query_id));
    let outcomes = clusters.map(|cluster| QueryOutcomes {
        query_id: cluster[0].query_id.clone(),
        task: String::new(),
        passes: cluster.iter().map(|line| Some(line.outcome != Found::Agreed)).collect(),
    });
    let estimate = mean_interval(&outcomes.collect::<Vec<_>>())?;
    let differ = of_kind.iter().filter(|line| line.outcome != Found::Agreed).count();
    Some(Share { answers: of_kind.len(), differ, share: estimate.value, ci95: estimate.interval })
}

/// The groups that have something to tell: tasks where there are several, parts of both scores, lengths.
pub(super) fn breakdowns(lines: &[&AuditLine]) -> Vec<Breakdown> {
    let tasks: BTreeSet<&str> = lines.iter().map(|line| line.task.as_str()).collect();
    let by_task = tasks.iter().filter(|_| tasks.len() > 1);
    let by_task = by_task.map(|task| row(task, lines, &|line| line.task == *task)).collect();
    let trained: BTreeSet<&str> = lines.iter().flat_map(|line| line.trained.parts.keys()).map(String::as_str).collect();
    // The verdict of the second rubric is what all of this is about.
    let second = lines.iter().filter_map(|line| line.audit.as_ref()).flat_map(|score| &score.parts);
    let second: BTreeSet<&str> = second.map(|part| part.name.as_str()).filter(|name| *name != CORRECT).collect();
    let of_trained = |line: &AuditLine, part: &str| line.trained.parts.get(part).copied();
    let of_second = |line: &AuditLine, part: &str| line.audit.as_ref()?.part(part)?.score.outcome.value();
    let all = [
        ("Task", by_task),
        ("Part of the trained rubric", parts(&trained, lines, &of_trained)),
        ("Part of the second rubric", parts(&second, lines, &of_second)),
        ("Tokens of the answer", by_length(lines)),
    ];
    let all = all.into_iter().map(|(by, rows): (&str, Vec<BreakdownRow>)| Breakdown {
        by: by.to_owned(),
        rows: rows.into_iter().filter(|row| row.lenient.is_some() || row.strict.is_some()).collect(),
    });
    all.filter(|breakdown| !breakdown.rows.is_empty()).collect()
}

/// The value that a line has for a part.
type ValueOf<'a> = &'a dyn Fn(&AuditLine, &str) -> Option<f64>;

/// For each part the answers that it is paid for, and the others.
fn parts(names: &BTreeSet<&str>, lines: &[&AuditLine], value: ValueOf<'_>) -> Vec<BreakdownRow> {
    let both = |part: &&str| {
        let pays = |line: &AuditLine| value(line, part).map(|value| value >= PAYS);
        [
            row(&format!("{part} \u{2265} {PAYS}"), lines, &|line| pays(line) == Some(true)),
            row(&format!("{part} < {PAYS}"), lines, &|line| pays(line) == Some(false)),
        ]
    };
    names.iter().flat_map(both).collect()
}

/// By length, each group twice as long as the one before.
fn by_length(lines: &[&AuditLine]) -> Vec<BreakdownRow> {
    let bin = |line: &AuditLine| line.tokens.max(1).ilog2();
    let bins: BTreeSet<u32> = lines.iter().map(|line| bin(line)).collect();
    let label = |bin: u32| match (1_u64 << bin, (2_u64 << bin) - 1) {
        (1, _) => "1".to_owned(),
        (from, to) => format!("{from} to {to}"),
    };
    bins.into_iter().map(|own| row(&label(own), lines, &|line| bin(line) == own)).collect()
}

fn row(label: &str, lines: &[&AuditLine], is_in: &dyn Fn(&AuditLine) -> bool) -> BreakdownRow {
    let within: Vec<&AuditLine> = lines.iter().copied().filter(|line| is_in(line)).collect();
    BreakdownRow { label: label.to_owned(), lenient: share(&within, true), strict: share(&within, false) }
}
