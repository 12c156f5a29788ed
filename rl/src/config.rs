//! The configuration of a run: TOML files merged left to right, then `key=value` overrides; closed, checked, saved.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sapo_datasets::Task;
use sapo_policies::processor::{PromptLimit, TooLong};
use sapo_policies::{LoraConfig, Part, WeightFormat, nearest};
use sapo_rewards::{RewardConfig, RubricConfig};
use sapo_rollouts::Sampling;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::advantage::Spread;
use crate::algorithm::AlgorithmConfig;
use crate::optimizer::OptimizerConfig;

mod check;

/// A fault in a configuration, with its place and remedy.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    /// File, override or key.
    pub place: String,
    /// What is wrong and what to do.
    pub reason: String,
}

pub(crate) fn fault(place: impl Into<String>, reason: impl Into<String>) -> ConfigError {
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
    /// The format that frozen weights are kept in, `f32` or `bf16`; what trains is kept in f32, and all is computed so.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub dtype: WeightFormat,
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
    /// The check of the rewards before the first step.
    #[serde(default)]
    pub reward_check: RewardCheckConfig,
}

/// The check of a run's rewards on a sample of its data, before the first step. Gold answers must score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardCheckConfig {
    /// Rows of each task; 0 turns the check off.
    pub rows_per_task: usize,
    /// The run does not start when a smaller share of a task's gold answers scores.
    pub min_gold_share: f64,
    /// Names of rubrics that are not checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

impl Default for RewardCheckConfig {
    fn default() -> Self {
        Self { rows_per_task: 4, min_gold_share: 1.0, skip: Vec::new() }
    }
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
    /// Parts that do not train: `vision`, `merger`, `deepstack`, `text`, `embeddings` (an untied head
    /// with them), `experts`, `router`, `head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Part>,
    /// A new low-rank adapter, which is then all that trains; maps of frozen parts get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The folder of an adapter (PEFT) to go on training, in place of `lora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// Whether picture features are added to the first text layers; `false` is an ablation.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub deepstack: bool,
    /// Tokens of a prompt at most, placeholders of pictures counted; without it, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<usize>,
    /// What is done with a longer prompt: `refuse` stops, `drop_pictures` leaves out whole pictures and videos, the
    /// earliest first, until the rest fits.
    #[serde(default, skip_serializing_if = "is_refused")]
    pub too_long: TooLong,
}

impl PolicyConfig {
    /// How long a prompt may be, if there is a limit.
    pub fn prompt_limit(&self) -> Option<PromptLimit> {
        self.max_prompt_tokens.map(|tokens| PromptLimit { tokens, too_long: self.too_long })
    }
}

fn is_refused(rule: &TooLong) -> bool {
    *rule == TooLong::Refuse
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
    /// Weight of the loss that spreads rows over experts; that of the model's own config without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_aux_loss_coef: Option<f64>,
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
    /// More failed rewards than this share of a window's rollouts stop the run at a checkpoint.
    #[serde(default = "max_failed_share")]
    pub max_failed_share: f64,
    /// The steps of that window.
    #[serde(default = "failure_window_steps")]
    pub failure_window_steps: usize,
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
    0.05
}

fn failure_window_steps() -> usize {
    20
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

fn is_f32(format: &WeightFormat) -> bool {
    *format == WeightFormat::F32
}

fn is_true(value: &bool) -> bool {
    *value
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

    /// The rewards of the configuration that are rules, by name.
    pub fn rule_rewards(&self) -> BTreeMap<String, RewardConfig> {
        let rules = self.rewards.iter().filter(|(_, reward)| !matches!(reward, RewardConfig::Judge(_)));
        rules.map(|(name, reward)| (name.clone(), reward.clone())).collect()
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
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs")
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
        assert!(error("policy.too_long=drop").contains("drop_pictures"), "{}", error("policy.too_long=drop"));
        assert!(error("nonsense").contains("key=value"));
        let unknown = error(r#"policy.freeze=["vison"]"#);
        assert!(unknown.contains("freeze") && unknown.contains("did you mean `vision`"), "{unknown}");
        let lora = |rest: &str| error(&format!("policy.lora={{ rank = 2, alpha = 4{rest} }}"));
        assert!(lora("").contains("targets"), "{}", lora(""));
        assert!(lora(", targets = []").contains("policy.lora: `targets` is empty"), "{}", lora(", targets = []"));
        assert!(lora(r#", targets = "(""#).contains("not a regular expression"));
        assert!(lora(r#", target = ["q_proj"]"#).contains("did you mean `targets`"));
        assert!(error(r#"policy.lora={ rank = 0, alpha = 4, targets = ["q_proj"] }"#).contains("`rank` is 0"));
        assert!(error(r#"policy.lora={ rank = 1, alpha = nan, targets = ["q_proj"] }"#).contains("`alpha` is NaN"));
        assert!(error("phases.careful.router_aux_loss_coef=-1.0").contains("phases.careful.router_aux_loss_coef"));
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
