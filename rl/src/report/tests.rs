//! Made-up run directories, rendered: the words follow the numbers, and nothing in them can break the page.

mod made;

use std::fs;

use serde_json::{Value, json};

use self::made::{
    HOSTILE, IMPROVING, QUERIES, Stage, TASKS, Version, answer, put, put_evaluation, put_lines, put_run, query_id,
};
use super::model::Tone;
use super::*;

fn made(version: Version, stages: &[Stage]) -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), version, stages);
    let report = build(dir.path()).unwrap();
    (dir, report)
}

fn said(report: &Report) -> String {
    let texts = report.verdict.sentences.iter().map(|sentence| sentence.text.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_whole_run_of_either_version_is_read_and_lacks_nothing() {
    for (version, sets) in [(Version::Before, &["heldout"][..]), (Version::Now, &["maps", "numbers"][..])] {
        let (_dir, report) = made(version, &IMPROVING);
        assert_eq!(report.missing, Vec::<String>::new());
        assert_eq!(report.sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), sets);
        for set in &report.sets {
            assert_eq!(
                set.stages.iter().map(|stage| stage.after.as_str()).collect::<Vec<_>>(),
                IMPROVING.map(|stage| stage.0)
            );
            assert!(set.stages.iter().all(|stage| stage.unaveraged == ["shapes"] && stage.rows[0].task == "all"));
            assert_eq!(set.samples.iter().map(|task| task.task.as_str()).collect::<Vec<_>>(), TASKS);
            let mut shown = set.samples.iter().flat_map(|task| &task.queries);
            assert!(shown.all(|query| query.prompt.is_some() && query.before[0].greedy && query.after.len() == 5));
            assert!(set.conduct.iter().any(|row| row.task == "shapes"));
        }
        assert!(report.curves.iter().any(|curve| curve.title == "Reasoning"));
        assert_eq!((report.pictures.len(), report.groups.len(), report.judges.len()), (1, 2, 1));
        let all = &report.curation[0].tasks[0];
        assert_eq!((all.task.as_str(), all.queries), ("all", 300));
        assert_eq!(all.queries, all.kept + all.dropped_too_easy + all.dropped_never_solved);
        assert_eq!(report.curation[0].histogram.iter().map(|bin| bin.0 + bin.1).sum::<usize>(), all.queries);
        let gate = &report.gates[0].statement.text;
        assert!(gate.contains("next to nothing"), "{gate}");
    }
}

#[test]
fn pairs_come_from_the_configuration_and_without_it_from_the_order() {
    let pairs = |set: &EvalSet| {
        let all = set.gains.iter().filter(|gain| gain.task == "all");
        all.map(|gain| format!("{} {}", gain.from, gain.to)).collect::<Vec<_>>()
    };
    let usual = ["init last", "init warm", "warm cold", "init cold", "cold rl", "init rl", "rl last"];
    let (_dir, before) = made(Version::Before, &IMPROVING);
    assert_eq!(pairs(&before.sets[0]), usual);
    let (_dir, now) = made(Version::Now, &IMPROVING);
    let named_first = ["cold rl", "init last", "init warm", "warm cold", "init cold", "init rl", "rl last"];
    assert_eq!(pairs(&now.sets[0]), named_first);
    assert_eq!(pairs(&now.sets[1]), usual);
    let sides = |set: &EvalSet| (set.samples[0].before.clone(), set.samples[0].after.clone());
    assert_eq!(sides(&now.sets[0]), ("cold".to_owned(), "rl".to_owned()));
    assert_eq!(now.verdict.headline.text, "Answers to maps are better after rl than after cold.");
    assert!(said(&now).contains("Held-out pass@1 of numbers, after last against before training: +"), "{}", said(&now));
    assert_eq!(before.verdict.headline.text, "Held-out answers are better after last than before training.");
}

#[test]
fn the_page_and_its_twin_say_the_same_each_time() {
    let (dir, report) = made(Version::Now, &IMPROVING);
    let page = fs::read_to_string(write(dir.path(), None).unwrap()).unwrap();
    assert!(page.contains("Answers to maps are better after rl than after cold."));
    assert_eq!(page.matches("<h3 class=\"set\">maps</h3>").count(), 4);
    assert_eq!(page.matches("<h3 class=\"set\">numbers</h3>").count(), 4);
    assert_eq!(page, render(&report).unwrap());
    let twin: Value = serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    let (_, rest) = page.split_once("id=\"report\">").unwrap();
    let (embedded, _) = rest.split_once("</script>").unwrap();
    assert_eq!(serde_json::from_str::<Value>(embedded).unwrap(), twin);
}

#[test]
fn the_page_needs_no_network_and_no_model_can_write_markup() {
    let (dir, _) = made(Version::Now, &IMPROVING);
    let results = dir.path().join("eval/maps-000110/results.json");
    let renamed = fs::read_to_string(&results).unwrap().replace("counting", "<img src=x>");
    fs::write(results, renamed).unwrap();
    put_evaluation(dir.path(), Version::Now, "<img src=x>", IMPROVING[0]);
    let page = render(&build(dir.path()).unwrap()).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url(//"));
    assert!(!page.contains("<img src=x"), "a text became markup");
    assert!(page.contains("&lt;img src=x"));
    assert_eq!(page.matches("</script>").count(), 3);
}

#[test]
fn worse_numbers_are_told_as_worse() {
    let (_dir, report) = made(Version::Before, &[("cold", 50, 0.6, 0.9), ("rl", 110, 0.2, 0.1)]);
    assert_eq!(report.verdict.headline.tone, Tone::Worse);
    assert_eq!(report.verdict.headline.text, "Held-out answers are worse after rl than after cold.");
    assert!(said(&report).contains("reasoning before the answer fell: from 90.0 % to 10.0 %"), "{}", said(&report));
}

#[test]
fn equal_numbers_are_told_as_no_change() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), Version::Before, &[("cold", 50, 0.4, 0.9)]);
    let folder = dir.path().join("eval/heldout-000050");
    let again = dir.path().join("eval/heldout-000110");
    fs::create_dir_all(&again).unwrap();
    fs::copy(folder.join("samples.jsonl"), again.join("samples.jsonl")).unwrap();
    let results = fs::read_to_string(folder.join("results.json")).unwrap();
    let results = results.replace("cold", "rl").replace("\"step\":50", "\"step\":110");
    put(dir.path(), "eval/heldout-000110/results.json", &results);
    let report = build(dir.path()).unwrap();
    assert_eq!(report.verdict.headline.tone, Tone::Same);
    assert!(said(&report).contains("may be chance"), "{}", said(&report));
    assert!(said(&report).contains("did not clearly change"), "{}", said(&report));
}

