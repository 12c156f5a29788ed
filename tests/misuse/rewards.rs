//! Misuses of rewards: plugins that hang, break or are not there, options that do not fit, checks that show nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{refused, sapo};

/// A folder with a Python file `mine.py` and three rows with an answer in the column `solution`.
struct Place(tempfile::TempDir);

impl Place {
    /// The place, unless there is no Python: then the test says nothing, and fails in CI.
    fn with(code: &str) -> Option<Self> {
        let found = Command::new("python3").arg("--version").output().is_ok();
        assert!(found || std::env::var_os("CI").is_none(), "python3 is needed in CI");
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.write("mine.py", code);
        let row = |animal: &str| format!("{{\"prompt\": \"Which animal?\", \"solution\": \"{animal}\"}}\n");
        place.write("rows.jsonl", &["cat", "dog", "owl"].map(row).concat());
        found.then_some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `reward check` of a function of the file on the rows.
    fn check(&self, function: &str, more: &[&str]) -> Output {
        let (reward, rows) = (self.text(&format!("mine.py:{function}")), self.text("rows.jsonl"));
        sapo(&[&["reward", "check", "--reward", &reward, "--data", &rows][..], more].concat())
    }

    /// A check that ends so and says all of these words, on stdout or stderr.
    #[track_caller]
    fn found(&self, function: &str, more: &[&str], exit_code: i32, words: &[&str]) -> String {
        told(&self.check(function, more), exit_code, words)
    }
}

#[track_caller]
fn told(output: &Output, exit_code: i32, words: &[&str]) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(exit_code), "{said}");
    for word in words {
        assert!(said.contains(word), "nothing says {word:?} in\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// A short run whose evaluation is scored by the function.
fn train(place: &Place, more: &[&str]) -> Vec<String> {
    let own = [
        format!("run.dir={}", place.text("runs")),
        format!(
            "rewards.mine={{ kind = \"process\", python = \"{}\", timeout_secs = 1 }}",
            place.text("mine.py:score")
        ),
        "rubrics.heldout.correct=mine".to_owned(),
        "run.phases=[\"careful\"]".to_owned(),
        "eval.heldout.data=[\"digits\"]".to_owned(),
        "eval.heldout.unaveraged=[]".to_owned(),
        "eval.heldout.queries_per_source=2".to_owned(),
    ];
    let begin = ["train", "configs/smoke.toml"].map(str::to_owned);
    begin.into_iter().chain(own).chain(more.iter().map(|text| (*text).to_owned())).collect()
}

#[track_caller]
fn refused_to_train(place: &Place, words: &[&str]) {
    let arguments = train(place, &[]);
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 2, words);
    assert!(!place.path("runs").exists(), "nothing is begun");
}

const HANGS: &str = "import os, time\ndef score(item):\n    open(os.path.join(os.path.dirname(__file__), 'asked'), \
                     'a').write('.')\n    time.sleep(3600)\n";

#[test]
fn a_function_that_hangs_is_named_and_the_check_gives_up_after_three_answers() {
    let Some(place) = Place::with(HANGS) else { return };
    let words = ["no value from `correct`", "timeout_secs = 1", "given up", "3 answers got no value", "NOT GOOD"];
    let said = place.found("score", &["--option", "timeout_secs=1"], 1, &words);
    assert!(said.contains("false rejects 0.0 %"), "what never came is no rejection: {said}");
    assert_eq!(std::fs::read_to_string(place.path("asked")).expect("asked").len(), 3);
}

#[test]
fn a_run_does_not_start_on_a_function_that_hangs() {
    let Some(place) = Place::with(HANGS) else { return };
    refused_to_train(&place, &["rubric `heldout` gives no values", "timeout_secs = 1", "run.reward_check.skip"]);
}

#[test]
fn what_cannot_be_started_is_said_once_and_at_once() {
    for (code, words) in [
        ("def scores(item):\n    return 1\n", ["mine.py has no function `score`", "did you mean `scores`?"]),
        ("score = 3\n", ["`score` of", "is no function: 3"]),
        ("def score(item)\n    return 1\n", ["mine.py line 1: SyntaxError", "expected ':'"]),
        ("\nimport sapo_no_such_module\n", ["mine.py line 2: ModuleNotFoundError", "`interpreter`"]),
        ("print(1 / 0)\n", ["mine.py line 1: ZeroDivisionError", "division by zero"]),
        ("def score(one, two):\n    return 1\n", ["score(one, two)", "is not known"]),
    ] {
        let Some(place) = Place::with(code) else { return };
        let said = place.found("score", &[], 2, &words);
        assert_eq!(said.matches("cannot be started").count(), 1, "{said}");
        assert!(!said.contains("false rejects"), "{said}");
        refused_to_train(&place, &[&["cannot be started"][..], &words].concat());
    }
}

#[test]
fn an_interpreter_that_is_not_there_is_named() {
    let Some(place) = Place::with("def score(item):\n    return 1\n") else { return };
    let words = ["cannot be started", "sapo-no-such-python"];
    place.found("score", &["--option", "interpreter=sapo-no-such-python"], 2, &words);
}

#[test]
fn an_exception_has_its_file_and_line_and_stands_there_once() {
    let Some(place) = Place::with("def score(item):\n    return {}['table']\n") else { return };
    let said = place.found("score", &[], 1, &["mine.py line 2, in score: KeyError: 'table'", "more answers)"]);
    assert_eq!(said.matches("KeyError").count(), 1, "{said}");
}

#[test]
fn a_value_outside_the_range_names_the_option_and_the_option_works() {
    let code = "def score(item):\n    return 57 if item['answer'] == item['ground_truth'] else 0\n";
    let Some(place) = Place::with(code) else { return };
    place.found("score", &[], 1, &["gave 57", "`range = [least, greatest]`", "--option range=[least,greatest]"]);
    place.found("score", &["--option", "range=[0,57]"], 0, &["good", "0..57 of 0..57"]);
}

#[test]
fn none_and_text_are_told_as_what_they_are() {
    let Some(place) = Place::with("def score(item):\n    return None\n\ndef word(item):\n    return 'yes'\n") else {
        return;
    };
    place.found("score", &[], 1, &["no part of the rubric applies", "`correct`: the function gave None"]);
    place.found("word", &[], 1, &["it gave 'yes', which is not a number"]);
}

#[test]
fn functions_of_trl_get_columns_by_their_names_and_are_told_those_that_are_missing() {
    let code = "def score(completions, solution, **kwargs):\n    assert kwargs['solution' if 'solution' in kwargs else \
                'prompts']\n    return [float(said == right) for said, right in zip(completions, solution)]\n\n\
                def kept(completions, **kwargs):\n    return [float(said == right) for said, right in zip(completions, \
                kwargs['solution'])]\n\n\
                def asks(completions, verdict):\n    return [0.0 for _ in completions]\n";
    let Some(place) = Place::with(code) else { return };
    place.found("score", &[], 0, &["as TRL does", "good"]);
    place.found("kept", &[], 0, &["good"]);
    let said = place.found("asks", &[], 1, &["wants `verdict`", "(columns: solution)"]);
    assert_eq!(said.matches("wants `verdict`").count(), 1, "{said}");
}

#[test]
fn kwargs_that_do_not_fit_are_told_before_anything_is_scored() {
    let code = "def score(reward_inputs: list, weight: float = 1.0):\n    return [{'overall': weight * \
                (one['response'] == one['ground_truth'])} for one in reward_inputs]\n\n\
                def long(reward_inputs: list, most_tokens: int):\n    return [{'overall': 0.0} for _ in reward_inputs]\n";
    let Some(place) = Place::with(code) else { return };
    place.found("score", &["--option", "kwargs={weight=1.0}"], 0, &["as EasyR1 does", "good"]);
    place.found("score", &["--option", "kwargs={wweight=1.0}"], 2, &["takes no `wweight`", "did you mean `weight`?"]);
    place.found("score", &["--option", "kwargs={reward_inputs=1}"], 2, &["is what the data gives"]);
    place.found("long", &[], 2, &["wants `most_tokens` as well", "kwargs = { most_tokens = ... }"]);
}

#[test]
fn options_that_are_none_and_functions_that_are_not_named_are_told() {
    let Some(place) = Place::with("def score(item):\n    return 1\n") else { return };
    place.found("score", &["--option", "rang=[0,2]"], 2, &["rang", "range"]);
    place.found("score", &["--option", "range=[2,0]"], 2, &["range = [2, 0]"]);
    let rows = place.text("rows.jsonl");
    let file = place.text("mine.py");
    refused(
        &["reward", "check", "--reward", &file, "--data", &rows],
        2,
        &["say which function", "mine.py:compute_score"],
    );
    refused(&["reward", "check", "--reward", "mth", "--data", &rows], 2, &["mth", "math"]);
    refused(&["reward", "list", "xprocess"], 2, &["did you mean `process`?"]);
}

#[test]
fn a_check_that_shows_nothing_is_not_good() {
    let code = "def score(data_source, solution_str, ground_truth, extra_info=None):\n    return 0.0\n";
    let Some(place) = Place::with(code) else { return };
    place.write("rows.jsonl", "{\"prompt\": \"Which animal?\"}\n{\"prompt\": \"Which plant?\"}\n");
    place.found("score", &[], 1, &["not tested: no row has a gold answer", "the column `response`"]);
    place.write("rows.jsonl", "{\"prompt\": \"Which animal?\", \"answer\": \"cat\"}\n");
    let same = place.found("score", &["--option", "role=form"], 1, &["not tested", "gave 0 to every answer"]);
    assert!(!same.contains(": good"), "{same}");
}

#[test]
fn rewards_and_rubrics_alone_are_checked_and_evaluated_with_paths_beside_their_file() {
    let Some(place) = Place::with("def score(item):\n    return item['answer'] == item['ground_truth']\n") else {
        return;
    };
    let config = "[rewards.own]\nkind = \"process\"\npython = \"mine.py:score\"\n[rubrics.mine]\ncorrect = \"own\"\n";
    place.write("rewards.toml", config);
    let (config, rows) = (place.text("rewards.toml"), place.text("rows.jsonl"));
    told(&sapo(&["reward", "check", &config, "--data", &rows]), 0, &["mine on rows: good"]);
    refused(&["reward", "check", &config], 2, &["nothing to check", "--data"]);
    let few = ["--samples", "1", "--max-new-tokens", "2"];
    let eval = [&["eval", "--model", "tiny", "--config", &config, "--data", &rows][..], &few].concat();
    told(&sapo(&eval), 0, &["pass@1"]);
    refused(&["train", &config], 2, &["run"]);
}

#[test]
fn tokens_that_nobody_counts_are_told_and_can_be_counted() {
    let code = "def score(completion_ids, **kwargs):\n    return [0.0 if len(set(ids)) > 2 else -0.5 for ids in completion_ids]\n";
    let Some(place) = Place::with(code) else { return };
    let form = ["--option", "range=[-1,0]", "--option", "role=form"];
    place.found("score", &form, 1, &["token ids", "--tokenizer MODEL"]);
    place.found("score", &[&form[..], &["--tokenizer", "tiny"]].concat(), 0, &["-0.5..0 of -1..0", "good"]);
}

#[test]
fn a_curation_that_keeps_nothing_stops_the_run_with_the_reason() {
    let Some(place) = Place::with("def score(item):\n    return item['answer'] == item['ground_truth']\n") else {
        return;
    };
    let more = [
        "run.phases=[\"curate\", \"reasoning\"]",
        "rubrics.heldout.correct=truth",
        "phases.curate.drop={ never_solved = true }",
        "phases.curate.queries_per_source=2",
    ];
    let arguments = train(&place, &more);
    let output = sapo(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    told(&output, 3, &["0 of 4 queries kept", "`curate` kept no query of the source `count`", "nothing to train on"]);
    assert!(Path::new(&place.path("runs/smoke/curation")).is_dir(), "its record is there");
}
