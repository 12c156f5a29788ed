//! Misuses of a configuration: keys, types, ranges, overrides.

use std::path::Path;

use crate::refused;

const SMOKE: &str = "configs/smoke.toml";

/// `sapo config check` of the smoke run with an override: refused, and told with the override and these words.
#[track_caller]
fn override_is_refused(text: &str, words: &[&str]) {
    let place = format!("override {text}: ");
    refused(&["config", "check", SMOKE, text], 2, &[&[place.as_str()], words].concat());
}

/// `sapo config check` of a file with this text: refused, and told with the line and these words.
#[track_caller]
fn file_is_refused(text: &str, line: usize, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, text).expect("a file");
    let (file, place) = (file.display().to_string(), format!("mine.toml:{line}: "));
    refused(&["config", "check", SMOKE, &file], 2, &[&[place.as_str()], words].concat());
}

#[test]
fn an_unknown_key_gets_the_nearest_name() {
    refused(&["config", "check", SMOKE, "run.sede=2"], 2, &["override run.sede=2: ", "sede", "did you mean `seed`"]);
    // Without a file, too, the override has the typo.
    refused(&["config", "check", "run.sede=2"], 2, &["override run.sede=2: ", "did you mean `seed`"]);
}

#[test]
fn a_typo_in_a_file_has_its_line_and_its_whole_key() {
    file_is_refused("[run]\n# a comment\nsede = 2\n", 3, &["run.sede", "did you mean `seed`"]);
    let nested = "[phases.reasoning]\nsteps = 2\n\n[phases.reasoning.optimizer]\nlr = 1e-4\nwarmup = 3\n";
    file_is_refused(nested, 6, &["phases.reasoning.optimizer.warmup", "known: ", "warmup_steps"]);
    file_is_refused(
        "[rewards.same]\ntemperaturr = 0.5\n",
        2,
        &["rewards.same.temperaturr", "did you mean `temperature`"],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_key() {
    override_is_refused("phases.reasoning.steps=1e3", &["a whole number"]);
    override_is_refused("run.phases=count", &["a list"]);
    override_is_refused("run.seed=high", &["\"high\"", "a whole number"]);
    file_is_refused("phases.careful.optimizer.lr = \"fast\"\n", 1, &["phases.careful.optimizer.lr", "a number"]);
}

#[test]
fn a_missing_key_is_told_where_it_should_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, "[policy]\nmodel = \"tiny\"\n\n[run]\nname = \"x\"\nphases = [\"a\"]\n[phases]\n")
        .expect("a file");
    let file = file.display().to_string();
    refused(&["config", "check", &file], 2, &["mine.toml:4: ", "run: the key `seed` is missing"]);
}

#[test]
fn a_learning_rate_that_cannot_be_is_refused() {
    for bad in ["-1", "0", "nan", "inf", "1e3", "1e20"] {
        override_is_refused(&format!("phases.careful.optimizer.lr={bad}"), &["above 0 and below 1"]);
    }
}

#[test]
fn a_clip_that_cannot_be_is_refused() {
    for bad in ["-1", "0", "nan"] {
        override_is_refused(&format!("phases.careful.optimizer.clip_norm={bad}"), &["above 0"]);
    }
}

#[test]
fn sampling_that_cannot_be_is_refused() {
    override_is_refused("phases.reasoning.sampling.top_p=7", &["at most 1"]);
    override_is_refused("phases.reasoning.sampling.max_new_tokens=0", &["at least 1"]);
    override_is_refused("phases.reasoning.sampling.temperature=inf", &["0 to 100"]);
    override_is_refused("phases.reasoning.sampling.temperature=0", &["equal rollouts teach nothing"]);
}

#[test]
fn steps_that_cannot_be_are_refused() {
    override_is_refused("phases.careful.steps=0", &["at least 1", "run.phases"]);
    override_is_refused("phases.careful.optimizer.warmup_steps=500", &["the 60 steps of the phase"]);
    override_is_refused("run.checkpoint_every=0", &["at least 1"]);
}

