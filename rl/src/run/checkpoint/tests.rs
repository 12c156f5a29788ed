//! Checkpoints that are torn, altered or not finite, and what is kept of the run around them.

use burn::tensor::Device;
use burn::tensor::Tensor;

use super::super::aside::RollBack;
use super::super::fit::misfit;
use super::*;
use crate::progress::Silent;

const NEWEST: Rule = Rule { newest: 2, every: 0, phase_ends: false, best: None };

fn all(_: &Checkpoint) -> Result<bool> {
    Ok(true)
}

/// The step of the checkpoint that is found.
fn found(run: &Path) -> Option<u64> {
    newest(run, all, &mut |_, _| {}).unwrap().map(|checkpoint| checkpoint.state.step)
}

fn run(folder: &Path) -> (Model, AdamW, RunDir<'static>) {
    let model = Model::open("tiny", 1, &Device::flex()).unwrap();
    let moments = model.policy.parameters().into_iter().map(|param| {
        let second = Moment::There(Box::new(param.value.clone().square()));
        Some(Moments { first: Moment::There(Box::new(param.value.clone())), second, steps: 3 })
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
    let whole = newest(folder.path(), all, &mut |path, _| torn.push(path.to_owned())).unwrap().unwrap();
    assert_eq!((whole.state.step, torn.len()), (9, 0));
    let again = whole.optimizer(&model.policy, MomentFormat::F32).unwrap();
    for (one, other) in again.moments.iter().zip(&optimizer.moments) {
        let (one, other) = (one.as_ref().unwrap(), other.as_ref().unwrap());
        assert_eq!((one.second.numbers(), one.steps), (other.second.numbers(), 3));
    }
    let weights = whole.path.join("policy/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    let whole = newest(folder.path(), all, &mut |path, _| torn.push(path.to_owned())).unwrap().unwrap();
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
            let found = newest(folder.path(), all, &mut |path, reason| torn.push((path.to_owned(), reason.to_owned())));
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
    assert_eq!(found(folder.path()), Some(5));
    std::fs::create_dir(place.with_extension("tmp")).unwrap();
    tidy(folder.path()).unwrap();
    assert_eq!(found(folder.path()), Some(7));
    assert_eq!(entries(&folder.path().join("checkpoints")), ["step-000005", "step-000007"]);
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
        Some(Moments { second: Moment::There(Box::new(bad(moments.second.tensor().unwrap()))), ..moments.clone() });
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
    let checkpoint = newest(folder.path(), all, &mut |_, _| {}).unwrap().unwrap();
    RollBack::new(folder.path(), &checkpoint, &[]).take().unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("metrics.jsonl"), "{\"step\":0}\n");
    assert_eq!(read("aside/before-resume-0/metrics.jsonl"), "{\"step\":1}\n");
    assert_eq!(entries(&folder.path().join("rollouts")), ["rl-000000.jsonl"]);
    assert!(folder.path().join("aside/before-resume-0/rollouts/rl-000001.jsonl").exists());
    assert!(entries(&folder.path().join("eval")).is_empty());
    std::fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
    let lost = RollBack::new(folder.path(), &checkpoint, &[]).take().unwrap_err();
    assert!(lost.to_string().contains("shorter"), "{lost}");
}

#[test]
fn a_manifest_that_does_not_say_all_that_it_must_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let (model, optimizer, dir) = run(folder.path());
    write(&dir, &model, &optimizer, &TrainerState { step: 5, ..TrainerState::default() }, NEWEST).unwrap();
    let path = folder.path().join("checkpoints/step-000005/manifest.json");
    let whole: Manifest = read_json(&path).unwrap();
    let sealed = |manifest: Manifest| json(&manifest.sealed().unwrap()).unwrap();
    let first = || Manifest { v: 1, heads: BTreeMap::new(), ..whole.clone() };
    let unsealed = |manifest: &Manifest| json(manifest).unwrap();
    let cases = [
        (sealed(Manifest { v: 99, ..whole.clone() }), "version 99"),
        (sealed(Manifest { v: 0, ..whole.clone() }), "version 0"),
        (sealed(Manifest { sha256: BTreeMap::new(), ..whole.clone() }), "no hashes of what the checkpoint holds"),
        (sealed(Manifest { lengths: BTreeMap::new(), ..whole.clone() }), "how long"),
        (sealed(Manifest { heads: BTreeMap::new(), ..whole.clone() }), "no hashes of what the run has recorded"),
        (unsealed(&Manifest { own_sha256: String::new(), sha256: BTreeMap::new(), ..first() }), "no hashes"),
        (unsealed(&Manifest { own_sha256: String::new(), lengths: BTreeMap::new(), ..first() }), "how long"),
        (unsealed(&Manifest { own_sha256: String::new(), ..whole.clone() }), "not what was written"),
        (b"{}".to_vec(), "missing field"),
        (Vec::new(), "EOF"),
        (b"\xff\xfe{".to_vec(), "UTF-8"),
    ];
    for (bytes, wanted) in cases {
        std::fs::write(&path, bytes).unwrap();
        let mut torn = Vec::new();
        assert!(newest(folder.path(), all, &mut |_, reason| torn.push(reason.to_owned())).unwrap().is_none());
        assert!(torn.len() == 1 && torn[0].contains(wanted), "`{wanted}` is not in {torn:?}");
    }
    // Those of the versions before are read, and those of before there were audits.
    let mut unaudited = whole.clone();
    assert!(unaudited.lengths.remove("audit.jsonl").is_some() && unaudited.heads.remove("audit.jsonl").is_some());
    std::fs::write(&path, sealed(unaudited)).unwrap();
    assert_eq!(found(folder.path()), Some(5));
    for manifest in [sealed(Manifest { v: 2, ..first() }), unsealed(&Manifest { own_sha256: String::new(), ..first() })]
    {
        std::fs::write(&path, manifest).unwrap();
        assert_eq!(found(folder.path()), Some(5));
    }
}

#[test]
fn what_was_recorded_must_be_what_it_was_at_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (model, optimizer, dir) = run(folder.path());
    let names =
        ["metrics.jsonl", "ledger.jsonl", "audit.jsonl", "curation/curate.jsonl", "eval/heldout-000000/samples.jsonl"];
    for name in names {
        dir.append(name, &[serde_json::json!({"step": 0})]).unwrap();
    }
    // An evaluation's folder without its results.
    let state = TrainerState { step: 1, evaluated: vec!["heldout-000000".to_owned()], ..TrainerState::default() };
    write(&dir, &model, &optimizer, &state, NEWEST).unwrap();
    names.iter().for_each(|name| dir.append(name, &[serde_json::json!({"step": 1})]).unwrap());
    let checkpoint = newest(folder.path(), all, &mut |_, _| {}).unwrap().unwrap();
    assert_eq!(misfit(&checkpoint, folder.path()).unwrap(), None, "what came after is no matter");
    for name in names {
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[4] ^= 1;
        let cases = [(&flipped[..], "was changed"), (&whole[..10], "is shorter than it was: 10 of 11 bytes")];
        for (bytes, wanted) in cases {
            std::fs::write(&path, bytes).unwrap();
            let reason = misfit(&checkpoint, folder.path()).unwrap().expect("it differs");
            assert!(reason.contains(name) && reason.contains(wanted), "{reason}");
        }
        std::fs::remove_file(&path).unwrap();
        let reason = misfit(&checkpoint, folder.path()).unwrap().expect("it differs");
        assert!(reason.ends_with("is missing") && reason.contains(name), "{reason}");
        std::fs::write(&path, whole).unwrap();
    }
}

