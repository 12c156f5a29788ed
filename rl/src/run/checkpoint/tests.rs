//! Checkpoints that are torn, altered or not finite, and what is kept of the run around them.

use burn::tensor::Device;
use burn::tensor::Tensor;

use super::*;
use crate::progress::Silent;

const NEWEST: Rule = Rule { newest: 2, every: 0, phase_ends: false, best: None };

fn run(folder: &Path) -> (Model, AdamW, RunDir<'static>) {
    let model = Model::open("tiny", 1, &Device::flex()).unwrap();
    let moments = model.policy.parameters().into_iter().map(|param| {
        let second = Moment::There(param.value.clone().square());
        Some(Moments { first: Moment::There(param.value.clone()), second, steps: 3 })
    });
    let optimizer = AdamW { moments: moments.collect() };
    (model, optimizer, RunDir::open(folder, 0, &Silent))
}

#[test]
fn a_torn_checkpoint_is_passed_over_and_the_one_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (model, optimizer, dir) = run(folder.path());
    for step in [5, 7, 9] {
        let state = TrainerState { step, ..TrainerState::default() };
        write(&dir, &model, &optimizer, &state, NEWEST).unwrap();
    }
    assert_eq!(entries(&folder.path().join("checkpoints")), ["step-000007", "step-000009"]);
    let mut torn = Vec::new();
    let whole = newest(folder.path(), &mut |path, _| torn.push(path.to_owned())).unwrap().unwrap();
    assert_eq!((whole.state.step, torn.len()), (9, 0));
    let again = whole.optimizer(&model.policy, MomentFormat::F32).unwrap();
    for (one, other) in again.moments.iter().zip(&optimizer.moments) {
        let (one, other) = (one.as_ref().unwrap(), other.as_ref().unwrap());
        assert_eq!((one.second.numbers(), one.steps), (other.second.numbers(), 3));
    }
    let weights = whole.path.join("policy/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    let whole = newest(folder.path(), &mut |path, _| torn.push(path.to_owned())).unwrap().unwrap();
    assert_eq!((whole.state.step, torn.len()), (7, 1));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in entries(folder) {
        let path = folder.join(name);
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_byte_that_is_altered_in_any_file_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (model, optimizer, dir) = run(folder.path());
    for step in [5, 7] {
        let state = TrainerState { step, ..TrainerState::default() };
        write(&dir, &model, &optimizer, &state, NEWEST).unwrap();
    }
    let files = files(&folder.path().join("checkpoints/step-000007"));
    assert!(files.len() > 6, "{files:?}");
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        for place in [0, whole.len() / 3, whole.len() / 2, whole.len() - 2] {
            let mut altered = whole.clone();
            altered[place] ^= 1;
            std::fs::write(&file, altered).unwrap();
            let mut torn = Vec::new();
            let found = newest(folder.path(), &mut |path, reason| torn.push((path.to_owned(), reason.to_owned())));
            assert_eq!(found.unwrap().unwrap().state.step, 5, "{name}, byte {place}");
            assert!(torn.len() == 1 && torn[0].0.ends_with("step-000007"), "{name}, byte {place}: {torn:?}");
            let refused = at(folder.path(), 7).unwrap_err().to_string();
            assert!(refused.contains("torn or altered") && refused.contains("another checkpoint"), "{refused}");
        }
        std::fs::write(&file, whole).unwrap();
    }
    assert_eq!(at(folder.path(), 7).unwrap().state.step, 7);
    assert!(at(folder.path(), 6).unwrap_err().to_string().contains("steps with one: 5, 7"));
    // Killed between the two renames that replace a checkpoint.
    let place = folder.path().join("checkpoints/step-000007");
    std::fs::rename(&place, place.with_extension("old")).unwrap();
    assert_eq!(newest(folder.path(), &mut |_, _| {}).unwrap().unwrap().state.step, 7);
}

#[test]
fn a_number_that_is_not_finite_is_never_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (mut model, mut optimizer, dir) = run(folder.path());
    let state = TrainerState { step: 5, ..TrainerState::default() };
    let bad = |value: &Tensor<2>| value.clone().mul_scalar(f32::INFINITY);
    let named = model.policy.trained()[3].name.clone();
    let moments = optimizer.moments[3].take().unwrap();
    optimizer.moments[3] =
        Some(Moments { second: Moment::There(bad(moments.second.tensor().unwrap())), ..moments.clone() });
    let refused = write(&dir, &model, &optimizer, &state, NEWEST).unwrap_err();
    assert!(matches!(&refused, RunError::NotFinite(said) if said.contains(&named)), "{refused}");
    optimizer.moments[3] = Some(moments);
    let mut params = model.policy.trained_mut();
    params[3].value = bad(&params[3].value);
    let refused = write(&dir, &model, &optimizer, &state, NEWEST).unwrap_err();
    assert!(matches!(&refused, RunError::NotFinite(said) if said.contains(&named)), "{refused}");
    assert!(entries(&folder.path().join("checkpoints")).is_empty());
}

#[test]
fn what_came_after_the_checkpoint_is_cut_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (model, optimizer, dir) = run(folder.path());
    let line = |step: u64| [serde_json::json!({"step": step})];
    dir.append("metrics.jsonl", &line(0)).unwrap();
    dir.append("rollouts/rl-000000.jsonl", &line(0)).unwrap();
    let state = TrainerState { step: 1, ..TrainerState::default() };
    write(&dir, &model, &optimizer, &state, NEWEST).unwrap();
    dir.append("metrics.jsonl", &line(1)).unwrap();
    dir.append("rollouts/rl-000001.jsonl", &line(1)).unwrap();
    dir.append("eval/heldout-000001/samples.jsonl", &line(1)).unwrap();
    let checkpoint = newest(folder.path(), &mut |_, _| {}).unwrap().unwrap();
    checkpoint.roll_back(folder.path(), &[], &[]).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("metrics.jsonl"), "{\"step\":0}\n");
    assert_eq!(read("aside/before-resume-0/metrics.jsonl"), "{\"step\":1}\n");
    assert_eq!(entries(&folder.path().join("rollouts")), ["rl-000000.jsonl"]);
    assert!(folder.path().join("aside/before-resume-0/rollouts/rl-000001.jsonl").exists());
    assert!(entries(&folder.path().join("eval")).is_empty());
    std::fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
    assert!(checkpoint.roll_back(folder.path(), &[], &[]).unwrap_err().to_string().contains("shorter"));
}
