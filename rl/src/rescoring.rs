//! Stored rollouts, scored again by another rubric: what changes in the scores, and in what the policy would have learned.

mod changes;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sapo_datasets::Query;
use sapo_rewards::{Item, RewardConfig, RubricConfig, Score};
use serde_json::{Value, json};

use crate::advantage::{AdvantageNorm, advantages_of_group};
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::score::{ReadyRubric, Rewards};
pub use changes::{Changes, Count, Pairs, PartChange};
pub(crate) use stored::{Queries, step_of};
use stored::{Rollouts, Stored};
pub use stored::{config_of, find};

/// Scores stored rollouts again: those of a run's folder, of its `rollouts/`, or of one file.
///
/// Each is scored by the rubric of that name, or, without one, as its phase scores it. New scores are appended to `out`.
///
/// # Errors
/// When there are no rollouts, a line cannot be read, a rubric is not known, or a reward cannot be built.
pub fn rescore(
    place: &Path,
    config: &Config,
    rubric: Option<&str>,
    out: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Changes> {
    let Rollouts { files, run } = find(place)?;
    let names = rubrics_for(config, &files, rubric)?;
    let named: Vec<(&str, &RubricConfig)> = names.iter().map(|name| (*name, &config.rubrics[*name])).collect();
    let rewards = Rewards::of_rubrics(&config.rewards, &named)?;
    let mut rubrics: BTreeMap<&str, ReadyRubric> = BTreeMap::new();
    for name in names {
        rubrics.insert(name, rewards.rubric(name)?);
    }
    let looks = |rubric: &ReadyRubric| rubric.rewards().any(|(_, reward)| reward.spec().needs_pictures);
    let asks = |name: &&str| {
        config.judges_of(name).iter().any(|judge| matches!(config.rewards[*judge], RewardConfig::Judge(_)))
    };
    let with_pictures = rubrics.values().any(looks) || rubrics.keys().any(asks);
    let queries = Queries::open(&run, with_pictures)?;
    let out = out.map(|path| (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default()));
    let out = out.map(|(folder, name)| (RunDir::open(folder, 0, progress), name.to_string_lossy().into_owned()));
    if let Some((folder, name)) = &out {
        for id in rubrics.values().flat_map(|rubric| rubric.identities()) {
            folder.append(name, &[id.line()])?;
        }
    }
    progress.begin("rollout files", files.len() as u64, 0);
    let mut changes = Changes::default();
    for (done, file) in files.iter().enumerate() {
        let stored = stored::read(file, config)?;
        if rubric.is_none() {
            stored.iter().try_for_each(|line| refuse_unknown_rubric(config, line))?;
        }
        let of_line = |line: &Stored| rubric.unwrap_or_else(|| rubric_of(config, line));
        let scores = score(&rewards, &rubrics, &queries, &stored, &of_line)?;
        let mut lines = Vec::new();
        for range in groups(&stored) {
            let (group, scores) = (&stored[range.clone()], &scores[range]);
            let (norm, filter_live) = signal_of(config, &group[0]);
            let before = advantages(&group.iter().map(|line| &line.score).collect::<Vec<_>>(), norm, filter_live);
            let after = advantages(&scores.iter().collect::<Vec<_>>(), norm, filter_live);
            changes.add(group, scores, &before, &after);
            if out.is_some() {
                lines.extend((0..group.len()).map(|at| new_line(&group[at], &scores[at], before[at], after[at])));
            }
        }
        if let Some((folder, name)) = &out {
            folder.append(name, &lines)?;
        }
        progress.done(done as u64 + 1, "");
    }
    changes.shuffled = config.phases.values().any(|phase| phase.as_rl().is_some_and(|phase| phase.shuffle_rewards));
    Ok(changes)
}

/// The rubric that is asked for, or those by which the files were scored.
fn rubrics_for<'a>(config: &'a Config, files: &[PathBuf], rubric: Option<&'a str>) -> Result<Vec<&'a str>> {
    let known = || config.rubrics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let names = rubric.map_or_else(|| needed(config, files), |name| vec![name]);
    if names.is_empty() {
        let reason = "no phase or evaluation of the configuration says how these were scored; say --rubric NAME, of";
        return Err(RunError::User(format!("{reason} {}", known())));
    }
    match names.iter().find(|name| !config.rubrics.contains_key(**name)) {
        Some(name) => Err(RunError::User(format!("--rubric {name}: the configuration has {}", known()))),
        None => Ok(names),
    }
}

/// The rubrics that the phases of these files use, and those of the evaluations for files of none.
fn needed<'a>(config: &'a Config, files: &[PathBuf]) -> Vec<&'a str> {
    let mut names = BTreeSet::new();
    for phase in files.iter().map(|file| stored::phase_of(file, config)) {
        match phase.as_ref().and_then(|phase| config.phases.get(phase)?.as_rl()) {
            Some(phase) => names.extend(phase.data.iter().map(|used| config.rubric_of(used, &phase.rubric))),
            None => names.extend(config.eval.values().map(|eval| eval.rubric.as_str())),
        }
    }
    names.into_iter().collect()
}

