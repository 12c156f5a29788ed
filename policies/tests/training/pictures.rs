//! Rows with several pictures and with frames of a video: packed, alone and decoded token by token they are the same.

use sapo_policies::input::positions;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Group, PictureInput, Policy, PolicyInput, Trace};

use crate::prompt::{tiny, worst};

/// Text around pictures of these patch grids; a grid of several slots is a video, with text before every slot.
pub(crate) fn prompt(policy: &Policy, seed: u32, grids: &[[usize; 3]]) -> PolicyInput {
    let (mut ids, mut pictures) = (Vec::new(), Vec::new());
    for (picture, grid) in grids.iter().enumerate() {
        let pixels: Vec<f32> =
            (0..grid.iter().product::<usize>() * 1536).map(|at| ((at + picture * 31) as f32 * 0.61).sin()).collect();
        let pad = if grid[0] == 1 { policy.config.image_token_id } else { policy.config.video_token_id };
        for slot in 0..grid[0] {
            ids.extend((0..3 + slot as u32 + seed % 4).map(|at| (at * 19 + seed * 7) % 370));
            ids.extend(std::iter::repeat_n(pad, grid[1] * grid[2] / 4));
        }
        pictures.push(PictureInput { pixels: pixels.into(), grid: *grid });
    }
    ids.extend((0..4 + seed).map(|at| (at * 41 + seed) % 370));
    PolicyInput::with_pictures(ids, pictures, &policy.config).expect("pictures fit their placeholders")
}

pub(crate) fn prompts(policy: &Policy) -> [PolicyInput; 4] {
    [
        prompt(policy, 1, &[[1, 4, 6], [1, 8, 4]]),
        prompt(policy, 2, &[[3, 4, 4]]),
        prompt(policy, 3, &[]),
        prompt(policy, 4, &[[1, 2, 2], [2, 2, 6], [1, 4, 4]]),
    ]
}

pub(crate) fn answer(seed: u32) -> Vec<u32> {
    (0..5 + seed).map(|at| (at * 53 + seed * 11) % 370).collect()
}

/// The log-probs of an answer after its prompt, as one prompt.
fn alone(policy: &Policy, prompt: &PolicyInput, answer: &[u32]) -> Vec<f32> {
    let mut whole = prompt.clone();
    whole.push_text(answer);
    let hidden = policy.forward(&Batch::prompts(&[&whole], 2), &mut Trace::off());
    policy.token_log_probs(hidden.narrow(0, prompt.ids().len() - 1, answer.len()), answer, 1.0)
}

#[test]
fn packed_rows_are_those_of_each_prompt_alone() {
    for kind in ["dense", "moe"] {
        let policy = tiny(kind);
        let prompts = prompts(&policy);
        let answers: Vec<[Completion; 2]> =
            (0..4).map(|seed| [answer(seed), answer(seed + 7)].map(Completion::of_sampled)).collect();
        let groups: Vec<Group<'_>> =
            prompts.iter().zip(&answers).map(|(prompt, completions)| Group { prompt, completions }).collect();
        let batch = Batch::groups(&groups, 2).expect("packs");
        let hidden = batch.predicting(policy.forward(&batch, &mut Trace::off()));
        let packed = policy.token_log_probs(hidden, &batch.targets, 1.0);
        let mut separate = Vec::new();
        for (prompt, pair) in prompts.iter().zip(&answers) {
            pair.iter().for_each(|answer| separate.extend(alone(&policy, prompt, answer.ids())));
        }
        let gap = worst(&packed, &separate);
        assert!(gap < 2e-5, "{kind}: {gap}");
    }
}

#[test]
fn decoding_goes_on_where_pictures_end() {
    for kind in ["dense", "moe"] {
        let policy = tiny(kind);
        let prompts = prompts(&policy);
        let answer = answer(3);
        let refs: Vec<&PolicyInput> = prompts.iter().collect();
        let mut decoding = policy.start_decoding(&refs, answer.len()).expect("reads the prompts");
        let nexts: Vec<u32> = prompts.iter().map(|prompt| positions(prompt, 2).next).collect();
        for (prompt, next) in prompts.iter().zip(&nexts) {
            // The delta of the reference: pictures take fewer positions than tokens.
            assert_eq!(
                *next < prompt.ids().len() as u32,
                prompt.pictures().iter().any(|picture| picture.tokens(2) > 1)
            );
        }
        let mut fed: Vec<u32> = prompts.iter().map(|prompt| prompt.ids()[prompt.ids().len() - 1]).collect();
        let mut ours: Vec<Vec<f32>> = vec![Vec::new(); prompts.len()];
        for (step, token) in answer.iter().enumerate() {
            let at: Vec<u32> = nexts.iter().map(|next| next - 1 + step as u32).collect();
            let logits = decoding.feed(&policy, &fed, &at);
            let log_probs = to_vec(burn::tensor::activation::log_softmax(logits, 1));
            let width = log_probs.len() / prompts.len();
            ours.iter_mut().enumerate().for_each(|(row, ours)| ours.push(log_probs[row * width + *token as usize]));
            fed = vec![*token; prompts.len()];
        }
        for (prompt, ours) in prompts.iter().zip(&ours) {
            let gap = worst(ours, &alone(&policy, prompt, &answer));
            assert!(gap < 2e-5, "{kind}: {gap}");
        }
    }
}
