//! One step of reinforcement learning: sample, score, advantage, loss, update, record.

use std::collections::BTreeMap;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use sapo_datasets::{Query, Split, StopReason, Task, synthetic};
use sapo_policies::{Completion, Group, Model};
use sapo_rewards::group_rewards;
use sapo_rollouts::seed_of;
use serde_json::{Value, json};

use crate::advantage::{Dropped, trained};
use crate::algorithm::{Algorithm, Tokens};
use crate::asking::{Answered, Place, ask};
use crate::config::RlConfig;
use crate::error::Result;
use crate::failing::{self, Failures, Window};
use crate::judging::Judging;
use crate::ledger::Account;
use crate::metrics::{Metrics, names};
use crate::optimizer::AdamW;
use crate::reward_metrics;
use crate::update::gradients;

/// Where the queries of a phase come from: a cursor per task, without replacement, reshuffled every epoch.
#[derive(Clone, Debug)]
pub struct Supply {
    seed: u64,
    first: u64,
    pools: BTreeMap<Task, Vec<Query>>,
    taken: BTreeMap<Task, usize>,
}

impl Supply {
    /// A supply of curated queries, so many of which were taken earlier; tasks without any are drawn afresh, from the
    /// number `first` on.
    pub fn new(kept: Vec<Query>, seed: u64, first: u64, taken: BTreeMap<Task, usize>) -> Self {
        let mut pools: BTreeMap<Task, Vec<Query>> = BTreeMap::new();
        for query in kept {
            if let Ok(task) = Task::parse(&query.task) {
                pools.entry(task).or_default().push(query);
            }
        }
        Self { seed, first, pools, taken }
    }

    /// How many queries of each task were taken.
    pub fn taken(&self) -> BTreeMap<Task, usize> {
        self.taken.clone()
    }

    fn next(&mut self, task: Task) -> Query {
        let taken = self.taken.entry(task).or_default();
        let index = *taken;
        *taken += 1;
        match self.pools.get(&task) {
            Some(pool) => {
                let (epoch, at) = (index / pool.len(), index % pool.len());
                let mut order: Vec<usize> = (0..pool.len()).collect();
                order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed_of(self.seed, task.name(), "epoch", epoch)));
                pool[order[at]].clone()
            }
            None => synthetic::query(task, Split::Train, self.seed, self.first + index as u64),
        }
    }
}

/// What a step leaves behind.
pub struct Outcome {
    /// Its metrics.
    pub metrics: Metrics,
    /// Its rollouts, one line each.
    pub rollouts: Vec<Value>,
    /// The queries that were asked.
    pub queries: Vec<Query>,
    /// What the ledger keeps of them, in the order of `rollouts`.
    pub accounts: Vec<Account>,
    /// How many of their rewards failed.
    pub failures: Failures,
    /// Why too many have failed: then nothing was learned from this step.
    pub refused: Option<String>,
}

/// A group that is trained on: advantages by rollout, `None` where the score failed.
struct Trained {
    index: usize,
    advantages: Vec<Option<f64>>,
}

