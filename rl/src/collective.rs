//! The seam for several processes: what each has found is summed before it is used. Here is one process alone.

use sapo_policies::ParamGradients;

use crate::metrics::Metrics;

/// Sums over all processes of a run. Divisors are counts over all of them, so that a sum is all that is needed.
pub trait Collective {
    /// The sum of gradients.
    fn all_reduce(&self, gradients: ParamGradients) -> ParamGradients;
    /// The sum of counts.
    fn total(&self, count: usize) -> usize;
    /// The metrics of all.
    fn reduce(&self, metrics: Metrics) -> Metrics;
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn all_reduce(&self, gradients: ParamGradients) -> ParamGradients {
        gradients
    }

    fn total(&self, count: usize) -> usize {
        count
    }

    fn reduce(&self, metrics: Metrics) -> Metrics {
        metrics
    }
}
