//! `sapo view` on a real run: every rollout that is on disk is there, nothing of the run is touched, news are heard.

mod gates;
mod replay;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use serde_json::Value;

/// A run of a few steps with pictures.
fn trained(dir: &Path, name: &str, seed: u32) -> PathBuf {
    trained_with(dir, name, seed, &["phases.careful.steps=8"])
}

/// The same with other options.
fn trained_with(dir: &Path, name: &str, seed: u32, options: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.args(["train", "configs/smoke.toml", "run.phases=[\"careful\", \"curate\", \"reasoning\"]"]);
    command.args(options);
    command.args([format!("run.dir={}", dir.display()), format!("run.name={name}"), format!("run.seed={seed}")]);
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dir.join(name)
}

/// `sapo view` until it is dropped.
struct Viewed {
    child: Child,
    address: String,
}

impl Viewed {
    fn start(runs: &[&Path]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
        command.args(["view", "--port", "0", "--json"]).args(runs);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let address = said["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("an address").to_owned();
        Self { child, address }
    }

    fn send(&self, path: &str, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it reads");
        stream
    }

    /// The status and the body.
    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let mut answer = Vec::new();
        self.send(path, &self.address).read_to_end(&mut answer).expect("it answers");
        let at = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
        let status = String::from_utf8_lossy(&answer[9..12]).parse().expect("a status");
        (status, answer[at..].to_vec())
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}");
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Drop for Viewed {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Every file below a folder with its length and the time that it was written.
fn files(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, SystemTime)>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let facts = entry.metadata().expect("facts");
        match facts.is_dir() {
            true => files(&entry.path(), found),
            false => _ = found.insert(entry.path(), (facts.len(), facts.modified().expect("a time"))),
        }
    }
}

/// All groups of a file that fit, over all pages.
fn groups(viewed: &Viewed, file: &str, more: &str) -> Vec<Value> {
    let page = |page: u64| viewed.json(&format!("/runs/0/groups.json?file={file}&page={page}{more}"));
    let first = page(0);
    let mut all = first["groups"].as_array().expect("groups").clone();
    for number in 1..first["pages"].as_u64().expect("pages") {
        all.extend(page(number)["groups"].as_array().expect("groups").iter().cloned());
    }
    assert_eq!(all.len() as u64, first["fitting"].as_u64().expect("a count"));
    all
}

#[test]
fn all_rollouts_are_shown_and_the_run_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = trained(dir.path(), "one", 1);
    let mut before = BTreeMap::new();
    files(&run, &mut before);
    let viewed = Viewed::start(&[&run]);
    let listed = viewed.json("/runs/0/files.json");
    let listed = listed["files"].as_array().expect("files");
    let names: Vec<&str> =
        listed.iter().filter(|facts| facts["kind"] != "change").filter_map(|facts| facts["file"].as_str()).collect();
    let on_disk = |name: &str| std::fs::read_dir(run.join(name)).expect("a folder").count();
    assert_eq!(names.len(), on_disk("rollouts") + on_disk("eval"), "{names:?}");
    let mut pictures = 0;
    for name in names {
        let lines = std::fs::read_to_string(run.join(name)).expect("a file").lines().count();
        let all = groups(&viewed, name, "");
        let answers: usize = all.iter().map(|group| group["answers"].as_array().expect("answers").len()).sum();
        assert_eq!(answers, lines, "{name}");
        // Each group is all right, all wrong, mixed, or without any verdict.
        let of = |filter: &str| groups(&viewed, name, &format!("&filter={filter}")).len();
        let unrated = all.iter().filter(|group| group["rate"].is_null()).count();
        assert_eq!(of("right") + of("wrong") + of("mixed") + unrated, all.len(), "{name}");
        for group in &all {
            assert!(group["query"]["question"].as_str().is_some_and(|text| !text.is_empty()), "{group}");
            for hash in group["query"]["images"].as_array().into_iter().flatten().filter_map(Value::as_str).take(1) {
                let (status, body) = viewed.get(&format!("/runs/0/images/{hash}"));
                let file = std::fs::read(run.join(format!("images/{hash}.png"))).expect("a picture");
                assert_eq!((status, body), (200, file));
                pictures += 1;
            }
        }
        let rewards = |sort: &str| -> Vec<f64> {
            groups(&viewed, name, &format!("&sort={sort}"))
                .iter()
                .filter_map(|group| group["reward"].as_f64())
                .collect()
        };
        assert!(rewards("best").is_sorted_by(|a, b| a >= b) && rewards("worst").is_sorted(), "{name}");
    }
    assert!(pictures > 0);
    let (status, page) = viewed.get("/runs/0/");
    assert!(status == 200 && String::from_utf8_lossy(&page).contains("new EventSource(\"events\")"));
    let mut after = BTreeMap::new();
    files(&run, &mut after);
    assert_eq!(before, after);
}

