//! A run at work: what is open while it goes on. Opening, judging and ending have files of their own beside it.

mod aside;
pub mod checkpoint;
mod end;
pub mod extend;
mod fit;
pub mod fork;
mod judging;
pub mod keep;
mod moments;
mod open;
mod pictures;
pub mod record;
mod recorded;
pub mod resume;
mod shown;
pub mod skipped;
pub mod state;
pub mod updating;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sapo_policies::Model;
use sapo_policies::processor::Processor;
use sapo_rollouts::Engine;

use self::keep::{Best, Rule, point_to_best};
use self::record::{Recorder, evaluation_folder};
use self::state::{Left, TrainerState};
use crate::collective::{Alone, Collective};
use crate::config::Config;
use crate::data;
use crate::engine::RunEngine;
use crate::error::{Result, RunError};
use crate::eval::{EvalSet, evaluate};
use crate::figures::{interval, percent};
use crate::guards::Guards;
use crate::metrics::{Metrics, names};
use crate::model_setup;
use crate::optimizer::AdamW;
use crate::parts::Part;
use crate::progress::Progress;
use crate::sample::Generator;
use crate::score::judge::Counts;
use crate::score::{Rewards, judge};
use crate::{kernels, memory};

pub use self::open::{Opened, Start};

/// A run that is going on.
pub struct Run<'a> {
    /// Where it stands.
    pub state: TrainerState,
    /// What it was told.
    pub config: &'a Config,
    /// What it trains.
    pub model: Model,
    /// What turns messages into input, for threads that prepare data.
    pub processor: Arc<Processor>,
    /// How it trains.
    pub optimizer: AdamW,
    /// What samples.
    pub engine: RunEngine,
    /// What scores.
    pub rewards: Rewards,
    /// What writes.
    pub recorder: Recorder<'a>,
    /// The other processes of the run: none.
    pub collective: Alone,
    /// Who is told how it goes.
    pub progress: &'a dyn Progress,
    parts: Vec<Part>,
    guards: Guards,
    started: Instant,
    wall_secs_before: f64,
    saved_at: u64,
    /// What had been spent on kernels at the step before.
    kernels: kernels::Spent,
    /// What the judges had done when their records were last brought up to date.
    judged: Counts,
    /// Held as long as the run goes on: nobody else writes into its folder.
    _lock: Option<File>,
}

