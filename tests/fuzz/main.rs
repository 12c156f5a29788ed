//! What a user hands over, changed in every way: configurations, the folder of a run, what is sent to a server. Each is
//! taken or refused, within time and memory.

mod kit;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sapo::config::Config;
use serde_json::{Value, json};

/// How long a reply is waited for: what takes longer is cancelled, as by a client that leaves.
const PATIENCE: Duration = Duration::from_millis(300);
/// Within this a server that was asked much must answer that it is there.
const LIVENESS: Duration = Duration::from_secs(2);

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn configurations_are_composed_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    let names = ["smoke.toml", "quickstart.toml"];
    let seeds = names.map(|name| fs::read(house().join("configs").join(name)).expect("a configuration")).to_vec();
    let words = [
        "[phases.x]\n",
        "kind = \"rl\"\n",
        "kind = ",
        "steps = -1\n",
        "inf",
        "nan",
        "[[",
        "]]",
        "'''",
        "= { use = ",
        "extends = \"config.toml\"\n",
        "1979-05-27",
        "0x",
        "a.b.c = 1\n",
    ];
    kit::Door { name: "toml", seeds, words: &words, mend: None }.run(|bytes| {
        fs::write(&path, bytes).expect("a file");
        Config::compose(std::slice::from_ref(&path), &[]).is_ok()
    });
}

/// Files of a run that its report and its comparisons are made of.
fn files_of(run: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_text = ["json", "jsonl", "toml"].iter().any(|end| path.extension() == Some(end.as_ref()));
            match path.is_dir() {
                true => folders.push(path),
                false if is_text => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    files
}

#[test]
fn folders_of_runs_are_read_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = format!("run.dir={}", folder.path().display());
    let small = [
        "train",
        "configs/smoke.toml",
        "run.name=small",
        "run.phases=[\"careful\"]",
        "phases.careful.steps=2",
        "eval.heldout.compare=[]",
        &runs,
    ];
    let made = Command::new(env!("CARGO_BIN_EXE_sapo")).args(small).current_dir(house()).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let run = folder.path().join("small");
    let files = files_of(&run);
    // Which file it is stands before what is in it.
    let numbered = |(at, file): (usize, &PathBuf)| [&[at as u8][..], &fs::read(file).expect("a file")].concat();
    let seeds = files.iter().enumerate().map(numbered).collect();
    kit::Door { name: "run", seeds, words: &["\"v\":", "\"step\":", "\"task\":", "\n"], mend: None }.run(|bytes| {
        let Some((at, bytes)) = bytes.split_first() else { return false };
        let file = &files[usize::from(*at) % files.len()];
        let whole = fs::read(file).expect("a file");
        fs::write(file, bytes).expect("a file");
        let report = sapo::report::build(&run);
        let page = report.as_ref().ok().map(sapo::report::render);
        let named = sapo::model_name::named(&run.display().to_string());
        let compared = sapo::comparison::open(&run);
        fs::write(file, whole).expect("a file");
        page.is_some_and(|page| page.is_ok()) && named.is_ok() && compared.is_ok()
    });
}

/// A served model that ends with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sapo"))
            .args(["serve", "--model", "tiny", "--port", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).expect("one JSON object on one line");
        let address = told["url"].as_str().expect("a URL").trim_start_matches("http://").to_owned();
        Self { child, address }
    }

    /// The status of a reply, where one comes in time.
    fn status(&self, method: &str, path: &str, body: &[u8], patience: Duration) -> Option<u16> {
        let mut stream = TcpStream::connect(&self.address).expect("the server is there");
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            self.address
        );
        // It may refuse what is too large before all of it is sent.
        drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        let mut start = [0; 12];
        stream.read_exact(&mut start).ok()?;
        std::str::from_utf8(&start[9..]).ok()?.parse().ok()
    }

    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
    }
}

#[test]
fn bodies_are_answered_or_refused() {
    let server = Server::start();
    let picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
    let parts = json!([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": picture}}]);
    let seeds = [
        json!({"model": "tiny", "messages": [{"role": "user", "content": "1 + 1?"}], "max_tokens": 1, "seed": 3, "n": 2}),
        json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}], "max_tokens": 1,
            "temperature": 0.5, "top_p": 0.9, "top_k": 4, "logprobs": true, "top_logprobs": 2, "stop": ["a"], "stream": false}),
        json!({"messages": [{"role": "user", "content": parts}], "max_tokens": 1}),
        json!({"prompt": "1 + 1", "max_tokens": 1, "echo": false, "logprobs": 1, "logit_bias": {"5": 2}}),
    ];
    let seeds = seeds.iter().map(|body| body.to_string().into_bytes()).collect();
    let words = [
        "\"max_tokens\":",
        "\"n\":128",
        "\"stream\":true",
        "\"role\":\"assistant\"",
        "\"type\":\"image_url\"",
        picture,
    ];
    kit::Door { name: "body", seeds, words: &words, mend: None }.run(|body| {
        let is_prompt = body.windows(8).any(|window| window == b"\"prompt\"");
        let path = if is_prompt { "/v1/completions" } else { "/v1/chat/completions" };
        let status = server.status("POST", path, body, PATIENCE);
        assert!(status.is_none_or(|status| matches!(status, 200 | 400..=499 | 503)), "{status:?}");
        assert_eq!(server.status("GET", "/health", b"", LIVENESS), Some(200), "it is still there");
        assert!(server.peak_kib() < 1 << 20, "the server holds {} MiB", server.peak_kib() >> 10);
        status == Some(200)
    });
}
