//! Making a rubric ready: its rewards are found, its numbers checked.

use std::sync::Arc;

use super::config::{GateConfig, RubricConfig, half};
use super::{Gate, OVERLONG, RewardPart, Rubric};
use crate::error::{Result, RewardError};
use crate::kind::Endpoints;
use crate::ledger::RewardId;
use crate::normalise::Normalise;
use crate::registry::{Registry, RewardConfig};
use crate::reward::Reward;
use crate::score::CORRECT;
use crate::verifiers::language::Language;
use crate::verifiers::repetition::Repetition;

impl Rubric {
    /// Finds the rewards of a rubric.
    ///
    /// # Errors
    /// When a reward is not known, a name comes twice, or a number makes no sense.
    pub fn new(config: &RubricConfig, registry: &Registry) -> Result<Self> {
        let parts = parts(config, registry)?;
        check(config, &parts)?;
        let gates = config.gates.iter().map(|gate| make_gate(gate, &parts, registry));
        let mut gates = gates.collect::<Result<Vec<_>>>()?;
        gates.extend(bonus_gates(&parts)?);
        Ok(Self {
            parts,
            gates,
            clip: config.clip,
            overlong: config.overlong.clone(),
            normalise: config.normalise,
            on_failure: config.on_failure,
        })
    }
}

/// The parts in order: `correct`, extras, penalties.
fn parts(config: &RubricConfig, registry: &Registry) -> Result<Vec<RewardPart>> {
    let part = |name: &str, reward: &str, weight: f64, clip: Option<[f64; 2]>| {
        let (found, id) = find(registry, reward)?;
        Ok(RewardPart { name: name.to_owned(), weight, clip: ordered(name, clip)?, reward: found, id })
    };
    let correct = above_zero(CORRECT, config.weight)?;
    let mut parts = vec![part(CORRECT, &config.correct, correct, None)?];
    for extra in &config.parts {
        let weight = above_zero(&extra.reward, extra.weight)?;
        parts.push(part(&extra.reward, &extra.reward, weight, extra.clip)?);
    }
    for penalty in &config.penalties {
        let weight = above_zero(&penalty.reward, penalty.weight)?;
        parts.push(part(&penalty.reward, &penalty.reward, -weight, penalty.clip)?);
    }
    parts.extend(short_penalties(config)?);
    Ok(parts)
}

/// What must hold of the rubric as a whole.
fn check(config: &RubricConfig, parts: &[RewardPart]) -> Result<()> {
    let is_taken = |at: usize, name: &str| parts[..at].iter().any(|other| other.name == name);
    let twice = parts
        .iter()
        .enumerate()
        .find(|(at, part)| is_taken(*at, &part.name) || config.overlong.is_some() && part.name == OVERLONG);
    if let Some((_, part)) = twice {
        return Err(RewardError::Rubric(format!("`{}` comes twice; leave one out, or set {0}_penalty = 0", part.name)));
    }
    ordered("the sum", config.clip)?;
    if config.clip.is_some() && config.normalise == Normalise::NormaliseThenSum {
        let fault = "clip bounds the sum of the parts, but with normalise_then_sum parts are normalised before it; give \
                     the parts a clip of their own";
        return Err(RewardError::Rubric(fault.to_owned()));
    }
    if let Some(overlong) = &config.overlong {
        above_zero(OVERLONG, overlong.weight)?;
    }
    Ok(())
}

fn make_gate(gate: &GateConfig, parts: &[RewardPart], registry: &Registry) -> Result<Gate> {
    let known = |name: &str| parts.iter().any(|part| part.name == name);
    if let Some(name) = gate.parts.iter().find(|name| !known(name)) {
        return Err(RewardError::Rubric(format!("a gate stands before `{name}`, which is not a part of this rubric")));
    }
    let reward = if known(&gate.reward) { None } else { Some(find(registry, &gate.reward)?) };
    Ok(Gate { config: gate.clone(), reward })
}

fn find(registry: &Registry, name: &str) -> Result<(Arc<dyn Reward>, Arc<RewardId>)> {
    let reward = registry.get(name)?;
    let id = Arc::new(registry.identity(name, reward.spec()));
    Ok((reward, id))
}

fn ordered(name: &str, clip: Option<[f64; 2]>) -> Result<Option<[f64; 2]>> {
    match clip {
        Some([least, greatest]) if !(least.is_finite() && greatest.is_finite() && least <= greatest) => {
            Err(RewardError::Rubric(format!("the clip of {name} must be [least, greatest]")))
        }
        clip => Ok(clip),
    }
}

/// Gates before bonuses: they must not be worth more than a right answer, nor anything without one.
fn bonus_gates(parts: &[RewardPart]) -> Result<Vec<Gate>> {
    let Some((correct, extras)) = parts.split_first() else { return Ok(Vec::new()) };
    let bonuses = extras.iter().filter(|part| part.weight > 0.0 && part.reward.spec().is_bonus);
    let gate = |part: &RewardPart| {
        if part.weight >= correct.weight {
            return Err(RewardError::Rubric(format!(
                "the bonus `{}` counts {}, and a right answer {}: it must count less",
                part.name, part.weight, correct.weight
            )));
        }
        let config = GateConfig { reward: CORRECT.to_owned(), min: half(), parts: vec![part.name.clone()] };
        Ok(Gate { config, reward: None })
    };
    bonuses.map(gate).collect()
}

fn above_zero(name: &str, weight: f64) -> Result<f64> {
    if weight.is_finite() && weight > 0.0 {
        return Ok(weight);
    }
    Err(RewardError::Rubric(format!("the weight {weight} of `{name}` must be above 0 (penalties are taken off)")))
}

/// Bytes of a loop in responses as short as a line.
const SHORT_SPAN_BYTES: usize = 24;

/// The penalties that have keys of their own.
fn short_penalties(config: &RubricConfig) -> Result<Vec<RewardPart>> {
    let language = RewardConfig::from(Language { strict_script: true, thinking: true });
    let repetition = RewardConfig::from(Repetition { span_bytes: SHORT_SPAN_BYTES });
    let penalties =
        [("language", config.language_penalty, language), ("repetition", config.repetition_penalty, repetition)];
    let part = |(name, weight, config): (&str, f64, RewardConfig)| {
        let reward = config.build(name, &Endpoints::default())?;
        let id = Arc::new(RewardId::of(reward.spec(), &config.options()));
        Ok(RewardPart { name: name.to_owned(), weight: -above_zero(name, weight)?, clip: None, reward, id })
    };
    penalties.into_iter().filter(|(_, weight, _)| *weight != 0.0).map(part).collect()
}
