//! Distillation: the policy learns what a larger model gives every token, on answers of its own or on given ones.

use std::ops::ControlFlow;
use std::time::Instant;

use sapo_policies::{Completion, Policy};

use super::demonstrations::{demonstrations, end_of_turn};
use super::{Phase, Step, draw, whole};
use crate::collective::Collective;
use crate::config::{DistillConfig, OnPolicyConfig};
use crate::distillation::{Distillation, distil};
use crate::error::Result;
use crate::finite::Watch;
use crate::loader::{Loader, Prompts, Wants};
use crate::metrics::{Metrics, names};
use crate::reference;
use crate::reward_metrics;
use crate::rollout_metrics;
use crate::run::Run;
use crate::run::record::InLoss;
use crate::run::updating::Rate;
use crate::sample::{Sampled, ScoredGroup, SeedScope};
use crate::score::ReadyRubric;
use crate::update::TrainGroup;

/// Distillation at work.
pub(super) struct Distill {
    name: String,
    config: DistillConfig,
    loader: Loader,
    rubrics: Vec<ReadyRubric>,
    teacher: Policy,
    /// The token that ends a turn.
    end: u32,
}

impl Distill {
    pub(super) fn open(name: &str, config: &DistillConfig, run: &mut Run<'_>) -> Result<Self> {
        let parts = whole(run, name, &config.data)?;
        let rubrics = match &config.on_policy {
            Some(on_policy) => run.rewards.of_uses(run.config, &config.data, &on_policy.rubric)?,
            None => Vec::new(),
        };
        let wants = if config.on_policy.is_none() { Wants::responses(None) } else { Wants::queries() };
        let state = run.state.data.as_ref();
        let loader = Loader::new(parts, config.prompts_per_step, wants, run.config, &run.processor, state)?;
        let teacher = reference::opened(&config.teacher.display().to_string(), run.config, &run.model.policy)?;
        let judges: Vec<&str> = rubrics.iter().flat_map(|rubric| run.config.judges_of(rubric.name())).collect();
        run.measure_judges(name, &judges)?;
        run.progress.begin(name, config.steps, run.state.step_in_part);
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            loader,
            rubrics,
            teacher,
            end: end_of_turn(&run.processor)?,
        })
    }

    /// Answers of the policy to a batch, scored.
    fn answers(
        &self,
        run: &Run<'_>,
        on_policy: &OnPolicyConfig,
        batch: Prompts,
        metrics: &mut Metrics,
    ) -> Result<Vec<ScoredGroup>> {
        let place = format!("{}:{}", self.name, run.state.step_in_part);
        let scope = SeedScope { seed: run.config.run.seed, place: &place, samples: on_policy.rollouts_per_prompt };
        let (started, all) = (Instant::now(), batch.prompts.len() * scope.samples);
        let told = &mut |ended: crate::sample::Ended| {
            run.progress.rollouts(ended.rollouts, all);
            ControlFlow::Continue(())
        };
        let Sampled { groups, failed, .. } =
            run.generator().sample_and_score(batch.prompts, &on_policy.sampling, scope, &self.rubrics, told)?;
        for lost in &failed {
            run.say(&format!("query `{}` is left out: {}", lost.query_id, lost.reason))?;
        }
        run.rewards.ensure_running()?;
        metrics.set(names::ROLLOUT_SECS, started.elapsed().as_secs_f64());
        rollout_metrics::record(&groups, metrics);
        reward_metrics::record(&groups, metrics);
        Ok(groups)
    }

    /// One optimizer step: the mean distance over all tokens of the batch.
    fn update(&self, run: &mut Run<'_>, groups: &[TrainGroup<'_>], metrics: &mut Metrics) -> Result<()> {
        let started = Instant::now();
        let tokens: usize = groups.iter().flat_map(|group| &group.completions).map(Completion::sampled_count).sum();
        let sampling = self.config.on_policy.as_ref().map(|on_policy| &on_policy.sampling);
        let distillation = Distillation {
            teacher: &self.teacher,
            divergence: self.config.divergence,
            temperature: sampling.map_or(1.0, sapo_rollouts::Sampling::logprob_temperature),
            token_budget: run.config.run.token_budget,
            recompute: run.config.run.recompute,
        };
        let weight = 1.0 / run.collective.total(tokens) as f32;
        let (distances, gradients) = distil(&run.model.policy, distillation, groups, weight)?;
        let lr = self.config.optimizer.lr_at(run.state.step_in_part, self.config.steps);
        let sum: f64 = distances.iter().map(|distance| f64::from(*distance)).sum();
        metrics.mean_of(names::DISTANCE, sum, distances.len() as f64);
        metrics.set(names::LR, lr);
        let mut watch = Watch::default();
        watch.loss("distance from the teacher", sum);
        run.apply(gradients, Rate { optimizer: &self.config.optimizer, lr }, watch, metrics)?;
        metrics.set(names::UPDATE_SECS, started.elapsed().as_secs_f64());
        Ok(())
    }
}

impl Phase for Distill {
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step> {
        if run.state.step_in_part >= self.config.steps {
            return Ok(Step::Last);
        }
        let started = Instant::now();
        let mut metrics = Metrics::default();
        let mut batch = draw(&mut self.loader, run, self.config.steps, &mut metrics)?;
        let state = std::mem::take(&mut batch.state);
        if let Some(on_policy) = &self.config.on_policy {
            let answered = self.answers(run, on_policy, batch, &mut metrics)?;
            let groups: Vec<TrainGroup<'_>> = answered
                .iter()
                .map(|group| TrainGroup {
                    prompt: &group.prompt.input,
                    completions: group.rollouts.iter().map(|scored| scored.rollout.completion()).collect(),
                })
                .collect();
            self.update(run, &groups, &mut metrics)?;
            let file = format!("rollouts/{}-{:06}.jsonl", self.name, run.state.step);
            run.recorder.rollouts(&file, run.state.step, &answered, InLoss::All)?;
        } else {
            self.update(run, &demonstrations(&run.processor, self.end, &batch.prompts)?, &mut metrics)?;
        }
        run.publish(1)?;
        run.state.data = Some(state);
        let note = format!("distance {:.4}", metrics.get(names::DISTANCE).unwrap_or(f64::NAN));
        run.record(&self.name, &metrics, started, &note)?;
        Ok(if run.state.step_in_part >= self.config.steps { Step::Last } else { Step::More })
    }
}
