//! A few answers of an evaluation as TensorBoard shows them: the first query of some tasks, the same at each evaluation.

use std::collections::BTreeSet;
use std::sync::Arc;

use sapo_datasets::Query;
use serde_json::Value;

use crate::eval::Evaluation;
use crate::tensorboard::Shown;

/// Tasks of which a query is shown.
const TASKS: usize = 4;
/// Answers of a query that are shown, the greedy one first.
const ANSWERS: usize = 3;

/// The texts and pictures of an evaluation, while it still has its samples.
pub(super) fn shown(evaluation: &Evaluation) -> Vec<Shown> {
    let mut tasks = BTreeSet::new();
    let first_of_task = |query: &&Arc<Query>| tasks.len() < TASKS && tasks.insert(query.task.clone());
    let queries: Vec<&Arc<Query>> = evaluation.queries.iter().filter(first_of_task).collect();
    queries.into_iter().map(|query| of_query(evaluation, query)).collect()
}

fn of_query(evaluation: &Evaluation, query: &Query) -> Shown {
    let own = |sample: &&Value| sample["query_id"] == query.id.as_str();
    let is_greedy = |sample: &&Value| sample["greedy"] == true;
    let greedy = evaluation.samples.iter().filter(own).filter(is_greedy);
    let sampled = evaluation.samples.iter().filter(own).filter(|sample| !is_greedy(sample));
    let mut text = format!("**Question** (`{}`)\n\n{}", query.id, block(&query.question()));
    if let Some(truth) = &query.ground_truth {
        let truth = truth.as_str().map_or_else(|| truth.to_string(), str::to_owned);
        text.push_str(&format!("**Right**\n\n{}", block(&truth)));
    }
    for sample in greedy.chain(sampled).take(ANSWERS) {
        let how = if is_greedy(&sample) { "Greedy answer" } else { "Sampled answer" };
        let passed = match sample["score"]["passed"].as_bool() {
            Some(true) => "passed",
            Some(false) => "not passed",
            None => "not scored",
        };
        text.push_str(&format!("**{how}**, {passed}\n\n{}", block(sample["text"].as_str().unwrap_or_default())));
    }
    let picture = query.images.first().and_then(|picture| {
        let pixels = picture.decode().ok()?;
        Some((picture.bytes().to_vec(), [pixels.width(), pixels.height()]))
    });
    Shown { name: format!("eval/{}/{}", evaluation.set, query.task), text, picture }
}

/// Markdown that shows a text as it is, whatever is in it.
fn block(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}\n")).collect();
    format!("{}\n", lines.concat())
}
