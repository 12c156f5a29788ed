//! Rollouts read again before the update: by the reference of a KL, and by the trainer where another engine sampled.

use std::time::Instant;

use sapo_policies::Policy;

use super::Rl;
use crate::batch::advantages;
use crate::error::Result;
use crate::log_probs::log_probs;
use crate::metrics::{Metrics, names};
use crate::rollout_metrics;
use crate::run::Run;
use crate::sample::{ScoredGroup, SeedScope};

impl Rl {
    /// Reads the rollouts that are trained on with the reference, and with the trainer as it is before the update, where
    /// that is asked for.
    pub(super) fn read_again(
        &self,
        run: &Run<'_>,
        batch: &mut [ScoredGroup],
        scope: SeedScope<'_>,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let started = Instant::now();
        let trained = |group: &&ScoredGroup| advantages(group, &self.config, scope).is_ok();
        let chosen: Vec<usize> = (0..batch.len()).filter(|index| trained(&&batch[*index])).collect();
        let read = |policy: &Policy, batch: &[ScoredGroup]| {
            let groups: Vec<&ScoredGroup> = chosen.iter().map(|index| &batch[*index]).collect();
            log_probs(policy, &groups, self.config.sampling.logprob_temperature(), run.config.run.token_budget)
        };
        if let Some(reference) = &self.reference {
            for (index, found) in chosen.iter().zip(read(reference, batch)?) {
                let rollouts = batch[*index].rollouts.iter_mut();
                rollouts.zip(found).for_each(|(scored, found)| scored.reference = found);
            }
        }
        if let Some(importance) = self.config.importance {
            for (index, found) in chosen.iter().zip(read(&run.model.policy, batch)?) {
                for (scored, found) in batch[*index].rollouts.iter_mut().zip(found) {
                    let sampled = scored.rollout.log_probs();
                    importance.record(&importance.weights(&found, &sampled), metrics);
                    rollout_metrics::record_gap(&found, &sampled, true, metrics);
                    scored.trainer = found;
                }
            }
        }
        if self.reference.is_some() || self.config.importance.is_some() {
            metrics.set(names::READ_AGAIN_SECS, started.elapsed().as_secs_f64());
        }
        Ok(())
    }
}