#[test]
fn what_others_put_beside_the_checkpoints_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (model, optimizer, dir) = run(folder.path());
    let own = TrainerState { step: 5, ..TrainerState::default() };
    write(&dir, &model, &optimizer, &own, NEWEST).unwrap();
    let checkpoints = folder.path().join("checkpoints");
    let copy = |to: &str| {
        for file in files(&checkpoints.join("step-000005")) {
            let place = checkpoints.join(to).join(file.strip_prefix(checkpoints.join("step-000005")).unwrap());
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::copy(file, place).unwrap();
        }
    };
    copy("step-999999");
    copy("step-000005.tmp-of-mine");
    for name in ["step-000123", "step-7", "notes", "mine.tmp"] {
        std::fs::create_dir(checkpoints.join(name)).unwrap();
    }
    let before = entries(&checkpoints);
    tidy(folder.path()).unwrap();
    let checkpoint = newest(folder.path(), all, &mut |path, _| panic!("{}", path.display())).unwrap().unwrap();
    assert!(checkpoint.path.ends_with("step-000005"), "{:?}", checkpoint.path);
    RollBack::new(folder.path(), &checkpoint, &[]).take().unwrap();
    assert_eq!(entries(&checkpoints), before);
    for step in [6, 7, 8] {
        write(&dir, &model, &optimizer, &TrainerState { step, ..own.clone() }, NEWEST).unwrap();
    }
    let after = entries(&checkpoints);
    assert!(before.iter().filter(|name| *name != "step-000005").all(|name| after.contains(name)), "{after:?}");
    assert!(!after.contains(&"step-000005".to_owned()) && after.contains(&"step-000007".to_owned()), "{after:?}");
    let refused = write(&dir, &model, &optimizer, &TrainerState { step: 123, ..own }, NEWEST).unwrap_err();
    assert!(refused.to_string().contains("is in the way"), "{refused}");
}
