//! Gradients of the distance from a teacher, over the whole vocabulary, in micro-batches.

use sapo_policies::{Batch, Divergence, Group, ParamGradients, Policy, PolicyError, Teacher, Trace};

use crate::update::{TrainGroup, add, micro_batches};

/// How a policy is measured against a teacher.
#[derive(Clone, Copy, Debug)]
pub struct Distillation<'a> {
    /// The teacher.
    pub teacher: &'a Policy,
    /// Which way.
    pub divergence: Divergence,
    /// Divides the logits of both, as it did in sampling.
    pub temperature: f64,
    /// Rows of a micro-batch at most (one group always fits).
    pub token_budget: usize,
    /// Whether layers keep only their input and run again on the way back.
    pub recompute: bool,
}

/// The distance at every trained token of the groups, in nats and in their order, and the gradients of their sum times
/// `weight`, in the order of [`Policy::trained`].
///
/// # Errors
/// When a group cannot be packed.
pub fn distil(
    policy: &Policy,
    distillation: Distillation<'_>,
    groups: &[TrainGroup<'_>],
    weight: f32,
) -> Result<(Vec<f32>, ParamGradients), PolicyError> {
    let Distillation { teacher, divergence, temperature, token_budget, recompute } = distillation;
    let packed: Vec<Group<'_>> = groups.iter().map(TrainGroup::packed).collect();
    let (mut distances, mut gradients) = (Vec::new(), ParamGradients::new());
    for part in micro_batches(&packed, token_budget) {
        let batch = Batch::groups(&packed[part], policy.config.vision.spatial_merge_size)?;
        // The teacher reads first: what it keeps is small, and the policy's graph is not there yet.
        let hidden_md = batch.predicting(teacher.forward(&batch, &mut Trace::off()));
        let teacher = Teacher { policy: teacher, hidden_md };
        let tracked = policy.tracked().recomputing(recompute);
        let hidden_md = batch.predicting(tracked.forward(&batch, &mut Trace::off()));
        let weights = vec![weight; batch.targets.len()];
        let (found, of_part) = tracked.diverge(hidden_md, &teacher, divergence, &weights, temperature);
        distances.extend(found);
        add(&mut gradients, of_part);
    }
    Ok((distances, gradients))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::Device;
    use sapo_policies::{Completion, PolicyInput, to_vec};

    use super::*;

    fn fixture(name: &str) -> Policy {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl").join(name);
        Policy::load(&folder, &Device::flex()).expect("the fixture loads")
    }

    fn of(policy: &Policy, divergence: Divergence, budget: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
        // Another architecture with the same vocabulary.
        let teacher = fixture("tiny-moe");
        let prompts = [PolicyInput::of_text(vec![5, 9, 30, 2]), PolicyInput::of_text(vec![7, 7])];
        let completion = |ids: &[u32]| Completion::of_sampled(ids.to_vec());
        let groups = [
            TrainGroup { prompt: &prompts[0], completions: vec![completion(&[3, 4]), completion(&[8, 1, 20])] },
            TrainGroup { prompt: &prompts[1], completions: vec![completion(&[11])] },
        ];
        let distillation =
            Distillation { teacher: &teacher, divergence, temperature: 0.8, token_budget: budget, recompute: false };
        let (distances, gradients) = distil(policy, distillation, &groups, 0.25).expect("packs");
        (distances, gradients.into_iter().map(|gradient| gradient.map(to_vec).unwrap_or_default()).collect())
    }

    #[test]
    fn gradients_are_those_of_the_distances_however_they_are_packed() {
        for divergence in [Divergence::Forward, Divergence::Reverse, Divergence::Mixed(0.5)] {
            let mut policy = fixture("tiny-dense");
            let (distances, gradients) = of(&policy, divergence, usize::MAX);
            assert_eq!(distances.len(), 6);
            assert!(distances.iter().all(|distance| *distance > 0.0), "{distances:?}");
            let (apart, in_parts) = of(&policy, divergence, 1);
            assert_eq!(distances, apart);
            for (one, other) in gradients.iter().flatten().zip(in_parts.iter().flatten()) {
                assert!((one - other).abs() < 1e-6);
            }
            // A step against the gradients brings the sum down by the square of their norm.
            let norm: f64 = gradients.iter().flatten().map(|value| f64::from(*value).powi(2)).sum();
            let rate = 1e-3 / norm;
            for (param, gradient) in policy.trained_mut().into_iter().zip(&gradients).filter(|(_, one)| !one.is_empty())
            {
                let shape = param.value.dims();
                let step = burn::tensor::TensorData::new(gradient.clone(), shape);
                let step = burn::tensor::Tensor::<2>::from_data(step, &Device::flex()).mul_scalar(rate);
                param.value = param.value.clone() - step;
            }
            let sum = |distances: &[f32]| 0.25 * distances.iter().map(|one| f64::from(*one)).sum::<f64>();
            let fallen = sum(&distances) - sum(&of(&policy, divergence, usize::MAX).0);
            assert!((fallen / 1e-3 - 1.0).abs() < 0.1, "{divergence:?} {fallen}");
        }
    }

    #[test]
    fn a_policy_learns_nothing_from_itself() {
        let policy = fixture("tiny-moe");
        let (distances, gradients) = of(&policy, Divergence::Mixed(0.5), usize::MAX);
        assert!(distances.iter().chain(gradients.iter().flatten()).all(|value| value.abs() < 1e-6));
    }
}
