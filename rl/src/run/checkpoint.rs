//! Checkpoints: the policy and the trainer's state, written aside, hashed and renamed; the newest whole one is found.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use sapo_datasets::hex;
use sapo_policies::WeightFormat;
use sapo_policies::{Model, Policy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::keep::{BEST, Rule, Saved, outdated};
use super::moments;
use super::record::CURATION;
use super::state::TrainerState;
use crate::error::{Result, RunError};
use crate::finite::{NotFinite, first_not_finite};
use crate::ledger;
use crate::metrics::sha256;
use crate::moment::{Moment, MomentFormat};
use crate::optimizer::{AdamW, Moments};
use crate::run_dir::RunDir;
use crate::run_dir::{EVENTS, REJECTED};

/// Files that only grow; a resume cuts them back to where they ended at the checkpoint.
pub const GROWING: [&str; 5] = ["metrics.jsonl", "queries.jsonl", ledger::FILE, EVENTS, REJECTED];

/// What a checkpoint holds, with hashes, and how long the growing files were.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Manifest {
    v: u32,
    step: u64,
    /// Whether a phase ends with it.
    #[serde(default)]
    phase_end: bool,
    /// Whether the update before it was done, and not skipped.
    #[serde(default)]
    good: bool,
    sha256: BTreeMap<String, String>,
    lengths: BTreeMap<String, u64>,
    /// The hash of all the above; empty in the first version.
    #[serde(default)]
    own_sha256: String,
}

impl Manifest {
    fn sealed(self) -> Result<Self> {
        let unsealed = Self { own_sha256: String::new(), ..self };
        Ok(Self { own_sha256: sha256(&json(&unsealed)?), ..unsealed })
    }

    /// Refuses one that was altered.
    fn check(&self) -> Result<()> {
        let first = self.v == 1 && self.own_sha256.is_empty();
        if first || self.clone().sealed()?.own_sha256 == self.own_sha256 {
            return Ok(());
        }
        Err(RunError::Internal("manifest.json is not what was written".to_owned()))
    }
}

/// A whole checkpoint on disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder; the policy lies in `policy/`, or its adapter in `adapter/`.
    pub path: PathBuf,
    /// Where the run stood.
    pub state: TrainerState,
    lengths: BTreeMap<String, u64>,
}

/// Writes a checkpoint and deletes those that `rule` does not keep.
///
/// # Errors
/// When it cannot be written; the ones before are untouched then.
pub fn write(dir: &RunDir<'_>, model: &Model, optimizer: &AdamW, state: &TrainerState, rule: Rule) -> Result<()> {
    refuse_not_finite(model, optimizer)?;
    let folder = dir.file(&format!("checkpoints/step-{:06}", state.step))?;
    let aside = folder.with_extension("tmp");
    dir.patiently(|| {
        remove(&aside)?;
        let trainer = aside.join("trainer");
        std::fs::create_dir_all(&trainer).map_err(|source| RunError::io(&trainer, source))?;
        match model.policy.adapter {
            Some(_) => model.policy.save_adapter(&aside.join("adapter"))?,
            None => model.save(&aside.join("policy"), WeightFormat::F32)?,
        }
        write_file(&trainer.join("state.json"), &json(state)?)?;
        moments::write(&trainer.join("optimizer.safetensors"), &model.policy, optimizer)?;
        let manifest = Manifest {
            v: 2,
            step: state.step,
            phase_end: state.step_in_part == 0 && state.step > 0,
            good: state.skipped.in_a_row == 0,
            sha256: hashes(&aside)?,
            lengths: lengths(dir.path()),
            own_sha256: String::new(),
        };
        write_file(&aside.join("manifest.json"), &json(&manifest.sealed()?)?)
    })?;
    let old = folder.with_extension("old");
    remove(&old)?;
    let io = |source| RunError::io(&folder, source);
    if folder.exists() {
        std::fs::rename(&folder, &old).map_err(io)?;
    }
    std::fs::rename(&aside, &folder).map_err(io)?;
    // A rename is kept only when its folder is.
    sapo_datasets::sync_folder(&folder).map_err(io)?;
    remove(&old)?;
    for step in outdated(&saved(dir.path()), rule) {
        remove(&folder_of(dir.path(), step))?;
    }
    Ok(())
}

/// A checkpoint holds numbers to go on with.
fn refuse_not_finite(model: &Model, optimizer: &AdamW) -> Result<()> {
    let params = model.policy.trained();
    let refused = |what: NotFinite| Err(RunError::NotFinite(format!("no checkpoint is written: {what}")));
    if let Some(place) = first_not_finite(params.iter().map(|param| &param.value)) {
        return refused(NotFinite::Weight(params[place].name.clone()));
    }
    let moments = params.iter().zip(&optimizer.moments).filter_map(|(param, moments)| Some((param, moments.as_ref()?)));
    let both = moments.flat_map(|(param, Moments { first, second, .. })| {
        [(param.name.as_str(), first), (param.name.as_str(), second)]
    });
    let (there, here): (Vec<_>, Vec<_>) = both.partition(|(_, moment)| matches!(moment, Moment::There(_)));
    let tensors = there.iter().filter_map(|(_, moment)| moment.tensor());
    let bad = first_not_finite(tensors).map(|place| there[place].0);
    match bad.or_else(|| {
        here.iter().find(|(_, moment)| !moment.numbers().iter().all(|n| n.is_finite())).map(|(name, _)| *name)
    }) {
        Some(name) => refused(NotFinite::Weight(format!("{name} (a moment of the optimizer)"))),
        None => Ok(()),
    }
}

