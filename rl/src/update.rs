//! From packed groups to new weights: log-probs of a micro-batch, the loss on them, gradients, and the one step that changes
//! the policy.

use std::ops::Range;

use burn::tensor::Tensor;
use sapo_policies::text::balance_loss;
use sapo_policies::to_vec;
use sapo_policies::{
    Batch, Completion, Group, Model, ParamGradients, Policy, PolicyError, PolicyInput, ScoredRows, Slopes, Trace,
};

use crate::collective::Collective;
use crate::finite::NotFinite;
use crate::optimizer::{AdamW, BadStep, OptimizerConfig};

/// A prompt with the completions that are trained on.
#[derive(Clone, Debug)]
pub struct TrainGroup<'a> {
    /// The prompt.
    pub prompt: &'a PolicyInput,
    /// What followed it.
    pub completions: Vec<Completion>,
}

impl<'a> TrainGroup<'a> {
    /// The group as a batch packs it.
    pub fn packed(&self) -> Group<'_> {
        Group { prompt: self.prompt, completions: &self.completions }
    }
}

/// How gradients are computed.
#[derive(Clone, Copy, Debug)]
pub struct Passes {
    /// Divides the logits, as it did in sampling.
    pub temperature: f64,
    /// Rows of a micro-batch at most (one group always fits).
    pub token_budget: usize,
    /// Weight of the loss that spreads rows over experts; `None` for dense models.
    pub balance_coef: Option<f64>,
    /// Layers keep only their input, and run again on the way back: less memory, more time, the same gradients.
    pub recompute: bool,
}

/// The log-probs of one sequence in a micro-batch.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Number of its group among all groups of the call.
    pub group: usize,
    /// Number of its completion within that group.
    pub completion: usize,
    /// Log-prob of each sampled token, now.
    pub log_probs: &'a [f32],
    /// Entropy of the distribution of each, in nats.
    pub entropies: &'a [f32],
}

/// What a backward pass has found.
#[derive(Debug, Default)]
pub struct Gradients {
    /// By parameter that trains; `None` where nothing depends on it.
    pub params: ParamGradients,
    /// The loss that spreads rows over experts, before its coefficient.
    pub balance: Option<f64>,
}

/// Gradients over groups, in micro-batches. `loss` is given the sequences of a micro-batch, and gives d loss / d log-prob of
/// each of their tokens, in order (and d loss / d entropy, if it depends on that): whatever it is the loss of, the whole loss is the sum.
///
/// With experts, the loss that spreads rows over them is added: that of the reference over the rows of a micro-batch, of all
/// sparse layers together; micro-batches count by their rows. Padding is no row, and neither is the last token of an answer,
/// which predicts nothing.
///
/// # Errors
/// When a group cannot be packed.
pub fn gradients(
    policy: &Policy,
    groups: &[TrainGroup<'_>],
    passes: Passes,
    loss: &mut dyn FnMut(&[Scored<'_>]) -> Slopes,
) -> Result<Gradients, PolicyError> {
    let packed: Vec<Group<'_>> = groups.iter().map(TrainGroup::packed).collect();
    let rows: usize = packed.iter().map(Group::rows).sum();
    let mut all = Gradients::default();
    for part in micro_batches(&packed, passes.token_budget) {
        let batch = Batch::groups(&packed[part.clone()], policy.config.vision.spatial_merge_size)?;
        let tracked = policy.tracked().recomputing(passes.recompute);
        let mut trace = if passes.balance_coef.is_some() { Trace::routers() } else { Trace::off() };
        let hidden = batch.predicting(tracked.forward(&batch, &mut trace));
        let beside = passes.balance_coef.and_then(|coef| {
            let (part, value) = spread(policy, trace, batch.rows() as f64 / rows as f64)?;
            *all.balance.get_or_insert(0.0) += value;
            Some(part.mul_scalar(coef))
        });
        // The log-probs of the micro-batch come first; one loss over its sequences then says what goes back through it.
        let scored = tracked.score(hidden, &batch.targets, passes.temperature);
        let slopes = loss(&sequences(&groups[part.clone()], part.start, &scored));
        add(&mut all.params, scored.backward(&slopes, beside));
    }
    Ok(all)
}

/// The loss that spreads rows over experts, weighted by this micro-batch's share of all rows.
fn spread(policy: &Policy, trace: Trace, share: f64) -> Option<(Tensor<1>, f64)> {
    let top_k = policy.config.text.moe.as_ref().map_or(0, |moe| moe.top_k);
    let routers: Vec<Tensor<2>> = trace.into_tensors().into_values().collect();
    let part = balance_loss(&routers, top_k)?.mul_scalar(share);
    let value = f64::from(to_vec(part.clone().inner())[0]);
    Some((part, value))
}

/// The log-probs of a micro-batch, by sequence.
fn sequences<'a>(groups: &[TrainGroup<'_>], first: usize, rows: &'a ScoredRows<'_>) -> Vec<Scored<'a>> {
    let (mut log_probs, mut entropies) = (rows.log_probs(), rows.entropies());
    let mut sequences = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        for (completion, of) in group.completions.iter().enumerate() {
            let (own, rest) = log_probs.split_at(of.sampled_count());
            let (own_entropies, rest_entropies) = entropies.split_at(of.sampled_count());
            sequences.push(Scored { group: first + index, completion, log_probs: own, entropies: own_entropies });
            (log_probs, entropies) = (rest, rest_entropies);
        }
    }
    sequences
}

