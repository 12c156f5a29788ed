//! Completions of several turns with pictures put in between: packed beside their prompt they are the whole sequence in
//! one row, and only what was sampled is learned from.

use burn::tensor::{Int, Tensor, TensorData};
use sapo_policies::input::positions;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Group, ParamGradients, Policy, PolicyInput, Trace};

use crate::pictures::{answer, prompt, prompts};
use crate::prompt::{tiny, worst};

/// Sampled, a tool's picture, sampled, a tool's video and picture, sampled, and text that came too late.
fn turns(policy: &Policy, seed: u32) -> Completion {
    let mut completion = Completion::of_sampled(answer(seed));
    completion.push_injected(&prompt(policy, seed + 1, &[[1, 4, 8]]));
    completion.push_sampled(&answer(seed + 2));
    completion.push_injected(&prompt(policy, seed, &[[2, 2, 6], [1, 4, 4]]));
    completion.push_sampled(&answer(seed + 3));
    completion.push_injected(&prompt(policy, seed, &[[1, 2, 2]]));
    completion
}

/// Prompt and completion as one prompt.
fn whole(policy: &Policy, prompt: &PolicyInput, completion: &Completion) -> PolicyInput {
    let ids = [prompt.ids(), completion.ids()].concat();
    let pictures = [prompt.pictures(), completion.pictures()].concat();
    PolicyInput::with_pictures(ids, pictures, &policy.config).expect("the whole sequence is a prompt")
}

/// Of the hidden rows of whole sequences in `batch` those that predict what was sampled, and what that is.
fn predicting(
    hidden: Tensor<2>,
    batch: &Batch<'_>,
    sequences: &[(&PolicyInput, &Completion)],
) -> (Tensor<2>, Vec<u32>) {
    let (mut rows, mut targets, mut start) = (Vec::new(), Vec::new(), 0);
    for ((prompt, completion), length) in sequences.iter().zip(&batch.prefix_lens) {
        for (token, _) in completion.sampled().iter().enumerate().filter(|(_, sampled)| **sampled) {
            rows.push((start + prompt.ids().len() + token - 1) as i64);
            targets.push(completion.ids()[token]);
        }
        start += length;
    }
    let count = rows.len();
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &hidden.device());
    (hidden.select(0, rows), targets)
}

/// Runs `check` on every model, with prompts of several kinds and two completions of each.
fn each(check: impl Fn(&str, &Policy, &[Group<'_>])) {
    for kind in ["dense", "moe"] {
        let policy = tiny(kind);
        let prompts = prompts(&policy);
        let pairs: Vec<[Completion; 2]> =
            (0..4).map(|seed| [turns(&policy, seed), Completion::of_sampled(answer(seed + 4))]).collect();
        let groups: Vec<Group<'_>> =
            prompts.iter().zip(&pairs).map(|(prompt, completions)| Group { prompt, completions }).collect();
        check(kind, &policy, &groups);
    }
}

fn sequences<'a>(groups: &[Group<'a>]) -> Vec<(&'a PolicyInput, &'a Completion)> {
    let of = |group: &Group<'a>| -> Vec<_> { group.completions.iter().map(|one| (group.prompt, one)).collect() };
    groups.iter().flat_map(of).collect()
}

#[test]
fn positions_are_those_of_the_whole_sequence() {
    each(|kind, policy, groups| {
        let batch = Batch::groups(groups, 2).expect("packs");
        assert_eq!(batch.rows(), groups.iter().map(Group::rows).sum::<usize>());
        let mut row = batch.prefix_rows;
        for (prompt, completion) in sequences(groups) {
            let all = positions(&whole(policy, prompt, completion), 2).tokens;
            let first = prompt.ids().len() - 1;
            let rows = completion.rows();
            assert_eq!(batch.positions[row..row + rows], all[first..first + rows], "{kind}");
            row += rows;
        }
        assert_eq!(row, batch.rows());
        for ((origin, target), row) in batch.origins.iter().zip(&batch.targets).zip(&batch.target_rows) {
            let completion = &groups[origin.group].completions[origin.completion];
            assert!(completion.sampled()[origin.token] && completion.ids()[origin.token] == *target);
            // A row holds the token before the one that it predicts.
            let before = match origin.token {
                0 => *groups[origin.group].prompt.ids().last().expect("a token"),
                token => completion.ids()[token - 1],
            };
            assert_eq!(batch.ids[*row as usize], before);
        }
    });
}

#[test]
fn log_probs_are_those_of_the_whole_sequence() {
    each(|kind, policy, groups| {
        let batch = Batch::groups(groups, 2).expect("packs");
        let hidden = batch.predicting(policy.forward(&batch, &mut Trace::off()));
        let packed = policy.token_log_probs(hidden, &batch.targets, 0.9);
        let mut separate = Vec::new();
        for (prompt, completion) in sequences(groups) {
            let whole = whole(policy, prompt, completion);
            let alone = Batch::prompts(&[&whole], 2);
            let hidden = policy.forward(&alone, &mut Trace::off());
            let (hidden, targets) = predicting(hidden, &alone, &[(prompt, completion)]);
            assert_eq!(targets.len(), completion.sampled_count());
            separate.extend(policy.token_log_probs(hidden, &targets, 0.9));
        }
        let gap = worst(&packed, &separate);
        assert!(gap < 2e-5, "{kind}: {gap}");
    });
}

#[test]
fn only_what_was_sampled_is_learned_from() {
    // Without their mask the injected tokens would have a share in every gradient.
    each(|kind, policy, groups| {
        let tracked = policy.tracked();
        let batch = Batch::groups(groups, 2).expect("packs");
        let hidden = batch.predicting(tracked.forward(&batch, &mut Trace::off()));
        let derivative: Vec<f32> = (0..batch.targets.len()).map(|at| (at as f32 * 0.3).sin() / 50.0).collect();
        let packed = tracked.score(hidden, &batch.targets, 1.0).backward(&derivative.clone().into(), None);
        let sequences = sequences(groups);
        let inputs: Vec<PolicyInput> =
            sequences.iter().map(|(prompt, completion)| whole(policy, prompt, completion)).collect();
        let plain = Batch::prompts(&inputs.iter().collect::<Vec<_>>(), 2);
        let hidden = tracked.forward(&plain, &mut Trace::off());
        let (hidden, targets) = predicting(hidden, &plain, &sequences);
        assert_eq!(targets, batch.targets);
        let plain = tracked.score(hidden, &targets, 1.0).backward(&derivative.clone().into(), None);
        same(kind, policy, packed, plain);
    });
}

fn same(kind: &str, policy: &Policy, packed: ParamGradients, plain: ParamGradients) {
    for ((param, packed), plain) in policy.trained().iter().zip(packed).zip(plain) {
        let [packed, plain] = [packed, plain].map(|gradient| to_vec(gradient.expect("a gradient")));
        let most = plain.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let gap = worst(&packed, &plain);
        assert!(gap <= 1e-4 * most, "{kind}: {} is off by {gap} of {most}", param.name);
    }
}

#[test]
fn a_completion_without_a_sampled_token_is_refused() {
    let policy = tiny("dense");
    let text = PolicyInput::of_text((20..40).collect());
    let mut injected = Completion::default();
    for completion in [Completion::default(), {
        injected.push_injected(&prompt(&policy, 1, &[[1, 2, 2]]));
        injected
    }] {
        let error = Batch::groups(&[Group { prompt: &text, completions: &[completion] }], 2).expect_err("refused");
        assert!(error.to_string().contains("without a sampled token"), "{error}");
    }
}
