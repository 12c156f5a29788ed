//! What scores the answers of `sapo eval`: the rubrics that are asked for, and judges, which are measured first.

use std::collections::{BTreeMap, BTreeSet};

use sapo_rewards::RubricConfig;

use super::target::Target;
use crate::checking;
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::score::Rewards;
use crate::score::judge::{Counts, JudgeRecord, calibrate, counts};

/// Rewards whose 1 is bad.
const PENALTIES: [&str; 2] = ["language", "repetition"];

/// The rubrics that the targets name, by name; without a configuration a rubric is the name of a rule.
///
/// # Errors
/// When there is no such rubric; nothing is started to find out.
pub(super) fn rubrics(config: Option<&Config>, targets: &[Target]) -> Result<BTreeMap<String, RubricConfig>> {
    let names: BTreeSet<&String> = targets.iter().flat_map(|target| &target.rubrics).collect();
    let mut rubrics = BTreeMap::new();
    for name in names {
        let rubric = match config {
            Some(config) if config.rubrics.contains_key(name) => config.rubrics[name].clone(),
            Some(config) if config.rewards.contains_key(name) => checking::alone(name),
            Some(config) => {
                let known: Vec<&str> = config.rubrics.keys().chain(config.rewards.keys()).map(String::as_str).collect();
                return Err(RunError::User(format!("--rubric {name}: the configuration has {}", known.join(", "))));
            }
            None if PENALTIES.contains(&name.as_str()) => {
                let reason = "a penalty does not measure what is right; name a verifier";
                return Err(RunError::User(format!("--rubric {name}: {reason}")));
            }
            None => checking::alone(name),
        };
        rubrics.insert(name.clone(), rubric);
    }
    Ok(rubrics)
}

/// The judges that are asked, with what they were needed for before the evaluation.
pub(super) struct Judges {
    records: BTreeMap<String, JudgeRecord>,
    before: Counts,
}

impl Judges {
    /// Asks whether the judges of some rewards are there, and measures them on their labelled items.
    fn measured(rewards: &Rewards, progress: &dyn Progress) -> Result<Self> {
        let mut records = BTreeMap::new();
        for (name, judge) in rewards.judges() {
            rewards.wait(judge.reach())?;
            judge.open_cache(None);
            let record = calibrate(rewards, judge)?;
            progress.say(&record.said(name));
            records.insert(name.clone(), record);
        }
        Ok(Self { records, before: counts(rewards) })
    }

    /// Their records, with what they did in the evaluation.
    pub(super) fn records(mut self, rewards: &Rewards) -> BTreeMap<String, JudgeRecord> {
        let now = counts(rewards);
        for (name, record) in &mut self.records {
            if let Some(counts) = now.get(name) {
                record.add_since(counts, self.before.get(name));
            }
        }
        self.records
    }
}

/// The rewards that rubrics need, and the judges among them, measured.
///
/// # Errors
/// When a reward cannot be built, or a judge does not answer or is not good enough.
pub(super) fn rewards(
    config: Option<&Config>,
    rubrics: &BTreeMap<String, RubricConfig>,
    progress: &dyn Progress,
) -> Result<(Rewards, Judges)> {
    let none = BTreeMap::new();
    let configs = config.map_or(&none, |config| &config.rewards);
    let named: Vec<(&str, &RubricConfig)> = rubrics.iter().map(|(name, rubric)| (name.as_str(), rubric)).collect();
    let rewards = Rewards::of_rubrics(configs, &named).map_err(|error| match (config, named.first()) {
        (None, Some((name, _))) => RunError::User(format!(
            "--rubric {name}: {error} (without a configuration an evaluation scores by rules; judges need a --config that says \
             where they are)"
        )),
        _ => error,
    })?;
    rewards.prepared().iter().for_each(|line| progress.say(line));
    let judges = Judges::measured(&rewards, progress)?;
    Ok((rewards, judges))
}
