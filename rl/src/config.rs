//! The configuration of a run: TOML files merged left to right, then `key=value` overrides; closed, checked, saved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sapo_datasets::Task;
use sapo_policies::weights::WeightFormat;
use sapo_rewards::{Endpoints, RewardConfig, RubricConfig, registry};
use sapo_rollouts::Sampling;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::advantage::Spread;
use crate::algorithm::AlgorithmConfig;
use crate::optimizer::OptimizerConfig;

/// A fault in a configuration, with its place and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    /// File, override or key.
    pub place: String,
    /// What is wrong and what to do.
    pub reason: String,
}

fn fault(place: impl Into<String>, reason: impl Into<String>) -> ConfigError {
    ConfigError { place: place.into(), reason: reason.into() }
}

/// Everything that a run is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The run as a whole.
    pub run: RunConfig,
    /// The policy.
    pub policy: PolicyConfig,
    /// Rewards with options, by name; kinds that need no options are there under their own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, RewardConfig>,
    /// How answers are scored, by name.
    pub rubrics: BTreeMap<String, RubricConfig>,
    /// Sections of the run, by name; `run.phases` orders them.
    pub phases: BTreeMap<String, PhaseConfig>,
    /// The held-out evaluation.
    pub eval: EvalConfig,
}

/// The run as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run and of its folder.
    pub name: String,
    /// Folder that holds runs.
    #[serde(default = "runs")]
    pub dir: PathBuf,
    /// All random seeds of training come from it.
    pub seed: u64,
    /// Names of phases, in order.
    pub phases: Vec<String>,
    /// Where tensors live: `cpu`, or `cuda:0` in a build with the feature `cuda`.
    #[serde(default = "cpu")]
    pub device: String,
    /// Steps between two checkpoints within a phase; every phase and evaluation ends with one as well.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: u64,
    /// How many checkpoints are kept: the newest ones.
    #[serde(default = "keep_checkpoints")]
    pub keep_checkpoints: usize,
    /// How long a full disk is waited for before the run stops.
    #[serde(default = "disk_wait_secs")]
    pub disk_wait_secs: u64,
    /// Rows of a micro-batch at most; bounds memory.
    #[serde(default = "token_budget")]
    pub token_budget: usize,
    /// Rows that are decoded together at most.
    #[serde(default = "decode_rows")]
    pub decode_rows: usize,
}

/// The policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// A preset, or a checkpoint folder.
    pub model: String,
    /// At the end of the run the policy is written into `export/` as well, in this number format (`f32` or `bf16`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<WeightFormat>,
}

/// A share of one task in a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// The generated task.
    pub task: Task,
    /// Its share, relative to the others.
    pub share: f64,
    /// Columns with the value that they must have, to train on one kind of the task's queries alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<String, String>,
}

/// A section of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PhaseConfig {
    /// Supervised learning from generated demonstrations.
    Sft(SftConfig),
    /// Sampling of queries to drop those that the policy already passes.
    Curate(CurateConfig),
    /// Reinforcement learning.
    Rl(RlConfig),
}

impl PhaseConfig {
    /// The name under which the evaluation after it stands in the table.
    pub fn eval_after(&self) -> Option<&str> {
        match self {
            Self::Sft(phase) => phase.eval_after.as_deref(),
            Self::Curate(_) => None,
            Self::Rl(phase) => phase.eval_after.as_deref(),
        }
    }
}

/// Supervised learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// Tasks and shares.
    pub data: Vec<Mix>,
    /// Share of demonstrations that answer at once; all answers are right.
    #[serde(default)]
    pub hasty: f64,
    /// Optimizer steps.
    pub steps: u64,
    /// Demonstrations in a step.
    pub batch_size: usize,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// The name under which the held-out evaluation after this phase stands in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_after: Option<String>,
}

/// Curation by pass rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurateConfig {
    /// Tasks.
    pub tasks: Vec<Task>,
    /// Queries of each task.
    pub queries_per_task: usize,
    /// Samples of each query.
    pub samples: usize,
    /// Sampling.
    pub sampling: Sampling,
    /// The rubric that decides what passes.
    pub rubric: String,
    /// Whether queries that never passed are dropped too.
    #[serde(default)]
    pub drop_never_solved: bool,
}

/// Reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// The curate phase whose kept queries are trained on; fresh training queries without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Tasks; each has the same count in every batch.
    pub tasks: Vec<Task>,
    /// Steps; each samples one batch and updates `mini_batches` times.
    pub steps: u64,
    /// Queries of each task in a step.
    pub prompts_per_task: usize,
    /// Rollouts of each query.
    pub rollouts_per_prompt: usize,
    /// Sampling.
    pub sampling: Sampling,
    /// The rubric.
    pub rubric: String,
    /// Rubrics of tasks that have another one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rubrics: BTreeMap<Task, String>,
    /// More failed rewards than this share of a step's rollouts stop the run.
    #[serde(default = "max_failed_share")]
    pub max_failed_share: f64,
    /// Algorithm.
    pub algorithm: AlgorithmConfig,
    /// What advantages are divided by.
    #[serde(default = "population")]
    pub spread: Spread,
    /// Optimizer steps per batch.
    #[serde(default = "two")]
    pub mini_batches: usize,
    /// Drops groups that pass more than 90 % of the time.
    #[serde(default = "yes")]
    pub filter_live: bool,
    /// The control: rewards are permuted within each group, so that nothing true can be learned.
    #[serde(default)]
    pub shuffle_rewards: bool,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// The name under which the held-out evaluation after this phase stands in the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_after: Option<String>,
}

/// The held-out evaluation. Its queries do not depend on `run.seed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Tasks.
    pub tasks: Vec<Task>,
    /// Further tasks that get a row each, but are no part of `all`: what is judged or provoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Task>,
    /// Test queries of each task.
    pub queries_per_task: usize,
    /// Samples of each query at temperature 1; one greedy answer comes on top.
    pub samples: usize,
    /// Token limit.
    pub max_new_tokens: usize,
    /// The rubric.
    pub rubric: String,
    /// Seed of queries and samples.
    pub seed: u64,
}

impl EvalConfig {
    /// All queries of an evaluation.
    pub fn queries(&self) -> usize {
        (self.tasks.len() + self.apart.len()) * self.queries_per_task
    }

    /// Sampled rollouts of all of them.
    pub fn rollouts(&self) -> usize {
        self.queries() * self.samples
    }
}

fn runs() -> PathBuf {
    PathBuf::from("runs")
}

fn cpu() -> String {
    "cpu".to_owned()
}

fn checkpoint_every() -> u64 {
    100
}

fn keep_checkpoints() -> usize {
    2
}

fn disk_wait_secs() -> u64 {
    600
}

fn max_failed_share() -> f64 {
    0.2
}

fn token_budget() -> usize {
    4096
}

fn decode_rows() -> usize {
    1024
}

