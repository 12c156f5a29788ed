//! How a run begins: anew, or from its last checkpoint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::aside::{RollBack, bound};
use super::checkpoint::Checkpoint;
use super::extend::{self, Changes};
use super::fork::Fork;
use super::keep::point_to_best;
use super::record::Recorder;
use super::state::TrainerState;
use super::{Run, recorded, resume};
use crate::collective::Alone;
use crate::config::Config;
use crate::engine::RunEngine;
use crate::error::{Result, RunError};
use crate::footprint::Footprint;
use crate::guards::Guards;
use crate::metrics::numbers;
use crate::mlflow::Experiment;
use crate::moment::MomentFormat;
use crate::optimizer::AdamW;
use crate::parts::{Part, parts};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::score::Rewards;
use crate::summary::Summary;
use crate::{checking, data, data_check, device, ledger, model_setup, reference, slow};

/// How a run is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Anew; an existing run directory is refused.
    New,
    /// From the last checkpoint; anew when there is none; a finished run gives its summary again.
    Resume,
    /// From its checkpoint at a step; what came after goes aside.
    ResumeAt(u64),
    /// Anew, from a checkpoint of another run: that of a step, or the last.
    Fork {
        /// The other run's folder.
        run: PathBuf,
        /// The step.
        step: Option<u64>,
    },
}

/// Where a run begins.
enum Origin {
    New,
    Resumed(Box<Checkpoint>),
    Forked(Box<Fork>),
}

impl Origin {
    /// Reads the checkpoint that a run begins from, if there is one.
    fn read(config: &Config, start: &Start, progress: &dyn Progress) -> Result<Self> {
        let path = config.run_path();
        let found = match start {
            Start::New => None,
            Start::Resume if !path.exists() => None,
            Start::Resume => resume::newest(&path, progress)?,
            Start::ResumeAt(step) => Some(resume::at(&path, *step)?),
            Start::Fork { run, step } => {
                let checkpoint = match step {
                    Some(step) => resume::at(run, *step)?,
                    None => resume::newest(run, progress)?.ok_or_else(|| {
                        RunError::User(format!("{} has no checkpoint yet to fork from", run.display()))
                    })?,
                };
                return Ok(Self::Forked(Box::new(Fork::read(config, run, checkpoint)?)));
            }
        };
        Ok(found.map_or(Self::New, |checkpoint| Self::Resumed(Box::new(checkpoint))))
    }

    /// Takes a resume further than the run began to go; see [`Changes::apply`].
    fn extend(&mut self, changes: &Changes, config: &Config) -> Result<Vec<String>> {
        match self {
            Self::Resumed(checkpoint) => changes.apply(&mut checkpoint.state, config),
            Self::New | Self::Forked(_) => Ok(Vec::new()),
        }
    }

    fn checkpoint(&self) -> Option<&Path> {
        match self {
            Self::New => None,
            Self::Resumed(checkpoint) => Some(&checkpoint.path),
            Self::Forked(fork) => Some(&fork.checkpoint.path),
        }
    }
}

/// What stands where the run is to be.
enum Found {
    /// A run that has finished.
    Finished(Box<Summary>),
    /// One to begin, or to go on with, and in what it differs then.
    ToDo(Changes),
}

impl Found {
    fn at(path: &Path, found: bool, config: &Config, start: &Start) -> Result<Self> {
        if !found {
            RunDir::refuse_existing(path)?;
            return Ok(Self::ToDo(Changes::default()));
        }
        let changes = resume::changes(config, path)?;
        let finished = resume::finished(path).filter(|_| *start == Start::Resume && changes.longer.is_empty());
        Ok(finished.map_or(Self::ToDo(changes), |summary| Self::Finished(Box::new(summary))))
    }
}

/// What opening a run has found.
pub enum Opened<'a> {
    /// A run to go on with.
    Running(Box<Run<'a>>),
    /// One that has finished.
    Finished(Box<Summary>),
}

/// What can be refused by the configuration and its files alone; gives what is to be noted of the data.
fn looked_over(config: &Config) -> Result<BTreeSet<String>> {
    let notes = data::check_all(config)?;
    recorded::check_inputs(config)?;
    Footprint::at_least(config)?.refuse_more_than_there_is(config)?;
    Ok(notes)
}

