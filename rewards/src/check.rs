//! The check before a run: gold answers must get the most, and answers that say nothing must not.

use sapo_datasets::{Demonstration, Query, Transcript};
use serde::Serialize;

use crate::reward::{Item, Reward, score_all};
use crate::score::Outcome;

/// So often an answer is said in the attack that repeats it.
const REPEATS: usize = 10_000;

/// An answer that got what it should not, or did not get what it should.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The query.
    pub query_id: String,
    /// Which answer: `gold`, or the name of the attack.
    pub answer: &'static str,
    /// What the reward gave: a value, or the reason for none.
    pub got: String,
    /// The evidence of the reward.
    pub evidence: Option<String>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// Queries that were checked.
    pub queries: usize,
    /// Answers of attacks that were tried.
    pub attacks: usize,
    /// Gold answers that did not get the most.
    pub false_rejects: Vec<Finding>,
    /// Answers of attacks that got the most.
    pub false_accepts: Vec<Finding>,
    /// Attacks for which the reward had no value: it must tell a wrong answer from a fault.
    pub failures: Vec<Finding>,
    /// Whether a second run gave the same values, as far as the reward promises that.
    pub deterministic: bool,
}

impl CheckReport {
    /// Whether nothing was found.
    pub fn is_good(&self) -> bool {
        self.false_rejects.is_empty() && self.false_accepts.is_empty() && self.failures.is_empty() && self.deterministic
    }
}

/// Checks a reward on queries with their gold responses.
pub async fn check(reward: &dyn Reward, rows: &[Demonstration]) -> CheckReport {
    let mut cases: Vec<(&Query, &'static str, Transcript)> = Vec::new();
    for row in rows {
        cases.push((&row.query, "gold", transcript(row, row.response.clone())));
        cases.extend(attacks(row).into_iter().map(|(name, text)| (&row.query, name, transcript(row, text))));
    }
    let items: Vec<Item<'_>> = cases.iter().map(|(query, _, transcript)| Item { query, transcript }).collect();
    let scores = score_all(reward, &items).await;
    let again = score_all(reward, &items).await;
    let spec = reward.spec();
    let mut report = CheckReport {
        queries: rows.len(),
        deterministic: !spec.deterministic || scores == again,
        ..CheckReport::default()
    };
    for ((query, answer, _), score) in cases.iter().zip(scores) {
        let gold = *answer == "gold";
        let got = match &score.outcome {
            Outcome::Value(value) => value.to_string(),
            Outcome::Skip(reason) => format!("skipped: {reason}"),
            Outcome::Failed { message, .. } => format!("failed: {message}"),
        };
        let most = score.outcome.value().map(|value| value >= spec.range.1);
        let finding = Finding { query_id: query.id.clone(), answer, got, evidence: score.evidence };
        report.attacks += usize::from(!gold);
        match (gold, most) {
            (true, Some(true)) | (false, Some(false)) => {}
            (true, _) => report.false_rejects.push(finding),
            (false, Some(true)) => report.false_accepts.push(finding),
            (false, None) => report.failures.push(finding),
        }
    }
    report
}

fn transcript(row: &Demonstration, text: String) -> Transcript {
    let thinking_open = row.response.contains("</think>") && !row.response.contains("<think>");
    Transcript { thinking_open, ..Transcript::of_answer(&row.query.id, text) }
}

/// Answers that say nothing, each a whole response with its thinking as in the gold one.
fn attacks(row: &Demonstration) -> Vec<(&'static str, String)> {
    let (thinking, gold) = match row.response.rfind("</think>") {
        Some(at) => row.response.split_at(at + "</think>".len()),
        None => ("", row.response.as_str()),
    };
    let closed = |answer: &str| format!("{thinking}{answer}");
    let mut attacks = vec![
        ("empty", closed("")),
        ("echoed question", closed(&row.query.question())),
        ("repeated answer", closed(&format!("{gold}\n").repeat(REPEATS))),
        ("opener", closed("Solution:")),
    ];
    if !thinking.is_empty() {
        attacks.push(("answer in unclosed thinking", format!("{}{gold}", thinking.trim_end_matches("</think>"))));
    }
    attacks
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sapo_datasets::synthetic::{self, Style, Task};

    use super::*;
    use crate::registry::Registry;
    use crate::reward::tests::now;
    use crate::reward::{RewardSpec, Rule};
    use crate::score::PartScore;

    fn rows(task: Task) -> Vec<Demonstration> {
        (0..3).map(|index| synthetic::demonstration(task, 2, index, Style::Careful)).collect()
    }

    #[test]
    fn the_verifiers_of_all_tasks_pass() {
        for task in Task::ALL {
            let reward = Registry::rules().get("truth").unwrap();
            let report = now(check(&*reward, &rows(task)));
            assert!(report.is_good(), "{task}: {report:#?}");
            assert_eq!((report.queries, report.attacks), (3, 15));
        }
    }

    #[test]
    fn a_lenient_and_a_blind_reward_are_found_out() {
        let lenient = Rule::new(RewardSpec::rule("x", "x/1"), |item: &Item<'_>| {
            let gold = item.query.ground_truth.as_ref().map(ToString::to_string).unwrap_or_default();
            PartScore::verdict(item.transcript.last_text().contains(&gold), "contains")
        });
        let report = now(check(&lenient, &rows(Task::Arith)));
        assert!(report.false_accepts.iter().any(|finding| finding.answer == "repeated answer"), "{report:?}");
        let wrong = Registry::rules().get("clock").unwrap();
        assert_eq!(now(check(&*wrong, &rows(Task::Arith))).false_rejects.len(), 3);
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let fickle = Rule::new(RewardSpec::rule("x", "x/1"), move |_: &Item<'_>| {
            PartScore::verdict(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(7), "")
        });
        assert!(!now(check(&fickle, &rows(Task::Arith))).deterministic);
    }
}
