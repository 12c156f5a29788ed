//! The groups of a step: a batch that is sampled and scored, and what takes the place of groups that are not trained on.

use std::ops::ControlFlow;
use std::time::Instant;

use super::Rl;
use crate::batch::advantages;
use crate::error::{Result, RunError};
use crate::loader::{self, Prompts};
use crate::metrics::{Metrics, names};
use crate::pass_rates::PassedOver;
use crate::run::Run;
use crate::sample::{Ended, Sampled, ScoredGroup, ScoredRollout, SeedScope};
use crate::score::judge;

/// How long a step sampled and scored, and how much.
#[derive(Default)]
struct Spent {
    sampling_secs: f64,
    scoring_secs: f64,
    rollouts: usize,
    tokens: usize,
}

impl Rl {
    /// The groups of a step, broken off when there are enough, and refilled as often as the configuration says.
    pub(super) fn sample(&mut self, run: &mut Run<'_>, place: &str, metrics: &mut Metrics) -> Result<Vec<ScoredGroup>> {
        let judged = judge::counts(&run.rewards);
        let started = Instant::now();
        let batch = self.loader.next_batch()?;
        metrics.set(names::DATA_SECS, started.elapsed().as_secs_f64());
        let wanted = self.by_source(batch.prompts.iter().map(|prompt| prompt.part));
        let mut spent = Spent::default();
        let mut groups = self.ask(run, place, batch, metrics, &mut spent)?;
        for _ in 0..self.config.filter.refill {
            let missing = self.missing(run, place, &wanted, &groups);
            if missing.iter().all(|count| *count == 0) || run.rewards.ensure_running().is_err() {
                break;
            }
            let mut taken = self.passed_over(run, run.state.step_in_part);
            taken.extend(groups.iter().map(|group| (group.prompt.part, group.prompt.index)));
            let batch = self.loader.refill(&missing, &taken)?;
            let more = self.ask(run, place, batch, metrics, &mut spent)?;
            metrics.sum(names::REFILLED, more.len() as f64);
            groups.extend(more);
        }
        let judges: Vec<&str> = self.judges.iter().map(String::as_str).collect();
        judge::record(&judged, &judge::counts(&run.rewards), &judges, metrics);
        metrics.set(names::ROLLOUT_SECS, spent.sampling_secs);
        metrics.set(names::REWARD_SECS, spent.scoring_secs);
        metrics.set(names::ROLLOUT_SPEED, spent.tokens as f64 / spent.sampling_secs);
        Ok(groups)
    }

    /// The queries that are not drawn for a step.
    pub(super) fn passed_over(&self, run: &Run<'_>, step: u64) -> PassedOver {
        run.state.pass_rates.passed_over(self.loader.sources(), &self.config.filter, step)
    }

    /// Samples and scores prompts.
    fn ask(
        &self,
        run: &mut Run<'_>,
        place: &str,
        batch: Prompts,
        metrics: &mut Metrics,
        spent: &mut Spent,
    ) -> Result<Vec<ScoredGroup>> {
        run.recorder.rejected(&batch.rejected)?;
        loader::count(&self.loader, &batch, metrics);
        run.state.data = Some(batch.state);
        let scope = self.scope(run, place);
        let (before, all) = (spent.rollouts, spent.rollouts + batch.prompts.len() * scope.samples);
        let started = Instant::now();
        let (progress, mut sampling_secs) = (run.progress, 0.0);
        let enough = if self.config.oversample_prompts > 0 { self.config.prompts_per_step } else { usize::MAX };
        let ended = &mut |ended: Ended| {
            sampling_secs = started.elapsed().as_secs_f64();
            progress.rollouts(before + ended.rollouts, all);
            if ended.groups < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let Sampled { groups, failed, stopped_groups, stopped_rollouts, .. } =
            run.generator().sample_and_score(batch.prompts, &self.config.sampling, scope, &self.rubrics, ended)?;
        for lost in &failed {
            run.say(&format!("query `{}` is left out: {}", lost.query_id, lost.reason))?;
        }
        if !failed.is_empty() {
            metrics.sum(names::FAILED_REQUESTS, failed.len() as f64);
        }
        if self.config.oversample_prompts > 0 {
            metrics.sum(names::STOPPED_GROUPS, stopped_groups as f64);
            metrics.sum(names::STOPPED_ROLLOUTS, stopped_rollouts as f64);
        }
        if let Some(group) = groups.iter().find(|group| group.rollouts.iter().any(lacks_log_probs)) {
            let id = &group.prompt.query.id;
            return Err(RunError::Stopped(format!(
                "query `{id}`: the engine gave tokens without the log-probs that training needs; see `log_probs` in \
                 docs/engines.md"
            )));
        }
        let rollouts = groups.iter().flat_map(|group| &group.rollouts);
        spent.tokens += rollouts.map(|rollout| rollout.rollout.sampled()).sum::<usize>();
        spent.rollouts = all;
        spent.sampling_secs += sampling_secs;
        spent.scoring_secs += started.elapsed().as_secs_f64() - sampling_secs;
        Ok(groups)
    }

    /// How many groups of each source are still to be replaced. One whose rewards failed is not: whatever failed would be
    /// asked for more.
    fn missing(&self, run: &Run<'_>, place: &str, wanted: &[usize], groups: &[ScoredGroup]) -> Vec<usize> {
        let scope = self.scope(run, place);
        let stays = |group: &&ScoredGroup| {
            let failed = group.rollouts.iter().any(|rollout| rollout.score.total.is_none());
            failed || advantages(group, &self.config, scope).is_ok()
        };
        let staying = self.by_source(groups.iter().filter(stays).map(|group| group.prompt.part));
        wanted.iter().zip(staying).map(|(wanted, staying)| wanted.saturating_sub(staying)).collect()
    }

    /// How often each source occurs.
    fn by_source(&self, parts: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut counts = vec![0; self.loader.sources().len()];
        parts.for_each(|part| counts[part] += 1);
        counts
    }

    pub(super) fn scope<'a>(&self, run: &Run<'_>, place: &'a str) -> SeedScope<'a> {
        SeedScope { seed: run.config.run.seed, place, samples: self.config.rollouts_per_prompt }
    }
}

/// Whether a token was sampled without a log-prob.
fn lacks_log_probs(scored: &ScoredRollout) -> bool {
    scored.rollout.log_probs().len() != scored.rollout.sampled()
}
