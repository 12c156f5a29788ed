//! What trains: every parameter has a gradient, frozen parts have none, and DeepStack can be taken out.

use crate::prompt::{gradients, logits, prompt as picture_prompt, tiny, untied, worst};
use burn::tensor::Device;
use sapo_policies::WeightFormat;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Group, Part, Policy, PolicyInput, Trace};

fn largest(gradient: &burn::tensor::Tensor<2>) -> f32 {
    to_vec(gradient.clone()).iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

#[test]
fn every_parameter_has_a_gradient() {
    for (name, policy) in [
        ("dense", tiny("dense")),
        ("moe", tiny("moe")),
        ("dense untied", untied("dense")),
        ("moe untied", untied("moe")),
    ] {
        assert_eq!(policy.text.head.is_some(), name.ends_with("untied"));
        let gradients = gradients(&policy);
        let params = policy.trained();
        assert_eq!(params.len(), policy.parameters().len());
        assert_eq!(policy.trained_count(), policy.parameter_count());
        for (param, gradient) in params.into_iter().zip(gradients) {
            let gradient = gradient.unwrap_or_else(|| panic!("{name}: {} has no gradient", param.name));
            let size = largest(&gradient);
            assert!(size > 0.0 && size.is_finite(), "{name}: the gradient of {} is {size}", param.name);
        }
        let experts_and_router = 2 * usize::from(name.starts_with("moe"));
        let head = usize::from(name.ends_with("untied"));
        assert_eq!(policy.parts().len(), 5 + experts_and_router + head);
    }
}

#[test]
fn every_expert_has_a_gradient() {
    let policy = tiny("moe");
    let gradients = gradients(&policy);
    let mut seen = 0;
    for (param, gradient) in policy.trained().into_iter().zip(gradients) {
        if Part::of(&param.name) == Part::Experts {
            let gradient = to_vec(gradient.expect("a gradient"));
            for (expert, part) in gradient.chunks(gradient.len() / param.shape[0]).enumerate() {
                assert!(part.iter().any(|value| *value != 0.0), "expert {expert} of {}", param.name);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 4 * 2 * 6, "layers, maps, experts");
}

#[test]
fn frozen_parts_have_no_gradients_and_the_others_the_same() {
    for kind in ["dense", "moe"] {
        let policy = tiny(kind);
        let names: Vec<String> = policy.parameters().iter().map(|param| param.name.clone()).collect();
        let all: Vec<Vec<f32>> =
            gradients(&policy).into_iter().map(|gradient| to_vec(gradient.expect("a gradient"))).collect();
        let parts = policy.parts();
        let mut frozen_sets: Vec<Vec<Part>> = parts.iter().map(|part| vec![*part]).collect();
        frozen_sets.push(vec![Part::Vision, Part::Merger, Part::Deepstack]);
        frozen_sets.push(parts.iter().copied().filter(|part| *part != Part::Merger).collect());
        frozen_sets.push(parts.iter().copied().filter(|part| *part != Part::Embeddings).collect());
        for frozen in frozen_sets {
            let mut some = policy.clone();
            some.train_all_but(&frozen).expect("the policy has these parts");
            let kept: Vec<&String> = names.iter().filter(|name| !frozen.contains(&Part::of(name))).collect();
            assert_eq!(some.trained().iter().map(|param| &param.name).collect::<Vec<_>>(), kept);
            let gradients = gradients(&some);
            assert_eq!(gradients.len(), kept.len(), "{frozen:?}");
            for (name, gradient) in kept.into_iter().zip(gradients) {
                let at = names.iter().position(|other| other == name).expect("a name");
                let gradient = to_vec(gradient.expect("a gradient"));
                let most = all[at].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                // Sums of a table's gradients may be taken in another order.
                assert!(worst(&gradient, &all[at]) <= 1e-5 * most, "{kind}, frozen {frozen:?}: {name}");
            }
        }
    }
}

#[test]
fn frozen_vision_has_no_graph() {
    let mut policy = tiny("dense");
    let records = |policy: &Policy| policy.tracked().vision.merger.fc1.weight.value.is_autodiff();
    assert!(records(&policy));
    policy.train_all_but(&[Part::Vision, Part::Merger]).expect("freezes");
    assert!(records(&policy), "a DeepStack merger trains still");
    policy.train_all_but(&[Part::Vision, Part::Merger, Part::Deepstack]).expect("freezes");
    assert!(!records(&policy), "what is not there to record cannot be in a graph");
}

#[test]
fn a_batch_that_does_not_touch_what_trains_has_no_gradients() {
    let mut policy = tiny("dense");
    policy.train_all_but(&[Part::Text, Part::Embeddings]).expect("freezes");
    let text = PolicyInput::of_text((20..40).collect());
    let completion = Completion::of_sampled(vec![1, 2, 3]);
    let completions = [completion];
    let batch = Batch::groups(&[Group { prompt: &text, completions: &completions }], 2).expect("packs");
    let tracked = policy.tracked();
    let hidden = batch.predicting(tracked.forward(&batch, &mut Trace::off()));
    let scored = tracked.score(hidden, &batch.targets, 1.0);
    assert!(scored.log_probs().iter().all(|value| value.is_finite()));
    assert!(scored.backward(&vec![1.0; 3].into(), None).iter().all(Option::is_none));
}

#[test]
fn parts_that_are_not_there_are_refused() {
    let error = |kind: &str, parts: &[Part]| tiny(kind).train_all_but(parts).expect_err("refused").to_string();
    let dense = error("dense", &[Part::Vision, Part::Experts]);
    assert!(dense.contains("`experts`") && dense.contains("vision, merger, deepstack, text, embeddings"), "{dense}");
    assert!(dense.contains("did you mean `"), "{dense}");
    assert!(error("dense", &[Part::Router]).contains("`router`"));
    assert!(error("moe", &tiny("moe").parts()).contains("nothing is left to train"));
    assert!(error("moe", &[Part::Head]).contains("`head`"), "a tied head is the embedding table");
    let mut policy = tiny("dense");
    policy.remove_deepstack();
    assert!(policy.train_all_but(&[Part::Deepstack]).expect_err("refused").to_string().contains("`deepstack`"));
}

#[test]
fn without_deepstack_is_with_features_of_zero() {
    for kind in ["dense", "moe"] {
        let with = tiny(kind);
        let mut zeroed = with.clone();
        for param in zeroed.parameters_mut() {
            if param.name.contains("deepstack_merger_list") && param.name.contains("linear_fc2") {
                param.value = param.value.zeros_like();
            }
        }
        let mut without = with.clone();
        without.remove_deepstack();
        assert_eq!(logits(&without), logits(&zeroed), "{kind}");
        assert!(worst(&logits(&without), &logits(&with)) > 1e-3, "it makes a difference");
        let folder = tempfile::tempdir().expect("a folder");
        without.save(folder.path(), WeightFormat::F32).expect("saves");
        let again = Policy::load(folder.path(), &Device::flex()).expect("loads");
        assert!(again.vision.deepstack.is_empty(), "what is saved is a model without DeepStack");
        assert_eq!(logits(&again), logits(&without));
    }
    let text = PolicyInput::of_text((20..40).collect());
    let (with, mut without) = (tiny("dense"), tiny("dense"));
    without.remove_deepstack();
    let hidden = |policy: &Policy| to_vec(policy.forward(&Batch::prompts(&[&text], 2), &mut Trace::off()));
    assert_eq!(hidden(&with), hidden(&without), "text has no features");
    assert_eq!(picture_prompt(&with).pictures().len(), 1);
}
