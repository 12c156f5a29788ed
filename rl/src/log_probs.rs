//! Log-probs of recorded tokens under a policy, without gradients: of the reference that a KL is measured from, or of the
//! trainer before its update.

use sapo_policies::{Batch, Completion, Group, Policy, PolicyError, PolicyInput, Trace};

use crate::sample::ScoredGroup;
use crate::update::micro_batches;

/// Log-prob of each sampled token of each rollout, group by group.
///
/// # Errors
/// When a group cannot be packed.
pub fn log_probs(
    policy: &Policy,
    groups: &[&ScoredGroup],
    temperature: f64,
    token_budget: usize,
) -> Result<Vec<Vec<Vec<f32>>>, PolicyError> {
    let completions: Vec<Vec<Completion>> =
        groups.iter().map(|group| group.rollouts.iter().map(|scored| scored.rollout.completion()).collect()).collect();
    let prompts = groups.iter().map(|group| &group.prompt.input);
    of_groups(policy, &prompts.zip(&completions).collect::<Vec<_>>(), temperature, token_budget)
}

fn of_groups<'a>(
    policy: &Policy,
    groups: &[(&'a PolicyInput, &'a Vec<Completion>)],
    temperature: f64,
    token_budget: usize,
) -> Result<Vec<Vec<Vec<f32>>>, PolicyError> {
    let group = |(prompt, completions): &(&'a PolicyInput, &'a Vec<Completion>)| Group { prompt, completions };
    let packed: Vec<Group<'_>> = groups.iter().map(group).collect();
    let mut all = Vec::with_capacity(groups.len());
    for part in micro_batches(&packed, token_budget) {
        let batch = Batch::groups(&packed[part.clone()], policy.config.vision.spatial_merge_size)?;
        let hidden = batch.predicting(policy.forward(&batch, &mut Trace::off()));
        let found = policy.token_log_probs(hidden, &batch.targets, temperature);
        let mut rest = found.as_slice();
        for (_, completions) in &groups[part] {
            let mut of_group = Vec::with_capacity(completions.len());
            for completion in *completions {
                let (own, others) = rest.split_at(completion.sampled_count());
                of_group.push(own.to_vec());
                rest = others;
            }
            all.push(of_group);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::Device;

    use super::*;

    #[test]
    fn each_token_gets_the_log_prob_of_its_own_sequence_however_groups_are_packed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl/tiny-dense");
        let policy = Policy::load(&folder, &Device::flex()).expect("the fixture loads");
        let prompts = [PolicyInput::of_text(vec![5, 9, 30, 2]), PolicyInput::of_text(vec![7, 7])];
        let completion = |ids: &[u32]| Completion::of_sampled(ids.to_vec());
        let completions = [vec![completion(&[3, 4]), completion(&[8, 1, 20])], vec![completion(&[11])]];
        let groups: Vec<_> = prompts.iter().zip(&completions).collect();
        let together = of_groups(&policy, &groups, 0.7, usize::MAX).expect("packs");
        let apart = of_groups(&policy, &groups, 0.7, 1).expect("packs");
        assert_eq!(together, apart);
        let lengths: Vec<Vec<usize>> = together.iter().map(|group| group.iter().map(Vec::len).collect()).collect();
        assert_eq!(lengths, [vec![2, 3], vec![1]]);
        for (group, (prompt, completions)) in together.iter().zip(&groups) {
            for (of_one, completion) in group.iter().zip(*completions) {
                let alone = of_groups(&policy, &[(prompt, &vec![completion.clone()])], 0.7, 64).expect("packs");
                assert_eq!(*of_one, alone[0][0]);
            }
        }
    }
}
