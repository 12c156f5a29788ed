//! The configuration of a run: TOML files merged left to right, then `key=value` overrides; closed, checked, saved.

mod annotated;
mod best;
mod data;
pub(crate) mod device;
mod difference;
mod engine;
mod eval;
mod eval_sampling;
pub(crate) mod fault;
mod log;
pub(crate) mod merge;
mod optimizer;
mod origin;
mod partial;
mod phase;
mod policy;
#[cfg(test)]
mod ranges;
mod read;
mod renamed;
mod run;
pub mod schema;
mod upgrade;
mod warn;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sapo_datasets::SourceConfig;
use sapo_policies::Part;
use sapo_rewards::{Endpoints, RewardConfig, RewardError, RubricConfig, registry};
use sapo_rollouts::EngineConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Table;

pub use self::annotated::Key;
pub use self::best::BestBy;
pub use self::data::SourceUse;
pub use self::difference::Difference;
pub use self::eval::{EvalConfig, GENERATED_QUERIES, INIT};
pub use self::eval_sampling::EvalSampling;
pub use self::fault::ConfigError;
use self::fault::{fault, nearest, number};
pub use self::log::{LogConfig, MlflowConfig};
use self::origin::Origins;
pub use self::phase::{
    AnsweredBy, AuditConfig, AuditPlan, CurateConfig, CurriculumConfig, DistillConfig, FilterConfig, OnPolicyConfig,
    PhaseConfig, PhaseKind, RlConfig, SftConfig, Weighting, WithoutPictures, Work,
};
pub use self::policy::PolicyConfig;
pub use self::run::{KeepConfig, RewardCheckConfig, RunConfig};
pub use self::warn::WarnConfig;

/// Everything that a run is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The run as a whole.
    pub run: RunConfig,
    /// The policy.
    pub policy: PolicyConfig,
    /// Who samples: this process, or servers.
    #[serde(default, skip_serializing_if = "EngineConfig::is_local")]
    pub engine: EngineConfig,
    /// Where queries come from, by name.
    #[serde(default)]
    pub data: BTreeMap<String, SourceConfig>,
    /// Rewards with options, by name; kinds that need no options are there under their own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rewards: BTreeMap<String, RewardConfig>,
    /// How answers are scored, by name.
    #[serde(default)]
    pub rubrics: BTreeMap<String, RubricConfig>,
    /// Sections of the run, by name; `run.phases` orders them.
    pub phases: BTreeMap<String, PhaseConfig>,
    /// Evaluations on held-out queries, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub eval: BTreeMap<String, EvalConfig>,
    /// Who is told of a run's metrics beside its own files.
    #[serde(default, skip_serializing_if = "LogConfig::is_default")]
    pub log: LogConfig,
}

impl Config {
    /// Composes files and overrides.
    ///
    /// # Errors
    /// Names the file, override or key, and the nearest known name.
    pub fn compose(files: &[PathBuf], overrides: &[String]) -> Result<Self, ConfigError> {
        Self::composed(files, overrides, None)
    }

    /// The same for commands that train nothing: rewards and rubrics are enough.
    ///
    /// # Errors
    /// As [`Config::compose`].
    pub fn compose_rewards(files: &[PathBuf], overrides: &[String]) -> Result<Self, ConfigError> {
        Self::composed(files, overrides, Some(partial::fill))
    }

    /// `fill` adds what a configuration that trains nothing may leave out.
    fn composed(files: &[PathBuf], overrides: &[String], fill: Option<fn(&mut Table)>) -> Result<Self, ConfigError> {
        let (mut merged, mut origins) = (Table::new(), Origins::default());
        for file in files {
            merge::merge(&mut merged, merge::read(file, &mut origins)?);
        }
        for text in overrides {
            let (path, value) = merge::override_of(text)?;
            merge::set(&mut merged, &path, value).map_err(|reason| fault(format!("override {text}"), reason))?;
            origins.add_override(&path, text);
        }
        merge::anchor(&mut merged, Path::new(""));
        if let Some(fill) = fill {
            fill(&mut merged);
        }
        let config = Self::of(&merged).and_then(|config| {
            fault::must(fill.is_some() || !config.run.phases.is_empty(), "run.phases", "names no phase")?;
            Ok(config)
        });
        config.map_err(|fault| origins.told(fault))
    }

