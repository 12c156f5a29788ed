//! How a run begins: anew, or from its last checkpoint.

use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::Checkpoint;
use super::record::Recorder;
use super::state::TrainerState;
use super::{Run, recorded, resume};
use crate::collective::Alone;
use crate::config::Config;
use crate::engine::RunEngine;
use crate::error::Result;
use crate::guards::Guards;
use crate::metrics::numbers;
use crate::optimizer::AdamW;
use crate::parts::{Part, parts};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::score::Rewards;
use crate::summary::Summary;
use crate::{checking, data, data_check, device, ledger, model_setup};

/// How a run is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Anew; an existing run directory is refused.
    New,
    /// From the last checkpoint; anew when there is none; a finished run gives its summary again.
    Resume,
}

/// What opening a run has found.
pub enum Opened<'a> {
    /// A run to go on with.
    Running(Box<Run<'a>>),
    /// One that has finished.
    Finished(Box<Summary>),
}

impl<'a> Run<'a> {
    /// Opens the run that the configuration names. What is cheap to refuse is refused before judges and models are loaded,
    /// and before there is a folder.
    ///
    /// # Errors
    /// When the model, the data, a judge or the run directory cannot be used.
    pub fn open(config: &'a Config, start: Start, progress: &'a dyn Progress) -> Result<Opened<'a>> {
        let path = config.run_path();
        let found = start == Start::Resume && path.exists();
        if found {
            resume::is_run(&path)?;
            resume::same_config(config, &path)?;
            if let Some(summary) = resume::finished(&path) {
                progress.say(&format!("{} is finished; its summary follows", path.display()));
                return Ok(Opened::Finished(Box::new(summary)));
            }
        } else {
            RunDir::refuse_existing(&path)?;
        }
        let notes = data::check_all(config)?;
        recorded::check_inputs(config)?;
        let rewards = Rewards::open(config)?;
        checking::before_run(config, &rewards, progress)?;
        let checkpoint = if found { resume::newest(&path, progress)? } else { None };
        let device = device::open(&config.run.device)?;
        let mut model = model_setup::open(config, checkpoint.as_ref().map(|found| found.path.as_path()), &device)?;
        model.limit_prompts(config.policy.prompt_limit());
        data::try_encoding(config, &model.processor)?;
        data_check::refuse_bad_rows(config, &model.processor, progress)?;
        let engine = RunEngine::open(&config.engine, &model, [config.run.decode_rows, config.run.cache_mib])?;
        let dir = match found {
            true => RunDir::open(&path, config.run.disk_wait_secs, progress),
            false => RunDir::create(&path, config.run.disk_wait_secs, progress)?,
        };
        rewards.remember_in(&path);
        let mut run = Run {
            state: TrainerState::default(),
            config,
            processor: Arc::clone(&model.processor),
            engine,
            model,
            optimizer: AdamW::default(),
            rewards,
            recorder: Recorder::new(dir, progress),
            collective: Alone,
            progress,
            parts: parts(config),
            guards: Guards::new(&config.run.warn),
            started: Instant::now(),
            wall_secs_before: 0.0,
            saved_at: 0,
            judged: Default::default(),
        };
        match checkpoint {
            Some(checkpoint) => run.restore(checkpoint)?,
            None => run.begin()?,
        }
        for line in notes.iter().chain(run.rewards.prepared()) {
            run.say(line)?;
        }
        if !config.engine.is_local() {
            run.say(&RunEngine::described(&config.engine))?;
        }
        run.set_status("running")?;
        Ok(Opened::Running(Box::new(run)))
    }

    fn begin(&mut self) -> Result<()> {
        // What a run that never saved left behind, when it is begun again by a resume.
        self.roll_back(&mut Checkpoint::none())?;
        self.recorder.begin(&self.config.to_toml()?)?;
        model_setup::keep_base(self.recorder.dir(), &self.model)?;
        let plan = Plan::of(self.config, &self.model)?;
        for line in plan.lines() {
            self.say(&line)?;
        }
        self.recorder.dir().write_json("plan.json", &plan)
    }

    /// Takes away what came after a checkpoint, but for the record of a curation that was under way.
    fn roll_back(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let (done, to_do) = self.parts.split_at(checkpoint.state.part.min(self.parts.len()));
        let done = done.iter().filter_map(|part| self.curates(part)).map(str::to_owned);
        let under_way: Vec<String> = to_do.iter().map_while(|part| self.curates(part)).map(str::to_owned).collect();
        let recorded = recorded::keep(self.path(), &under_way, checkpoint.length(ledger::FILE))?;
        let curated: Vec<String> = done.chain(recorded.phases).collect();
        checkpoint.keep_up_to(ledger::FILE, recorded.ledger);
        checkpoint.roll_back(self.path(), &checkpoint.state.evaluated, &curated)?;
        self.recorder.catch_up()?;
        // The guards have seen what is recorded.
        for line in self.recorder.lines() {
            let (step, phase) = (line["step"].as_u64().unwrap_or(0), line["phase"].as_str().unwrap_or_default());
            self.guards.step(step, phase, &numbers(line));
        }
        Ok(())
    }

    fn restore(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        self.roll_back(&mut checkpoint)?;
        let mut trained = self.parts.iter().take(checkpoint.state.part + 1).filter_map(|part| match part {
            Part::Phase(name) => self.config.phases[name].kind().trains().then_some(name),
            Part::Evaluate { .. } => None,
        });
        if let Some(last) = trained.next_back() {
            model_setup::train_in(&mut self.model.policy, self.config, last)?;
        }
        self.optimizer = checkpoint.optimizer(&self.model.policy)?;
        self.wall_secs_before = checkpoint.state.wall_secs;
        self.saved_at = checkpoint.state.step;
        let place = checkpoint.path.display().to_string();
        self.state = checkpoint.state;
        self.publish(0)?;
        for (name, record) in &self.state.judges {
            if let Some(judge) = self.rewards.judges().get(name) {
                judge.carry(record.calls, record.prompt_tokens, record.reply_tokens);
            }
        }
        self.say(&format!("going on from {place} (step {})", self.state.step))
    }
}
