//! Evaluations that are stopped, killed and resumed: results and samples are those of the one that nobody disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use super::{errors_of, lines, sapo, signal, summary, without_times};

/// A server of chat completions that reads needles in the first half of a text alone, and answers about no more texts than it
/// may. About those it answers whatever is asked, so that some rows are whole, in whichever order requests come.
struct Reader {
    url: String,
    state: Arc<(Mutex<Left>, Condvar)>,
}

#[derive(Default)]
struct Left {
    /// Texts about which it may answer, and those about which it did.
    texts: usize,
    begun: BTreeSet<String>,
    answered: usize,
    /// Requests that wait for an answer.
    held: usize,
    /// How often it was told what it may give: who waited then has been killed since.
    told: usize,
}

impl Left {
    fn lets(&mut self, text: &str) -> bool {
        self.begun.contains(text) || self.begun.len() < self.texts && self.begun.insert(text.to_owned())
    }
}

impl Reader {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new((Mutex::new(Left::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || answer(&stream, &state));
            }
        });
        Self { url, state }
    }

    /// From now on it answers about so many texts, and nothing to those that wait.
    fn gives(&self, texts: usize) {
        let mut left = self.state.0.lock().expect("no panic");
        (left.texts, left.held, left.told) = (texts, 0, left.told + 1);
        left.begun.clear();
        drop(left);
        self.state.1.notify_all();
    }

    /// Waits until it has begun with all texts that it may, and holds a request about another.
    fn until_it_holds(&self) {
        let left = self.state.0.lock().expect("no panic");
        drop(self.state.1.wait_while(left, |left| left.begun.len() < left.texts || left.held == 0).expect("no panic"));
    }

    fn answered(&self) -> usize {
        self.state.0.lock().expect("no panic").answered
    }
}

