//! The updates of a run: applied, or left out where a number on their way was not finite; and what a run that breaks ends with.

use sapo_policies::ParamGradients;

use super::Run;
use super::checkpoint::{self, Checkpoint};
use super::skipped::Skipped;
use super::state::TrainerState;
use crate::collective::Collective;
use crate::error::{Result, RunError};
use crate::finite::{NotFinite, Watch};
use crate::metrics::{Metrics, names};
use crate::optimizer::OptimizerConfig;
use crate::update::apply;

/// With what an update changes the weights.
#[derive(Clone, Copy, Debug)]
pub struct Rate<'a> {
    /// The optimizer's options.
    pub optimizer: &'a OptimizerConfig,
    /// The learning rate.
    pub lr: f64,
}

impl Run<'_> {
    /// Changes the weights by gradients. Where a number was not finite, `watch` has seen it or the gradients have it, nothing
    /// is changed, and the update counts as skipped.
    ///
    /// # Errors
    /// When more than `run.max_skipped_steps` in a row are skipped, or a weight is no longer finite.
    pub fn apply(
        &mut self,
        gradients: ParamGradients,
        rate: Rate<'_>,
        watch: Watch,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let first = watch.first();
        // What one process has seen, all of them leave out.
        let seen = self.collective.total(usize::from(first.is_some())) > 0;
        let applied = match first {
            Some(first) => Err(first),
            None if seen => Err(NotFinite::Loss("loss of another process")),
            None => {
                let (model, optimizer) = (&mut self.model, &mut self.optimizer);
                apply(model, optimizer, gradients, rate.optimizer, rate.lr, &self.collective)
            }
        };
        match applied {
            Ok(norm) => {
                self.state.skipped.none();
                metrics.mean(names::GRAD_NORM, norm);
                metrics.sum(names::SKIPPED_STEPS, 0.0);
                Ok(())
            }
            Err(broken @ NotFinite::Weight(_)) => Err(RunError::NotFinite(format!(
                "step {}: {broken} after an update whose gradients were finite",
                self.state.step
            ))),
            Err(first) => self.skip(&first, metrics),
        }
    }

    /// Leaves an update out.
    ///
    /// # Errors
    /// When that is one more in a row than `run.max_skipped_steps`.
    pub fn skip(&mut self, reason: &NotFinite, metrics: &mut Metrics) -> Result<()> {
        metrics.sum(names::SKIPPED_STEPS, 1.0);
        metrics.mean(names::GRAD_NORM, f64::NAN);
        let most = self.config.run.max_skipped_steps;
        let too_many = self.state.skipped.one_more(self.state.step, reason, most);
        let Skipped { in_a_row, first, .. } = &self.state.skipped;
        self.say(&format!(
            "warning: an update of step {} is skipped, the weights stay as they are: {reason} ({in_a_row} in a row; the run \
             stops above run.max_skipped_steps = {most})",
            self.state.step
        ))?;
        if !too_many {
            return Ok(());
        }
        let (first, reason) = first.clone().unwrap_or_default();
        Err(RunError::NotFinite(format!(
            "step {}: {in_a_row} updates in a row were skipped, more than run.max_skipped_steps = {most}; at the first of \
             them, at step {first}, {reason}",
            self.state.step
        )))
    }

    /// What a run ends with that has stopped on its way: whatever it was, the last checkpoint is there to go on from.
    pub fn stopped_by(&self, error: RunError) -> RunError {
        let path = self.path().display();
        match error {
            RunError::NotFinite(reason) => {
                let steps = "the same steps come to the same end, so change what breaks it";
                RunError::Stopped(match self.last_good() {
                    Some(good) => {
                        let from = good.path.display();
                        format!(
                            "{reason}. The last good checkpoint is {from}; {steps} (a lower learning rate, more \
                             warm-up, other data): sapo train {path}/config.toml --fork={from} run.name=NAME \
                             phases.{}.optimizer.lr=...",
                            self.phase_at_hand()
                        )
                    }
                    None => format!("{reason}. There is no good checkpoint yet; {steps}, and begin anew"),
                })
            }
            RunError::Stopped(_) | RunError::Internal(_) => error,
            other => RunError::Stopped(format!("{other}; mend it, then go on with --resume={path}")),
        }
    }

    /// The newest checkpoint from which an update has been done that was not skipped, or at least the newest that none was
    /// skipped before.
    fn last_good(&self) -> Option<Checkpoint> {
        let trouble = self.state.skipped.first.as_ref().map_or(self.state.step, |(step, _)| *step);
        let newest = |wanted: &dyn Fn(&TrainerState) -> bool| {
            let wanted =
                |checkpoint: &Checkpoint| Ok(checkpoint.state.skipped.in_a_row == 0 && wanted(&checkpoint.state));
            checkpoint::newest(self.path(), wanted, &mut |_, _| {}).ok().flatten()
        };
        newest(&|state| state.step < trouble).or_else(|| newest(&|_| true))
    }

    /// The name of the phase at hand, or of the first.
    fn phase_at_hand(&self) -> &str {
        let names = &self.config.run.phases;
        match self.parts.get(self.state.part) {
            Some(crate::parts::Part::Phase(name)) => name,
            _ => names.first().map_or("NAME", String::as_str),
        }
    }
}
