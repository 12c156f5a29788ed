//! The parts of a run at work, one file for each kind: a step at a time, until the last.

mod curate;
mod demonstrations;
mod distill;
mod evaluate;
mod rl;
mod sft;

use crate::config::PhaseConfig;
use crate::error::Result;
use crate::parts::Part;
use crate::run::Run;

/// Whether a part goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// There is more to do, and a resume goes on from here without a checkpoint.
    Recorded,
    /// That was all.
    Last,
}

/// A part of a run at work.
pub trait Phase {
    /// Does the next step and records it.
    ///
    /// # Errors
    /// When the step cannot be done or recorded; the run then stands before it.
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step>;
}

/// Opens the part at hand where the run stands.
///
/// # Errors
/// When its data, its rewards or its judge cannot be used.
pub fn open(part: &Part, run: &mut Run<'_>) -> Result<Box<dyn Phase>> {
    let name = match part {
        Part::Evaluate { after, sets } => return Ok(Box::new(evaluate::Evaluate::new(after, sets))),
        Part::Phase(name) => name,
    };
    let phase = &run.config.phases[name];
    if phase.kind().trains() && run.state.step_in_part == 0 {
        run.begin_training(name)?;
    }
    Ok(match phase {
        PhaseConfig::Sft(config) => Box::new(sft::Sft::open(name, &config.clone(), run)?),
        PhaseConfig::Curate(config) => Box::new(curate::Curate::open(name, &config.clone(), run)?),
        PhaseConfig::Distill(config) => Box::new(distill::Distill::open(name, &config.clone(), run)?),
        PhaseConfig::Rl(config) => Box::new(rl::Rl::open(name, &config.clone(), run)?),
    })
}

/// The number of a phase among those of its run: each has a stretch of generated queries of its own.
fn stretch(run: &Run<'_>, name: &str) -> u64 {
    run.config.run.phases.iter().position(|phase| phase == name).unwrap_or(0) as u64
}