impl Run<'_> {
    /// The run's folder.
    pub fn path(&self) -> &Path {
        self.recorder.path()
    }

    /// The part at hand; `None` when all are done.
    pub fn part(&self) -> Option<Part> {
        self.parts.get(self.state.part).cloned()
    }

    /// Whether the run does nothing but curate: its records are all that it needs to go on.
    pub fn only_curates(&self) -> bool {
        self.parts.iter().all(|part| self.curates(part).is_some())
    }

    /// The name of a part that curates.
    fn curates<'p>(&self, part: &'p Part) -> Option<&'p str> {
        let Part::Phase(name) = part else { return None };
        self.config.phases[name].as_curate().map(|_| name.as_str())
    }

    /// Goes on to the next part.
    pub fn next_part(&mut self) {
        if let Some(Part::Phase(name)) = self.part()
            && self.config.phases[&name].kind().trains()
        {
            let (part, steps) = (self.state.part, self.state.step_in_part);
            self.state.left = Some(Left { part, steps, data: self.state.data.clone() });
        }
        self.state.part += 1;
        self.state.step_in_part = 0;
        self.state.data = None;
    }

    /// A phase begins to train: with its own parts, and with moments of its own, since those of another loss mislead it.
    ///
    /// # Errors
    /// When nothing is left that trains.
    pub fn begin_training(&mut self, phase: &str) -> Result<()> {
        self.optimizer = AdamW::default();
        model_setup::train_in(&mut self.model.policy, self.config, phase)
    }

    /// Says something, and keeps it in the run's log.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn say(&self, text: &str) -> Result<()> {
        self.recorder.say(text)
    }

    /// What samples and scores with the policy as it is now.
    pub fn generator(&self) -> Generator<'_> {
        Generator {
            policy: &self.model.policy,
            processor: &self.model.processor,
            engine: &self.engine,
            rewards: &self.rewards,
        }
    }

    /// Tells the engine of so many updates that the policy has gone through since the last time.
    ///
    /// # Errors
    /// When the engine does not take the weights.
    pub fn publish(&mut self, updates: usize) -> Result<()> {
        self.state.policy_version += updates as u64;
        let published = self.engine.publish(&self.model.policy, self.state.policy_version);
        published.map_err(|error| RunError::Stopped(error.to_string()))
    }

    /// Writes a step of a phase down; `note` are a few live numbers.
    ///
    /// # Errors
    /// When the step cannot be recorded.
    pub fn record(&mut self, phase: &str, metrics: &Metrics, started: Instant, note: &str) -> Result<()> {
        let mut metrics = metrics.clone();
        if let Some(spent) = kernels::spent() {
            let new = spent.since(std::mem::replace(&mut self.kernels, spent));
            metrics.sum(names::KERNELS, new.compiled as f64);
            metrics.sum(names::KERNEL_SECS, new.secs);
        }
        let metrics = self.collective.reduce(metrics);
        self.recorder.step(self.state.step, phase, &metrics, started.elapsed().as_secs_f64())?;
        for alert in self.guards.step(self.state.step, phase, &metrics.values()) {
            if alert.is_first {
                self.say(&format!("warning: step {}: {}", alert.step, alert.text))?;
            }
        }
        self.state.step += 1;
        self.state.step_in_part += 1;
        self.progress.done(self.state.step_in_part, note);
        self.evaluate_within(phase)
    }

    /// The evaluations that take place every so many steps of a phase.
    fn evaluate_within(&mut self, phase: &str) -> Result<()> {
        let config = self.config;
        let step = self.state.step_in_part;
        let own = &config.phases[phase];
        // What takes place after the phase anyway is not done twice.
        let ends = step >= own.kind().work().steps;
        let due = config
            .eval
            .iter()
            .filter(|(_, eval)| eval.every > 0 && step.is_multiple_of(eval.every))
            .filter(|(_, eval)| !(ends && eval.is_after(phase, own)));
        for name in due.map(|(name, _)| name) {
            self.evaluate(name, &format!("{phase}@{step}"))?;
        }
        Ok(())
    }

    /// Evaluates the policy on a set of held-out queries.
    ///
    /// # Errors
    /// When no query can be used or the record cannot be written.
    pub fn evaluate(&mut self, name: &str, after: &str) -> Result<()> {
        let config = self.config;
        let eval = &config.eval[name];
        // At the same step the policy is the same, and so are its answers.
        let folder = evaluation_folder(name, self.state.step);
        if let Some(at) = self.state.evaluated.iter().position(|known| *known == folder) {
            let again = self.state.evaluations[at].under(after);
            self.state.evaluations.push(again);
            self.state.evaluated.push(folder);
            return self.say(&format!("{name}: nothing has changed since its evaluation at this step"));
        }
        let rubrics = self.rewards.of_eval(config, eval)?;
        let used: Vec<&str> = rubrics.iter().flat_map(|rubric| config.judges_of(rubric.name())).collect();
        self.measure_judges(&format!("eval.{name}"), &used)?;
        let started = Instant::now();
        let datasets = data::open_eval(config, eval)?;
        let queries: u64 = datasets.iter().filter_map(sapo_datasets::Dataset::len).sum();
        self.progress.begin(&format!("evaluation ({after})"), queries * (eval.samples as u64 + 1), 0);
        let sampling = eval.sampling(config.run.decode_rows);
        let set = EvalSet { datasets: &datasets, rubrics: &rubrics, unaveraged: &eval.unaveraged };
        let progress = self.progress;
        let told = &mut |ended: usize| progress.done(ended as u64, "rollouts");
        let mut evaluation = evaluate(self.generator(), &set, sampling, after, None, told)?;
        self.rewards.ensure_running()?;
        evaluation.belong_to(name);
        let folder = self.recorder.evaluation(self.state.step, &mut evaluation, started.elapsed().as_secs_f64())?;
        if let Some(by) = &config.run.keep.best {
            self.state.best = Best::after(self.state.best.take(), by, &evaluation, self.state.step)?;
        }
        if let Some(warning) = data::left_out(name, evaluation.dropped_pictures) {
            self.say(&warning)?;
        }
        if let Some(all) = evaluation.rows.last() {
            let cut = percent(all.truncated);
            self.say(&format!(
                "{name}: pass@1 after {after}: {} % {}, greedy {} %, {cut} % cut by the token limit",
                percent(all.pass_at_1),
                interval(all.ci95),
                percent(all.greedy)
            ))?;
        }
        if let Some(warning) = evaluation.warning_of_cuts(&format!("eval.{name}.max_new_tokens")) {
            self.say(&format!("warning: {name}: {warning}"))?;
        }
        self.state.evaluations.push(evaluation);
        self.state.evaluated.push(folder);
        self.say_notes()
    }

    /// Passes on what the judges and the servers that sample have to tell.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn say_notes(&self) -> Result<()> {
        self.engine.take_notes().iter().chain(&self.rewards.take_notes()).try_for_each(|note| self.say(note))
    }

    /// Whether so many steps have passed since the last checkpoint that another is due.
    pub fn checkpoint_is_due(&self) -> bool {
        // What an update was skipped at may be no policy to go on from.
        let due =
            self.state.skipped.in_a_row == 0 && self.state.step >= self.saved_at + self.config.run.checkpoint_every;
        due || self.best_step() == Some(self.state.step) && self.is_ahead()
    }

    /// The step of the best checkpoint, if one is to be kept.
    fn best_step(&self) -> Option<u64> {
        let by = self.config.run.keep.best.as_ref()?;
        self.state.best.as_ref().filter(|best| best.by == *by).map(|best| best.step)
    }

    /// Whether anything was done since the last checkpoint.
    pub fn is_ahead(&self) -> bool {
        self.saved_at < self.state.step
    }

    /// Saves all that the run needs to go on from here.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.note_judges();
        self.state.wall_secs = self.wall_secs();
        self.state.peak_rss_bytes = self.peak_rss_bytes();
        let best = self.best_step();
        let rule = Rule::of(&self.config.run, best);
        checkpoint::write(self.recorder.dir(), &self.model, &self.optimizer, &self.state, rule)?;
        self.saved_at = self.state.step;
        point_to_best(&self.path().join("checkpoints"), best)
    }

    fn wall_secs(&self) -> f64 {
        self.wall_secs_before + self.started.elapsed().as_secs_f64()
    }

    fn peak_rss_bytes(&self) -> u64 {
        let own = memory::peak_rss_bytes(std::process::id()) + self.rewards.peak_rss_bytes();
        self.state.peak_rss_bytes.max(own)
    }

    /// Adds to the records of the judges what they did since the last time.
    fn note_judges(&mut self) {
        let now = judge::counts(&self.rewards);
        for (name, record) in &mut self.state.judges {
            if let Some(counts) = now.get(name) {
                record.add_since(counts, self.judged.get(name));
            }
        }
        self.judged = now;
    }
}