    /// Reads a merged table and checks it.
    fn of(merged: &Table) -> Result<Self, ConfigError> {
        renamed::refuse(merged)?;
        let config = read::config(merged)?;
        config.check()?;
        Ok(config)
    }

    /// What must hold of a configuration beyond its form; each part has its own check beside it.
    fn check(&self) -> Result<(), ConfigError> {
        self.run.check()?;
        self.log.check()?;
        self.policy.check(self.run.dtype)?;
        engine::check(self)?;
        self.check_rubrics()?;
        self.check_sources()?;
        if let Some(best) = &self.run.keep.best
            && !self.eval.contains_key(&best.set)
        {
            let guess = nearest(&best.set, self.eval.keys().map(String::as_str));
            let reason = format!("names the evaluation `{}`, but there is no [eval.{}]{guess}", best.set, best.set);
            return Err(fault("run.keep.best", reason));
        }
        for name in &self.run.reward_check.skip {
            self.named_rubric("run.reward_check.skip", name)?;
        }
        for (index, name) in self.run.phases.iter().enumerate() {
            let phase = self.phases.get(name).ok_or_else(|| {
                let guess = nearest(name, self.phases.keys().map(String::as_str));
                fault("run.phases", format!("names `{name}`, but there is no [phases.{name}]{guess}"))
            })?;
            if self.run.phases[..index].contains(name) || name == INIT {
                return Err(fault("run.phases", format!("`{name}` comes twice, or is `{INIT}`; give it another name")));
            }
            phase.kind().check(&format!("phases.{name}"), self)?;
        }
        self.eval.iter().try_for_each(|(name, eval)| eval.check(name, self))
    }

    fn named_rubric(&self, place: &str, name: &str) -> Result<(), ConfigError> {
        if self.rubrics.contains_key(name) {
            return Ok(());
        }
        let guess = nearest(name, self.rubrics.keys().map(String::as_str));
        Err(fault(place, format!("names the rubric `{name}`, but there is no [rubrics.{name}]{guess}")))
    }

    /// Builds every reward and rubric once, without asking anybody anything.
    fn check_rubrics(&self) -> Result<(), ConfigError> {
        let served = registry::served_judges(&self.rewards);
        let nowhere = served.into_iter().map(|name| (name.to_owned(), "http://127.0.0.1:9".to_owned())).collect();
        let rewards = sapo_rewards::Registry::build(&self.rewards, &Endpoints(nowhere));
        let rewards = rewards.map_err(of_reward)?;
        for (name, rubric) in &self.rubrics {
            if let Some((key, reason)) = rubric.fault() {
                return Err(fault(format!("rubrics.{name}.{key}"), reason));
            }
            sapo_rewards::Rubric::new(rubric, &rewards).map_err(|error| match error {
                RewardError::Rubric(reason) => fault(format!("rubrics.{name}"), reason),
                other => fault(format!("rubrics.{name}"), other.to_string()),
            })?;
        }
        Ok(())
    }

    /// A source that names a rubric which nobody defines is a fault even where no phase uses it.
    fn check_sources(&self) -> Result<(), ConfigError> {
        for (name, source) in &self.data {
            number(format!("data.{name}.hasty"), source.hasty, 0.0..=1.0)?;
            if let Some(rubric) = &source.rubric {
                self.named_rubric(&format!("data.{name}.rubric"), rubric)?;
            }
        }
        Ok(())
    }

