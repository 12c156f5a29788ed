//! A new run that begins where another one stood: what it may change, what it takes over, and what it says of where it is from.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::checkpoint::{self, Checkpoint, GROWING};
use super::record::CURATION;
use super::state::TrainerState;
use crate::config::{Config, PhaseKind};
use crate::error::{Result, RunError};
use crate::parts::{Part, parts};
use crate::run_dir::{REFERENCE, RunDir};

/// What a forked run says of where it is from, in its folder.
pub const FILE: &str = "fork.json";

/// What of `[policy]` must be as it was: the size of the model, and what of it trains.
const FIXED: [&str; 5] = ["policy.model", "policy.lora", "policy.adapter", "policy.freeze", "policy.deepstack"];

/// Where a run begins that goes on from another one.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The folder of the run that it is from.
    pub run: PathBuf,
    /// The checkpoint that it is from, its state in the parts of the new run.
    pub checkpoint: Checkpoint,
    /// What differs, key by key.
    pub differs: Vec<String>,
    /// Phases that are done, of those that curate.
    curated: Vec<String>,
}

impl Fork {
    /// Reads where a new run is to begin: the checkpoint of a step of `run`, or its newest.
    ///
    /// # Errors
    /// When there is no such checkpoint, or the new configuration changes what cannot be changed any more.
    pub fn read(config: &Config, run: &Path, checkpoint: Checkpoint) -> Result<Self> {
        let before = Config::compose(&[run.join("config.toml")], &[])?;
        let differences = config.differences(&before)?;
        let fixed = |key: &str| FIXED.iter().any(|fixed| key == *fixed || key.starts_with(&format!("{fixed}.")));
        let told: Vec<String> = differences.iter().filter(|one| fixed(&one.key)).map(ToString::to_string).collect();
        if !told.is_empty() {
            return Err(RunError::User(format!(
                "a fork goes on with the weights and moments of {}, so the model and what of it trains stay as they are: {}; \
                 take these keys over, or begin a new run with policy.model={}",
                run.display(),
                told.join("; "),
                checkpoint.path.display()
            )));
        }
        let part = place(config, &before, &checkpoint.state)?;
        let own = ["run.name", "run.dir"];
        let differs = differences.iter().filter(|one| !own.contains(&one.key.as_str())).map(ToString::to_string);
        let (differs, mut checkpoint) = (differs.collect(), checkpoint);
        adapt(&mut checkpoint.state, config, &before);
        checkpoint.state.part = part;
        let done = parts(config).into_iter().take(part).filter_map(|part| match part {
            Part::Phase(name) => Some(name),
            Part::Evaluate { .. } => None,
        });
        let curated = done.filter(|name| config.phases[name].as_curate().is_some()).collect();
        Ok(Self { run: run.to_owned(), checkpoint, differs, curated })
    }

    /// Copies what the run has recorded up to the checkpoint, so that the new one is whole without the other.
    ///
    /// # Errors
    /// When a file cannot be copied, or has lost lines.
    pub fn copy_into(&self, dir: &RunDir<'_>) -> Result<()> {
        let state = &self.checkpoint.state;
        dir.write_json(
            FILE,
            &json!({"v": 1, "run": std::path::absolute(&self.run).unwrap_or_else(|_| self.run.clone()),
                "checkpoint": self.checkpoint.path.file_name().and_then(|name| name.to_str()), "step": state.step,
                "differs": self.differs}),
        )?;
        for name in GROWING {
            self.copy_head(dir, name)?;
        }
        let step = state.step;
        self.copy_entries(dir, "rollouts", &|name| checkpoint::step_of(name).is_some_and(|of| of < step))?;
        self.copy_entries(dir, "images", &|_| true)?;
        // What the phase at hand measures its KL from.
        for name in checkpoint::entries(&self.run.join(REFERENCE)) {
            for part in ["policy", "adapter"] {
                self.copy_entries(dir, &format!("{}/{name}/{part}", REFERENCE), &|_| true)?;
            }
        }
        for folder in &state.evaluated {
            self.copy_entries(dir, &format!("eval/{folder}"), &|_| true)?;
        }
        let of_done = |name: &str| {
            name.rsplit_once('.').is_some_and(|(phase, _)| self.curated.iter().any(|curated| curated == phase))
        };
        self.copy_entries(dir, CURATION, &of_done)
    }

    /// The beginning of a file that grows, as long as it was at the checkpoint.
    fn copy_head(&self, dir: &RunDir<'_>, name: &str) -> Result<()> {
        let (path, length) = (self.run.join(name), self.checkpoint.length(name));
        if length == 0 {
            return Ok(());
        }
        let mut bytes = std::fs::read(&path).map_err(|source| RunError::io(&path, source))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes.len() < length {
            return Err(RunError::User(format!(
                "{} is shorter than at the checkpoint: lines were lost, so nothing can be forked from it faithfully",
                path.display()
            )));
        }
        bytes.truncate(length);
        dir.write(name, &bytes)
    }

    /// Whole files of a folder, which nobody changes any more: a second name for each where the disk allows it.
    fn copy_entries(&self, dir: &RunDir<'_>, folder: &str, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let from = self.run.join(folder);
        for name in checkpoint::entries(&from).iter().filter(|name| wanted(name)) {
            let (old, new) = (from.join(name), dir.file(&format!("{folder}/{name}"))?);
            dir.patiently(|| match std::fs::hard_link(&old, &new) {
                Ok(()) => Ok(()),
                Err(_) => std::fs::copy(&old, &new).map(drop).map_err(|source| RunError::io(&new, source)),
            })?;
        }
        Ok(())
    }
}

