//! Checkpoints: the policy and the trainer's state, written aside, hashed and renamed; the newest whole one is found.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use sapo_policies::WeightFormat;
use sapo_policies::{Model, Policy};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::keep::{Rule, Saved, outdated};
use super::moments;
use super::record::CURATION;
use super::state::TrainerState;
use crate::audit;
use crate::error::{Result, RunError};
use crate::finite::{NotFinite, first_not_finite};
use crate::head::Head;
use crate::ledger;
use crate::metrics::sha256;
use crate::moment::{Moment, MomentFormat};
use crate::optimizer::{AdamW, Moments};
use crate::run_dir::RunDir;
use crate::run_dir::{EVENTS, REJECTED};

/// Files that only grow; a resume cuts them back to where they ended at the checkpoint.
pub const GROWING: [&str; 6] = ["metrics.jsonl", "queries.jsonl", ledger::FILE, EVENTS, REJECTED, audit::FILE];

/// The version of a manifest. The first knew no hash of itself, and the second none of what the run had recorded.
const VERSION: u32 = 3;
/// What a checkpoint holds beside the model.
const TRAINER: [&str; 2] = ["trainer/state.json", "trainer/optimizer.safetensors"];

/// What a checkpoint holds, with hashes, and what the run had recorded by then.
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
    /// How long each file of the run's record was, in bytes.
    lengths: BTreeMap<String, u64>,
    /// The hashes of those, so far; none before the third version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    heads: BTreeMap<String, String>,
    /// The hash of all the above; empty in the first version.
    #[serde(default)]
    own_sha256: String,
}

impl Manifest {
    fn sealed(self) -> Result<Self> {
        let unsealed = Self { own_sha256: String::new(), ..self };
        Ok(Self { own_sha256: sha256(&json(&unsealed)?), ..unsealed })
    }

    /// Refuses one that was altered, or that does not say all that it must.
    fn check(&self) -> Result<()> {
        let torn = |reason: &str| Err(RunError::Internal(format!("manifest.json {reason}")));
        if !(1..=VERSION).contains(&self.v) {
            return torn(&format!("has the version {}, which is not known", self.v));
        }
        let model = self.sha256.keys().any(|name| !name.starts_with("trainer/"));
        if !model || TRAINER.iter().any(|name| !self.sha256.contains_key(*name)) {
            return torn("has no hashes of what the checkpoint holds");
        }
        // Those of before audits know of none.
        let mut needed = GROWING.iter().filter(|name| **name != audit::FILE);
        if needed.any(|name| !self.lengths.contains_key(*name)) {
            return torn("does not say how long the run's files were");
        }
        if self.v == VERSION && !self.heads.keys().eq(self.lengths.keys()) {
            return torn("has no hashes of what the run has recorded");
        }
        let first = self.v == 1 && self.own_sha256.is_empty();
        if first || self.clone().sealed()?.own_sha256 == self.own_sha256 {
            return Ok(());
        }
        torn("is not what was written")
    }
}

/// A whole checkpoint on disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder; the policy lies in `policy/`, or its adapter in `adapter/`.
    pub path: PathBuf,
    /// Where the run stood.
    pub state: TrainerState,
    /// Whether what was recorded since is not to be gone on with: it is not what was written, or not wanted.
    pub(super) anew: bool,
    lengths: BTreeMap<String, u64>,
    heads: BTreeMap<String, String>,
}