#[test]
fn a_run_without_reasoning_does_not_speak_of_it() {
    let (dir, _) = made(Version::Now, &[("init", 0, 0.3, 0.0), ("rl", 110, 0.6, 0.0)]);
    let metrics = fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let none = metrics.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["rollout/reasoned"] = json!(0.0);
        line
    });
    put_lines(dir.path(), "metrics.jsonl", &none.collect::<Vec<_>>());
    fs::remove_dir_all(dir.path().join("rollouts")).unwrap();
    // An answer of a model that does not think has no tag at all.
    let samples = dir.path().join("eval/maps-000110/samples.jsonl");
    let untagged = fs::read_to_string(&samples)
        .unwrap()
        .replace("</think>", "")
        .replace("\"thinking_open\":true", "\"thinking_open\":false");
    fs::write(samples, untagged).unwrap();
    let report = build(dir.path()).unwrap();
    assert!(report.sets.iter().all(|set| !set.reasons));
    let answers = report.sets[0].samples.iter().flat_map(|task| &task.queries).flat_map(|query| &query.after);
    assert!(answers.into_iter().all(|answer| answer.answer.is_some() && answer.reasoning.is_empty()));
    let page = render(&report).unwrap();
    let (words, _) = page.split_once("id=\"report\">").unwrap();
    assert!(!words.contains("with reasoning") && !words.contains("reasoning before"), "the page speaks of reasoning");
}