/// The part of the new run at which it begins.
///
/// # Errors
/// When the phases up to there, or the sources of the phase at hand, are others.
fn place(config: &Config, before: &Config, state: &TrainerState) -> Result<usize> {
    let (old, new) = (parts(before), parts(config));
    let phases = |parts: &[Part]| -> Vec<String> {
        let name = |part: &Part| if let Part::Phase(name) = part { Some(name.clone()) } else { None };
        parts.iter().filter_map(name).collect()
    };
    let done = phases(&old[..state.part.min(old.len())]);
    let wanted = phases(&new);
    if wanted.len() < done.len() || wanted[..done.len()] != done {
        return Err(RunError::User(format!(
            "run.phases: the run that is forked has done the phases [{}], and the new one must begin with them (it has [{}]); \
             phases behind them may be any",
            done.join(", "),
            wanted.join(", ")
        )));
    }
    let index_of = |wanted: &Part| new.iter().position(|part| part == wanted);
    let behind = |name: Option<&String>| match name {
        Some(name) => index_of(&Part::Phase(name.clone())).map_or(0, |at| at + 1),
        None => 0,
    };
    match old.get(state.part) {
        Some(Part::Phase(name)) if state.step_in_part > 0 => {
            let next = wanted.get(done.len());
            let same = next == Some(name) && sources(config, name) == sources(before, name);
            if !same {
                return Err(RunError::User(format!(
                    "phases.{name}: the checkpoint lies within this phase, so the new run must go on with it: the same name, \
                     kind, and sources in `data`; fork from a checkpoint at the end of a phase to do something else"
                )));
            }
            index_of(&Part::Phase(name.clone()))
                .ok_or_else(|| RunError::Internal(format!("`{name}` is no part of its run")))
        }
        // Its evaluations were still to come.
        Some(Part::Evaluate { .. }) => Ok(behind(done.last())),
        // The evaluations of what is done are done.
        Some(Part::Phase(_)) | None => {
            let next = |part: &Part| matches!(part, Part::Phase(_));
            let from = behind(done.last());
            Ok(new[from..].iter().position(next).map_or(new.len(), |at| from + at))
        }
    }
}

/// What the cursors of a phase belong to: its kind, and each source with the curation that it is the pool of.
type Sources = (&'static str, Vec<(String, Option<String>)>);

fn sources(config: &Config, name: &str) -> Option<Sources> {
    let phase = config.phases.get(name)?;
    let rl = phase.as_rl();
    let kind: &dyn PhaseKind = phase.kind();
    let pool = |used| rl.and_then(|rl| rl.pool_of(used)).map(str::to_owned);
    Some((kind.word(), kind.data().iter().map(|used| (used.name.clone(), pool(used))).collect()))
}

/// Forgets what the new configuration has made another thing.
fn adapt(state: &mut TrainerState, config: &Config, before: &Config) {
    state.judges.retain(|name, _| config.rewards.get(name) == before.rewards.get(name));
    state.best = state.best.take().filter(|best| best.step == state.step);
    let (old, new) = (parts(before), parts(config));
    state.left = state.left.take().filter(|left| old.get(..=left.part) == new.get(..=left.part));
    let same_set = |set: &String| config.eval.get(set) == before.eval.get(set);
    let (evaluations, evaluated) = std::mem::take(&mut state.evaluations)
        .into_iter()
        .zip(std::mem::take(&mut state.evaluated))
        .filter(|(evaluation, _)| same_set(&evaluation.set))
        .unzip();
    (state.evaluations, state.evaluated) = (evaluations, evaluated);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoke(overrides: &[&str]) -> Config {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        Config::compose(&[file], &overrides).unwrap()
    }

    /// Where a run with this configuration begins that goes on from the smoke run; its parts are the evaluation before
    /// training, `careful`, its evaluation, `cold_start`, its evaluation, `curate`, `reasoning`, and so on.
    fn begins(overrides: &[&str], part: usize, step_in_part: u64) -> Result<usize> {
        place(&smoke(overrides), &smoke(&[]), &TrainerState { part, step_in_part, ..TrainerState::default() })
    }

    #[test]
    fn a_fork_begins_at_the_same_place_of_its_own_parts() {
        for part in 0..10 {
            assert_eq!(begins(&[], part, 0).unwrap(), part);
        }
        assert_eq!(begins(&[], 1, 7).unwrap(), 1);
        // Other phases behind what is done.
        assert_eq!(begins(&["run.phases=[\"careful\", \"general\"]"], 3, 0).unwrap(), 3);
        // No evaluations any more: those that were done are no parts, and neither is the one to come.
        let without = ["eval={}"];
        assert_eq!((begins(&without, 3, 0).unwrap(), begins(&without, 2, 0).unwrap()), (1, 1));
        // The end, and what is left behind it.
        let parts = parts(&smoke(&[])).len();
        assert_eq!(begins(&[], parts, 0).unwrap(), parts);
    }

    #[test]
    fn what_is_done_or_under_way_cannot_be_another_thing() {
        let refused = |overrides: &[&str], part, step| begins(overrides, part, step).unwrap_err().to_string();
        let other = refused(&["run.phases=[\"cold_start\", \"careful\"]"], 3, 0);
        assert!(
            other.contains("done the phases [careful]") && other.contains("it has [cold_start, careful]"),
            "{other}"
        );
        let data = ["phases.careful.data=[{ use = \"count\" }]"];
        let within = refused(&data, 1, 7);
        assert!(within.contains("phases.careful") && within.contains("at the end of a phase"), "{within}");
        assert_eq!(begins(&data, 1, 0).unwrap(), 1, "nothing of it is done yet");
    }
}