/// One step. The batch has the same count of each task; groups without signal, or that pass too often, leave before the
/// split into mini-batches, which are stratified by task and never split a group.
///
/// # Errors
/// When a query cannot be encoded.
pub fn step(
    model: &mut Model,
    optimizer: &mut AdamW,
    config: &RlConfig,
    judging: &Judging,
    supply: &mut Supply,
    window: &Window,
    place: Place<'_>,
    step: u64,
    token_budget: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Outcome> {
    let started = Instant::now();
    let queries: Vec<Query> = config
        .tasks
        .iter()
        .flat_map(|task| (0..config.prompts_per_task).map(|_| *task))
        .map(|task| supply.next(task))
        .collect();
    let name = format!("{}:{step}", place.name);
    let mut sampled_secs = 0.0;
    let judged = judging.counts();
    let batch = ask(
        model,
        queries,
        &config.sampling,
        &judging.scorer,
        &judging.rubrics,
        Place { name: &name, ..place },
        &mut |ended| {
            sampled_secs = started.elapsed().as_secs_f64();
            progress(ended);
        },
    )?;
    let scored_secs = started.elapsed().as_secs_f64();
    judging.go_on()?;

    let mut metrics = Metrics::default();
    let refused = failing::refusal(&batch, config, &judging.rubrics, window);
    if refused.is_some() {
        return Ok(outcome(batch, metrics, &[], config, refused));
    }
    let trained = select(&batch, config, judging, place.seed, &name, &mut metrics);
    describe(&batch, &mut metrics);
    reward_metrics::record(&batch, &judging.rubrics, &mut metrics);
    judging.record(judged, &mut metrics);

    let started = Instant::now();
    let algorithm = config.algorithm.build();
    let lr = config.optimizer.lr_at(step, config.steps);
    let mut seen = Seen::default();
    for (index, part) in mini_batches(&batch, &trained, config.mini_batches).into_iter().enumerate() {
        seen.norms.push(update(
            model,
            optimizer,
            config,
            &*algorithm,
            &batch,
            &part,
            lr,
            token_budget,
            index == 0,
            &mut seen.tokens,
        )?);
    }
    seen.record(&*algorithm, &mut metrics);
    metrics.set(names::TRAINED, trained.len() as f64);
    metrics.set(names::LR, lr);
    metrics.set(names::ROLLOUT_SECS, sampled_secs);
    metrics.set(names::REWARD_SECS, scored_secs - sampled_secs);
    let update_secs = started.elapsed().as_secs_f64();
    metrics.set(names::UPDATE_SECS, update_secs);
    metrics.set(names::ROLLOUT_SPEED, tokens(&batch) as f64 / sampled_secs);
    metrics.set(names::TRAIN_SPEED, seen.tokens.log_ratios.len() as f64 / update_secs);
    Ok(outcome(batch, metrics, &trained, config, None))
}

fn outcome(
    batch: Vec<Answered>,
    metrics: Metrics,
    trained: &[Trained],
    config: &RlConfig,
    refused: Option<String>,
) -> Outcome {
    let answers = batch.iter().flat_map(|one| one.answers.iter().map(|answer| (&one.query, answer)));
    Outcome {
        metrics,
        rollouts: lines(&batch, trained, config.sampling.max_new_tokens),
        accounts: answers.map(|(query, answer)| Account::of(query, answer, false)).collect(),
        failures: Failures::of(&batch),
        refused,
        queries: batch.into_iter().map(|one| one.query).collect(),
    }
}

/// Advantages of every group, and which groups are trained on.
///
/// Where the rubric normalises, what it makes of the group's scores takes the place of their totals.
fn select(
    batch: &[Answered],
    config: &RlConfig,
    judging: &Judging,
    seed: u64,
    place: &str,
    metrics: &mut Metrics,
) -> Vec<Trained> {
    let (mut no_signal, mut too_easy) = (0, 0);
    let mut groups = Vec::new();
    for (index, one) in batch.iter().enumerate() {
        let scores: Vec<_> = one.answers.iter().map(|answer| &answer.score).collect();
        let mut rewards = group_rewards(&scores, judging.rubrics.of(&one.query).normalise());
        if config.shuffle_rewards {
            rewards.shuffle(&mut ChaCha8Rng::seed_from_u64(seed_of(seed, place, &one.query.id, usize::MAX)));
        }
        let verdicts: Vec<bool> = one.answers.iter().filter_map(|answer| answer.score.passed).collect();
        match trained(&rewards, &verdicts, config.spread, config.filter_live) {
            Err(Dropped::NoSignal) => no_signal += 1,
            Err(Dropped::TooEasy) => too_easy += 1,
            Ok(advantages) => groups.push(Trained { index, advantages }),
        }
    }
    metrics.set(names::NO_SIGNAL, f64::from(no_signal));
    metrics.set(names::TOO_EASY, f64::from(too_easy));
    groups
}

fn tokens(batch: &[Answered]) -> usize {
    batch.iter().flat_map(|one| &one.answers).map(|answer| answer.rollout.tokens.len()).sum()
}

/// Means over all rollouts of a batch, and the pass rate of each task.
fn describe(batch: &[Answered], metrics: &mut Metrics) {
    let answers: Vec<_> = batch.iter().flat_map(|one| &one.answers).collect();
    let count = answers.len().max(1) as f64;
    let totals: Vec<f64> = answers.iter().filter_map(|answer| answer.score.total).collect();
    let passed = answers.iter().filter(|answer| answer.score.passed == Some(true)).count();
    metrics.set(names::REWARD_MEAN, totals.iter().sum::<f64>() / totals.len() as f64);
    metrics.set(names::PASSED, passed as f64 / totals.len() as f64);
    metrics.set(names::REWARD_FAILED, (answers.len() - totals.len()) as f64);
    metrics.set(names::LENGTH_MEAN, tokens(batch) as f64 / count);
    metrics.set(
        names::TRUNCATED,
        answers.iter().filter(|answer| answer.rollout.stop == StopReason::Length).count() as f64 / count,
    );
    metrics.set(names::WITH_WORKING, answers.iter().filter(|answer| answer.with_working).count() as f64 / count);
    metrics.set(names::ENTROPY, answers.iter().map(|answer| f64::from(answer.rollout.entropy)).sum::<f64>() / count);
    let mut tasks: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in batch {
        let entry = tasks.entry(&one.query.task).or_default();
        entry.0 += one.answers.iter().filter(|answer| answer.score.passed == Some(true)).count();
        entry.1 += one.answers.len();
    }
    for (task, (passed, all)) in tasks {
        metrics.set(format!("{}/{task}", names::PASSED), passed as f64 / all.max(1) as f64);
    }
}

/// Groups dealt out task by task, so that every mini-batch has its share of each.
fn mini_batches<'a>(batch: &[Answered], trained: &'a [Trained], count: usize) -> Vec<Vec<&'a Trained>> {
    let mut by_task: BTreeMap<&str, Vec<&Trained>> = BTreeMap::new();
    for group in trained {
        by_task.entry(&batch[group.index].query.task).or_default().push(group);
    }
    let mut parts: Vec<Vec<&Trained>> = vec![Vec::new(); count];
    for (index, group) in by_task.into_values().flatten().enumerate() {
        parts[index % count].push(group);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// What the updates of a step saw of each token: log-ratio and advantage, and the gap where the policy was still the
/// one that sampled.
#[derive(Default)]
struct Seen {
    norms: Vec<f64>,
    tokens: SeenTokens,
}

#[derive(Default)]
struct SeenTokens {
    log_ratios: Vec<f32>,
    advantages: Vec<f32>,
    gaps: Vec<f32>,
}

impl Seen {
    fn record(&self, algorithm: &dyn Algorithm, metrics: &mut Metrics) {
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let values: Vec<f64> = values.collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        let tokens = &self.tokens;
        metrics.set(names::GRAD_NORM, mean(&mut self.norms.iter().copied()));
        metrics.set(names::RATIO_MEAN, mean(&mut tokens.log_ratios.iter().map(|log| f64::from(*log).exp())));
        metrics
            .set(names::RATIO_OFF, mean(&mut tokens.log_ratios.iter().map(|log| (f64::from(*log).exp() - 1.0).abs())));
        metrics.set(names::MISMATCH_KL, mean(&mut tokens.gaps.iter().map(|gap| f64::from(-*gap))));
        let largest = tokens.gaps.iter().fold(f32::NAN, |largest, gap| largest.max(gap.abs()));
        metrics.set(names::LOGPROB_GAP, f64::from(largest));
        if !tokens.log_ratios.is_empty() {
            algorithm.record(&tokens.log_ratios, &tokens.advantages, metrics);
        }
    }
}

/// One optimizer step on some groups; gives the norm of the gradients.
fn update(
    model: &mut Model,
    optimizer: &mut AdamW,
    config: &RlConfig,
    algorithm: &dyn Algorithm,
    batch: &[Answered],
    part: &[&Trained],
    lr: f64,
    token_budget: usize,
    on_policy: bool,
    seen: &mut SeenTokens,
) -> Result<f64> {
    // Failed rollouts have no advantage: they are not packed, so their tokens are in no sum and no count.
    let chosen: Vec<Vec<(usize, f64)>> = part
        .iter()
        .map(|group| {
            group.advantages.iter().enumerate().filter_map(|(at, advantage)| advantage.map(|a| (at, a))).collect()
        })
        .collect();
    let completions: Vec<Vec<Completion>> = part
        .iter()
        .zip(&chosen)
        .map(|(group, chosen)| {
            let tokens = |at: usize| batch[group.index].answers[at].rollout.tokens.clone();
            chosen.iter().map(|(at, _)| Completion::of_sampled(tokens(*at))).collect()
        })
        .collect();
    let completions: Vec<Vec<&Completion>> = completions.iter().map(|some| some.iter().collect()).collect();
    let groups: Vec<Group<'_>> = part
        .iter()
        .zip(&completions)
        .map(|(group, completions)| Group { prompt: &batch[group.index].prompt, completions })
        .collect();
    let sequences = completions.iter().map(Vec::len).sum::<usize>() as f32;
    let answer = |group: usize, branch: usize| &batch[part[group].index].answers[chosen[group][branch].0].rollout;
    let temperature = config.sampling.record_temperature();
    let (gradients, _) = gradients(&model.policy, &groups, temperature, token_budget, &mut |origins, log_probs| {
        let old: Vec<f32> =
            origins.iter().map(|(group, branch, token)| answer(*group, *branch).log_probs[*token]).collect();
        let advantages: Vec<f32> = origins.iter().map(|(group, branch, _)| chosen[*group][*branch].1 as f32).collect();
        let weights: Vec<f32> = origins
            .iter()
            .map(|(group, branch, _)| 1.0 / (answer(*group, *branch).tokens.len() as f32 * sequences))
            .collect();
        let now = sapo_policies::to_vec(log_probs.clone().inner());
        let ratios = now.iter().zip(&old).map(|(now, old)| now - old);
        if on_policy {
            seen.gaps.extend(ratios.clone());
        }
        seen.log_ratios.extend(ratios);
        seen.advantages.extend(&advantages);
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [origins.len()]), &log_probs.device());
        (algorithm.objective(Tokens { log_probs, old_log_probs: old, advantages }) * weights).sum().neg()
    })?;
    let mut params = model.policy.trained_mut();
    let mut values: Vec<&mut Tensor<2>> = params.iter_mut().map(|param| &mut param.value).collect();
    Ok(optimizer.step(&mut values, gradients, &config.optimizer, lr))
}