#[test]
fn a_control_run_says_so_first() {
    for (version, config) in [
        (Version::Before, "[phases.learn]\nkind = \"rl\"\nshuffle_rewards = true\neval_after = \"rl\"\n"),
        (Version::Now, "[phases.rl]\nkind = \"rl\"\nshuffle_rewards = true\n"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put_run(dir.path(), version, &[("init", 0, 0.0, 0.9), ("cold", 50, 0.4, 0.9), ("rl", 110, 0.1, 0.9)]);
        put(dir.path(), "config.toml", config);
        let report = build(dir.path()).unwrap();
        assert!(report.verdict.headline.text.starts_with("Control run with permuted rewards."));
        // It is measured over the phase, not over the whole run.
        assert!(report.verdict.sentences[0].text.contains("as it should be"), "{}", said(&report));
    }
}

#[test]
fn the_runs_own_gains_are_told() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), Version::Before, &IMPROVING[2..4]);
    let gain = json!({"from": "cold", "to": "rl", "task": "all", "gain": 0.2915, "ci95": [0.264, 0.314]});
    put(dir.path(), "summary.json", &json!({"wall_secs": 348.2, "gains": [gain]}).to_string());
    let report = build(dir.path()).unwrap();
    assert!(said(&report).contains("+29.2 points [26.4, 31.4]"), "{}", said(&report));
    assert!(report.sets[0].gains.iter().any(|gain| gain.task == "counting"), "the others come from the answers");
    // The version before wrote a point where no query changed.
    let point = json!({"from": "cold", "to": "rl", "task": "all", "gain": 0.0, "ci95": [0.0, 0.0]});
    put(dir.path(), "summary.json", &json!({"gains": [point]}).to_string());
    let report = build(dir.path()).unwrap();
    assert!(report.sets[0].gains.iter().all(|gain| gain.ci95[0] < gain.ci95[1]), "{:?}", report.sets[0].gains);
}

#[test]
fn none_of_n_is_no_point() {
    let (_dir, report) = made(Version::Before, &[("init", 0, 0.0, 0.0)]);
    for row in &report.sets[0].stages[0].rows {
        assert!(row.ci95[0] == 0.0 && row.ci95[1] > 0.02, "{}: {:?}", row.task, row.ci95);
    }
}

/// The folder of an evaluation as `sapo eval --out` writes it.
fn evaluation_alone(dir: &Path) -> PathBuf {
    put_run(dir, Version::Now, &IMPROVING);
    let folder = dir.join("alone");
    fs::rename(dir.join("eval/maps-000110"), &folder).unwrap();
    for name in ["queries.jsonl", "images"] {
        fs::rename(dir.join(name), folder.join(name)).unwrap();
    }
    folder
}

#[test]
fn an_evaluation_alone_has_its_page_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = evaluation_alone(dir.path());
    let report = build(&folder).unwrap();
    assert_eq!(report.missing, Vec::<String>::new());
    assert!(report.run.is_evaluation && report.curves.is_empty() && report.groups.is_empty());
    assert_eq!((report.sets.len(), report.pictures.len()), (1, 1));
    assert!(report.verdict.headline.text.starts_with("60.0 % of the answers pass, ["), "{:?}", report.verdict);
    let page = fs::read_to_string(write(&folder, None).unwrap()).unwrap();
    assert!(page.contains("Sapo evaluation report") && page.contains("Right answer: "));
    let difference = json!({"task": "all", "queries": 48, "a": 0.5, "b": 0.6, "difference": 0.1, "ci95": [0.02, 0.18],
        "greedy_difference": 0.0, "greedy_ci95": [-0.1, 0.1]});
    let compared = json!({"comparisons": [{"set": "maps", "a": {"place": "before"}, "rows": [difference]}]});
    put(&folder, "comparison.json", &compared.to_string());
    let report = build(&folder).unwrap();
    assert_eq!(report.verdict.headline.text, "The answers are better than those of before.");
    assert!(said(&report).contains("+10.0 points [2.0, 18.0]; greedily 0.0 points"), "{}", said(&report));
}