impl<'a> Run<'a> {
    /// Opens the run that the configuration names. What is cheap to refuse is refused before judges and models are loaded,
    /// and before there is a folder.
    ///
    /// # Errors
    /// When the model, the data, a judge or the run directory cannot be used.
    pub fn open(config: &'a Config, start: &Start, progress: &'a dyn Progress) -> Result<Opened<'a>> {
        let path = config.run_path();
        let found = matches!(start, Start::Resume | Start::ResumeAt(_)) && path.exists();
        let lock = if found { resume::taken(&path)? } else { None };
        let changes = match Found::at(&path, found, config, start)? {
            Found::Finished(summary) => {
                progress.say(&format!("{} is finished; its summary follows", path.display()));
                return Ok(Opened::Finished(summary));
            }
            Found::ToDo(changes) => changes,
        };
        let mut origin = Origin::read(config, start, progress)?;
        model_setup::check_there(config, origin.checkpoint())?;
        let schedules = origin.extend(&changes, config)?;
        let notes = looked_over(config)?;
        let experiment = config.log.mlflow.as_ref().map(Experiment::open).transpose()?;
        let rewards = Rewards::open(config)?;
        checking::before_run(config, &rewards, progress)?;
        let device = device::open(&config.run.device)?;
        let mut model = model_setup::open(config, origin.checkpoint(), &device)?;
        model.limit_prompts(config.policy.prompt_limit());
        data::try_encoding(config, &model.processor)?;
        reference::check(config, &model)?;
        data_check::refuse_bad_rows(config, &model.processor, progress)?;
        let engine = RunEngine::open(&config.engine, &model, [config.run.decode_rows, config.run.cache_mib])?;
        let dir = match found {
            true => RunDir::open(&path, config.run.disk_wait_secs, progress),
            false => RunDir::create(&path, config.run.disk_wait_secs, progress)?,
        };
        let lock = if found { lock } else { resume::locked(&path)? };
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
            kernels: Default::default(),
            judged: Default::default(),
            _lock: lock,
        };
        run.enter(origin, experiment)?;
        run.keep_changes(&changes, &schedules)?;
        let engine = (!config.engine.is_local()).then(|| RunEngine::described(&config.engine));
        let own = run.processor.tokenizer().notes();
        notes.iter().chain(own).chain(run.rewards.prepared()).chain(&engine).try_for_each(|line| run.say(line))?;
        run.set_status("running")?;
        Ok(Opened::Running(Box::new(run)))
    }

    /// Puts the run where it begins, and tells of it who else is to be told.
    fn enter(&mut self, origin: Origin, experiment: Option<Experiment>) -> Result<()> {
        match origin {
            Origin::Resumed(checkpoint) => self.restore(*checkpoint)?,
            Origin::Forked(fork) => self.fork(*fork)?,
            Origin::New => self.begin()?,
        }
        if let Some(experiment) = experiment {
            let mlflow = experiment.run(self.recorder.dir(), &self.config.run.name, &self.config.values()?)?;
            self.recorder.tell(mlflow);
        }
        Ok(())
    }

    /// Says in what a resume differs from the run before, and keeps its configuration.
    fn keep_changes(&mut self, changes: &Changes, schedules: &[String]) -> Result<()> {
        if changes.is_none() {
            return Ok(());
        }
        extend::rename_records(self.recorder.dir(), &self.state)?;
        self.recorder.dir().write("config.toml", self.config.to_toml()?.as_bytes())?;
        for difference in &changes.differs {
            self.say(&format!("differs from the run before: {difference}"))?;
        }
        schedules.iter().try_for_each(|line| self.say(line))?;
        if changes.longer.is_empty() { Ok(()) } else { self.write_plan() }
    }

    fn begin(&mut self) -> Result<()> {
        // What a run that never saved left behind, when it is begun again by a resume.
        self.roll_back(&mut Checkpoint::none())?;
        self.recorder.begin(&self.config.to_toml()?)?;
        model_setup::keep_base(self.recorder.dir(), &self.model)?;
        self.write_plan()
    }

    fn write_plan(&self) -> Result<()> {
        let plan = Plan::of(self.config, &self.model)?;
        for line in plan.lines().into_iter().chain(slow::warning(&self.model.policy)) {
            self.say(&line)?;
        }
        self.recorder.dir().write_json("plan.json", &plan)
    }

    /// Takes away what came after a checkpoint, but for the record of a curation that was under way.
    fn roll_back(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        let (done, to_do) = self.parts.split_at(checkpoint.state.part.min(self.parts.len()));
        let done = done.iter().filter_map(|part| self.curates(part)).map(str::to_owned);
        let to_do: &[Part] = if checkpoint.anew { &[] } else { to_do };
        let under_way: Vec<String> = to_do.iter().map_while(|part| self.curates(part)).map(str::to_owned).collect();
        let recorded = recorded::keep(self.path(), &under_way, checkpoint.length(ledger::FILE))?;
        let curated: Vec<String> = done.chain(recorded.phases).collect();
        checkpoint.keep_up_to(ledger::FILE, recorded.ledger);
        let back = RollBack::new(self.path(), checkpoint, &curated);
        self.recorder.dir().patiently(|| back.take())?;
        for gone in bound(self.path())? {
            self.say(&format!("{} is removed: what was put aside last is kept", gone.display()))?;
        }
        self.catch_up()
    }

    /// Brings what knows of the run's past up to what is recorded.
    fn catch_up(&mut self) -> Result<()> {
        if let Some(lost) = self.recorder.catch_up()? {
            self.say(&lost)?;
        }
        // The guards have seen what is recorded; evaluations are no steps of a phase.
        for line in self.recorder.lines() {
            if let Some(phase) = line["phase"].as_str() {
                self.guards.step(line["step"].as_u64().unwrap_or(0), phase, &numbers(line));
            }
        }
        Ok(())
    }

    /// Begins a new run where another one stood.
    fn fork(&mut self, fork: Fork) -> Result<()> {
        fork.copy_into(self.recorder.dir())?;
        self.recorder.dir().write("config.toml", self.config.to_toml()?.as_bytes())?;
        model_setup::keep_base(self.recorder.dir(), &self.model)?;
        self.catch_up()?;
        let place = fork.checkpoint.path.display().to_string();
        self.stand_at(fork.checkpoint)?;
        self.say(&format!("forked from {place} (step {})", self.state.step))?;
        for difference in &fork.differs {
            self.say(&format!("differs from it: {difference}"))?;
        }
        self.write_plan()?;
        self.checkpoint()
    }

    fn restore(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        self.roll_back(&mut checkpoint)?;
        let place = checkpoint.path.display().to_string();
        self.stand_at(checkpoint)?;
        let dir = self.recorder.dir();
        dir.patiently(|| point_to_best(&self.path().join("checkpoints"), self.best_step()))?;
        self.say(&format!("going on from {place} (step {})", self.state.step))
    }

    /// Puts the run where it stood at a checkpoint.
    fn stand_at(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let mut trained = self.parts.iter().take(checkpoint.state.part + 1).filter_map(|part| match part {
            Part::Phase(name) => self.config.phases[name].kind().trains().then_some(name),
            Part::Evaluate { .. } => None,
        });
        let last = trained.next_back();
        if let Some(last) = last {
            model_setup::train_in(&mut self.model.policy, self.config, last)?;
        }
        let options = last.and_then(|last| self.config.phases[last].optimizer());
        let format = options.map_or(MomentFormat::default(), |options| options.moments);
        self.optimizer = checkpoint.optimizer(&self.model.policy, format)?;
        self.wall_secs_before = checkpoint.state.wall_secs;
        self.saved_at = checkpoint.state.step;
        self.state = checkpoint.state;
        self.publish(0)?;
        for (name, record) in &self.state.judges {
            if let Some(judge) = self.rewards.judges().get(name) {
                judge.carry(record.calls, record.prompt_tokens, record.reply_tokens);
            }
        }
        Ok(())
    }
}
