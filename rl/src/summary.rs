//! The end of a run in one object, as `sapo train --json` prints it and `summary.json` keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audit::AuditFacts;
use crate::config::EvalConfig;
use crate::curation::{Decision, Tally};
use crate::eval::{EvalRow, Evaluation, Gain};
use crate::kernels::Spent;
use crate::pairs::pairs;
use crate::score::judge::JudgeRecord;

/// The end of a run. Rates and gains are shares: 0.15 is 15 points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Cost and identity of the run.
    #[serde(flatten)]
    pub end: RunEnd,
    /// Every evaluation, a row per task and `all`.
    pub evals: Vec<EvalRow>,
    /// Gains between evaluations, per task and `all`.
    pub gains: Vec<Gain>,
    /// What curation did.
    pub curation: CurationCounts,
    /// What the judge did; absent when the run has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeFacts>,
    /// What the audits of its phases came to, by phase; absent when it has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub audits: BTreeMap<String, AuditFacts>,
    /// Largest gap between sampler and trainer log-probs of the run.
    pub logprob_gap_max: f64,
}

/// Cost and identity of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The run's folder.
    pub run_dir: String,
    /// Seconds from the start of the run to its end.
    pub wall_secs: f64,
    /// Largest resident memory, child processes included, in bytes.
    pub peak_rss_bytes: u64,
    /// What was planned for it, in bytes; absent where nothing was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_bytes: Option<u64>,
    /// What its last process spent on kernels; absent on a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Spent>,
    /// SHA-256 over the final weights.
    pub weights_sha256: String,
    /// SHA-256 over the metrics, less what depends on the clock.
    pub metrics_sha256: String,
}

/// Counts of a curation. They add up: `queries` are those that are kept and all that were dropped, kept includes
/// undecided, and bad rows are no queries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurationCounts {
    /// All queries.
    pub queries: usize,
    /// Kept ones.
    pub kept: usize,
    /// Dropped because they pass too often.
    pub dropped_too_easy: usize,
    /// Dropped because they never pass.
    pub dropped_never_solved: usize,
    /// Kept because too few samples could be scored.
    pub undecided: usize,
    /// Dropped by a rule or filter on the query itself.
    #[serde(default)]
    pub dropped_by_filter: usize,
    /// Dropped because they are solved without their pictures.
    #[serde(default)]
    pub dropped_without_pictures: usize,
    /// Dropped because no response is fit to be imitated.
    #[serde(default)]
    pub dropped_responses: usize,
    /// Rows that could not be used.
    #[serde(default)]
    pub bad_rows: usize,
}

/// What the judge did in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeFacts {
    /// Calls.
    pub calls: u64,
    /// Calls that failed, after every retry.
    pub failed: u64,
    /// Tokens of prompts and replies.
    #[serde(default)]
    pub tokens: u64,
    /// Verdicts that needed no call, since they were known.
    #[serde(default)]
    pub cache_hits: u64,
    /// Rows with a known verdict that were asked beside the others.
    #[serde(default)]
    pub canaries: u64,
    /// Those of them that were judged wrongly.
    #[serde(default)]
    pub canary_failures: u64,
    /// Share of the labelled items on which it agrees with the exact rule; `None` when not measured.
    pub agreement_with_rule: Option<f64>,
    /// Share of its yes that the exact rule confirms; `None` when it never said yes.
    pub precision: Option<f64>,
}

impl Summary {
    /// Sums up a run.
    pub fn of(
        end: RunEnd,
        evaluations: &[Evaluation],
        sets: &BTreeMap<String, EvalConfig>,
        curation: CurationCounts,
        judge: Option<JudgeFacts>,
        logprob_gap_max: f64,
    ) -> Self {
        let mut gains = Vec::new();
        for (name, set) in sets {
            let own: Vec<&Evaluation> = evaluations.iter().filter(|evaluation| evaluation.set == *name).collect();
            let names: Vec<&str> = own.iter().map(|evaluation| evaluation.after.as_str()).collect();
            for (from, to) in pairs(&names, &set.compare) {
                gains.extend(own[to].gains_over(own[from]));
            }
        }
        let evals = evaluations.iter().flat_map(|evaluation| evaluation.rows.clone()).collect();
        Self { end, evals, gains, curation, judge, audits: BTreeMap::new(), logprob_gap_max }
    }
}

impl JudgeFacts {
    /// What a judge's record says.
    pub fn of(record: &JudgeRecord) -> Self {
        Self {
            calls: record.calls,
            failed: record.failed,
            tokens: record.prompt_tokens + record.reply_tokens,
            cache_hits: record.cache_hits,
            canaries: record.canaries,
            canary_failures: record.canary_failures,
            agreement_with_rule: record.agreement,
            precision: record.precision_after,
        }
    }
}

impl CurationCounts {
    /// Adds what a curation came to.
    pub fn add(&mut self, tally: &Tally) {
        let count = |decision| tally.count(decision);
        self.queries += tally.queries();
        self.kept += count(Decision::Kept) + count(Decision::Undecided);
        self.undecided += count(Decision::Undecided);
        self.dropped_too_easy += count(Decision::DroppedTooEasy);
        self.dropped_never_solved += count(Decision::DroppedNeverSolved);
        self.dropped_by_filter += count(Decision::DroppedByFilter);
        self.dropped_without_pictures += count(Decision::DroppedWithoutPictures);
        self.dropped_responses += count(Decision::DroppedResponses);
        self.bad_rows += count(Decision::Unusable);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::curation::Curation;

    #[test]
    fn counts_add_up() {
        let mut tally = Tally::default();
        for (at, decision) in Decision::ALL.into_iter().enumerate() {
            (0..=at).for_each(|_| tally.add(&Curation { decision, ..Curation::default() }));
        }
        let mut counts = CurationCounts::default();
        counts.add(&tally);
        assert_eq!((counts.queries, counts.kept, counts.undecided, counts.bad_rows), (28, 8, 7, 8));
        let dropped = counts.dropped_too_easy + counts.dropped_never_solved + counts.dropped_by_filter;
        assert_eq!(counts.queries - counts.kept, dropped + counts.dropped_without_pictures + counts.dropped_responses);
    }

    #[test]
    fn the_object_has_the_promised_keys_and_reads_back() {
        let end = RunEnd { run_dir: "runs/x".to_owned(), wall_secs: 1.5, ..RunEnd::default() };
        let judge =
            JudgeFacts { calls: 3, failed: 1, canaries: 2, agreement_with_rule: Some(0.9), ..JudgeFacts::default() };
        let summary = Summary::of(end, &[], &BTreeMap::new(), CurationCounts::default(), Some(judge), 1e-6);
        let object = serde_json::to_value(&summary).unwrap();
        let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        let promised = [
            "run_dir",
            "wall_secs",
            "peak_rss_bytes",
            "weights_sha256",
            "metrics_sha256",
            "evals",
            "gains",
            "curation",
            "judge",
            "logprob_gap_max",
        ];
        assert_eq!(keys, promised);
        let wanted = json!({"calls": 3, "failed": 1, "tokens": 0, "cache_hits": 0, "canaries": 2, "canary_failures": 0,
            "agreement_with_rule": 0.9, "precision": null});
        assert_eq!(object["judge"], wanted);
        assert_eq!(serde_json::from_value::<Summary>(object).unwrap(), summary);
        let without = Summary { judge: None, ..summary };
        assert_eq!(serde_json::to_value(&without).unwrap().get("judge"), None::<&Value>);
    }
}