#[test]
fn a_token_budget_below_one_answer_is_refused() {
    override_is_refused("run.token_budget=1", &["at least 2"]);
    override_is_refused("run.token_budget=12", &["phases.reasoning", "12 tokens", "at least 13"]);
}

#[test]
fn shares_and_algorithms_out_of_range_are_refused() {
    override_is_refused("phases.careful.data=[{ use = \"digits\", share = nan }]", &["phases.careful.data[0].share"]);
    override_is_refused("phases.reasoning.algorithm.tau_neg=0.5", &["not be below tau_pos"]);
    override_is_refused("phases.reasoning.max_failed_share=1.5", &["at most 1"]);
    override_is_refused("run.warn.cut_share=-0.5", &["at least 0"]);
}

#[test]
fn a_judge_out_of_range_is_refused() {
    override_is_refused("rewards.same.timeout_secs=-1", &["above 0"]);
    override_is_refused("rewards.same.canary_share=2", &["0..1"]);
    override_is_refused("rubrics.general.weight=inf", &["above 0"]);
}

#[test]
fn keys_of_earlier_versions_say_the_new_ones() {
    override_is_refused("phases.reasoning.tasks=[\"geometry3k\"]", &["data = [{ use"]);
    override_is_refused("run.keep_checkpoints=3", &["run.keep = { newest"]);
    override_is_refused("run.keep_best=heldout/all/greedy", &["run.keep = { best"]);
}

#[test]
fn what_is_no_override_is_named() {
    refused(&["config", "check", SMOKE, "=3"], 2, &["=3", "key=value"]);
    refused(&["config", "check", "configs/smok.toml"], 2, &["configs/smok.toml", "cannot be read"]);
}

/// What is cheap to refuse is refused before a judge is started or a plugin asked.
#[test]
fn cheap_refusals_come_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = format!("run.dir={}", folder.path().display());
    let refused_early = |more: &[&str], words: &[&str]| {
        let output = crate::sapo(&[&["train", SMOKE, &runs], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains("check of the rewards"), "{said}");
        assert_eq!(said.lines().count(), 1, "nothing was begun: {said}");
    };
    std::fs::create_dir(folder.path().join("smoke")).expect("a folder");
    refused_early(&[], &["smoke exists already", "--resume"]);
    refused_early(&["run.name=other", "policy.model=./nowhere"], &["policy.model", "there is no model `./nowhere`"]);
    refused_early(&["run.name=other", "data.count.source=nowhere.parquet"], &["nowhere.parquet"]);
    assert!(!Path::new(&folder.path().join("other")).exists(), "no folder was made");
}

#[test]
fn an_audit_that_cannot_be_is_refused() {
    let audit = |options: &str, key: &str, words: &[&str]| {
        let text = format!("phases.reasoning.audit={{ {options} }}");
        override_is_refused(&text, &[&[key], words].concat());
    };
    for (key, bad, range) in [
        ("share", ["0", "1.5", "nan"], "above 0 and at most 1"),
        ("tolerated", ["1", "-0.1", "nan"], "at least 0 and below 1"),
        ("false_alarm", ["0", "0.6", "nan"], "above 0 and at most 0.5"),
    ] {
        for bad in bad {
            let options = format!("rubric = \"heldout\", {key} = {bad}");
            audit(&options, &format!("phases.reasoning.audit.{key}"), &[range]);
        }
    }
    audit("rubric = \"heldoot\"", "phases.reasoning.audit.rubric", &["did you mean `heldout`"]);
    audit("rubric = \"reasoning\"", "phases.reasoning.audit.rubric", &["a second grader is another one"]);
    audit("share = 0.1", "phases.reasoning.audit", &["`rubric`", "missing"]);
    audit("rubric = \"heldout\", chance = 0.1", "phases.reasoning.audit.chance", &["known: "]);
    // Nothing is sampled in supervised learning.
    override_is_refused("phases.careful.audit={ rubric = \"heldout\" }", &["phases.careful.audit"]);
}