#[test]
fn a_set_of_an_evaluation_finds_the_queries_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), Version::Now, &IMPROVING[..1]);
    let report = build(&dir.path().join("eval/maps-000000")).unwrap();
    assert!(report.run.is_evaluation && report.missing.is_empty(), "{:?}", report.missing);
    assert_eq!((report.sets.len(), report.pictures.len()), (1, 1));
}

#[test]
fn an_evaluation_that_was_cut_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), Version::Now, &IMPROVING);
    let results = dir.path().join("eval/maps-000120/results.json");
    let cut = fs::read_to_string(&results).unwrap().replace("\"truncated\":0.01", "\"truncated\":0.25");
    fs::write(&results, cut).unwrap();
    let warned: Vec<String> = build(dir.path()).unwrap().warnings.into_iter().map(|warning| warning.text).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].starts_with("maps, after last: 25.0 % of the answers were cut"), "{warned:?}");
    assert!(warned[0].contains("eval.maps.max_new_tokens"), "{warned:?}");
}

#[test]
fn lines_of_many_tasks_and_parts_all_look_different() {
    let (dir, _) = made(Version::Now, &IMPROVING[..1]);
    let line = |step: usize| {
        let mut line =
            json!({"step": step, "phase": "rl", "secs": 1.0, "train/reward/mean": 0.5, "train/reward/passed": 0.5});
        (0..8).for_each(|at| line[format!("train/reward/passed/task {at}")] = json!(0.1 * f64::from(at)));
        ["correct", "language"].iter().for_each(|part| line[format!("train/reward/{part}/mean")] = json!(0.4));
        line
    };
    let held_out = json!({"step": 3, "evaluation": "maps", "after": "rl@3", "eval/maps/pass@1": 0.5});
    let lines: Vec<Value> = (0..6).map(line).chain([held_out]).collect();
    put_lines(dir.path(), "metrics.jsonl", &lines);
    let report = build(dir.path()).unwrap();
    assert_eq!(report.run.steps, 6, "the line of an evaluation is no step");
    let of = |title: &str| report.curves.iter().filter(|curve| curve.title == title).collect::<Vec<_>>();
    let tasks = of("Passed, by task");
    assert_eq!(tasks.iter().map(|curve| curve.series.len()).collect::<Vec<_>>(), [4, 4]);
    let styles: Vec<usize> = tasks.iter().flat_map(|curve| &curve.series).map(|line| line.style).collect();
    assert_eq!(styles, (0..8).collect::<Vec<_>>());
    let parts: Vec<&str> = of("Reward, by part")[0].series.iter().map(|line| line.label.as_str()).collect();
    assert_eq!(parts, ["correct", "language"]);
    assert!(render(&report).unwrap().contains("class=\"mark s5\""), "colours never stand alone");
}

#[test]
fn evaluations_within_a_phase_make_a_curve() {
    let stages: Vec<Stage> =
        vec![("init", 0, 0.1, 1.0), ("rl@10", 60, 0.3, 1.0), ("rl@20", 70, 0.5, 1.0), ("rl", 110, 0.7, 1.0)];
    let (_dir, report) = made(Version::Now, &stages);
    assert_eq!(report.curves[0].title, "Held-out pass@1");
    assert_eq!(report.curves[0].series.iter().map(|line| line.points.len()).collect::<Vec<_>>(), [4, 4]);
    let numbers = &report.sets[1];
    assert!(numbers.gains.iter().all(|gain| gain.from == "init" && gain.to == "rl"), "{:?}", numbers.gains);
    assert!(render(&report).unwrap().contains("rl, step 10"));
}

