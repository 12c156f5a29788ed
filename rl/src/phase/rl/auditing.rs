//! The audit of a step: begun before the update, waited for after it, and heeded when the step is recorded.

use std::time::Instant;

use super::Rl;
use crate::audit::{Audit, Slice};
use crate::config::RlConfig;
use crate::error::{Result, RunError};
use crate::metrics::{Metrics, names};
use crate::run::Run;
use crate::sample::ScoredGroup;

/// Opens the audit of a phase, if it has one; its judges are measured as those of the reward are.
pub(super) fn open(name: &str, config: &RlConfig, run: &mut Run<'_>) -> Result<Option<Audit>> {
    let Some(audit) = &config.audit else { return Ok(None) };
    let judges = run.config.judges_of(&audit.rubric);
    run.measure_judges(&format!("{name}.audit"), &judges)?;
    Audit::open(name, audit, &run.rewards, run.path()).map(Some)
}

impl Rl {
    /// Draws the slice of a step, and has it scored while the policy learns.
    pub(super) fn start_audit(&self, run: &Run<'_>, place: &str, batch: &[ScoredGroup]) -> Option<Slice> {
        self.audit.as_ref().map(|audit| audit.start(&run.rewards, self.scope(run, place), batch))
    }

    /// Waits for the scores of the slice and records them; tells whether the alarm has just come.
    pub(super) fn finish_audit(
        &mut self,
        run: &mut Run<'_>,
        slice: Option<Slice>,
        (batch, file): (&[ScoredGroup], &str),
        metrics: &mut Metrics,
    ) -> Result<bool> {
        let (Some(audit), Some(slice)) = (&mut self.audit, slice) else { return Ok(false) };
        let started = Instant::now();
        let (audited, alarm) = audit.finish(&run.rewards, slice, batch, (run.state.step, file))?;
        audit.record(&audited, metrics);
        run.recorder.audit(run.state.step, &audited)?;
        metrics.set(names::AUDIT_SECS, started.elapsed().as_secs_f64());
        Ok(alarm)
    }

    /// Stops the run behind the step of an alarm, where the configuration says so. The warning is that of the guards.
    pub(super) fn heed_alarm(&self, run: &mut Run<'_>) -> Result<()> {
        if !self.config.audit.as_ref().is_some_and(|audit| audit.stop) {
            return Ok(());
        }
        run.checkpoint()?;
        let path = run.path().display();
        Err(RunError::Stopped(format!(
            "{}: the audit raised its alarm, and audit.stop is true. Look at what the graders differ on (sapo report {path}); \
             --resume={path} goes on all the same, and --fork={path} run.name=NAME with another reward",
            self.name
        )))
    }
}
