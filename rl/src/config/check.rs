//! What must hold of a configuration beyond its form, each fault with its key and remedy.

use std::collections::BTreeSet;
use std::path::Path;

use sapo_policies::{LoraConfig, WeightFormat};
use sapo_rewards::{Endpoints, RewardConfig, registry};

use super::{Config, ConfigError, PhaseConfig, fault, nearest};

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
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
        if let Some(reason) = self.policy.lora.as_ref().and_then(LoraConfig::fault) {
            return Err(fault("policy.lora", reason));
        }
        let one = self.policy.lora.is_none() || self.policy.adapter.is_none();
        must(one, "policy.adapter".to_owned(), "goes on with an adapter, and `policy.lora` makes a new one; name one")?;
        let policy = &self.policy;
        must(
            self.run.dtype == WeightFormat::F32
                || !policy.freeze.is_empty()
                || policy.lora.is_some()
                || policy.adapter.is_some(),
            "run.dtype".to_owned(),
            "is `bf16`, but what trains is kept in f32, and here everything does: add policy.lora or policy.freeze",
        )?;
        crate::device::check(&self.run.device).map_err(|reason| fault("run.device", reason))?;
        self.check_rubrics()?;
        for name in &self.run.reward_check.skip {
            self.rubric("run.reward_check.skip", name)?;
        }
        must(
            (0.0..=1.0).contains(&self.run.reward_check.min_gold_share),
            "run.reward_check.min_gold_share".to_owned(),
            "must be between 0 and 1",
        )?;
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
                    must(
                        sft.router_aux_loss_coef.is_none_or(|coef| coef.is_finite() && coef >= 0.0),
                        format!("{place}.router_aux_loss_coef"),
                        "must be a number from 0 up",
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
                    must(rl.failure_window_steps > 0, format!("{place}.failure_window_steps"), "must not be 0")?;
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
}
