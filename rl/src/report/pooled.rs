//! What runs come to together that differ in their seed alone.

use serde::Serialize;

/// What several runs come to together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seeds {
    /// Their folders; all but the curves and this is of the first.
    pub runs: Vec<String>,
    /// Pass@1 of each evaluation.
    pub rates: Vec<SeedRow>,
    /// What it gained between two evaluations.
    pub gains: Vec<SeedRow>,
}

/// A number over runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeedRow {
    /// The set of queries.
    pub set: String,
    /// The evaluation, or both of them.
    pub of: String,
    /// The task, or `all`.
    pub task: String,
    /// The mean over the runs.
    pub mean: f64,
    /// The least of them.
    pub least: f64,
    /// The most of them.
    pub most: f64,
    /// How many have it.
    pub runs: usize,
}
