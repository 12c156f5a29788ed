//! Plugins behind walls, and what they leave behind without them.

use std::fs;
use std::path::PathBuf;

use sapo_datasets::{Message, Part, Query, Role, Transcript};
use sapo_rewards::reward::{Item, score_all};
use sapo_rewards::sandbox::Wanted;
use sapo_rewards::score::{Outcome, PartScore};
use sapo_rewards::{Plugin, ProcessConfig};
use serde_json::json;

use crate::Test;
use crate::walls::levels;

pub(crate) const TESTS: &[Test] = &[
    ("plugins::behind_walls_they_score_and_reach_nothing", behind_walls_they_score_and_reach_nothing),
    ("plugins::what_leaves_its_group_ends_with_the_plugin", what_leaves_its_group_ends_with_the_plugin),
    ("plugins::a_plugin_that_dies_behind_walls_fails_alone", a_plugin_that_dies_behind_walls_fails_alone),
];

/// A folder with a reward in Python, and a secret beside it that is not in it.
struct Files(PathBuf);

const REWARD: &str = r#"
import os, socket, sys

def score(item):
    said = item["response"]
    if said == "die":
        os._exit(3)
    if said.startswith("read "):
        try:
            return {"value": 1, "evidence": open(said[5:]).read()}
        except OSError as error:
            return {"value": 0, "evidence": type(error).__name__}
    if said == "socket":
        try:
            socket.socket()
            return 1
        except OSError:
            return 0
    if said == "write":
        try:
            open(__file__ + ".made", "w")
            return 1
        except OSError:
            return 0
    print("noise")
    return float(said == item["ground_truth"])
"#;

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sapo-walled-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("code")).expect("a folder");
        fs::write(folder.join("code/reward.py"), REWARD).expect("a file");
        fs::write(folder.join("secret"), "secret").expect("a file");
        Self(folder)
    }

    fn config(&self, sandbox: Wanted) -> ProcessConfig {
        let place = format!("{}:score", self.0.join("code/reward.py").display());
        ProcessConfig { python: Some(place), sandbox, workers: 1, ..ProcessConfig::default() }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn scored(config: &ProcessConfig, said: &[&str]) -> Vec<PartScore> {
    let plugin = Plugin::process("plugin", config).expect("options that make sense");
    let query = Query {
        id: "q".to_owned(),
        task: "test".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text("?")] }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: Some(json!("5")),
        rubric: None,
        tools: Vec::new(),
        columns: serde_json::Map::new(),
    };
    let transcripts: Vec<Transcript> = said.iter().map(|said| Transcript::of_answer("q", *said)).collect();
    let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query: &query, transcript }).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(score_all(&plugin, &items))
}

fn values(scores: &[PartScore]) -> Vec<Option<f64>> {
    scores.iter().map(|score| score.outcome.value()).collect()
}

fn behind_walls_they_score_and_reach_nothing() {
    let files = Files::new("reach");
    let secret = format!("read {}", files.0.join("secret").display());
    let said = ["5", "6", secret.as_str(), "read /etc/passwd", "socket", "write"];
    let open = scored(&files.config(Wanted::None), &said);
    assert_eq!(values(&open), [1.0, 0.0, 1.0, 1.0, 1.0, 1.0].map(Some), "{open:?}");
    assert!(!files.0.join("code/__pycache__").exists());
    fs::remove_file(files.0.join("code/reward.py.made")).expect("it was made");
    for sandbox in levels() {
        let wanted = match sandbox.level() {
            sapo_rewards::sandbox::Level::Strict => Wanted::Strict,
            _ => Wanted::Standard,
        };
        let walled = scored(&files.config(wanted), &said);
        assert_eq!(values(&walled), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(Some), "{walled:?}");
        assert!(!files.0.join("code/reward.py.made").exists());
        // What the config lists may be read.
        let listed = ProcessConfig { read: vec![files.0.join("secret")], ..files.config(wanted) };
        assert_eq!(values(&scored(&listed, &[secret.as_str()])), [Some(1.0)]);
    }
}

fn what_leaves_its_group_ends_with_the_plugin() {
    let script = r#"echo '{"v":1,"ready":true}' >&3; read -r line; setsid sleep 984 & echo '{"id":1,"outcomes":[1]}' >&3; read -r line"#;
    let config =
        ProcessConfig { command: ["sh", "-c", script].map(str::to_owned).to_vec(), ..ProcessConfig::default() };
    assert_eq!(values(&scored(&config, &["5"])), [Some(1.0)]);
    let begun = std::time::Instant::now();
    let runs = || {
        fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x00984\x00"))
    };
    while runs() {
        assert!(begun.elapsed().as_secs() < 60, "it survived");
        std::thread::yield_now();
    }
}

fn a_plugin_that_dies_behind_walls_fails_alone() {
    let files = Files::new("dies");
    for wanted in [Wanted::Auto, Wanted::None] {
        let scores = scored(&files.config(wanted), &["5", "die", "6", "5"]);
        assert_eq!(values(&scores), [Some(1.0), None, Some(0.0), Some(1.0)], "{scores:?}");
        let Outcome::Failed { message, .. } = &scores[1].outcome else { panic!("{scores:?}") };
        assert!(message.contains("exit status: 3"), "{message}");
    }
}
