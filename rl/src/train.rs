//! A run: its parts in order, each step recorded, checkpoints when they are due.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Config;
use crate::error::Result;
use crate::phase::{self, Step};
use crate::progress::Progress;
use crate::report;
use crate::run::{Opened, Run};
use crate::summary::Summary;

pub use crate::run::Start;

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

/// Trains a policy as the configuration says. When `stop` becomes true, the step at hand is finished and saved.
///
/// # Errors
/// When the configuration, the data, the model, a judge or the disk do not allow it; what was written stays.
pub fn train(config: &Config, start: &Start, stop: &AtomicBool, progress: &dyn Progress) -> Result<Ended> {
    let mut run = match Run::open(config, start, progress)? {
        Opened::Running(run) => run,
        Opened::Finished(summary) => return Ok(Ended::Finished(summary)),
    };
    let outcome = follow(&mut run, stop).map_err(|error| run.stopped_by(error));
    run.close(outcome.as_ref().map(Ended::status))?;
    if matches!(outcome, Ok(Ended::Finished(_))) {
        report::write(run.path(), None)?;
    }
    outcome
}

fn follow(run: &mut Run<'_>, stop: &AtomicBool) -> Result<Ended> {
    while let Some(part) = run.part() {
        let mut phase = phase::open(&part, run)?;
        loop {
            let step = phase.step(run)?;
            let last = step == Step::Last;
            if last {
                run.next_part();
            }
            let stopping = stop.load(Ordering::Relaxed) && run.part().is_some();
            if stopping {
                run.say("asked to stop: saving")?;
            }
            let due = last || stopping || run.checkpoint_is_due();
            if due && step != Step::Recorded && !run.only_curates() {
                run.checkpoint()?;
            }
            if stopping {
                return Ok(Ended::Interrupted { step: run.state.step });
            }
            if last {
                break;
            }
        }
    }
    Ok(Ended::Finished(Box::new(run.summary()?)))
}

impl Ended {
    fn status(&self) -> &'static str {
        match self {
            Self::Finished(_) => "finished",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}