/// The newest checkpoint of a run that is whole; torn ones are told to `torn` and passed over.
///
/// # Errors
/// When the newest whole one was written by another version of this program.
pub fn newest(run: &Path, torn: &mut dyn FnMut(&Path, &str)) -> Result<Option<Checkpoint>> {
    newest_that(run, |_| true, torn)
}

/// The newest whole checkpoint of a run whose state is as wanted.
///
/// # Errors
/// As [`newest`].
pub fn newest_that(
    run: &Path,
    wanted: impl Fn(&TrainerState) -> bool,
    torn: &mut dyn FnMut(&Path, &str),
) -> Result<Option<Checkpoint>> {
    put_back(run)?;
    newest_there(run, wanted, torn)
}

/// As [`newest_that`], for somebody who only reads: a run that is being trained is left alone.
///
/// # Errors
/// As [`newest`].
pub fn newest_there(
    run: &Path,
    wanted: impl Fn(&TrainerState) -> bool,
    torn: &mut dyn FnMut(&Path, &str),
) -> Result<Option<Checkpoint>> {
    for path in steps(run).into_iter().rev().map(|step| folder_of(run, step)) {
        match read(&path) {
            Ok(checkpoint) if wanted(&checkpoint.state) => return Ok(Some(checkpoint)),
            Ok(_) => {}
            Err(RunError::Internal(reason)) => torn(&path, &reason),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The checkpoint of a run at a step.
///
/// # Errors
/// When there is none, or it is not whole.
pub fn at(run: &Path, step: u64) -> Result<Checkpoint> {
    put_back(run)?;
    let path = folder_of(run, step);
    if !path.is_dir() {
        let steps: Vec<String> = steps(run).iter().map(u64::to_string).collect();
        let found = if steps.is_empty() { "none".to_owned() } else { steps.join(", ") };
        return Err(RunError::User(format!("there is no checkpoint {}; steps with one: {found}", path.display())));
    }
    read(&path).map_err(|error| match error {
        RunError::Internal(reason) => {
            RunError::User(format!("{} is torn or altered ({reason}); name another checkpoint", path.display()))
        }
        other => other,
    })
}

/// A checkpoint that was about to be replaced when the run was killed is still there, under another name.
fn put_back(run: &Path) -> Result<()> {
    let folder = run.join("checkpoints");
    for name in entries(&folder) {
        if let Some(place) = name.strip_suffix(".old").map(|name| folder.join(name))
            && !place.exists()
        {
            std::fs::rename(folder.join(&name), &place).map_err(|source| RunError::io(&place, source))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Checkpoint> {
    let manifest: Manifest = read_json(&path.join("manifest.json"))?;
    manifest.check()?;
    for (name, wanted) in &manifest.sha256 {
        let found = hash(&path.join(name)).map_err(|error| RunError::Internal(error.to_string()))?;
        if found != *wanted {
            return Err(RunError::Internal(format!("{name} is not what was written")));
        }
    }
    let state = path.join("trainer/state.json");
    let text = std::fs::read_to_string(&state).map_err(|source| RunError::io(&state, source))?;
    let state = serde_json::from_str(&text).map_err(|error| {
        RunError::User(format!("{}: another version of sapo wrote it ({error}); resume with that one", state.display()))
    })?;
    Ok(Checkpoint { path: path.to_owned(), state, lengths: manifest.lengths })
}

impl Checkpoint {
    /// Where a run stands that has saved nothing.
    pub fn none() -> Self {
        Self { path: PathBuf::new(), state: TrainerState::default(), lengths: BTreeMap::new() }
    }

    /// The optimizer as it was, with moments that are kept so.
    ///
    /// # Errors
    /// When its file does not fit the policy.
    pub fn optimizer(&self, policy: &Policy, format: MomentFormat) -> Result<AdamW> {
        moments::read(&self.path.join("trainer/optimizer.safetensors"), policy, format)
    }

    /// How long a growing file was, in bytes.
    pub fn length(&self, name: &str) -> u64 {
        self.lengths.get(name).copied().unwrap_or(0)
    }

    /// From now on a growing file is cut at this length.
    pub fn keep_up_to(&mut self, name: &str, length: u64) {
        self.lengths.insert(name.to_owned(), length);
    }

    /// Takes everything that the run recorded after this checkpoint out of its files and puts it into `aside/`, but for the
    /// evaluations with these folders and the curations of these phases.
    ///
    /// # Errors
    /// When a file cannot be moved or cut, or is shorter than it was.
    pub fn roll_back(&self, run: &Path, evaluated: &[String], curated: &[String]) -> Result<()> {
        let aside = run.join("aside").join(format!("before-resume-{}", count(&run.join("aside"))));
        for name in GROWING {
            cut(run, name, self.length(name), &aside)?;
        }
        let later = |folder: &str, keep: &dyn Fn(&str) -> bool| -> Result<()> {
            for name in entries(&run.join(folder)).iter().filter(|name| !keep(name)) {
                move_into(&run.join(folder).join(name), &aside.join(folder))?;
            }
            Ok(())
        };
        later("rollouts", &|name| step_of(name).is_some_and(|step| step < self.state.step))?;
        later("eval", &|name| evaluated.iter().any(|kept| kept == name))?;
        let phase = |name: &str| name.rsplit_once('.').map_or(String::new(), |(phase, _)| phase.to_owned());
        later(CURATION, &|name| curated.contains(&phase(name)))?;
        later("checkpoints", &|name| name == BEST || step_of(name).is_some_and(|step| step <= self.state.step))?;
        // What a run leaves at its end.
        for name in ["summary.json", "report.html", "report.json", "export"].map(|name| run.join(name)) {
            if name.exists() {
                move_into(&name, &aside)?;
            }
        }
        Ok(())
    }
}

/// The step in a name such as `reasoning-000012.jsonl` or `step-000012`.
pub(super) fn step_of(name: &str) -> Option<u64> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let step = stem.rsplit_once('-')?.1.parse().ok()?;
    (extension.is_empty() || extension == "jsonl").then_some(step)
}

fn cut(run: &Path, name: &str, length: u64, aside: &Path) -> Result<()> {
    let path = run.join(name);
    if !path.exists() {
        return Ok(());
    }
    let bytes = std::fs::read(&path).map_err(|source| RunError::io(&path, source))?;
    let keep = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes.len() < keep {
        let reason = "is shorter than at the checkpoint: lines were lost, so the run cannot be continued faithfully";
        return Err(RunError::User(format!("{} {reason}", path.display())));
    }
    if bytes.len() > keep {
        let kept_aside = aside.join(name);
        let parent = kept_aside.parent().unwrap_or(aside);
        std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source))?;
        write_file(&kept_aside, &bytes[keep..])?;
        let file = File::options().write(true).open(&path).map_err(|source| RunError::io(&path, source))?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(|source| RunError::io(&path, source))?;
    }
    Ok(())
}

fn move_into(path: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| RunError::io(folder, source))?;
    let name = path.file_name().unwrap_or_default();
    std::fs::rename(path, folder.join(name)).map_err(|source| RunError::io(path, source))
}

pub(super) fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn count(folder: &Path) -> usize {
    entries(folder).len()
}

/// The steps of finished checkpoints, in order.
pub(super) fn steps(run: &Path) -> Vec<u64> {
    let names = entries(&run.join("checkpoints"));
    let mut steps: Vec<u64> =
        names.iter().filter(|name| name.starts_with("step-")).filter_map(|name| step_of(name)).collect();
    steps.sort_unstable();
    steps
}

/// The step of the last checkpoint of a run, whether it is whole or not.
pub fn last_step(run: &Path) -> Option<u64> {
    steps(run).last().copied()
}

fn folder_of(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:06}"))
}

/// What the manifests of finished checkpoints say, in order; of a torn one, that it is good for nothing.
fn saved(run: &Path) -> Vec<Saved> {
    let of = |step: u64| {
        let manifest: Manifest = read_json(&folder_of(run, step).join("manifest.json")).unwrap_or_default();
        // The first version knew no skipped updates.
        Saved { step, phase_end: manifest.phase_end, good: manifest.good || manifest.v == 1 }
    };
    steps(run).into_iter().map(of).collect()
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::io(folder, error)),
        _ => Ok(()),
    }
}

