//! `[engine]`: that the servers of a run can do what its phases need of them.

use sapo_rollouts::{EngineKind, RemoteEngine, Sampling};

use super::fault::{ConfigError, fault, must};
use super::{AnsweredBy, Config, PhaseConfig};

/// What must hold of the engine, and of phases that sample with it.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let engine = &config.engine;
    if let Some((key, reason)) = engine.fault() {
        return Err(fault(format!("engine.{key}"), reason));
    }
    if engine.is_local() {
        return Ok(());
    }
    let phases = || config.run.phases.iter().filter_map(|name| Some((name, config.phases.get(name)?)));
    if let Some((name, _)) = phases().find(|(_, phase)| phase.kind().trains()) {
        let openai = engine.kind == EngineKind::Openai;
        let reason = format!(
            "an `openai` server keeps its weights, and the phase `{name}` changes the policy; use vllm or sglang, or train \
             with the local engine and evaluate apart"
        );
        must(!openai, "engine.kind", &reason)?;
        let reason = format!(
            "is missing: the phase `{name}` changes the policy, and the servers must be given it; name a folder that they see \
             under the same path"
        );
        must(engine.weights_dir.is_some(), "engine.weights_dir", &reason)?;
    }
    let adapted = config.policy.lora.is_some() || config.policy.adapter.is_some();
    let alike = engine.weights_dir.is_none() || engine.lora == adapted;
    let reason = match adapted {
        true => "is false, but the policy has an adapter: servers load the adapter alone, so set it to true",
        false => "is true, but the policy has no adapter; set it to false, or add policy.lora",
    };
    must(alike, "engine.lora", reason)?;
    phases().try_for_each(|(name, phase)| check_phase(config, name, phase))
}

/// What a phase asks of the servers.
fn check_phase(config: &Config, name: &str, phase: &PhaseConfig) -> Result<(), ConfigError> {
    let sampling: &Sampling = match phase {
        PhaseConfig::Rl(rl) => &rl.sampling,
        PhaseConfig::Curate(curate) if curate.by == AnsweredBy::Policy => &curate.sampling,
        PhaseConfig::Distill(distill) => match &distill.on_policy {
            Some(on_policy) => &on_policy.sampling,
            None => return Ok(()),
        },
        PhaseConfig::Curate(_) | PhaseConfig::Sft(_) => return Ok(()),
    };
    let place = format!("phases.{name}.sampling");
    if let Some(reason) = RemoteEngine::unsaid(&config.engine, sampling) {
        return Err(fault(place, reason));
    }
    match RemoteEngine::untrainable(&config.engine, sampling) {
        Some(reason) if matches!(phase, PhaseConfig::Rl(_)) => Err(fault(place, reason)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The fault of the smoke run with this engine and these overrides.
    fn error(engine: &str, more: &[&str]) -> String {
        let smoke = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
        let mut overrides = vec![format!("engine={{ endpoints = [\"http://127.0.0.1:1\"], model = \"m\", {engine} }}")];
        overrides.extend(more.iter().map(|text| (*text).to_owned()));
        Config::compose(&[smoke], &overrides).err().map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn what_a_run_needs_of_its_servers_is_checked_before_it_starts() {
        let curates = "run.phases=[\"curate\"]";
        let weights = "kind = \"vllm\", weights_dir = \"/weights\"";
        assert_eq!(error(weights, &[]), "");
        assert_eq!(error("kind = \"openai\"", &[curates]), "");
        assert!(error("kind = \"openai\"", &[]).contains("engine.kind: an `openai` server"));
        assert!(error("kind = \"vllm\"", &[]).contains("engine.weights_dir: is missing"));
        assert!(error("kind = \"local\"", &[]).contains("engine.kind: is `local`"));
        let lora = "policy.lora={ rank = 1, alpha = 2, targets = [\"q_proj\"] }";
        assert!(error(weights, &[lora]).contains("engine.lora: is false"));
        assert!(error(&format!("{weights}, lora = true"), &[]).contains("engine.lora: is true"));
        assert_eq!(error(&format!("{weights}, lora = true"), &[lora]), "");
        let tempered = "phases.reasoning.sampling={ temperature = 0.7, max_new_tokens = 4 }";
        assert!(error(weights, &[tempered]).contains("}: the servers give"));
        assert_eq!(error(&format!("{weights}, log_probs = \"processed\""), &[tempered]), "");
        assert_eq!(error("kind = \"sglang\", weights_dir = \"/weights\"", &[tempered]), "");
        let told = "phases.curate.sampling={ top_log_probs = 2, max_new_tokens = 4 }";
        assert!(error(weights, &[told]).contains("}: `top_log_probs`"));
    }
}