#[test]
fn rollouts_of_turns_are_shown_behind_their_tools() {
    let (_dir, report) = made(Version::Now, &IMPROVING);
    let group = &report.groups[0];
    assert_eq!((group.policy_version, group.answers.len()), (Some(17), 8));
    let roles = group.answers[0].turns.iter().map(|turn| turn.role.as_str()).collect::<Vec<_>>();
    assert_eq!(roles, ["assistant", "tool"]);
    assert!(group.answers.iter().all(|answer| answer.answer.is_some()));
    assert_eq!(group.ground_truth.as_deref(), Some("5"), "what is right stands beside what was said");
    let (_dir, before) = made(Version::Before, &IMPROVING);
    assert!(before.groups[0].answers.iter().all(|answer| answer.turns.is_empty() && answer.answer.is_some()));
}

#[test]
fn what_was_left_out_is_warned_of() {
    let (dir, report) = made(Version::Now, &IMPROVING);
    assert!(report.warnings.is_empty());
    let line = |step: usize, phase: &str, rejected: u32| {
        json!({"step": step, "phase": phase, "data/rejected": rejected, "rollout/dropped_pictures": 2,
            "rollout/failed_requests": u8::from(step == 3)})
    };
    put_lines(dir.path(), "metrics.jsonl", &[line(1, "cold", 1), line(2, "cold", 2), line(3, "rl", 1)]);
    let texts = |report: &Report| report.warnings.iter().map(|warning| warning.text.clone()).collect::<Vec<_>>();
    let counted = texts(&build(dir.path()).unwrap());
    assert!(counted[0].ends_with("used: 3.") && counted[1].contains("too long: 6."), "{counted:?}");
    assert!(counted[2].ends_with("no batch: 1."), "{counted:?}");
    let row = json!({"source": "maps", "index": 6, "reason": format!("no picture {HOSTILE}")});
    put_lines(dir.path(), "data/rejected.jsonl", &[row]);
    let report = build(dir.path()).unwrap();
    assert!(
        texts(&report)[0]
            .starts_with("Rows left out since they cannot be used: 1. data.maps: 1 (the first: row 7, no picture")
    );
    assert!(render(&report).unwrap().contains("<a href=\"data&#x2f;rejected.jsonl\">"));
}

#[test]
fn any_number_of_tasks_with_any_names_fits() {
    let (dir, _) = made(Version::Now, &IMPROVING[..1]);
    let tasks: Vec<String> = (0..150).map(|at| format!("task {at} <b>{}", "long ".repeat(20))).collect();
    let named = tasks.iter().map(String::as_str).chain(["all"]);
    let rows = named.map(|task| {
        json!({"task": task, "queries": 1, "scored": 4, "failed": 0, "pass_at_1": 0.5, "ci95": [0.1, 0.9], "greedy": 0.5})
    });
    let results = |after: &str, step: u32| json!({"set": "many", "after": after, "step": step, "seed": 1, "tasks": rows.clone().collect::<Vec<_>>()});
    let lines: Vec<Value> = tasks
        .iter()
        .map(|task| {
            let mut line = answer("geo", 1, 0, IMPROVING[1]);
            line["task"] = json!(task);
            line["query_id"] = json!(query_id(task, 1));
            line
        })
        .collect();
    for (after, step) in [("init", 0), ("rl", 9)] {
        put_lines(dir.path(), &format!("eval/many-{step:06}/samples.jsonl"), &lines);
        put(dir.path(), &format!("eval/many-{step:06}/results.json"), &results(after, step).to_string());
    }
    let report = build(dir.path()).unwrap();
    let many = report.sets.iter().find(|set| set.name == "many").unwrap();
    assert_eq!((many.stages[0].rows.len(), many.samples.len()), (151, 150));
    assert!(many.samples.iter().all(|task| task.queries.len() == 1));
    assert!(!render(&report).unwrap().contains("<b>long"));
    assert!(said(&report).len() < 4000);
}