fn answer(mut stream: &TcpStream, state: &(Mutex<Left>, Condvar)) {
    let mut read = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    read.read_line(&mut first).expect("a request");
    loop {
        let mut line = String::new();
        read.read_line(&mut line).expect("a header");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).expect("a body");
    let reply = match serde_json::from_slice::<Value>(&body) {
        Ok(request) if first.starts_with("POST") => {
            // The question with which an evaluation begins is no part of it.
            if request["max_tokens"].as_u64().is_some_and(|tokens| tokens > 1) {
                let mut left = state.0.lock().expect("no panic");
                left.held += 1;
                let (told, text) = (left.told, request["messages"].to_string());
                state.1.notify_all();
                left = state.1.wait_while(left, |left| left.told == told && !left.lets(&text)).expect("no panic");
                if left.told != told {
                    return;
                }
                (left.answered, left.held) = (left.answered + 1, left.held - 1);
                state.1.notify_all();
            }
            let text = format!("</think>{}", said(&request));
            let choice =
                json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
            json!({"id": "a", "object": "chat.completion", "created": 1, "model": "reader", "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}})
        }
        _ => json!({"data": [{"id": "reader"}]}),
    };
    let text = reply.to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", text.len());
    // Whoever asked may have been killed.
    drop(stream.write_all(format!("{head}connection: close\r\n\r\n{text}").as_bytes()));
}

/// The number of the needle, if it lies in the first half of the text; with an odd seed another one.
fn said(request: &Value) -> String {
    let asked = request["messages"].to_string();
    let Some((before, after)) = asked.split_once("The number of the ") else { return "nothing".to_owned() };
    let number: String =
        after.chars().skip_while(|one| !one.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let is_odd = request["seed"].as_u64().is_some_and(|seed| seed % 2 == 1);
    if before.len() > after.len() || is_odd { "11".to_owned() } else { number }
}

/// Rows of four lengths and depths, two of each.
fn needles(dir: &Path) -> String {
    let out = dir.join("needles.jsonl").display().to_string();
    let grid = ["--lengths", "48,96", "--depths", "0,100", "--per-cell", "3"];
    let make = [&["data", "needle", "--kind", "text", "--out", &out][..], &grid].concat();
    let output = sapo(&make.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn evaluation(given: &[&str], out: &Path, more: &[&str]) -> Vec<String> {
    let out = out.display().to_string();
    let all = [&["eval", "--model", "tiny", "--json"][..], given, &["--out", &out], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

/// What the command tells at its end, times aside.
fn told(arguments: &[String]) -> Value {
    let mut told = summary(&sapo(arguments).output().expect("it starts"));
    without_times(&mut told);
    told
}

fn start(arguments: &[String]) -> Child {
    sapo(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
}

/// The files of an evaluation, those of lines without times.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(within) = folders.pop() {
        for entry in std::fs::read_dir(&within).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
            if path.ends_with("ledger.jsonl") {
                let mut untimed = lines(&path);
                untimed.iter_mut().for_each(without_times);
                text = json!(untimed).to_string();
            }
            found.insert(path.strip_prefix(folder).expect("within").to_owned(), text);
        }
    }
    found
}

fn record(out: &Path) -> String {
    std::fs::read_to_string(out.join("answered.jsonl")).unwrap_or_default()
}

/// Waits until more than so much is on record. The record grows as the evaluation goes on, and goes when it ends.
fn until_recorded(child: &mut Child, out: &Path, bytes: usize) {
    while record(out).len() <= bytes {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before there was a record");
        std::thread::yield_now();
    }
}

#[test]
fn an_evaluation_of_an_endpoint_that_is_killed_and_stopped_ends_as_the_undisturbed_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (reader, data) = (Reader::start(), needles(dir.path()));
    let given = ["--endpoint", &reader.url, "--data", &data, "--samples", "2", "--max-new-tokens", "9"];
    let of = |name: &str, more: &[&str]| evaluation(&given, &dir.path().join(name), more);
    reader.gives(usize::MAX);
    let whole = told(&of("whole", &[]));
    assert_eq!(reader.answered(), 12 * 3, "two samples and a greedy answer for each of 12 rows");

    // Killed as soon as something is on record, while the server holds a request.
    let cut = dir.path().join("cut");
    reader.gives(6);
    let mut child = start(&of("cut", &[]));
    reader.until_it_holds();
    until_recorded(&mut child, &cut, 0);
    let said = errors_of(&of("cut", &["--resume"]), 2);
    assert!(said.contains("in use by another process"), "{said}");
    signal(&child, "-KILL");
    child.wait().expect("it ends");
    let kept = record(&cut);
    let known = kept.lines().count();
    std::fs::write(cut.join("answered.jsonl"), format!("{kept}{{\"set\": \"eval\", \"query_id\": \"needle"))
        .expect("written");
    for (more, says) in [
        (&[][..], "go on with it by --resume"),
        (&["--resume", "--seed", "8"], "sampling.seed is 7 there and 8 now"),
        (&["--resume", "--temperature", "0.5"], "sampling.temperature is 1.0 there and 0.5 now"),
        (&["--resume", "--rubric", "exact"], "rubric is \"truth\" there and \"exact\" now"),
        (&["--resume", "--limit", "3"], "rows is 12 there and 3 now"),
        (&["--resume", "--system", "Be brief."], "sha256 is"),
    ] {
        let said = errors_of(&of("cut", more), 2);
        assert!(said.contains(says) && said.contains("cut"), "{says}: {said}");
    }

    // Stopped in the middle of what is left: it says how to go on.
    reader.gives(2);
    let mut resumed =
        sapo(&of("cut", &["--resume"])).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    reader.until_it_holds();
    until_recorded(&mut resumed, &cut, kept.len());
    signal(&resumed, "-INT");
    let stopped = resumed.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(3), "{said}");
    assert!(said.contains("go on with the same command and --resume"), "{said}");
    let error: Value = serde_json::from_slice(&stopped.stdout).expect("one JSON object");
    assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&json!("stopped"), &json!(3)));
    assert!(record(&cut).starts_with(&kept) && record(&cut).lines().count() > known);

    reader.gives(usize::MAX);
    let before = reader.answered();
    let end = told(&of("cut", &["--resume"]));
    assert_eq!(end, whole);
    assert!(reader.answered() - before < 12 * 3, "what was answered is not asked again");
    assert_eq!(files(&cut), files(&dir.path().join("whole")));

    // It is whole now: nothing is asked, and its end is told again.
    let asked = reader.answered();
    let again = sapo(&of("cut", &["--resume", "--fail-under", "pass_at_1=0.9"])).output().expect("it starts");
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
    let mut again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    without_times(&mut again);
    assert_eq!(again, whole);
    assert_eq!(reader.answered(), asked);
    heat_map(&dir.path().join("whole"), &whole);
}

/// Videos are not sent to servers: where nothing can be asked, that is told, and no empty row.
#[test]
fn an_evaluation_that_nothing_was_answered_in_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let (reader, data) = (Reader::start(), dir.path().join("clips.jsonl").display().to_string());
    let make =
        ["data", "needle", "--kind", "video", "--lengths", "4", "--depths", "0", "--per-cell", "2", "--out", &data];
    assert!(sapo(&make.map(str::to_owned)).output().expect("it starts").status.success());
    let given = ["--endpoint", &reader.url, "--data", &data, "--samples", "1"];
    let said = errors_of(&evaluation(&given, &dir.path().join("out"), &[]), 2);
    assert!(said.contains("no row can be used") && said.contains("only pictures are sent to servers"), "{said}");
    // A model of this machine is asked them, and has a map of its own.
    let here = evaluation(&["--data", &data, "--samples", "1", "--max-new-tokens", "4"], &dir.path().join("here"), &[]);
    let made = told(&here);
    let cells = &made["heat_maps"][0]["cells"];
    assert_eq!((&cells[0]["n"], &made["heat_maps"][0]["unit"]), (&json!(2), &json!("frames")));
}

