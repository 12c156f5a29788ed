//! From packed groups to gradients: one forward and one backward pass per micro-batch, a loss on token log-probs.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use sapo_policies::text::balance_loss;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Group, ParamGradients, Policy, PolicyError, Trace};

/// Where a token comes from: (group, branch, token).
pub type Origin = (usize, usize, usize);

/// Gradients of a loss over groups, in micro-batches of at most `token_budget` rows (or one group), and the log-prob of
/// every branch token in the order of groups, branches and tokens.
///
/// `loss(origins, log_probs)` gives the loss of some tokens as a scalar tensor; the whole loss is the sum.
///
/// # Errors
/// When a group cannot be packed.
pub fn gradients(
    policy: &Policy,
    groups: &[Group<'_>],
    temperature: f64,
    token_budget: usize,
    loss: &mut dyn FnMut(&[Origin], Tensor<1>) -> Tensor<1>,
) -> Result<(ParamGradients, Vec<f32>), PolicyError> {
    let mut all = Vec::new();
    let (gradients, _) = passes(policy, groups, temperature, token_budget, None, loss, &mut all)?;
    Ok((gradients, all))
}

/// Gradients of a loss over groups at temperature 1 plus, where `coef` says so, `coef` times the loss that spreads rows
/// over experts, and that loss before its coefficient.
///
/// It is that of the reference over the rows of a micro-batch, of all sparse layers together; micro-batches count by
/// their rows. Padding is no row, and neither is the last token of an answer, which predicts nothing.
///
/// # Errors
/// When a group cannot be packed.
pub fn balanced_gradients(
    policy: &Policy,
    groups: &[Group<'_>],
    token_budget: usize,
    coef: Option<f64>,
    loss: &mut dyn FnMut(&[Origin], Tensor<1>) -> Tensor<1>,
) -> Result<(ParamGradients, Option<f64>), PolicyError> {
    passes(policy, groups, 1.0, token_budget, coef, loss, &mut Vec::new())
}

fn passes(
    policy: &Policy,
    groups: &[Group<'_>],
    temperature: f64,
    token_budget: usize,
    balance_coef: Option<f64>,
    loss: &mut dyn FnMut(&[Origin], Tensor<1>) -> Tensor<1>,
    all: &mut Vec<f32>,
) -> Result<(ParamGradients, Option<f64>), PolicyError> {
    let rows: usize = groups.iter().map(Group::rows).sum();
    let chosen = policy.config.text.moe.as_ref().map_or(0, |moe| moe.top_k);
    let mut balance = None;
    let mut sum: Option<ParamGradients> = None;
    for part in micro_batches(groups, token_budget) {
        let batch = Batch::groups(&groups[part.clone()], policy.config.vision.spatial_merge_size)?;
        let origins: Vec<Origin> =
            batch.origins.iter().map(|at| (part.start + at.group, at.completion, at.token)).collect();
        let tracked = policy.tracked();
        let mut trace = if balance_coef.is_some() { Trace::routers() } else { Trace::off() };
        let hidden = batch.predicting(tracked.forward(&batch, &mut trace));
        let beside = balance_coef.and_then(|coef| {
            let routers: Vec<Tensor<2>> = trace.into_tensors().into_values().collect();
            let part = balance_loss(&routers, chosen)?.mul_scalar(batch.rows() as f64 / rows as f64);
            *balance.get_or_insert(0.0) += f64::from(to_vec(part.clone().inner())[0]);
            Some(part.mul_scalar(coef))
        });
        let scored = tracked.score(hidden, &batch.targets, temperature);
        all.extend_from_slice(scored.log_probs());
        let leaf = TensorData::new(scored.log_probs().to_vec(), [origins.len()]);
        let leaf = Tensor::<1>::from_data(leaf, tracked.device()).require_grad();
        let derivative = leaf.grad_remove(&mut loss(&origins, leaf.clone()).backward());
        let gradients = scored.backward(&derivative.map_or_else(|| vec![0.0; origins.len()], to_vec), beside);
        sum = Some(match sum {
            None => gradients,
            Some(sum) => add(sum, gradients),
        });
    }
    Ok((sum.unwrap_or_default(), balance))
}

fn add(left: ParamGradients, right: ParamGradients) -> ParamGradients {
    let both = |pair| match pair {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    left.into_iter().zip(right).map(both).collect()
}

fn micro_batches(groups: &[Group<'_>], token_budget: usize) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut filled = 0;
    for (index, group) in groups.iter().enumerate() {
        let rows = group.rows() + 1;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::Device;
    use sapo_policies::{Completion, Part, PolicyInput};

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
        let answers = examples.each_ref().map(|(_, tokens)| Completion::of_sampled(tokens.clone()));
        let answers = answers.each_ref().map(|answer| [answer]);
        let groups: Vec<Group<'_>> =
            examples.iter().zip(&answers).map(|((prompt, _), completions)| Group { prompt, completions }).collect();
        let loss = &mut |_: &[Origin], log_probs: Tensor<1>| log_probs.sum().mul_scalar(-0.01);
        let (gradients, balance) = balanced_gradients(policy, &groups, budget, coef, loss).expect("packs");
        (gradients.into_iter().map(|gradient| gradient.map(to_vec).unwrap_or_default()).collect(), balance)
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