fn population() -> Spread {
    Spread::Population
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

impl Config {
    /// Composes files and overrides.
    ///
    /// # Errors
    /// Names the file, override or key, and the nearest known name.
    pub fn compose(files: &[PathBuf], overrides: &[String]) -> Result<Self, ConfigError> {
        let mut merged = Table::new();
        for file in files {
            let place = file.display().to_string();
            let text =
                std::fs::read_to_string(file).map_err(|error| fault(&place, format!("cannot be read: {error}")))?;
            let table: Table = text.parse().map_err(|error: toml::de::Error| fault(&place, error.to_string()))?;
            merge(&mut merged, table);
        }
        for text in overrides {
            let (key, value) = text
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| fault(text, "is neither a configuration file nor `key=value`"))?;
            let parsed = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
            set(&mut merged, key, parsed.unwrap_or_else(|| Value::String(value.to_owned())))
                .map_err(|reason| fault(text, reason))?;
        }
        let place = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        let config: Self = Value::Table(merged)
            .try_into()
            .map_err(|error: toml::de::Error| fault(place, with_nearest(&error.to_string())))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let plain = !self.run.name.is_empty()
            && Path::new(&self.run.name).components().count() == 1
            && !self.run.name.starts_with('.');
        let must = |holds: bool, key: String, reason: &str| if holds { Ok(()) } else { Err(fault(key, reason)) };
        must(plain, "run.name".to_owned(), "must be a plain folder name")?;
        must(!self.run.phases.is_empty(), "run.phases".to_owned(), "names no phase")?;
        let counts = [
            ("token_budget", self.run.token_budget),
            ("decode_rows", self.run.decode_rows),
            ("keep_checkpoints", self.run.keep_checkpoints),
            ("checkpoint_every", self.run.checkpoint_every as usize),
        ];
        for (key, count) in counts {
            must(count > 0, format!("run.{key}"), "must not be 0")?;
        }
        crate::device::check(&self.run.device).map_err(|reason| fault("run.device", reason))?;
        self.check_rubrics()?;
        self.rubric_of_rules("eval.rubric", &self.eval.rubric)?;
        let evaluated = self.eval.queries_per_task > 0
            && self.eval.samples > 0
            && self.eval.max_new_tokens > 0
            && !self.eval.tasks.is_empty();
        must(evaluated, "eval".to_owned(), "tasks, queries_per_task, samples and max_new_tokens must not be 0")?;
        let mut once = BTreeSet::new();
        let each_once = self.eval.tasks.iter().chain(&self.eval.apart).all(|task| once.insert(*task));
        must(each_once, "eval.apart".to_owned(), "a task may be named once in `tasks` and `apart` together")?;
        for name in &self.run.phases {
            let place = format!("phases.{name}");
            let phase = self.phases.get(name).ok_or_else(|| {
                fault(
                    "run.phases",
                    format!(
                        "names `{name}`, which is no phase{}",
                        nearest(name, self.phases.keys().map(String::as_str))
                    ),
                )
            })?;
            match phase {
                PhaseConfig::Sft(sft) => {
                    must(
                        sft.batch_size > 0 && !sft.data.is_empty(),
                        place.clone(),
                        "batch_size and data must not be empty",
                    )?;
                    must((0.0..=1.0).contains(&sft.hasty), format!("{place}.hasty"), "must be between 0 and 1")?;
                    must(
                        sft.data.iter().all(|mix| mix.share > 0.0 && mix.share.is_finite()),
                        format!("{place}.data"),
                        "shares must be above 0",
                    )?;
                }
                PhaseConfig::Curate(curate) => {
                    self.rubric_of_rules(&format!("{place}.rubric"), &curate.rubric)?;
                    must(
                        curate.samples > 0 && curate.sampling.max_new_tokens > 0,
                        place,
                        "samples and max_new_tokens must not be 0",
                    )?;
                }
                PhaseConfig::Rl(rl) => {
                    self.rubric(&format!("{place}.rubric"), &rl.rubric)?;
                    for (task, rubric) in &rl.rubrics {
                        self.rubric(&format!("{place}.rubrics.{task}"), rubric)?;
                    }
                    must(
                        self.judges_of(rl).len() <= 1,
                        format!("{place}.rubrics"),
                        "use more than one judge; a phase has one",
                    )?;
                    must(
                        (0.0..=1.0).contains(&rl.max_failed_share),
                        format!("{place}.max_failed_share"),
                        "must be between 0 and 1",
                    )?;
                    if let Some(reason) = rl.algorithm.fault() {
                        return Err(fault(format!("{place}.algorithm"), reason));
                    }
                    must(rl.sampling.temperature > 0.0, format!("{place}.sampling.temperature"), "must be above 0")?;
                    must(
                        rl.rollouts_per_prompt >= 2,
                        format!("{place}.rollouts_per_prompt"),
                        "must be 2 or more: advantages compare rollouts of a group",
                    )?;
                    must(
                        rl.prompts_per_task > 0 && !rl.tasks.is_empty(),
                        place.clone(),
                        "tasks and prompts_per_task must not be empty",
                    )?;
                    must(
                        (1..=rl.prompts_per_task * rl.tasks.len()).contains(&rl.mini_batches),
                        format!("{place}.mini_batches"),
                        "must be between 1 and the queries of a step",
                    )?;
                    let before = self.run.phases.iter().take_while(|other| *other != name);
                    let pool = rl.pool.as_ref().is_none_or(|pool| {
                        before.into_iter().any(|other| other == pool)
                            && matches!(self.phases.get(pool), Some(PhaseConfig::Curate(_)))
                    });
                    must(pool, format!("{place}.pool"), "must name a curate phase that runs before this one")?;
                }
            }
        }
        Ok(())
    }

    fn rubric(&self, place: &str, name: &str) -> Result<(), ConfigError> {
        if self.rubrics.contains_key(name) {
            return Ok(());
        }
        Err(fault(
            place,
            format!("names `{name}`, which is no rubric{}", nearest(name, self.rubrics.keys().map(String::as_str))),
        ))
    }

    /// Evaluation and curation are scored by rules: their numbers must not depend on who answers for a judge.
    fn rubric_of_rules(&self, place: &str, name: &str) -> Result<(), ConfigError> {
        self.rubric(place, name)?;
        let used = crate::scoring::used_rewards([&self.rubrics[name]]);
        match used.into_iter().find(|name| matches!(self.rewards.get(*name), Some(RewardConfig::Judge(_)))) {
            Some(judge) => Err(fault(place, format!("`{name}` asks the judge `{judge}`; name a rubric of rules here"))),
            None => Ok(()),
        }
    }

    /// The rewards of the configuration that are rules, by name.
    pub fn rule_rewards(&self) -> BTreeMap<String, RewardConfig> {
        let rules = self.rewards.iter().filter(|(_, reward)| !matches!(reward, RewardConfig::Judge(_)));
        rules.map(|(name, reward)| (name.clone(), reward.clone())).collect()
    }

    /// Builds every reward and rubric once, without asking anybody anything.
    fn check_rubrics(&self) -> Result<(), ConfigError> {
        let served = registry::served_judges(&self.rewards);
        let nowhere = served.into_iter().map(|name| (name.to_owned(), "http://127.0.0.1:9".to_owned())).collect();
        let rewards = sapo_rewards::Registry::build(&self.rewards, &Endpoints(nowhere));
        let rewards = rewards.map_err(|error| fault("rewards", error.to_string()))?;
        for (name, rubric) in &self.rubrics {
            sapo_rewards::Rubric::new(rubric, &rewards)
                .map_err(|error| fault(format!("rubrics.{name}"), error.to_string()))?;
        }
        Ok(())
    }

    /// The rubrics of a phase with the tasks that they score.
    pub fn rubrics_of<'a>(&'a self, phase: &'a RlConfig) -> BTreeMap<Task, &'a RubricConfig> {
        let of_task = |task: &Task| &self.rubrics[phase.rubrics.get(task).unwrap_or(&phase.rubric)];
        phase.tasks.iter().map(|task| (*task, of_task(task))).collect()
    }

    /// The judges that a phase's rubrics ask, by name, each with the tasks that it judges.
    pub fn judges_of<'a>(&'a self, phase: &'a RlConfig) -> BTreeMap<&'a str, Vec<Task>> {
        let mut judges: BTreeMap<&'a str, Vec<Task>> = BTreeMap::new();
        for (task, rubric) in self.rubrics_of(phase) {
            for name in crate::scoring::used_rewards([rubric]) {
                if matches!(self.rewards.get(name), Some(RewardConfig::Judge(_))) {
                    judges.entry(name).or_default().push(task);
                }
            }
        }
        judges
    }

    /// The run's folder.
    pub fn run_path(&self) -> PathBuf {
        self.run.dir.join(&self.run.name)
    }

    /// The resolved configuration as TOML; composing it again gives the same configuration.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| fault("config", error.to_string()))
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => _ = into.insert(key, value),
        }
    }
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    match key.split_once('.') {
        None => _ = table.insert(key.to_owned(), value),
        Some((first, rest)) => match table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => return set(inner, rest, value),
            _ => return Err(format!("`{first}` is no table")),
        },
    }
    Ok(())
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    best.map(|best| format!("; did you mean `{best}`?")).unwrap_or_default()
}

