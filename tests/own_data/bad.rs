//! Bad data: refused with the place and the remedy before there is a run directory, or left out, listed and counted.

use std::path::Path;

use super::{SHORT, digits, lines, said, sapo, workplace};

/// A run on JSONL rows without a reward of one's own.
fn config(source: &str) -> String {
    format!(
        "[run]\nname = \"bad\"\nseed = 1\nphases = [\"cold_start\", \"rl\"]\n[policy]\nmodel = \"tiny\"\n\
         [data.rows]\nsource = \"{source}\"\n[rubrics.right]\ncorrect = \"text\"\nlanguage_penalty = 0\n\
         [eval.heldout]\ndata = [\"rows\"]\nsamples = 1\nmax_new_tokens = 4\nrubric = \"right\"\nqueries_per_source = 2\n\
         [phases.cold_start]\nkind = \"sft\"\ndata = [{{ use = \"rows\" }}]\nsteps = 2\nbatch_size = 4\n\
         optimizer = {{ lr = 1e-4 }}\n\
         [phases.rl]\nkind = \"rl\"\ndata = [{{ use = \"rows\" }}]\nsteps = 2\nprompts_per_step = 4\nrollouts_per_prompt = 2\n\
         sampling = {{ max_new_tokens = 4 }}\nrubric = \"right\"\nalgorithm = {{ kind = \"sapo\" }}\noptimizer = {{ lr = 1e-4 }}\n"
    )
}

fn rows(count: usize) -> Vec<String> {
    let row = |index: usize| {
        format!("{{\"problem\": \"Say {index}.\", \"answer\": \"{index}\", \"response\": \"</think>{index}\"}}")
    };
    (0..count).map(row).collect()
}

fn refused(place: &Path, config: &str, words: &[&str]) {
    std::fs::write(place.join("bad.toml"), config).expect("a file");
    let message = said(&sapo(place, &["train", "bad.toml"]), 2);
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(!place.join("runs/bad").exists(), "refused before there is a run directory: {message}");
}

#[test]
fn what_cannot_be_used_is_refused_before_there_is_a_run_directory() {
    let folder = workplace();
    let place = folder.path();
    let write = |name: &str, text: &str| std::fs::write(place.join(name), text).expect("a file");
    refused(place, &config("missing.jsonl"), &["missing.jsonl"]);
    write("empty.jsonl", "");
    refused(place, &config("empty.jsonl"), &["empty.jsonl"]);
    write("odd.jsonl", "{\"frage\": \"Was?\", \"antwort\": \"Das.\"}\n");
    refused(place, &config("odd.jsonl"), &["odd.jsonl", "frage", "problem"]);
    write("rows.jsonl", &rows(20).join("\n"));
    let good = config("rows.jsonl");
    let with = |more: &str| good.replace("[rubrics.right]", &format!("{more}\n[rubrics.right]"));
    refused(place, &with("columns = { question = \"problme\" }"), &["problme", "problem"]);
    refused(place, &with("prompt = \"{{ content }} {{ nonesuch }}\""), &["nonesuch"]);
    refused(place, &with("rubric = \"rihgt\""), &["data.rows", "rihgt", "right"]);
    refused(place, &good.replace("use = \"rows\"", "use = \"row\""), &["row", "rows"]);
    write(
        "picture.jsonl",
        "{\"problem\": \"<image> What?\", \"answer\": \"a\", \"images\": [\"none.png\"], \"response\": \"</think>a\"}\n",
    );
    refused(place, &config("picture.jsonl"), &["picture.jsonl", "none.png", "images"]);
    refused(
        place,
        &good.replace("data = [{ use = \"rows\" }]\nsteps = 2\nbatch", "tasks = [\"arith\"]\nsteps = 2\nbatch"),
        &["tasks", "data"],
    );
}