fn lines(batch: &[Answered], trained: &[Trained], token_limit: usize) -> Vec<Value> {
    let by_index: BTreeMap<usize, &Trained> = trained.iter().map(|group| (group.index, group)).collect();
    let mut lines = Vec::new();
    for (index, one) in batch.iter().enumerate() {
        for (at, answer) in one.answers.iter().enumerate() {
            let advantage = by_index.get(&index).and_then(|group| group.advantages[at]);
            lines.push(json!({
                "v": 1,
                "query_id": one.query.id,
                "task": one.query.task,
                "sample": answer.rollout.sample,
                "seed": answer.rollout.seed,
                "turns": [{"role": "assistant", "text": answer.text}],
                "tokens": answer.rollout.tokens,
                "log_probs": answer.rollout.log_probs,
                "token_limit": token_limit,
                "thinking_open": answer.thinking_open,
                "stop": answer.rollout.stop,
                "images": one.query.images.iter().map(sapo_datasets::Picture::sha256).collect::<Vec<_>>(),
                "score": answer.score,
                "advantage": advantage,
                "in_loss": advantage.is_some(),
            }));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_used_up_before_it_repeats() {
        let kept: Vec<Query> = (0..5).map(|at| synthetic::query(Task::Arith, Split::Train, 1, at)).collect();
        let mut supply = Supply::new(kept, 9, 0, BTreeMap::new());
        let mut epoch = || {
            let mut ids: Vec<String> = (0..5).map(|_| supply.next(Task::Arith).id).collect();
            let order = ids.clone();
            ids.sort();
            (ids, order)
        };
        let (first, first_order) = epoch();
        let (second, second_order) = epoch();
        assert_eq!(first, second);
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
        assert_ne!(first_order, second_order);
    }
}