/// The reader finds what lies at the beginning, by every other seed, and nothing at the end; no sample is counted twice.
fn heat_map(folder: &Path, printed: &Value) {
    let results: Value =
        serde_json::from_slice(&std::fs::read(folder.join("results.json")).expect("a file")).expect("JSON");
    let map = &results["heat_maps"][0];
    assert_eq!(map, &printed["heat_maps"][0]);
    assert_eq!(
        (&map["unit"], &map["lengths"], &map["depths"]),
        (&json!("words"), &json!([48, 96]), &json!([0.0, 100.0]))
    );
    let cells = map["cells"].as_array().expect("cells");
    let n: u64 = cells.iter().filter_map(|cell| cell["n"].as_u64()).sum();
    assert_eq!((cells.len(), json!(n)), (4, results["tasks"][0]["scored"].clone()));
    for cell in cells {
        let share = cell["share"].as_f64().expect("a share");
        assert_eq!(cell["depth"] == 100.0, share == 0.0, "{cell}");
    }
    let report = ["report".to_owned(), folder.display().to_string()];
    assert!(sapo(&report).output().expect("it starts").status.success());
    let page = std::fs::read_to_string(folder.join("report.html")).expect("a page");
    let twin: Value =
        serde_json::from_slice(&std::fs::read(folder.join("report.json")).expect("a twin")).expect("JSON");
    assert_eq!(&twin["sets"][0]["stages"][0]["heat_maps"][0], map);
    assert_eq!(page.matches("class=\"share\"").count(), 4, "each cell has its figure");
}

/// A model of this machine, and two sets of a configuration: folders within the folder.
#[test]
fn an_evaluation_of_a_model_that_is_killed_ends_as_the_undisturbed_one() {
    let dir = tempfile::tempdir().expect("a folder");
    // Few rows at a time, so that most is still to do when the first is on record.
    let sets = [
        "--config",
        "configs/smoke.toml",
        "run.decode_rows=4",
        "run.phases=[\"curate\"]",
        "eval.heldout.queries_per_source=12",
        "eval.heldout.max_new_tokens=40",
        "eval.second={ data = [\"arith\"], queries_per_source = 10, samples = 3, max_new_tokens = 20, rubric = \"heldout\" }",
    ];
    let of = |name: &str, more: &[&str]| evaluation(&[], &dir.path().join(name), &[more, &sets].concat());
    let whole = told(&of("whole", &[]));
    let cut = dir.path().join("cut");
    for more in [&[][..], &["--resume"]] {
        let before = record(&cut).len();
        let mut child = start(&of("cut", more));
        until_recorded(&mut child, &cut, before);
        signal(&child, "-KILL");
        child.wait().expect("it ends");
        assert!(!record(&cut).is_empty(), "it was killed in the middle");
    }
    let said = errors_of(&of("cut", &["--resume", "--dtype", "bf16"]), 2);
    assert!(said.contains("model.weights_sha256") || said.contains("model.dtype"), "{said}");
    let end = told(&of("cut", &["--resume"]));
    assert_eq!(end, whole);
    let (resumed, undisturbed) = (files(&cut), files(&dir.path().join("whole")));
    assert!(undisturbed.contains_key(Path::new("second/samples.jsonl")), "{:?}", undisturbed.keys());
    assert_eq!(resumed, undisturbed);
    // Nothing that is in the way is taken for an evaluation.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).expect("a folder");
    std::fs::write(other.join("thesis.txt"), "mine").expect("written");
    let said = errors_of(&of("other", &["--resume"]), 2);
    assert!(said.contains("holds no evaluation.json"), "{said}");
    std::fs::remove_file(other.join("thesis.txt")).expect("removed");
    // An empty folder, as a kill may leave it, is begun in.
    let end = told(&of("other", &["--resume"]));
    assert_eq!(end, whole);
}
