//! A served model with its process, and requests to it by hand: one request a connection, as HTTP/1.0, whose replies are not
//! cut into chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nothing here takes longer, or it never happens.
const DEADLINE: Duration = Duration::from_secs(120);

/// The binary under test.
pub(crate) const SAPO: &str = env!("CARGO_BIN_EXE_sapo");

/// A running server of the tiny preset.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) stdin: Option<ChildStdin>,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_with_stdin(more, Stdio::piped())
    }

    pub(crate) fn start_with_stdin(more: &[&str], stdin: Stdio) -> Self {
        Self::start_by(Command::new(SAPO), more, stdin)
    }

    /// Started by a command that ends in the binary.
    pub(crate) fn start_by(mut command: Command, more: &[&str], stdin: Stdio) -> Self {
        command.args(["serve", "--model", "tiny", "--port", "0"]).args(more);
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let told: Value = serde_json::from_str(&line).expect("one JSON object on one line");
        let keys: Vec<&String> = told.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["url", "model", "pid"], "the line says where it is");
        assert_eq!(told["pid"].as_u64(), Some(u64::from(child.id())));
        let stdin = child.stdin.take();
        Self { child, url: told["url"].as_str().expect("a URL").to_owned(), stdin }
    }

    pub(crate) fn chat(&self, body: &Value) -> Reply {
        send(&self.url, "POST", "/v1/chat/completions", body.to_string().as_bytes())
    }

    pub(crate) fn complete(&self, body: &Value) -> Reply {
        send(&self.url, "POST", "/v1/completions", body.to_string().as_bytes())
    }

    /// The pieces of a streamed reply.
    pub(crate) fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let body = with(body.clone(), json!({"stream": true})).to_string();
        events(&text(open(&self.url, "POST", path, body.as_bytes())))
    }

    /// A line of the metrics, by its name and labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = text(open(&self.url, "GET", "/metrics", b""));
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is not in {metrics}"))
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        send(&self.url, "GET", path, b"")
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a request and leaves the connection to the caller.
pub(crate) fn open(url: &str, method: &str, path: &str, body: &[u8]) -> TcpStream {
    let address = url.strip_prefix("http://").expect("an HTTP URL");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let said = "content-type: application/json";
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n{said}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    stream
}

/// Connects and sends some bytes, whatever they are.
pub(crate) fn raw(url: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").expect("an HTTP URL")).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(bytes).expect("sent");
    stream
}

/// Everything that comes of a connection.
pub(crate) fn text(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a reply");
    String::from_utf8(bytes).expect("UTF-8")
}

/// The pieces of a streamed reply, which must end as it should.
fn events(text: &str) -> Vec<Value> {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("200 OK") && head.to_lowercase().contains("text/event-stream"), "{text}");
    let data: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, pieces) = data.split_last().expect("pieces");
    assert_eq!(*last, "[DONE]", "{body}");
    pieces.iter().map(|piece| serde_json::from_str(piece).expect("every piece is JSON")).collect()
}

/// Reads the reply of a connection.
pub(crate) fn reply(stream: TcpStream) -> Reply {
    let text = text(stream);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head: head.to_lowercase(), body: serde_json::from_str(body).expect("every body is JSON") }
}

/// The same with a key.
pub(crate) fn send_with_key(url: &str, path: &str, key: &str) -> Reply {
    let address = url.strip_prefix("http://").expect("an HTTP URL");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let head = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    reply(stream)
}

pub(crate) fn send(url: &str, method: &str, path: &str, body: &[u8]) -> Reply {
    reply(open(url, method, path, body))
}

/// Polls until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A request for a short text.
pub(crate) fn question(text: &str) -> Value {
    json!({"model": "tiny", "max_tokens": 12, "messages": [{"role": "user", "content": text}]})
}

/// The same with other fields; `null` takes one away.
pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    let object = body.as_object_mut().expect("an object");
    for (key, value) in fields.as_object().expect("an object") {
        object.insert(key.clone(), value.clone());
    }
    body
}