#[test]
fn a_bad_row_is_left_out_listed_and_counted_and_too_many_stop_the_run() {
    let folder = workplace();
    let place = folder.path();
    let mut some = rows(40);
    some[2] =
        "{\"problem\": \"<image> What?\", \"answer\": \"a\", \"images\": [\"none.png\"], \"response\": \"</think>a\"}"
            .to_owned();
    std::fs::write(place.join("rows.jsonl"), some.join("\n")).expect("a file");
    std::fs::write(place.join("bad.toml"), config("rows.jsonl")).expect("a file");
    let more = ["phases.cold_start.steps=12", "run.max_bad_rows_share=0.05"];
    said(&sapo(place, &[&["train", "bad.toml"], &more[..]].concat()), 0);
    let rejected = lines(&place.join("runs/bad/data/rejected.jsonl"));
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!((rejected[0]["source"].as_str(), rejected[0]["index"].as_u64()), (Some("rows"), Some(2)));
    assert!(rejected[0]["reason"].as_str().is_some_and(|reason| reason.contains("none.png")), "{rejected:?}");
    let metrics = lines(&place.join("runs/bad/metrics.jsonl"));
    assert!(metrics.iter().any(|line| line["data/rejected"] == 1.0), "{metrics:?}");
    // Those that the look before a run misses.
    let looked_at: Vec<usize> = (0..256).map(|at| at * 600 / 256).collect();
    let mut many = rows(600);
    for (at, row) in many.iter_mut().enumerate().skip(8).filter(|(at, _)| !looked_at.contains(at)) {
        *row = some_bad().replace("none.png", &format!("none-{at}.png"));
    }
    std::fs::write(place.join("rows.jsonl"), many.join("\n")).expect("a file");
    let message = said(&sapo(place, &[&["train", "bad.toml", "run.name=worse"], &more[..]].concat()), 3);
    assert!(message.contains("max_bad_rows_share") && message.contains("data.rows"), "{message}");
}

#[test]
fn too_many_bad_rows_are_refused_before_there_is_a_run_directory() {
    let folder = workplace();
    let place = folder.path();
    let mut some = rows(40);
    for row in &mut some[20..30] {
        *row = some_bad();
    }
    std::fs::write(place.join("rows.jsonl"), some.join("\n")).expect("a file");
    let words = ["data.rows: 10 of 40 rows", "max_bad_rows_share = 0.01", "row 21", "none.png", "sapo data check"];
    refused(place, &config("rows.jsonl"), &words);
}

fn some_bad() -> String {
    "{\"problem\": \"<image> What?\", \"answer\": \"a\", \"images\": [\"none.png\"], \"response\": \"</think>a\"}"
        .to_owned()
}

#[test]
fn the_same_run_on_the_same_rows_is_the_same() {
    let folder = workplace();
    let place = folder.path();
    assert!(digits().is_file());
    let run = |name: &str| {
        let name = format!("run.name={name}");
        let rubric = ["rubrics.right.correct=text", "run.reward_check.rows_per_source=0", "--json", &name];
        let output = sapo(place, &[&["train", "configs/own-data.toml"], &SHORT[..], &rubric[..]].concat());
        said(&output, 0);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let (one, other) = (run("one"), run("other"));
    for key in ["weights_sha256", "metrics_sha256", "evals"] {
        assert_eq!(one[key], other[key], "{key}");
    }
}

/// Evaluations within a phase, each in a folder of its own, and never two of the same policy.
#[test]
fn evaluations_take_place_within_a_phase() {
    let folder = workplace();
    let place = folder.path();
    std::fs::write(place.join("rows.jsonl"), rows(20).join("\n")).expect("a file");
    std::fs::write(place.join("bad.toml"), config("rows.jsonl")).expect("a file");
    let more = [
        "eval.heldout.every=2",
        "eval.heldout.after=[\"cold_start\", \"look\"]",
        "phases.cold_start.steps=4",
        "run.phases=[\"cold_start\", \"look\"]",
        // It changes nothing, so that the evaluation after it is the one before.
        "phases.look={ kind = \"curate\", data = [{ use = \"rows\" }], samples = 0, query_rules = [\"no_ground_truth\"], \
         sampling = { max_new_tokens = 4 }, rubric = \"right\" }",
    ];
    said(&sapo(place, &[&["train", "bad.toml"], &more[..]].concat()), 0);
    let mut folders: Vec<String> = std::fs::read_dir(place.join("runs/bad/eval"))
        .expect("evaluations")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    assert_eq!(folders, ["heldout-000000", "heldout-000002", "heldout-000004"]);
    for name in &folders {
        // Two queries, each sampled once and answered greedily once.
        assert_eq!(lines(&place.join(format!("runs/bad/eval/{name}/samples.jsonl"))).len(), 4, "{name}");
    }
    let summary = std::fs::read(place.join("runs/bad/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_slice(&summary).expect("JSON");
    let all = summary["evals"].as_array().expect("rows").iter().filter(|row| row["task"] == "all");
    let names: Vec<&str> = all.filter_map(|row| row["after"].as_str()).collect();
    assert_eq!(names, ["init", "cold_start@2", "cold_start", "look"]);
}