#[test]
fn several_judges_have_a_section_each() {
    let (dir, _) = made(Version::Now, &IMPROVING[..1]);
    put(
        dir.path(),
        "judge.json",
        &json!({"v": 2, "judges": {"same": {"items": 40}, "style": {"items": 50}}}).to_string(),
    );
    let report = build(dir.path()).unwrap();
    assert_eq!(report.judges.iter().map(|judge| judge.name.as_str()).collect::<Vec<_>>(), ["same", "style"]);
    let page = render(&report).unwrap();
    assert!(page.contains("The judge: same") && page.contains("The judge: style"));
}

#[test]
fn an_unfinished_run_is_shown_with_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "run.json", r#"{"name": "young", "status": "running"}"#);
    let line = r#"{"step":0,"phase":"warm","secs":1.0,"train/loss":6.8}"#;
    put(dir.path(), "metrics.jsonl", &format!("{line}\n{{\"step\":1,\"pha"));
    let report = build(dir.path()).unwrap();
    assert_eq!(report.verdict.headline.text, "No evaluation is recorded yet: this run is running.");
    assert_eq!(report.curves.len(), 1);
    assert!(report.missing.iter().any(|note| note.starts_with("eval/ is empty")));
    assert!(!report.missing.iter().any(|note| note.starts_with("metrics.jsonl")));
    let page = render(&report).unwrap();
    assert!(page.contains("What this report lacks") && page.contains("young"));
}

#[test]
fn a_run_that_has_not_come_to_its_pairs_says_so() {
    let (_dir, report) = made(Version::Now, &IMPROVING[..1]);
    let once = "Evaluated once, before training; there is nothing to compare with yet.";
    assert_eq!(report.verdict.headline.text, once);
    assert!(report.sets[0].samples.iter().all(|task| task.before.is_empty() && !task.queries.is_empty()));
    render(&report).unwrap();
}

#[test]
fn damaged_files_are_noted_and_never_fatal() {
    let (dir, _) = made(Version::Before, &IMPROVING);
    put(dir.path(), "metrics.jsonl", "not json\n{\"step\":1,\"phase\":\"warm\",\"train/loss\":1.0}\n");
    put(dir.path(), "eval/heldout-000110/results.json", "{");
    put(dir.path(), "judge.json", "[]");
    put(dir.path(), "config.toml", "[run");
    let report = build(dir.path()).unwrap();
    assert_eq!(report.sets[0].stages.len(), 4);
    let noted = |text: &str| report.missing.iter().any(|note| note.contains(text));
    assert!(noted("metrics.jsonl: 1 line is not JSON"), "{:?}", report.missing);
    assert!(
        noted("heldout-000110/results.json is not JSON") && noted("config.toml cannot be read"),
        "{:?}",
        report.missing
    );
    render(&report).unwrap();
}

#[test]
fn a_record_cannot_make_the_page_carry_another_file() {
    let (dir, _) = made(Version::Now, &IMPROVING);
    put(dir.path(), "secret.png", "secret");
    put(dir.path(), &format!("images/{}.png", "0".repeat(64)), "not what its name says");
    let ids = TASKS.iter().flat_map(|task| (0..QUERIES).map(move |index| query_id(task, index)));
    let records: Vec<Value> = ids.map(|id| json!({"id": id, "images": ["../secret", "0".repeat(64)]})).collect();
    put_lines(dir.path(), "queries.jsonl", &records);
    let report = build(dir.path()).unwrap();
    assert!(report.pictures.is_empty());
    assert!(report.missing.iter().any(|note| note.contains("2 pictures are not there")), "{:?}", report.missing);
}

#[test]
fn a_folder_that_is_not_a_run_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let error = build(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is not a run directory") && error.contains("runs/quickstart"), "{error}");
}

