//! From packed groups to gradients: one forward and one backward pass per micro-batch, a loss on token log-probs.

use std::ops::Range;

use burn::tensor::Tensor;
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
    let mut sum: Option<ParamGradients> = None;
    let mut all = Vec::new();
    for part in micro_batches(groups, token_budget) {
        let batch = Batch::groups(&groups[part.clone()], policy.config.vision.spatial_merge_size)?;
        let origins: Vec<Origin> =
            batch.origins.iter().map(|(group, branch, token)| (part.start + group, *branch, *token)).collect();
        let tracked = policy.tracked();
        let hidden = tracked.forward(&batch, &mut Trace::off()).narrow(0, batch.prefix_rows, origins.len());
        let (gradients, log_probs) =
            tracked.log_prob_gradients(hidden, &batch.targets, temperature, &mut |rows, log_probs| {
                loss(&origins[rows], log_probs)
            });
        all.extend(log_probs);
        sum = Some(match sum {
            None => gradients,
            Some(sum) => add(sum, gradients),
        });
    }
    Ok((sum.unwrap_or_default(), all))
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
        let rows = group.prompt.ids().len() + group.branches.iter().map(|branch| branch.len()).sum::<usize>();
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
