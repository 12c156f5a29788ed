//! The files of answers that a folder holds, and which two evaluations of the same queries show what changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rescoring::step_of;

/// What the names of changes begin with; a set of queries and, for another run's evaluation, its number follow.
const CHANGE: &str = "change:";
/// The answers of an evaluation, in its folder.
const SAMPLES: &str = "samples.jsonl";

/// A file of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Its name within the folder.
    pub(crate) file: String,
    /// The step that it belongs to.
    pub(crate) step: Option<u64>,
    /// The set of queries, of an evaluation.
    pub(crate) set: Option<String>,
    /// Which evaluation it is: what it came after.
    pub(crate) after: String,
}

/// Two evaluations of a set of queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// What it is asked for by.
    pub(crate) name: String,
    /// The set.
    pub(crate) set: String,
    /// The earlier one: its answers, and what it is called.
    pub(crate) before: (PathBuf, String),
    /// The later one.
    pub(crate) after: (PathBuf, String),
}

/// The files of rollouts and of samples, the newest first.
pub(crate) fn files(folder: &Path) -> Vec<Recorded> {
    let mut found = rollouts(folder);
    found.reverse();
    let mut evaluations = evaluations(folder);
    evaluations.reverse();
    found.extend(evaluations);
    found
}

fn rollouts(folder: &Path) -> Vec<Recorded> {
    let names = names(&folder.join("rollouts")).into_iter().filter(|name| name.ends_with(".jsonl"));
    let recorded = |name: String| {
        let file = format!("rollouts/{name}");
        Recorded { step: step_of(Path::new(&file)), file, ..Recorded::default() }
    };
    let mut found: Vec<Recorded> = names.map(recorded).collect();
    found.sort_by(|one, other| (one.step, &one.file).cmp(&(other.step, &other.file)));
    found
}

/// The evaluations of a run, or of a folder of `sapo eval`, by set and step.
pub(crate) fn evaluations(folder: &Path) -> Vec<Recorded> {
    let mut places: Vec<String> = names(&folder.join("eval")).into_iter().map(|name| format!("eval/{name}/")).collect();
    places.push(String::new());
    if !folder.join("run.json").is_file() {
        places.extend(names(folder).into_iter().map(|name| format!("{name}/")));
    }
    let there = places.into_iter().filter(|place| folder.join(place).join(SAMPLES).is_file());
    let recorded = |place: String| {
        let results = std::fs::read(folder.join(&place).join("results.json")).unwrap_or_default();
        let results: Value = serde_json::from_slice(&results).unwrap_or_default();
        let file = format!("{place}{SAMPLES}");
        let step = step_of(Path::new(&file)).or_else(|| results["step"].as_u64());
        let named = place.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let named = named.rsplit_once('-').map_or(named, |(set, _)| set);
        let set = results["set"].as_str().unwrap_or(named).to_owned();
        Recorded { file, step, set: Some(set), after: results["after"].as_str().unwrap_or_default().to_owned() }
    };
    let mut found: Vec<Recorded> = there.map(recorded).collect();
    found.sort_by(|one, other| (&one.set, one.step, &one.file).cmp(&(&other.set, other.step, &other.file)));
    found
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What can be put side by side: of each set the first and the last evaluation, and the last of each other run (its name and
/// its folder) with the last of this one.
pub(crate) fn changes(folder: &Path, others: &[(String, PathBuf)]) -> Vec<Change> {
    let ends = ends(folder);
    let path = |one: &Recorded| folder.join(&one.file);
    let mut found = Vec::new();
    for (set, first, last) in &ends {
        if first != last {
            found.push(Change {
                name: format!("{CHANGE}{set}"),
                set: set.clone(),
                before: (path(first), said(first, None)),
                after: (path(last), said(last, None)),
            });
        }
    }
    for (number, (name, other)) in others.iter().enumerate() {
        let theirs = self::ends(other);
        for (set, _, last) in &ends {
            // Folders of one set each need not have given it the same name.
            let alone = theirs.len() == 1 && ends.len() == 1;
            let Some((_, _, before)) = theirs.iter().find(|(named, ..)| named == set || alone) else { continue };
            found.push(Change {
                name: format!("{CHANGE}{set}:{number}"),
                set: set.clone(),
                before: (other.join(&before.file), said(before, Some(name))),
                after: (path(last), said(last, Some("this run"))),
            });
        }
    }
    found
}

/// The first and the last evaluation of each set.
fn ends(folder: &Path) -> Vec<(String, Recorded, Recorded)> {
    let mut ends: Vec<(String, Recorded, Recorded)> = Vec::new();
    for one in evaluations(folder) {
        let set = one.set.clone().unwrap_or_default();
        match ends.iter_mut().find(|(known, ..)| *known == set) {
            Some((_, _, last)) => *last = one,
            None => ends.push((set, one.clone(), one)),
        }
    }
    ends
}

/// How an evaluation is called beside another.
fn said(one: &Recorded, run: Option<&str>) -> String {
    let after = match one.after.as_str() {
        "init" => "start".to_owned(),
        "" => "evaluation".to_owned(),
        after => format!("after {after}"),
    };
    let step = one.step.map_or(String::new(), |step| format!(", step {step}"));
    let run = run.map_or(String::new(), |run| format!("{run}: "));
    format!("{run}{after}{step}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, place: &str, set: &str, step: u64) {
        let at = folder.join(place);
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join(SAMPLES), "{}\n").unwrap();
        let results = serde_json::json!({"set": set, "step": step, "after": if step == 0 { "init" } else { "rl" }});
        std::fs::write(at.join("results.json"), results.to_string()).unwrap();
    }

    #[test]
    fn first_and_last_of_each_set_and_the_last_of_another_run_stand_side_by_side() {
        let [run, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for step in [0, 9, 100] {
            put(run.path(), &format!("eval/maps-{step:06}"), "maps", step);
        }
        put(run.path(), "eval/once-000009", "once", 9);
        put(other.path(), "eval/maps-000050", "maps", 50);
        std::fs::write(run.path().join("run.json"), "{}").unwrap();
        let found = changes(run.path(), &[("b".to_owned(), other.path().to_owned())]);
        let names: Vec<&str> = found.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["change:maps", "change:maps:0"]);
        assert_eq!([&found[0].before.1, &found[0].after.1], ["start, step 0", "after rl, step 100"]);
        assert_eq!([&found[1].before.1, &found[1].after.1], ["b: after rl, step 50", "this run: after rl, step 100"]);
        assert!(found[1].before.0.starts_with(other.path()) && found[1].after.0.is_file());
        assert_eq!(files(run.path())[0].file, "eval/once-000009/samples.jsonl");
    }
}