fn lengths(run: &Path) -> BTreeMap<String, u64> {
    let length = |name: &str| std::fs::metadata(run.join(name)).map_or(0, |metadata| metadata.len());
    GROWING.iter().map(|name| ((*name).to_owned(), length(name))).collect()
}

/// The hashes of all files below a folder, by their path within it; each is synchronised on the way.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for part in ["policy", "adapter", "trainer"] {
        for name in entries(&folder.join(part)) {
            let path = folder.join(part).join(&name);
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|source| RunError::io(&path, source))?;
            all.insert(format!("{part}/{name}"), hash(&path)?);
        }
    }
    Ok(all)
}

fn hash(path: &Path) -> Result<String> {
    let io = |source| RunError::io(path, source);
    let mut digest = Sha256::new();
    // A piece at a time: files of moments are large.
    let (mut file, mut piece) = (File::open(path).map_err(io)?, vec![0; 1 << 20]);
    loop {
        match std::io::Read::read(&mut file, &mut piece).map_err(io)? {
            0 => break,
            count => digest.update(&piece[..count]),
        }
    }
    Ok(hex(&digest.finalize()))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| RunError::Internal(error.to_string()))
}

/// A manifest that is absent or torn is an internal fault here: the checkpoint is passed over.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| RunError::Internal(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| RunError::Internal(error.to_string()))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written.map_err(|source| RunError::io(path, source))
}

#[cfg(test)]
mod tests;
