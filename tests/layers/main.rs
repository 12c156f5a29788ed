//! The house stands: who may use whom, read from the packages' own manifests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Every package of the house with the packages of the house that it may use.
const LAYERS: [(&str, &[&str]); 5] = [
    ("sapo-datasets", &[]),
    ("sapo-policies", &[]),
    ("sapo-rewards", &["sapo-datasets"]),
    ("sapo-rollouts", &["sapo-datasets", "sapo-policies"]),
    ("sapo", &["sapo-datasets", "sapo-policies", "sapo-rewards", "sapo-rollouts"]),
];
/// Foreign packages, with their satellites (`burn-cuda` counts as `burn`), that only some may use.
const RESERVED: [(&str, &[&str]); 4] = [
    ("burn", &["sapo-policies", "sapo-rollouts", "sapo"]),
    ("clap", &["sapo"]),
    ("indicatif", &["sapo"]),
    ("polars", &["sapo-datasets"]),
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
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
fn only_the_command_talks_to_people() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source.clone()];
    let (mut seen, mut talking) = (0, 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let talks = ["clap::", "indicatif::", "crate::cli", "super::cli"].iter().any(|word| text.contains(word));
            let is_command = path.starts_with(source.join("cli"));
            assert!(is_command || !talks, "{} talks to people, or uses the command", path.display());
            (seen, talking) = (seen + 1, talking + usize::from(talks));
        }
    }
    assert!(seen > 40 && talking > 5, "{seen} files, {talking} of the command");
}
