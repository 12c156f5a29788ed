//! Supervised learning: the cold start, from generated demonstrations.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sapo_datasets::synthetic::{self, Style};
use sapo_datasets::{Demonstration, Task};
use sapo_policies::{Completion, Group, Model};
use sapo_rollouts::seed_of;
use serde::{Deserialize, Serialize};

use crate::asking::encode;
use crate::config::{Mix, SftConfig};
use crate::error::{Result, RunError};
use crate::metrics::{Metrics, names};
use crate::optimizer::AdamW;
use crate::update::{Origin, balanced_gradients};

/// So many queries of another kind are passed over in search of the next one that is wanted.
const MOST_PASSED_OVER: usize = 10_000;

/// Where the phase stands in its data: demonstrations taken of each task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor {
    taken: BTreeMap<Task, u64>,
}

impl Cursor {
    /// The next demonstration's number within its task.
    fn next(&mut self, task: Task) -> u64 {
        let taken = self.taken.entry(task).or_default();
        *taken += 1;
        *taken - 1
    }
}

/// One optimizer step on fresh demonstrations.
///
/// The loss is the negative log-prob of each answer token, weighted `1 / sqrt(n)` within an answer of n tokens and
/// normalised over the batch by the sum of `sqrt(n)` (InternVL 2.5, arXiv 2412.05271). With experts, the loss that
/// spreads rows over them is added by its coefficient.
///
/// # Errors
/// When a demonstration cannot be encoded.
pub fn step(
    model: &mut Model,
    optimizer: &mut AdamW,
    config: &SftConfig,
    cursor: &mut Cursor,
    seed: u64,
    place: &str,
    step: u64,
    token_budget: usize,
) -> Result<Metrics> {
    let end = model
        .processor
        .tokenizer()
        .id("<|im_end|>")
        .ok_or_else(|| RunError::User("the tokenizer has no <|im_end|>".to_owned()))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed_of(seed, place, "batch", step as usize));
    let mut examples = Vec::with_capacity(config.batch_size);
    for _ in 0..config.batch_size {
        let mix = draw(&config.data, &mut rng);
        let style = if rng.random::<f64>() < config.hasty { Style::Hasty } else { Style::Careful };
        let shown = demonstration(mix, seed, cursor, style)?;
        let mut tokens = model.processor.tokenizer().encode(&shown.response)?;
        tokens.push(end);
        examples.push((encode(&model.processor, &shown.query)?, tokens));
    }
    let answers: Vec<Completion> = examples.iter().map(|(_, tokens)| Completion::of_sampled(tokens.clone())).collect();
    let answers: Vec<[&Completion; 1]> = answers.iter().map(|answer| [answer]).collect();
    let groups: Vec<Group<'_>> =
        examples.iter().zip(&answers).map(|((prompt, _), completions)| Group { prompt, completions }).collect();
    let total: f64 = examples.iter().map(|(_, tokens)| (tokens.len() as f64).sqrt()).sum();
    let weight = |group: usize| (1.0 / (examples[group].1.len() as f64).sqrt() / total) as f32;
    let mut loss_sum = 0.0;
    // A dense model has no router to balance, and a coefficient for it is refused when the run is opened.
    let coef = model.policy.config.text.moe.as_ref().map(|moe| config.router_aux_loss_coef.unwrap_or(moe.balance_coef));
    let coef = coef.filter(|coef| *coef > 0.0);
    let loss = &mut |origins: &[Origin], log_probs: Tensor<1>| {
        let weights: Vec<f32> = origins.iter().map(|(group, _, _)| weight(*group)).collect();
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [origins.len()]), &log_probs.device());
        let loss = (log_probs * weights).sum().neg();
        loss_sum += f64::from(loss.clone().inner().into_scalar::<f32>());
        loss
    };
    let (gradients, balance) = balanced_gradients(&model.policy, &groups, token_budget, coef, loss)?;
    let lr = config.optimizer.lr_at(step, config.steps);
    let mut params = model.policy.trained_mut();
    let mut values: Vec<&mut Tensor<2>> = params.iter_mut().map(|param| &mut param.value).collect();
    let norm = optimizer.step(&mut values, gradients, &config.optimizer, lr);
    let mut metrics = Metrics::default();
    metrics.set(names::SFT_LOSS, loss_sum);
    if let Some(balance) = balance {
        metrics.set(names::BALANCE_LOSS, balance);
    }
    metrics.set(names::GRAD_NORM, norm);
    metrics.set(names::LR, lr);
    Ok(metrics)
}

/// The next demonstration that the mixture wants.
fn demonstration(mix: &Mix, seed: u64, cursor: &mut Cursor, style: Style) -> Result<Demonstration> {
    for _ in 0..MOST_PASSED_OVER {
        let shown = synthetic::demonstration(mix.task, seed, cursor.next(mix.task), style);
        if mix.only.iter().all(|(column, wanted)| shown.query.columns.get(column).is_some_and(|value| value == wanted))
        {
            return Ok(shown);
        }
    }
    Err(RunError::User(format!(
        "data: {MOST_PASSED_OVER} queries of `{}` in a row are not as `only` wants them ({}); see `sapo data show {0}`",
        mix.task,
        mix.only.iter().map(|(column, value)| format!("{column} = {value}")).collect::<Vec<_>>().join(", ")
    )))
}

fn draw<'a>(data: &'a [Mix], rng: &mut ChaCha8Rng) -> &'a Mix {
    let total: f64 = data.iter().map(|mix| mix.share).sum();
    let mut at = rng.random::<f64>() * total;
    for mix in data {
        at -= mix.share;
        if at < 0.0 {
            return mix;
        }
    }
    &data[data.len() - 1]
}