#[test]
fn the_page_carries_a_sample_that_its_filters_find_something_in() {
    let (dir, report) = made(Version::Now, &IMPROVING);
    let sample = &report.sample;
    assert!(
        sample.said.contains("recorded steps of training") && sample.said.contains("changed most"),
        "{}",
        sample.said
    );
    assert_eq!(sample.sources.iter().filter(|source| source.contains("start")).count(), 2, "{:?}", sample.sources);
    assert!(sample.groups.len() <= 200 && sample.groups.iter().any(|group| group["source"] == "training"));
    let is_marked =
        |group: &Value, mark: &str| group["marks"].as_array().is_some_and(|marks| marks.contains(&json!(mark)));
    for mark in ["changed", "right"] {
        assert!(sample.groups.iter().any(|group| is_marked(group, mark)), "{mark}");
    }
    // Within a pair of evaluations the largest change comes first, with the answers of both.
    let of_pair = sample.groups.iter().filter(|group| group["source"] == sample.sources[1].as_str());
    let sizes: Vec<f64> =
        of_pair.clone().filter_map(|group| group["change"].as_f64()).filter(|by| *by != 0.0).map(f64::abs).collect();
    assert!(sizes.len() > 3 && sizes.is_sorted_by(|one, other| one >= other), "{sizes:?}");
    assert!(of_pair.clone().all(|group| group["before"].as_array().is_some_and(|answers| answers.len() == 5)));
    let page = render(&report).unwrap();
    assert!(page.contains("name=\"filter\"") && !page.contains(HOSTILE));
    assert_eq!(page.matches("data:image/png").count(), 1, "every picture is in the page once");
    assert!(page.len() < 5_000_000);
    drop(dir);
}

#[test]
fn seeds_are_pooled_with_how_many_runs_each_number_has() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, seed: u32, stages: &[Stage]| {
        let at = folder.path().join(name);
        put_run(&at, Version::Now, stages);
        let config = fs::read_to_string(at.join("config.toml")).unwrap();
        let own = format!("name = \"{name}\"\nseed = {seed}\n");
        fs::write(at.join("config.toml"), config.replace("name = \"made-up\"\n", &own)).unwrap();
        at
    };
    let one = run("one", 1, &[("init", 0, 0.2, 1.0), ("rl", 110, 0.6, 1.0)]);
    let two = run("two", 2, &[("init", 0, 0.4, 1.0), ("rl", 110, 0.9, 1.0)]);
    let begun = run("begun", 3, &[("init", 0, 0.3, 1.0)]);
    let page = write_pooled(&one, &[&two, &begun], None).unwrap();
    let twin: Value = serde_json::from_str(&fs::read_to_string(page.with_extension("json")).unwrap()).unwrap();
    let row = |kind: &str, of: &str| -> Vec<f64> {
        let rows = twin["seeds"][kind].as_array().unwrap();
        let is_it = |row: &&Value| row["set"] == "maps" && row["task"] == "all" && row["of"] == of;
        let row = rows.iter().find(is_it).unwrap();
        ["mean", "least", "most", "runs"].map(|key| (row[key].as_f64().unwrap() * 1e6).round() / 1e6).to_vec()
    };
    assert_eq!(row("rates", "before training"), [0.3, 0.2, 0.4, 3.0]);
    assert_eq!(row("rates", "rl"), [0.75, 0.6, 0.9, 2.0]);
    assert_eq!(row("gains", "before training \u{2192} rl")[3], 2.0);
    let curves = twin["curves"].as_array().unwrap();
    let bands = curves.iter().flat_map(|curve| curve["series"].as_array().unwrap());
    assert!(
        bands.into_iter().all(|line| line["band"].as_array().is_some_and(|band| band.iter().all(|row| row[3] == 3)))
    );
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("Over 3 seeds") && html.contains("Over 2 of 3 runs") && html.contains("class=\"band b0\""));
}
