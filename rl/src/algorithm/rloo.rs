//! RLOO (arXiv 2402.14740): REINFORCE, with the mean of a group's other rollouts as the baseline of each.
//!
//! `A log p` with `A = R - mean of the others`. Mean over each sequence, then over sequences. It knows no ratio: after the
//! first update of a batch its rollouts are those of another policy, so `mini_batches = 1` is its own setting.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aggregation, Algorithm, Fault, Objective, Sequence};
use crate::advantage::AdvantageNorm;
use crate::metrics::Metrics;

/// REINFORCE Leave-One-Out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rloo {}

impl Algorithm for Rloo {
    fn advantage_norm(&self) -> AdvantageNorm {
        AdvantageNorm::LeaveOneOut
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Sequence
    }

    fn objective(&self, sequence: &Sequence<'_>) -> Objective {
        let values = sequence.log_probs.iter().map(|log_prob| sequence.advantage * f64::from(*log_prob)).collect();
        Objective { values, derivatives: vec![sequence.advantage; sequence.log_probs.len()] }
    }

    fn record(&self, _: &Sequence<'_>, _: &mut Metrics) {}

    fn advice(&self, updates: usize) -> Option<String> {
        (updates > 1).then(|| {
            format!("{updates} updates on each batch: RLOO has no ratio, so that all but the first learn from rollouts of another policy")
        })
    }

    fn fault(&self) -> Option<Fault> {
        None
    }
}
