//! The parts of a run at work, one file for each kind: a step at a time, until the last.

mod curate;
mod demonstrations;
mod distill;
mod evaluate;
mod rl;
mod sft;

use std::time::Instant;

use sapo_datasets::MixturePart;

use crate::config::{PhaseConfig, SourceUse};
use crate::data;
use crate::error::Result;
use crate::loader::{self, Loader, Prompts};
use crate::metrics::{Metrics, names};
use crate::parts::Part;
use crate::pass_rates::PassedOver;
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

/// The sources of a phase that takes all their queries.
fn whole(run: &Run<'_>, name: &str, data: &[SourceUse]) -> Result<Vec<MixturePart>> {
    let part = |used: &SourceUse| {
        let dataset = data::open(run.config, used, stretch(run, name))?;
        Ok(MixturePart { name: used.name.clone(), dataset, share: used.share })
    };
    data.iter().map(part).collect()
}

/// The next batch of a phase with so many steps, its rows counted; the one after is begun.
fn draw(loader: &mut Loader, run: &mut Run<'_>, steps: u64, metrics: &mut Metrics) -> Result<Prompts> {
    let started = Instant::now();
    let batch = loader.next_batch()?;
    if run.state.step_in_part + 1 < steps {
        loader.prepare(PassedOver::new());
    }
    run.recorder.rejected(&batch.rejected)?;
    metrics.set(names::DATA_SECS, started.elapsed().as_secs_f64());
    loader::count(loader, &batch, metrics);
    Ok(batch)
}

/// The number of a phase among those of its run: each has a stretch of generated queries of its own.
fn stretch(run: &Run<'_>, name: &str) -> u64 {
    run.config.run.phases.iter().position(|phase| phase == name).unwrap_or(0) as u64
}