/// Writes a checkpoint and deletes those that `rule` does not keep.
///
/// All that the run has recorded is on the disk before the manifest speaks of it, the checkpoint before it has its name, and
/// its name before another one is deleted.
///
/// # Errors
/// When it cannot be written; the ones before are untouched then.
pub fn write(dir: &RunDir<'_>, model: &Model, optimizer: &AdamW, state: &TrainerState, rule: Rule) -> Result<()> {
    refuse_not_finite(model, optimizer)?;
    let folder = dir.file(&format!("checkpoints/step-{:06}", state.step))?;
    if folder.exists() && !is_own(&folder) {
        let reason = "is in the way: it is no checkpoint of this run; move it away";
        return Err(RunError::User(format!("{} {reason}", folder.display())));
    }
    let aside = folder.with_extension("tmp");
    dir.patiently(|| {
        remove(&aside)?;
        let written = write_into(&aside, dir, model, optimizer, state);
        if written.is_err() {
            // Half a checkpoint must not be what fills the disk while room is waited for.
            drop(remove(&aside));
        }
        written
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

/// Writes what a checkpoint holds into a folder that has not its name yet.
fn write_into(aside: &Path, dir: &RunDir<'_>, model: &Model, optimizer: &AdamW, state: &TrainerState) -> Result<()> {
    let trainer = aside.join("trainer");
    std::fs::create_dir_all(&trainer).map_err(|source| RunError::io(&trainer, source))?;
    match model.policy.adapter {
        Some(_) => model.policy.save_adapter(&aside.join("adapter"))?,
        None => model.save(&aside.join("policy"), WeightFormat::F32)?,
    }
    write_file(&aside.join(TRAINER[0]), &json(state)?)?;
    moments::write(&aside.join(TRAINER[1]), &model.policy, optimizer)?;
    let (mut lengths, mut heads) = (BTreeMap::new(), BTreeMap::new());
    for name in recorded(dir.path(), state) {
        let head = dir.head(&name)?;
        lengths.insert(name.clone(), head.bytes());
        heads.insert(name, head.sha256());
    }
    let manifest = Manifest {
        v: VERSION,
        step: state.step,
        phase_end: state.step_in_part == 0 && state.step > 0,
        good: state.skipped.in_a_row == 0,
        sha256: hashes(aside)?,
        lengths,
        heads,
        own_sha256: String::new(),
    };
    dir.sync()?;
    write_file(&aside.join("manifest.json"), &json(&manifest.sealed()?)?)?;
    let parts = entries(aside).into_iter().map(|name| aside.join(name)).filter(|path| path.is_dir());
    parts.chain([aside.to_owned()]).try_for_each(|folder| synced(&folder))
}

/// The files that a run's record consists of: those that grow, the curations that are done, and the samples of evaluations.
fn recorded(run: &Path, state: &TrainerState) -> Vec<String> {
    let curated = entries(&run.join(CURATION)).into_iter().filter(|name| name.ends_with(".jsonl"));
    let evaluated = state.evaluated.iter().map(|folder| format!("eval/{folder}/samples.jsonl"));
    let growing = GROWING.iter().map(|name| (*name).to_owned());
    growing.chain(curated.map(|name| format!("{CURATION}/{name}"))).chain(evaluated).collect()
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
    let both: Vec<(&str, &Moment)> = both.collect();
    let (names, there): (Vec<&str>, Vec<&Tensor<2>>) =
        both.iter().filter_map(|(name, moment)| Some((*name, moment.tensor()?))).unzip();
    let bad = first_not_finite(there.into_iter()).map(|place| names[place]);
    match bad.or_else(|| both.iter().find(|(_, moment)| !moment.is_finite_here()).map(|(name, _)| *name)) {
        Some(name) => refused(NotFinite::Weight(format!("{name} (a moment of the optimizer)"))),
        None => Ok(()),
    }
}

/// The newest whole checkpoint of a run that is as wanted; torn ones are told to `torn` and passed over. Nothing is changed: a
/// run that is being trained may be asked.
///
/// # Errors
/// When the newest whole one was written by another version of this program, or what `wanted` gives.
pub fn newest(
    run: &Path,
    mut wanted: impl FnMut(&Checkpoint) -> Result<bool>,
    torn: &mut dyn FnMut(&Path, &str),
) -> Result<Option<Checkpoint>> {
    for path in steps(run).into_iter().rev().map(|step| folder_of(run, step)) {
        match read(&path) {
            Ok(checkpoint) if wanted(&checkpoint)? => return Ok(Some(checkpoint)),
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

/// Puts the checkpoints of a run in order that was killed while it wrote one: what is not whole goes, since it may be what
/// fills the disk; and one that was about to be replaced has its name again. Only for whoever holds the run's lock.
///
/// # Errors
/// When one cannot be moved or removed.
pub(super) fn tidy(run: &Path) -> Result<()> {
    let folder = run.join("checkpoints");
    let own = |stem: &str| step_of(stem).is_some_and(|step| folder_of(run, step).ends_with(stem));
    for name in entries(&folder) {
        let path = folder.join(&name);
        match name.split_once('.') {
            Some((stem, "tmp")) if own(stem) => remove(&path)?,
            Some((stem, "old")) if own(stem) => {
                let place = folder.join(stem);
                if place.exists() {
                    remove(&path)?;
                } else {
                    std::fs::rename(&path, &place).map_err(|source| RunError::io(&place, source))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Checkpoint> {
    let manifest: Manifest = read_json(&path.join("manifest.json"))?;
    manifest.check()?;
    for (name, wanted) in &manifest.sha256 {
        let found = Head::whole(&path.join(name)).map_err(|error| RunError::Internal(error.to_string()))?;
        if found.sha256() != *wanted {
            return Err(RunError::Internal(format!("{name} is not what was written")));
        }
    }
    let state = path.join("trainer/state.json");
    let text = std::fs::read_to_string(&state).map_err(|source| RunError::io(&state, source))?;
    let state = serde_json::from_str(&text).map_err(|error| {
        RunError::User(format!("{}: another version of sapo wrote it ({error}); resume with that one", state.display()))
    })?;
    let Manifest { lengths, heads, .. } = manifest;
    Ok(Checkpoint { path: path.to_owned(), state, anew: false, lengths, heads })
}

impl Checkpoint {
    /// Where a run stands that has saved nothing.
    pub fn none() -> Self {
        let (lengths, heads) = Default::default();
        Self { path: PathBuf::new(), state: TrainerState::default(), anew: false, lengths, heads }
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

    /// What the run had recorded: the names of files, how long they were, and the hash over that, where it is known.
    pub(super) fn record(&self) -> impl Iterator<Item = (&str, u64, Option<&str>)> {
        self.lengths.iter().map(|(name, length)| (name.as_str(), *length, self.heads.get(name).map(String::as_str)))
    }
}

/// The step in a name such as `reasoning-000012.jsonl` or `step-000012`.
pub(super) fn step_of(name: &str) -> Option<u64> {
    let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
    let step = stem.rsplit_once('-')?.1.parse().ok()?;
    (extension.is_empty() || extension == "jsonl").then_some(step)
}

pub(super) fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The steps of finished checkpoints, in order.
pub(super) fn steps(run: &Path) -> Vec<u64> {
    let names = entries(&run.join("checkpoints"));
    let steps = names.iter().filter_map(|name| Some((name, step_of(name)?)));
    let mut steps: Vec<u64> = steps
        .filter(|(name, step)| folder_of(run, *step).ends_with(name) && is_own(&folder_of(run, *step)))
        .map(|(_, step)| step)
        .collect();
    steps.sort_unstable();
    steps
}

/// Whether what has the name of a checkpoint is one, whole or torn, and not something of others: a folder in which this
/// program has written nothing, or the copy of another checkpoint.
fn is_own(path: &Path) -> bool {
    let manifest = path.join("manifest.json");
    match read_json::<Manifest>(&manifest) {
        Ok(manifest) => path.file_name().and_then(|name| step_of(name.to_str()?)) == Some(manifest.step),
        Err(_) => !path.is_dir() || manifest.exists() || path.join("trainer").is_dir(),
    }
}

/// The step of the last checkpoint of a run, whether it is whole or not.
pub fn last_step(run: &Path) -> Option<u64> {
    steps(run).last().copied()
}

pub(super) fn folder_of(run: &Path, step: u64) -> PathBuf {
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

pub(super) fn remove(folder: &Path) -> Result<()> {
    let removed = if folder.is_dir() { std::fs::remove_dir_all(folder) } else { std::fs::remove_file(folder) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::io(folder, error)),
        _ => Ok(()),
    }
}

/// The hashes of all files below a folder, by their path within it; each is synchronised on the way.
fn hashes(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for part in ["policy", "adapter", "trainer"] {
        for name in entries(&folder.join(part)) {
            let path = folder.join(part).join(&name);
            synced(&path)?;
            let head = Head::whole(&path).map_err(|source| RunError::io(&path, source))?;
            all.insert(format!("{part}/{name}"), head.sha256());
        }
    }
    Ok(all)
}

/// Waits until a file or folder is on the disk.
fn synced(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| RunError::io(path, source))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| RunError::Internal(error.to_string()))
}

/// A manifest that is absent or torn is an internal fault here: the checkpoint is passed over.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| RunError::Internal(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| RunError::Internal(error.to_string()))
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written.map_err(|source| RunError::io(path, source))
}

#[cfg(test)]
mod tests;
