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
