//! The house stands: who may use whom, read from the packages' own manifests and from the text of their modules.

mod circles;
mod modules;
mod sizes;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every package of the house with the packages of the house that it may use.
const LAYERS: [(&str, &[&str]); 6] = [
    ("sapo-pictures", &[]),
    ("sapo-datasets", &["sapo-pictures"]),
    ("sapo-policies", &["sapo-pictures"]),
    ("sapo-rewards", &["sapo-datasets"]),
    ("sapo-rollouts", &["sapo-datasets", "sapo-policies"]),
    ("sapo", &["sapo-datasets", "sapo-policies", "sapo-rewards", "sapo-rollouts"]),
];
/// Foreign packages, with their satellites (`burn-cuda` counts as `burn`), that only some may use.
const RESERVED: [(&str, &[&str]); 5] = [
    ("burn", &["sapo-policies", "sapo-rollouts", "sapo"]),
    ("clap", &["sapo"]),
    ("indicatif", &["sapo"]),
    ("polars", &["sapo-datasets"]),
    ("reqwest", &["sapo-rewards", "sapo-rollouts"]),
];

/// Circles between modules that are still to be opened: crate, and the rooms in order. Nothing may be added.
const KNOWN_CIRCLES: &[(&str, &str)] = &[];
/// Files that are still to be split. Nothing may be added.
const KNOWN_LONG: &[&str] = &[];

/// The folder of the workspace.
fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder").to_owned()
}

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(house())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let used = package["dependencies"].as_array().expect("dependencies").iter();
            // What only tests use crosses no layer.
            (
                text(&package["name"]),
                used.filter(|used| used["kind"] != "dev").map(|used| text(&used["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn layers_are_one_way() {
    let dependencies = dependencies();
    let known: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(dependencies.len(), known.len(), "every package has its place: {:?}", dependencies.keys());
    for (name, allowed) in LAYERS {
        for used in dependencies[name].iter().filter(|used| known.contains(&used.as_str())) {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
    for (foreign, allowed) in RESERVED {
        for (name, used) in dependencies.iter().filter(|(name, _)| !allowed.contains(&name.as_str())) {
            for used in used {
                assert_ne!(used.split(['-', '_']).next(), Some(foreign), "{name} must not use {used}");
            }
        }
    }
}

/// The command lies in the library, so that a program with rewards of its own is the same command. What talks to people
/// stays behind that one door all the same: no other file of the package parses arguments or draws bars.
#[test]
fn no_modules_stand_in_a_circle() {
    let known: BTreeSet<(&str, &str)> = KNOWN_CIRCLES.iter().copied().collect();
    let (mut found, mut seen, mut faults) = (BTreeSet::new(), 0, Vec::new());
    for folder in ["pictures", "datasets", "policies", "rewards", "rollouts", "rl"] {
        let read = |path: &Path| std::fs::read_to_string(house().join(path)).ok();
        let tree = modules::Crate::read(&Path::new(folder).join("src/lib.rs"), &read);
        seen += tree.len();
        for circle in circles::circles(&tree) {
            let rooms = circle.rooms.join(" ");
            if !known.contains(&(folder, rooms.as_str())) {
                faults.push(format!(
                    "{folder}: a circle of {} modules: {rooms}\n{}",
                    circle.rooms.len(),
                    circle.shown()
                ));
            }
            found.insert((folder, rooms));
        }
    }
    let gone = known.iter().filter(|(folder, rooms)| !found.contains(&(*folder, (*rooms).to_owned())));
    faults.extend(
        gone.map(|(folder, rooms)| format!("{folder}: this circle is open now, take it off the list: {rooms}")),
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(seen > 200, "{seen} modules");
}

#[test]
fn files_are_short() {
    let lines =
        sizes::lines_of_files(&house(), &["pictures", "datasets", "policies", "rewards", "rollouts", "rl", "tests"]);
    let faults = sizes::faults(&lines, KNOWN_LONG);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(lines.len() > 200, "{} files", lines.len());
}

#[test]
fn only_the_command_talks_to_people() {
    let source = house().join("rl/src");
    let (mut seen, mut talking) = (0, 0);
    for path in source::rust_files(&source) {
        let text = std::fs::read_to_string(&path).expect("a file of text");
        let talks = ["clap::", "indicatif::", "crate::cli", "super::cli"].iter().any(|word| text.contains(word));
        let is_command = path.starts_with(source.join("cli"));
        assert!(is_command || !talks, "{} talks to people, or uses the command", path.display());
        (seen, talking) = (seen + 1, talking + usize::from(talks));
    }
    assert!(seen > 40 && talking > 5, "{seen} files, {talking} of the command");
}
