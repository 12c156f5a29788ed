//! The outline of a run: what will be done, and what its model needs, where no step can be tried: the model is large, or a
//! source or the model is not there yet.

use std::path::Path;

use sapo_policies::Part;
use sapo_policies::config::Config as Sizes;
use sapo_policies::config::published::published;
use sapo_policies::preset::{PRESETS, checkpoint_folder, config_of};
use serde::Serialize;

use crate::config::{AuditPlan, Config, SourceUse};
use crate::data;
use crate::error::Result;
use crate::footprint::{Footprint, Lengths};
use crate::sizes::{Method, ModelSize, Question};

/// Tokens of a prompt where the configuration sets no limit, and of an answer that is given.
const PROMPT: usize = 1024;
const ANSWER: usize = 512;

/// A run, outlined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outline {
    /// Version of this record.
    pub v: u32,
    /// The model, by the name that the configuration gives it.
    pub model: String,
    /// Whether it is there; without it, the sizes are the published ones of that name.
    pub model_is_there: bool,
    /// Numbers in the model's parameters.
    pub parameters: u64,
    /// Numbers that train in some phase, adapters included.
    pub trained_parameters: u64,
    /// What it holds in memory, with these lengths.
    pub footprint: Footprint,
    /// The lengths that are assumed, in tokens: nothing was read.
    pub lengths: Lengths,
    /// The phases in order.
    pub phases: Vec<PhaseOutline>,
    /// Sources that cannot be opened.
    pub missing: Vec<Missing>,
}

/// A phase, outlined.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseOutline {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Steps; one where the phase takes each query once.
    pub steps: u64,
    /// Demonstrations or queries of a step; all of its sources where it is 0.
    pub prompts_per_step: usize,
    /// Answers to each query; 0 where demonstrations are given.
    pub rollouts_per_prompt: usize,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Parts that do not train in it.
    pub frozen: Vec<Part>,
    /// What its audit costs, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditPlan>,
}

/// A source that cannot be opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missing {
    /// Its name.
    pub source: String,
    /// Why.
    pub reason: String,
}

impl Outline {
    /// Outlines a run.
    ///
    /// # Errors
    /// When nothing is known of the model.
    pub fn of(config: &Config) -> Result<Self> {
        let name = &config.policy.model;
        let model_is_there = PRESETS.contains(&name.as_str()) || checkpoint_folder(name).is_ok();
        let by_name = || Path::new(name).file_name().and_then(|name| published(name.to_str()?));
        let sizes = config_of(name).or_else(|error| by_name().ok_or(error))?;
        let size = ModelSize::of(&sizes, &question(config));
        let lengths = assumed(config, &sizes);
        let phases = config.run.phases.iter().map(|name| {
            let (kind, work) = (config.phases[name].kind(), config.phases[name].kind().work());
            PhaseOutline {
                name: name.clone(),
                kind: kind.word(),
                steps: work.steps,
                prompts_per_step: work.prompts_per_step,
                rollouts_per_prompt: work.rollouts_per_prompt,
                max_new_tokens: work.max_new_tokens,
                frozen: if kind.trains() { config.frozen_in(name).to_vec() } else { Vec::new() },
                audit: kind.audit().map(|audit| audit.planned(config, work)),
            }
        });
        Ok(Self {
            v: 1,
            model: name.clone(),
            model_is_there,
            parameters: size.parameters,
            trained_parameters: size.trainable,
            footprint: Footprint::of(config, &sizes, lengths),
            lengths,
            phases: phases.collect(),
            missing: missing(config),
        })
    }
}

/// What of the model is kept, and how much trains at once.
fn question(config: &Config) -> Question {
    let phases = || config.run.phases.iter().map(|name| (name, config.phases[name].kind()));
    let trained = || phases().filter(|(_, phase)| phase.trains()).map(|(name, _)| config.frozen_in(name));
    let method = match &config.policy.lora {
        Some(lora) => Method::Lora { rank: lora.rank },
        None if trained().next().is_none() => Method::Inference,
        None => Method::Full,
    };
    let frozen = Part::ALL.into_iter().filter(|part| trained().all(|frozen| frozen.contains(part)));
    Question { format: config.run.dtype, method, frozen: frozen.collect(), batch: 0, context: 0, recompute: false }
}

/// Lengths where no source was read: prompts as long as they may be, three quarters of them pictures.
fn assumed(config: &Config, sizes: &Sizes) -> Lengths {
    let prompt = config.policy.max_prompt_tokens.unwrap_or(PROMPT) as f64;
    let patches = 0.75 * prompt * sizes.vision.merge_area() as f64;
    Lengths { prompt, answer: ANSWER as f64, patches }
}

/// The sources of phases and evaluations that cannot be opened, each once.
pub fn missing(config: &Config) -> Vec<Missing> {
    let of_phases = config.run.phases.iter().flat_map(|name| config.phases[name].kind().data().to_vec());
    let of_evaluations = config.eval.values().flat_map(|eval| eval.data.iter().map(|name| SourceUse::of(name)));
    let mut all: Vec<Missing> = Vec::new();
    for used in of_phases.chain(of_evaluations) {
        if all.iter().all(|known| known.source != used.name)
            && let Err(error) = data::open(config, &used, 0)
        {
            all.push(Missing { source: used.name, reason: error.to_string() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn recipe(names: &[&str]) -> Config {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/recipes");
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(format!("{name}.toml"))).collect();
        Config::compose(&files, &[]).unwrap()
    }

    #[test]
    fn recipes_are_outlined_without_their_models_and_sources() {
        for (size, parameters) in [("2b", 2_127_532_032), ("4b", 4_437_815_808), ("8b", 8_767_123_696)] {
            for name in ["rl", "cold-start", "distillation", "pretraining"] {
                let outline = Outline::of(&recipe(&[name, size])).unwrap();
                assert_eq!((outline.parameters, outline.model_is_there), (parameters, false), "{name} {size}");
                assert!(!outline.missing.is_empty() && !outline.phases.is_empty());
                assert!(
                    outline.missing.iter().all(|missing| missing.reason.contains("parquet")),
                    "{:?}",
                    outline.missing
                );
            }
        }
        let whole = Outline::of(&recipe(&["rl", "8b"])).unwrap();
        assert_eq!(whole.trained_parameters, whole.parameters);
        assert_eq!(whole.phases.iter().map(|phase| phase.kind).collect::<Vec<_>>(), ["curate", "rl", "rl"]);
        let adapted = Outline::of(&recipe(&["rl", "8b", "rl-lora"])).unwrap();
        assert!(adapted.trained_parameters < whole.parameters / 50, "{}", adapted.trained_parameters);
        assert!(adapted.footprint.total < whole.footprint.total);
        // What some phase trains has moments, though another freezes it.
        let stages = Outline::of(&recipe(&["pretraining", "2b"])).unwrap();
        assert_eq!(stages.trained_parameters, stages.parameters);
        assert!(stages.phases[0].frozen.contains(&Part::Vision) && stages.phases[1].frozen.is_empty());
    }
}