/// Adds the nearest known name to serde's message about an unknown field.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.contains("unknown field") || message.contains("unknown variant"), quoted.next()) {
        (true, Some(name)) => format!("{}{}", message.trim_end(), nearest(name, quoted)),
        _ => message.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
    }

    #[test]
    fn every_shipped_config_loads_and_its_resolved_form_is_the_same() {
        let mut seen = 0;
        for entry in std::fs::read_dir(configs()).unwrap() {
            let config = Config::compose(&[entry.unwrap().path()], &[]).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), config.to_toml().unwrap()).unwrap();
            assert_eq!(Config::compose(&[file.path().to_owned()], &[]).unwrap(), config);
            seen += 1;
        }
        assert!(seen >= 2);
    }

    fn error(text: &str) -> String {
        Config::compose(&[configs().join("smoke.toml")], &[text.to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_the_place_and_the_remedy() {
        assert!(error("run.sead=3").contains("did you mean `seed`"), "{}", error("run.sead=3"));
        assert!(error("run.seed=high").contains("seed"));
        assert!(error("phases.reasoning.rubric=reasonin").contains("did you mean `reasoning`"));
        assert!(error("phases.reasoning.algorithm.tau_neg=0.5").contains("tau_neg"));
        assert!(error(r#"eval.apart=["arith"]"#).contains("eval.apart: a task may be named once"));
        assert!(error("nonsense").contains("key=value"));
        assert!(error("eval.rubric=judged").contains("asks the judge `same`"));
        let missing = Config::compose(&[PathBuf::from("no-such.toml")], &[]).unwrap_err();
        assert!(missing.to_string().contains("no-such.toml"));
    }

    #[test]
    fn overrides_are_toml_or_plain_strings() {
        let overrides = ["policy.model=./x y".to_owned(), "phases.reasoning.steps=20".to_owned()];
        let config = Config::compose(&[configs().join("smoke.toml")], &overrides).unwrap();
        assert_eq!(config.policy.model, "./x y");
        assert!(matches!(&config.phases["reasoning"], PhaseConfig::Rl(rl) if rl.steps == 20));
    }
}
