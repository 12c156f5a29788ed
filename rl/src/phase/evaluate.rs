//! An evaluation between phases.

use super::{Phase, Step};
use crate::error::Result;
use crate::run::Run;

/// Evaluations of some sets, all in one step.
pub(super) struct Evaluate {
    after: String,
    sets: Vec<String>,
}

impl Evaluate {
    pub(super) fn new(after: &str, sets: &[String]) -> Self {
        Self { after: after.to_owned(), sets: sets.to_vec() }
    }
}

impl Phase for Evaluate {
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step> {
        for set in &self.sets {
            run.evaluate(set, &self.after)?;
        }
        // A policy that was trained by a judge may have learned to please it.
        if let Some(phase) = run.config.phases.get(&self.after).and_then(|phase| phase.as_rl()) {
            run.measure_precision(phase, true)?;
        }
        Ok(Step::Last)
    }
}
