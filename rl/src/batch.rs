//! Which groups of a batch are trained on, with their advantages, and how they are dealt out to mini-batches.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use sapo_rewards::group_rewards;
use sapo_rollouts::seed_of;

use crate::advantage::{self, Dropped, EPS, advantages_of_group};
use crate::config::RlConfig;
use crate::importance::ImportanceConfig;
use crate::kl::{self, KlPlace};
use crate::metrics::{Metrics, names};
use crate::sample::{ScoredGroup, ScoredRollout, SeedScope};
use crate::update::TrainGroup;

/// A group that is trained on: its number in the batch, and advantages by rollout, `None` where the score failed.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedGroup {
    /// Its number in the batch.
    pub index: usize,
    /// Advantages by rollout.
    pub advantages: Vec<Option<f64>>,
}

/// Advantages of a group, `None` where the score failed. Where the rubric normalises, what it makes of the group's scores
/// takes the place of their totals. Whether there is a signal is decided by these; a KL that is taken off rewards comes
/// after.
///
/// # Errors
/// Why the group is not trained on.
pub fn advantages(group: &ScoredGroup, config: &RlConfig, scope: SeedScope<'_>) -> Result<Vec<Option<f64>>, Dropped> {
    let scores: Vec<_> = group.rollouts.iter().map(|rollout| &rollout.score).collect();
    let mut rewards = group_rewards(&scores, group.rubric.normalise());
    if config.shuffle_rewards {
        let seed = seed_of(scope.seed, scope.place, &group.prompt.query.id, usize::MAX);
        rewards.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    }
    let verdicts: Vec<bool> = group.rollouts.iter().filter_map(|rollout| rollout.score.passed).collect();
    let norm = config.algorithm.advantage_norm();
    let advantages = advantages_of_group(&rewards, &verdicts, norm, config.filter.live)?;
    match config.kl.as_ref().filter(|kl| kl.within == KlPlace::Reward) {
        None => Ok(advantages),
        Some(kl) => {
            let after = rewards.iter().zip(&group.rollouts).map(|(reward, scored)| {
                let distance = kl::of_rollout(kl.estimator, &scored.rollout.log_probs(), &scored.reference);
                reward.map(|reward| reward - kl.coef * distance)
            });
            advantage::advantages(&after.collect::<Vec<_>>(), norm, EPS).ok_or(Dropped::NoSignal)
        }
    }
}

/// Advantages of every group, and which groups are trained on.
pub fn select(
    batch: &[ScoredGroup],
    config: &RlConfig,
    scope: SeedScope<'_>,
    metrics: &mut Metrics,
) -> Vec<TrainedGroup> {
    let mut trained = Vec::new();
    let mut dropped = [0, 0];
    for (index, group) in batch.iter().enumerate() {
        match advantages(group, config, scope) {
            Err(Dropped::NoSignal) => dropped[0] += 1,
            Err(Dropped::TooEasy) => dropped[1] += 1,
            Ok(advantages) => trained.push(TrainedGroup { index, advantages }),
        }
    }
    metrics.sum(names::NO_SIGNAL, f64::from(dropped[0]));
    metrics.sum(names::TOO_EASY, f64::from(dropped[1]));
    metrics.sum(names::TRAINED, trained.len() as f64);
    trained
}

/// Groups dealt out task by task, so that every mini-batch has its share of each; a group is never split.
pub fn mini_batches<'a>(
    batch: &[ScoredGroup],
    trained: &'a [TrainedGroup],
    count: usize,
) -> Vec<Vec<&'a TrainedGroup>> {
    let mut by_task: BTreeMap<&str, Vec<&TrainedGroup>> = BTreeMap::new();
    for group in trained {
        by_task.entry(&batch[group.index].prompt.query.task).or_default().push(group);
    }
    let mut parts: Vec<Vec<&TrainedGroup>> = vec![Vec::new(); count];
    for (index, group) in by_task.into_values().flatten().enumerate() {
        parts[index % count].push(group);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// A sequence that is trained on: what the trainer knows of it beside its log-probs now.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedSequence {
    /// Log-prob of each sampled token when it was sampled, or by the trainer before its update where that corrects them.
    pub old_log_probs: Vec<f32>,
    /// By the reference; empty where there is none.
    pub reference: Vec<f32>,
    /// Importance weights; empty where they are all 1.
    pub importance: Vec<f64>,
    /// Its advantage.
    pub advantage: f64,
}

/// A mini-batch as the trainer takes it: groups to pack, and their sequences by group and completion. Failed rollouts have
/// no advantage: they are not packed, so their tokens are in no sum and no count.
pub fn packed<'a>(
    batch: &'a [ScoredGroup],
    part: &[&TrainedGroup],
    importance: Option<ImportanceConfig>,
) -> (Vec<TrainGroup<'a>>, Vec<Vec<TrainedSequence>>) {
    let mut groups = Vec::with_capacity(part.len());
    let mut sequences = Vec::with_capacity(part.len());
    for trained in part {
        let group = &batch[trained.index];
        let chosen: Vec<_> = group
            .rollouts
            .iter()
            .zip(&trained.advantages)
            .filter_map(|(rollout, advantage)| Some((rollout, (*advantage)?)))
            .collect();
        let completions = chosen.iter().map(|(scored, _)| scored.rollout.completion()).collect();
        groups.push(TrainGroup { prompt: &group.prompt.input, completions });
        let sequence = |(scored, advantage): &(&ScoredRollout, f64)| {
            let sampled = scored.rollout.log_probs();
            let (old_log_probs, importance) = match importance {
                Some(correction) => (scored.trainer.clone(), correction.weights(&scored.trainer, &sampled)),
                None => (sampled, Vec::new()),
            };
            TrainedSequence { old_log_probs, reference: scored.reference.clone(), importance, advantage: *advantage }
        };
        sequences.push(chosen.iter().map(sequence).collect());
    }
    (groups, sequences)
}
