//! A run: its parts in order, each step recorded, checkpoints when they are due.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{Config, PhaseConfig};
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::report;
use crate::run::Run;
use crate::summary::Summary;

/// How a run is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Anew; an existing run directory is refused.
    New,
    /// From the last checkpoint; anew when there is none; a finished run gives its summary again.
    Resume,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// It is done.
    Finished(Box<Summary>),
    /// It was asked to stop, and can be resumed.
    Interrupted {
        /// Steps that are done and saved.
        step: u64,
    },
}

/// A part of a run.
pub enum Part<'a> {
    /// The held-out evaluation, under this name in the table.
    Evaluate(&'a str),
    /// A phase.
    Phase(&'a str, &'a PhaseConfig),
}

/// The parts of a run in order: an evaluation before training, and every phase, evaluated where it says so.
pub fn parts(config: &Config) -> Vec<Part<'_>> {
    let mut parts = vec![Part::Evaluate("init")];
    for name in &config.run.phases {
        let phase = &config.phases[name];
        parts.push(Part::Phase(name, phase));
        parts.extend(phase.eval_after().map(Part::Evaluate));
    }
    parts
}

/// Trains a policy as the configuration says. When `stop` becomes true, the step at hand is finished and saved.
///
/// # Errors
/// When the configuration, the data, the model, a judge or the disk do not allow it; what was written stays.
pub fn train(config: &Config, start: Start, stop: &AtomicBool, progress: &dyn Progress) -> Result<Ended> {
    let mut run = match Run::open(config, start, progress)? {
        Ok(run) => run,
        Err(finished) => return Ok(Ended::Finished(Box::new(finished))),
    };
    let parts = parts(config);
    let outcome = follow(&mut run, &parts, stop).map_err(|error| resumable(error, run.path()));
    run.close(&outcome)?;
    if matches!(outcome, Ok(Ended::Finished(_))) {
        report::write(run.path())?;
    }
    outcome
}

fn follow<'a>(run: &mut Run<'a>, parts: &[Part<'a>], stop: &AtomicBool) -> Result<Ended> {
    while let Some(part) = parts.get(run.state.part) {
        let part_is_done = match part {
            Part::Evaluate(after) => run.evaluate(after)?,
            Part::Phase(name, PhaseConfig::Sft(phase)) => run.sft_step(name, phase)?,
            Part::Phase(name, PhaseConfig::Curate(phase)) => run.curate(name, phase)?,
            Part::Phase(name, PhaseConfig::Rl(phase)) => run.rl_step(name, phase)?,
        };
        if part_is_done {
            run.next_part();
        }
        let stopping = stop.load(Ordering::Relaxed) && run.state.part < parts.len();
        if stopping {
            run.say("asked to stop: saving")?;
        }
        if part_is_done || stopping || run.checkpoint_is_due() {
            run.checkpoint()?;
        }
        if stopping {
            return Ok(Ended::Interrupted { step: run.state.step });
        }
    }
    Ok(Ended::Finished(Box::new(run.summary()?)))
}

/// Whatever ends a run on its way leaves it at its last checkpoint.
fn resumable(error: RunError, path: &Path) -> RunError {
    match error {
        RunError::Stopped(_) | RunError::Internal(_) => error,
        other => RunError::Stopped(format!("{other}; mend it, then go on with --resume={}", path.display())),
    }
}