#[test]
fn nothing_else_is_given_out_and_nobody_else_may_ask() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("metrics.jsonl"), "{\"step\":0,\"train/loss\":1.5}\n").expect("a file");
    std::fs::write(dir.path().join("secret.jsonl"), "{\"query_id\":\"x\",\"task\":\"x\"}\n").expect("a file");
    let viewed = Viewed::start(&[dir.path()]);
    for path in [
        "/runs/1/",
        "/runs/0/groups.json?file=secret.jsonl",
        "/runs/0/groups.json?file=../secret.jsonl",
        "/runs/0/images/..%2Fsecret.jsonl",
        "/runs/0/images/00",
        "/etc/passwd",
    ] {
        assert_eq!(viewed.get(path).0, 404, "{path}");
    }
    let mut answer = String::new();
    viewed.send("/names.json", "runs.example:80").read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn seeds_are_pooled_and_news_are_heard() {
    let dir = tempfile::tempdir().expect("a folder");
    let runs = ["a", "b", "c"].map(|name| dir.path().join(name));
    for (run, (seed, lr)) in runs.iter().zip([(1, "1e-3"), (2, "1e-3"), (3, "2e-3")]) {
        std::fs::create_dir(run).expect("a folder");
        std::fs::write(run.join("metrics.jsonl"), format!("{{\"step\":0,\"train/loss\":{seed}.5}}\n")).expect("a file");
        let config = format!("[run]\nname = \"r{seed}\"\nseed = {seed}\n[phases.sft.optimizer]\nlr = {lr}\n");
        std::fs::write(run.join("config.toml"), config).expect("a file");
        std::fs::write(
            run.join("metrics.prom"),
            format!("# TYPE sapo_loss gauge\nsapo_loss{{metric=\"train/loss\"}} {seed}\n"),
        )
        .expect("a file");
    }
    let viewed = Viewed::start(&[&runs[0], &runs[1], &runs[2]]);
    let curves = viewed.json("/curve.json?metric=train/loss");
    assert_eq!(curves[1]["points"], serde_json::json!([[0.0, 2.5]]));
    assert_eq!(curves[0]["pool"], curves[1]["pool"]);
    assert_ne!(curves[0]["pool"], curves[2]["pool"]);
    let (_, prometheus) = viewed.get("/metrics");
    let prometheus = String::from_utf8_lossy(&prometheus).into_owned();
    assert_eq!(prometheus.matches("# TYPE").count(), 1, "{prometheus}");
    assert!(prometheus.contains("sapo_loss{run=\"b\",metric=\"train/loss\"} 2"), "{prometheus}");

    let mut lines = BufReader::new(viewed.send("/runs/2/events", &viewed.address)).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.is_empty()), "a head");
    let mut grown = std::fs::OpenOptions::new().append(true).open(runs[2].join("metrics.jsonl")).expect("a file");
    writeln!(grown, "{{\"step\":1,\"train/loss\":0.5}}").expect("it is written");
    assert!(lines.any(|line| line == "data: changed"));
    assert_eq!(viewed.json("/curve.json?metric=train/loss")[2]["points"], serde_json::json!([[0.0, 3.5], [1.0, 0.5]]));
}