    /// The names of the rubrics that phases in order and evaluations use.
    pub fn used_rubrics(&self) -> BTreeSet<&str> {
        let mut used = BTreeSet::new();
        for phase in self.run.phases.iter().map(|name| self.phases[name].kind()) {
            used.extend(phase.further_rubrics());
            let Some(rubric) = phase.rubric() else { continue };
            used.extend(phase.data().iter().map(|source| self.rubric_of(source, rubric)));
        }
        for eval in self.eval.values() {
            let of_source = |name: &String| self.data.get(name).and_then(|source| source.rubric.as_deref());
            used.extend(eval.data.iter().map(|name| of_source(name).unwrap_or(&eval.rubric)));
        }
        used
    }

    /// The judges among the rewards of a rubric.
    pub fn judges_of(&self, rubric: &str) -> Vec<&str> {
        let is_judge = |name: &&str| matches!(self.rewards.get(*name), Some(RewardConfig::Judge(_)));
        self.rubrics.get(rubric).map_or(Vec::new(), |rubric| rubric.rewards().into_iter().filter(is_judge).collect())
    }

    /// The parts that do not train in a phase.
    pub fn frozen_in(&self, phase: &str) -> &[Part] {
        let own = self.phases.get(phase).and_then(|phase| phase.kind().freeze());
        own.unwrap_or(&self.policy.freeze)
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

/// The fault of a reward, at its key where the reason begins with one, as `temperature = 7: it must be in 0..2` does.
fn of_reward(error: RewardError) -> ConfigError {
    let RewardError::Reward { name, reason } = error else { return fault("rewards", error.to_string()) };
    let plain = |letter: char| letter.is_ascii_lowercase() || matches!(letter, '_' | '.');
    let bare = reason.trim_start_matches('`');
    let key = bare.split(|letter: char| !plain(letter)).next().unwrap_or_default().trim_end_matches('.');
    let rest = bare[key.len()..].trim_start_matches('`');
    let says_key = [" = ", " must ", ": "].iter().any(|start| rest.starts_with(start));
    let place = if says_key && !key.is_empty() { format!("rewards.{name}.{key}") } else { format!("rewards.{name}") };
    fault(place, reason)
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
        let files = std::fs::read_dir(configs()).unwrap().map(|entry| vec![entry.unwrap().path()]);
        let recipe = |name: &str| configs().join("recipes").join(format!("{name}.toml"));
        let recipes = ["rl", "cold-start", "distillation", "pretraining"].into_iter().flat_map(|name| {
            let more =
                if name == "rl" { vec![vec![], vec![recipe("rl-lora")], vec![recipe("audit")]] } else { vec![vec![]] };
            let sized = |more: Vec<PathBuf>| {
                ["2b", "4b", "8b"].map(|size| [vec![recipe(name), recipe(size)], more.clone()].concat())
            };
            more.into_iter().flat_map(sized)
        });
        for files in files.filter(|files| files[0].is_file()).chain(recipes) {
            let config = Config::compose(&files, &[]).unwrap_or_else(|error| panic!("{files:?}: {error}"));
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("config.toml");
            std::fs::write(&file, config.to_toml().unwrap()).unwrap();
            assert_eq!(Config::compose(&[file], &[]).unwrap(), config);
            seen += 1;
        }
        assert_eq!(seen, 6 + 18);
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
        assert!(error(r#"eval.tasks=["arith"]"#).contains("an evaluation has a name now"));
        assert!(error("eval.heldout.unaveraged=[\"arth\"]").contains("did you mean `arith`"));
        assert!(error("phases.reasoning.tasks=[\"arith\"]").contains("]: is now `data"));
        assert!(error("phases.reasoning.data=[{ use = \"diggits\" }]").contains("did you mean `digits`"));
        assert!(error("phases.reasoning.optimizer.lr=1000.0").contains("phases.reasoning.optimizer.lr"));
        assert!(error("policy.too_long=drop").contains("drop_pictures"), "{}", error("policy.too_long=drop"));
        assert!(error("nonsense").contains("key=value"));
        let unknown = error(r#"policy.freeze=["vison"]"#);
        assert!(unknown.contains("freeze") && unknown.contains("did you mean `vision`"), "{unknown}");
        let lora = |rest: &str| error(&format!("policy.lora={{ rank = 2, alpha = 4{rest} }}"));
        assert!(lora("").contains("targets"), "{}", lora(""));
        assert!(lora(", targets = []").contains("policy.lora.targets: is empty"), "{}", lora(", targets = []"));
        assert!(lora(r#", targets = "(""#).contains("not a regular expression"));
        assert!(lora(r#", target = ["q_proj"]"#).contains("did you mean `targets`"));
        assert!(
            error(r#"policy.lora={ rank = 0, alpha = 4, targets = ["q_proj"] }"#).contains("policy.lora.rank: is 0")
        );
        assert!(
            error(r#"policy.lora={ rank = 1, alpha = nan, targets = ["q_proj"] }"#)
                .contains("policy.lora.alpha: is NaN")
        );
        assert!(error("engine.kind=vlm").contains("did you mean `vllm`"), "{}", error("engine.kind=vlm"));
        assert!(error("engine.endpoint=[]").contains("did you mean `endpoints`"));
        assert!(error("phases.careful.router_aux_loss_coef=-1.0").contains("phases.careful.router_aux_loss_coef"));
        let missing = Config::compose(&[PathBuf::from("no-such.toml")], &[]).unwrap_err();
        assert!(missing.to_string().contains("no-such.toml"));
    }

    #[test]
    fn what_a_run_of_the_version_before_has_saved_is_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let text = std::fs::read_to_string(configs().join("smoke.toml")).unwrap();
        let old = text.replace("samples = 4\n", "samples = 4\ndrop_never_solved = true\n");
        std::fs::write(&file, old).unwrap();
        let refused = Config::compose(std::slice::from_ref(&file), &[]).unwrap_err().to_string();
        assert!(
            refused.contains("phases.curate.drop_never_solved: is now `drop = { never_solved = true }`"),
            "{refused}"
        );
        std::fs::write(folder.path().join("run.json"), "{}").unwrap();
        let config = Config::compose(&[file], &[]).unwrap();
        assert!(config.phases["curate"].as_curate().unwrap().drop.never_solved);
    }

    #[test]
    fn records_of_earlier_runs_are_looked_for_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let beside = |name: &str| folder.path().join(name);
        for name in ["answers.jsonl", "flagship.jsonl"] {
            std::fs::write(beside(name), "").unwrap();
        }
        let more = "[phases.curate]\nby = { record = \"answers.jsonl\" }\ndrop = { stronger = \"flagship.jsonl\" }\n\
                    without_pictures = { by = { model = \"tiny\" } }\n";
        std::fs::write(beside("more.toml"), more).unwrap();
        let config = Config::compose(&[configs().join("smoke.toml"), beside("more.toml")], &[]).unwrap();
        let curate = config.phases["curate"].as_curate().unwrap();
        assert_eq!(curate.records().collect::<Vec<_>>(), [beside("answers.jsonl"), beside("flagship.jsonl")]);
        let blind = curate.without_pictures.as_ref().unwrap();
        assert_eq!((&blind.by, blind.samples), (&AnsweredBy::Model("tiny".into()), 4));
    }

    #[test]
    fn overrides_are_toml_or_plain_strings() {
        let overrides = ["policy.model=./x y".to_owned(), "phases.reasoning.steps=20".to_owned()];
        let config = Config::compose(&[configs().join("smoke.toml")], &overrides).unwrap();
        assert_eq!(config.policy.model, "./x y");
        assert!(matches!(&config.phases["reasoning"], PhaseConfig::Rl(rl) if rl.steps == 20));
    }
}
