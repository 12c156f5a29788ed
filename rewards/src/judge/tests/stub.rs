//! A server that behaves as a test wants it to.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a request.
#[derive(Clone)]
pub(super) enum Act {
    /// A reply whose message is this.
    Say(&'static str),
    Status(u16, &'static str),
    Raw(String),
    /// Nothing, until the other side goes.
    Hang,
    /// A body without an end.
    Endless,
    /// yes when the answer in the prompt has the parts of the reference.
    Judge,
    /// As that, under the name of another model.
    JudgeAs(&'static str),
    /// This for requests whose body has a text, and an honest verdict for all others.
    Only(&'static str, Box<Self>),
    /// A reply whose message a function makes of the prompt.
    By(fn(&str) -> String),
    /// The verdict of each vote, whose number is in the seed; none where it is `None`.
    Votes([Option<bool>; 3]),
}

async fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut request = Vec::new();
    let mut piece = vec![0; 65_536];
    loop {
        let read = stream.read(&mut piece).await.unwrap_or(0);
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split_once("content-length: ")
                .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
        if read == 0 {
            return (text, String::new());
        }
    }
}

pub(super) fn reply(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn completion(model: &str, content: &str) -> String {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20});
    let body = json!({"model": model, "usage": usage, "choices": [{"message": {"content": content}}]});
    reply(200, "", &body.to_string())
}

/// The text of a request's message.
pub(super) fn prompt(body: &str) -> String {
    let content = &serde_json::from_str::<Value>(body).unwrap()["messages"][0]["content"];
    let text = content.as_str().or_else(|| content.as_array()?.iter().find_map(|part| part["text"].as_str()));
    text.unwrap().to_owned()
}

fn honest(prompt: &str) -> String {
    let parts = |name: &str| {
        let line = prompt.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let mut parts: Vec<&str> = line.split(" and ").collect();
        parts.sort_unstable();
        parts.join(" and ")
    };
    let same = parts("Reference: ") == parts("Answer: ");
    json!({"verdict": if same { "yes" } else { "no" }}).to_string()
}

async fn act(mut stream: TcpStream, body: String, what: Act) {
    let what = match what {
        Act::Only(text, act) => {
            if body.contains(text) {
                *act
            } else {
                Act::Judge
            }
        }
        other => other,
    };
    let text = match what {
        Act::Say(content) => completion("judge", content),
        Act::Status(status, headers) => reply(status, headers, "{\"error\": \"told so\"}"),
        Act::Raw(text) => text,
        Act::Judge => completion("judge", &honest(&prompt(&body))),
        Act::JudgeAs(model) => completion(model, &honest(&prompt(&body))),
        Act::Votes(votes) => {
            let seed = serde_json::from_str::<Value>(&body).unwrap()["seed"].as_u64().unwrap();
            let said = votes[(seed >> 32) as usize].map(|yes| if yes { "yes" } else { "no" });
            completion("judge", &said.map_or_else(|| "hm".to_owned(), |said| json!({"verdict": said}).to_string()))
        }
        Act::By(say) => completion("judge", &say(&prompt(&body))),
        Act::Hang | Act::Only(..) => {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            return;
        }
        Act::Endless => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
            return;
        }
    };
    drop(stream.write_all(text.as_bytes()).await);
}

/// A server at work.
pub(super) struct Stub {
    pub(super) url: String,
    count: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// One that does one act for each request, the last one again and again, and has no list of models.
    pub(super) async fn start(acts: Vec<Act>) -> Self {
        Self::with_models(acts, reply(404, "", "{}")).await
    }

    /// One that also has a list of models: its reply to who asks for it.
    pub(super) async fn with_models(acts: Vec<Act>, models: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stub = Self { url, count: Arc::default(), most: Arc::default(), bodies: Arc::default() };
        let (count, most, bodies) = (Arc::clone(&stub.count), Arc::clone(&stub.most), Arc::clone(&stub.bodies));
        let now = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (acts, models) = (acts.clone(), models.clone());
                let (count, most, now) = (Arc::clone(&count), Arc::clone(&most), Arc::clone(&now));
                let bodies = Arc::clone(&bodies);
                tokio::spawn(async move {
                    let (head, body) = read_request(&mut stream).await;
                    if head.starts_with("GET") {
                        drop(stream.write_all(models.as_bytes()).await);
                        return;
                    }
                    let at = count.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    bodies.lock().unwrap().push(body.clone());
                    // Whoever else may be here at the same time comes in meanwhile.
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                    act(stream, body, acts[at.min(acts.len() - 1)].clone()).await;
                });
            }
        });
        stub
    }

    /// Requests for verdicts that it saw.
    pub(super) fn requests(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Requests that it had at a time at most.
    pub(super) fn most_at_a_time(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The bodies that it saw.
    pub(super) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

/// A URL at which nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