/// Adds gradients to gradients.
pub(crate) fn add(sum: &mut ParamGradients, gradients: ParamGradients) {
    if sum.is_empty() {
        *sum = gradients;
        return;
    }
    for (sum, gradient) in sum.iter_mut().zip(gradients) {
        *sum = match (sum.take(), gradient) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
}

/// Groups in order, as many to a micro-batch as the budget takes.
pub(crate) fn micro_batches(groups: &[Group<'_>], token_budget: usize) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut filled = 0;
    for (index, group) in groups.iter().enumerate() {
        let rows = group.rows();
        match parts.last_mut() {
            Some(part) if filled + rows <= token_budget => {
                part.end = index + 1;
                filled += rows;
            }
            _ => {
                parts.push(index..index + 1);
                filled = rows;
            }
        }
    }
    parts
}

/// Changes the weights: gradients of all processes, clipped by their norm, then one step. Gives the norm before clipping.
///
/// Nothing else writes a weight while a run goes on. The policy must have no other handle, so that it changes in place.
///
/// # Errors
/// The first parameter whose gradient is not finite, and then nothing has changed; or the first that no longer is.
pub fn apply(
    model: &mut Model,
    optimizer: &mut AdamW,
    gradients: ParamGradients,
    config: &OptimizerConfig,
    lr: f64,
    collective: &dyn Collective,
) -> Result<f64, NotFinite> {
    let gradients = collective.all_reduce(gradients);
    let mut params = model.policy.trained_mut();
    let trainees = params.iter_mut().map(|param| config.trainee(&param.name, &mut param.value));
    optimizer.step(&mut trainees.collect::<Vec<_>>(), gradients, config, lr).map_err(|bad| match bad {
        BadStep::Gradient(place) => NotFinite::Gradient(params[place].name.clone()),
        BadStep::Weight(place) => NotFinite::Weight(params[place].name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::Device;
    use sapo_policies::{Part, PolicyInput};

    use super::*;

    fn tiny() -> Policy {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl/tiny-moe");
        Policy::load(&folder, &Device::flex()).expect("the fixture loads")
    }

    /// Two prompts of different lengths, which a batch pads.
    fn examples() -> [(PolicyInput, Vec<u32>); 2] {
        [(30, 7), (11, 12)].map(|(prompt, answer)| {
            let ids = (0..prompt).map(|at| (at * 17 + prompt) % 370).collect();
            (PolicyInput::of_text(ids), (0..answer).map(|at| at * 23 + 5).collect())
        })
    }

    fn of_examples(policy: &Policy, budget: usize, coef: Option<f64>) -> (Vec<Vec<f32>>, Option<f64>) {
        let examples = examples();
        let groups: Vec<TrainGroup<'_>> = examples
            .iter()
            .map(|(prompt, ids)| TrainGroup { prompt, completions: vec![Completion::of_sampled(ids.clone())] })
            .collect();
        let passes = Passes { temperature: 1.0, token_budget: budget, balance_coef: coef, recompute: false };
        let found = gradients(policy, &groups, passes, &mut |sequences| {
            sequences.iter().flat_map(|sequence| vec![-0.01; sequence.log_probs.len()]).collect::<Vec<f32>>().into()
        })
        .expect("packs");
        let values = found.params.into_iter().map(|gradient| gradient.map(to_vec).unwrap_or_default()).collect();
        (values, found.balance)
    }

    /// The reference's formula, written out: over the tokens of all layers, experts times the sum over experts of the
    /// share of choices times the mean probability.
    fn by_formula(policy: &Policy, sequences: &[Vec<u32>]) -> f64 {
        let (experts, chosen) = (6, 2);
        let (mut tokens, mut choices, mut mass) = (0.0, [0.0; 6], [0.0; 6]);
        for ids in sequences {
            let input = PolicyInput::of_text(ids.clone());
            let mut trace = Trace::routers();
            policy.forward(&Batch::prompts(&[&input], 2), &mut trace);
            let routers = trace.into_tensors();
            assert_eq!(routers.len(), 4, "one for each layer, and nothing else");
            for row in routers.into_values().flat_map(to_vec).collect::<Vec<f32>>().chunks(experts) {
                tokens += 1.0;
                let mut order: Vec<usize> = (0..experts).collect();
                order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
                order[..chosen].iter().for_each(|expert| choices[*expert] += 1.0);
                row.iter().zip(&mut mass).for_each(|(probability, mass)| *mass += f64::from(*probability));
            }
        }
        experts as f64 * choices.iter().zip(mass).map(|(count, mass)| count / tokens * (mass / tokens)).sum::<f64>()
    }

    fn sequence((prompt, answer): &(PolicyInput, Vec<u32>)) -> Vec<u32> {
        // The last token of the answer predicts nothing.
        prompt.ids().iter().chain(&answer[..answer.len() - 1]).copied().collect()
    }

    #[test]
    fn the_balance_loss_is_the_formula_over_real_tokens() {
        let policy = tiny();
        let sequences: Vec<Vec<u32>> = examples().iter().map(sequence).collect();
        let balance = of_examples(&policy, usize::MAX, Some(0.5)).1.expect("there are experts");
        let golden = by_formula(&policy, &sequences);
        assert!((balance - golden).abs() < 1e-5, "{balance} {golden}");
        // In micro-batches, each counts by its rows.
        let rows = sequences.iter().map(|ids| ids.len() as f64);
        let all: f64 = rows.clone().sum();
        let parts =
            sequences.iter().zip(rows).map(|(ids, rows)| rows / all * by_formula(&policy, std::slice::from_ref(ids)));
        let balance = of_examples(&policy, 1, Some(0.5)).1.expect("there are experts");
        assert!((balance - parts.sum::<f64>()).abs() < 1e-5);
    }

    #[test]
    fn the_balance_loss_moves_the_router_and_lowers_itself() {
        let mut policy = tiny();
        let parts: Vec<Part> = policy.trained().iter().map(|param| Part::of(&param.name)).collect();
        let (without, none) = of_examples(&policy, usize::MAX, None);
        assert_eq!(none, None);
        let (zero, _) = of_examples(&policy, usize::MAX, Some(0.0));
        let (with, before) = of_examples(&policy, usize::MAX, Some(1.0));
        for (index, part) in parts.iter().enumerate() {
            assert_eq!(without[index], zero[index], "a coefficient of 0 is none");
            if *part == Part::Router {
                assert_ne!(without[index], with[index]);
            }
        }
        let mut trained = policy.trained_mut();
        for (index, part) in parts.iter().enumerate().filter(|(_, part)| **part == Part::Router) {
            assert_eq!(*part, Part::Router);
            let shape = trained[index].value.dims();
            let step: Vec<f32> =
                with[index].iter().zip(&without[index]).map(|(with, without)| with - without).collect();
            let step = Tensor::<2>::from_data(burn::tensor::TensorData::new(step, shape), &Device::flex());
            trained[index].value = trained[index].value.clone() - step.mul_scalar(0.02);
        }
        let after = of_examples(&policy, usize::MAX, Some(1.0)).1;
        assert!(after < before, "{after:?} {before:?}");
    }
}
