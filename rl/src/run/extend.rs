//! A resume that changes a run: it may go further than it began to, and be told anew what changes no number.

use std::path::Path;

use sapo_rewards::RewardConfig;
use serde_json::Value;

use super::state::TrainerState;
use crate::config::{Config, Difference, PhaseConfig};
use crate::error::{Result, RunError};
use crate::parts::{Part, parts};
use crate::run_dir::RunDir;

/// In what a resume differs from the run that it goes on with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// All that differs, but for where the run lies.
    pub(crate) differs: Vec<Difference>,
    /// Phases with more steps.
    pub(crate) longer: Vec<Longer>,
}

/// A phase with more steps than before.
#[derive(Clone, Debug)]
pub(crate) struct Longer {
    phase: String,
    before: u64,
    now: u64,
}

impl Changes {
    /// What differs between a run's own configuration and that of a resume; and what of it may not.
    ///
    /// # Errors
    /// When one of them has no TOML form.
    pub(crate) fn of(before: &Config, config: &Config) -> Result<(Self, Vec<Difference>)> {
        let mut differs = config.differences(before)?;
        differs.retain(|one| one.key != "run.dir");
        let mut before = before.clone();
        take_over(&mut before, config);
        let mut longer = Vec::new();
        for (phase, own) in &mut before.phases {
            let now = config.phases.get(phase).and_then(PhaseConfig::steps);
            if let (Some(steps), Some(now)) = (own.steps_mut(), now)
                && *steps < now
            {
                longer.push(Longer { phase: phase.clone(), before: *steps, now });
                *steps = now;
            }
        }
        let refused = config.differences(&before)?;
        Ok((Self { differs, longer }, refused))
    }

    /// Whether nothing differs.
    pub(crate) fn is_none(&self) -> bool {
        self.differs.is_empty()
    }

    /// Puts the state of a run at a checkpoint where the longer phases go on. Gives a line for each whose learning rate is
    /// another from here on.
    ///
    /// # Errors
    /// When a phase has ended, and others have begun since.
    pub(crate) fn apply(&self, state: &mut TrainerState, config: &Config) -> Result<Vec<String>> {
        let parts = parts(config);
        let mut notes = Vec::new();
        for longer in &self.longer {
            let Some(at) = parts.iter().position(|part| *part == Part::Phase(longer.phase.clone())) else { continue };
            if at < state.part {
                longer.go_back(at, state, &parts)?;
            }
            let step = if at == state.part { state.step_in_part } else { 0 };
            notes.extend(longer.note(step, config));
        }
        Ok(notes)
    }
}

impl Longer {
    /// Puts a run whose phase has ended back to that end.
    fn go_back(&self, at: usize, state: &mut TrainerState, parts: &[Part]) -> Result<()> {
        let since = &parts[(at + 1).min(state.part)..state.part.min(parts.len())];
        let only_evaluated = since.iter().all(|part| matches!(part, Part::Evaluate { .. }));
        let left = state.left.clone().filter(|left| left.part == at && only_evaluated);
        let Some(left) = left else {
            return Err(RunError::User(format!(
                "phases.{0}.steps: the phase has ended, and others have begun since, so that more steps of it would change what \
                 is done; in a new run they may be {1}, from a checkpoint within the phase: --fork=RUN/checkpoints/step-... \
                 run.name=...",
                self.phase, self.now
            )));
        };
        (state.part, state.step_in_part, state.data) = (at, left.steps, left.data);
        // What was the evaluation after the phase is one within it now.
        for evaluation in &mut state.evaluations {
            if evaluation.after == self.phase {
                *evaluation = evaluation.under(&within(&self.phase, left.steps));
            }
        }
        Ok(())
    }

    /// What the learning rate does now.
    fn note(&self, step: u64, config: &Config) -> Option<String> {
        let optimizer = config.phases[&self.phase].optimizer()?;
        let (before, now) = (optimizer.lr_at(step.min(self.before), self.before), optimizer.lr_at(step, self.now));
        let falls = before != now || optimizer.final_lr_ratio < 1.0;
        falls.then(|| {
            let Self { phase, before: old, now: new } = self;
            format!(
                "phases.{phase}: the learning rate falls over {new} steps now, not over {old}: at step {step} it is {now:.3e}, and \
                 would have been {before:.3e}; a run of {new} steps from its start has another past"
            )
        })
    }
}

/// The name of an evaluation at a step of a phase.
fn within(phase: &str, step: u64) -> String {
    format!("{phase}@{step}")
}

/// Takes over what changes no number of a run.
fn take_over(before: &mut Config, config: &Config) {
    before.policy.export = config.policy.export;
    let run = &mut before.run;
    run.dir.clone_from(&config.run.dir);
    run.disk_wait_secs = config.run.disk_wait_secs;
    run.checkpoint_every = config.run.checkpoint_every;
    run.warn.clone_from(&config.run.warn);
    run.max_skipped_steps = config.run.max_skipped_steps;
    run.keep.clone_from(&config.run.keep);
    run.reward_check.clone_from(&config.run.reward_check);
    before.log.clone_from(&config.log);
    before.engine.reached_like(&config.engine);
    for (name, reward) in &mut before.rewards {
        if let (RewardConfig::Judge(judge), Some(RewardConfig::Judge(now))) = (reward, config.rewards.get(name)) {
            judge.asked_like(now);
        }
    }
}

/// Gives the records of evaluations the names that the state has for them now.
///
/// # Errors
/// When one cannot be written.
pub(super) fn rename_records(dir: &RunDir<'_>, state: &TrainerState) -> Result<()> {
    for (evaluation, folder) in state.evaluations.iter().zip(&state.evaluated) {
        let name = format!("eval/{folder}/results.json");
        let read = |path: &Path| -> Option<Value> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
        let Some(mut results) = read(&dir.path().join(&name)) else { continue };
        let phase = evaluation.after.split_once('@').map(|(phase, _)| phase);
        if phase.is_none() || results["after"].as_str() != phase {
            continue;
        }
        results["after"] = Value::from(evaluation.after.as_str());
        for row in results["tasks"].as_array_mut().into_iter().flatten().filter(|row| row.get("after").is_some()) {
            row["after"] = Value::from(evaluation.after.as_str());
        }
        dir.write_json(&name, &results)?;
    }
    Ok(())
}
