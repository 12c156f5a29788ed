//! Plugins against programs and servers that behave badly in every known way.

mod faults;
mod forms;
mod python;
mod remote;

use sapo_datasets::{Query, Transcript};
use serde_json::{Value, json};

use super::*;
use crate::reward::score_all;
use crate::reward::tests::query;
use crate::score::Outcome;

/// A query with a ground truth, and what was said to it.
fn pair(truth: Value, response: &str) -> (Query, Transcript) {
    (query("3 + 2?", truth), Transcript::of_answer("q", response))
}

/// Scores answers in one call.
async fn scores(plugin: &Plugin, pairs: &[(Query, Transcript)]) -> Vec<PartScore> {
    let items: Vec<Item<'_>> = pairs.iter().map(|(query, transcript)| Item { query, transcript }).collect();
    score_all(plugin, &items).await
}

fn values(scores: &[PartScore]) -> Vec<Option<f64>> {
    scores.iter().map(|score| score.outcome.value()).collect()
}

fn failure(score: &PartScore) -> (FailureKind, &str) {
    match &score.outcome {
        Outcome::Failed { kind, message } => (*kind, message),
        other => panic!("{other:?}"),
    }
}