/// Refuses a rollout whose rubric the configuration lacks: another one would say something else.
fn refuse_unknown_rubric(config: &Config, line: &Stored) -> Result<()> {
    match line.rubric.as_ref().filter(|name| !config.rubrics.contains_key(*name)) {
        Some(name) => Err(RunError::User(format!(
            "{} line {}: it was scored by the rubric `{name}`, which the configuration does not have; say another by --rubric",
            line.file, line.number
        ))),
        None => Ok(()),
    }
}

/// The rubric by which a rollout was scored: what its line says, else that of its phase and task, else that of the
/// evaluation.
fn rubric_of<'a>(config: &'a Config, line: &Stored) -> &'a str {
    if let Some((name, _)) = line.rubric.as_ref().and_then(|name| config.rubrics.get_key_value(name)) {
        return name;
    }
    match line.phase.as_ref().and_then(|phase| config.phases.get(phase)?.as_rl()) {
        Some(phase) => {
            let used = phase.data.iter().find(|used| used.name == line.task);
            used.map_or(phase.rubric.as_str(), |used| config.rubric_of(used, &phase.rubric))
        }
        None => config.eval.values().next().map_or("", |eval| eval.rubric.as_str()),
    }
}

/// What advantages are divided by in the phase of a rollout, and whether it drops what is too easy.
fn signal_of(config: &Config, line: &Stored) -> (AdvantageNorm, bool) {
    match line.phase.as_ref().and_then(|phase| config.phases.get(phase)?.as_rl()) {
        Some(phase) => (phase.algorithm.advantage_norm(), phase.filter.live),
        None => (AdvantageNorm::Population, true),
    }
}

/// Advantages as training takes them; `None` for what is not trained on.
fn advantages(scores: &[&Score], norm: AdvantageNorm, filter_live: bool) -> Vec<Option<f64>> {
    let rewards: Vec<Option<f64>> = scores.iter().map(|score| score.total).collect();
    let verdicts: Vec<bool> = scores.iter().filter_map(|score| score.passed).collect();
    advantages_of_group(&rewards, &verdicts, norm, filter_live).unwrap_or_else(|_| vec![None; scores.len()])
}

/// The lines of each group: those of one query, with samples that count up.
fn groups(stored: &[Stored]) -> Vec<std::ops::Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    for at in 1..=stored.len() {
        let ends = stored.get(at).is_none_or(|line| {
            line.transcript.query_id != stored[at - 1].transcript.query_id || line.sample <= stored[at - 1].sample
        });
        if ends {
            groups.push(start..at);
            start = at;
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

fn score<'a>(
    rewards: &Rewards,
    rubrics: &BTreeMap<&str, ReadyRubric>,
    queries: &Queries,
    stored: &[Stored],
    rubric_of: &dyn Fn(&Stored) -> &'a str,
) -> Result<Vec<Score>> {
    let asked: Vec<Query> = stored.iter().map(|line| queries.get(line)).collect::<Result<_>>()?;
    let mut scores: Vec<Option<Score>> = vec![None; stored.len()];
    for (name, rubric) in rubrics {
        let chosen: Vec<usize> = (0..stored.len()).filter(|at| rubric_of(&stored[*at]) == *name).collect();
        let items: Vec<Item<'_>> =
            chosen.iter().map(|at| Item { query: &asked[*at], transcript: &stored[*at].transcript }).collect();
        for (at, score) in chosen.iter().zip(rewards.wait(rubric.score_batch(&items))) {
            scores[*at] = Some(score);
        }
    }
    let missing = || RunError::Internal("a rollout was left without a score".to_owned());
    scores.into_iter().map(|score| score.ok_or_else(missing)).collect()
}

fn new_line(line: &Stored, score: &Score, before: Option<f64>, after: Option<f64>) -> Value {
    json!({
        "v": 1,
        "file": line.file,
        "line": line.number,
        "query_id": line.transcript.query_id,
        "sample": line.sample,
        "total_before": line.score.total,
        "score": score,
        "advantage_before": before,
        "advantage": after,
    })
}
