//! Who is let in, and for how long: pages in a browser, slow and idle connections, and more of them than there is room for.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Reply, SAPO, Server, open, question, raw, reply, send, text, until, with};

/// Asks with these headers beside the length.
fn asked(server: &Server, headers: &str) -> Reply {
    let body = question("hi").to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    reply(raw(&server.url, format!("{head}{body}").as_bytes()))
}

fn refused(reply: &Reply, status: u16, code: &str, says: &str) {
    let error = &reply.body["error"];
    assert_eq!((reply.status, &error["code"]), (status, &Value::from(code)), "{}", reply.body);
    assert!(error["message"].as_str().is_some_and(|message| message.contains(says)), "`{says}` is not in {error}");
}

#[test]
fn a_page_in_a_browser_cannot_ask_a_server_of_this_machine() {
    let server = Server::start(&[]);
    let json = "content-type: application/json\r\n";
    let with = |header: &str| format!("{json}{header}\r\n");
    for header in ["host: localhost", "host: 127.0.0.1:8000", "host: [::1]:1\r\norigin: http://localhost:3000", "x: y"]
    {
        assert_eq!(asked(&server, &with(header)).status, 200, "{header}");
    }
    refused(&asked(&server, &with("host: evil.example")), 403, "forbidden", "`Host` is `evil.example`");
    let page = with("host: localhost\r\norigin: https://evil.example");
    refused(&asked(&server, &page), 403, "forbidden", "`Origin` is `https://evil.example`");
    refused(&asked(&server, &with("host: localhost\r\norigin: null")), 403, "forbidden", "--api-key");
    for kind in ["content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n", ""] {
        refused(&asked(&server, kind), 415, "unsupported_media_type", "application/json");
    }
    for path in ["/health", "/v1/models", "/metrics", "/nothing"] {
        let head = format!("GET {path} HTTP/1.0\r\nhost: evil.example\r\n\r\n");
        refused(&reply(raw(&server.url, head.as_bytes())), 403, "forbidden", "evil.example");
    }
    // A page has no key, so that with one the name does not matter.
    let keyed = Server::start(&["--api-key", "secret"]);
    refused(&asked(&keyed, &with("host: evil.example")), 401, "invalid_api_key", "API key");
    assert_eq!(asked(&keyed, &with("host: proxy.example\r\nauthorization: Bearer secret")).status, 200);
}

/// Whether the server has closed a connection: what it says before that is nothing, or a refusal.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut said = String::new();
    match stream.read_to_string(&mut said) {
        Ok(_) => !said.contains("200 OK"),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn slow_and_idle_connections_are_closed() {
    let server = Server::start(&["--read-timeout", "1"]);
    let idle = raw(&server.url, b"");
    let half = raw(&server.url, b"POST /v1/chat/completions HTTP/1.1\r\nhost: local");
    // One that was answered, and asks no more.
    let kept = raw(&server.url, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(is_closed(idle) && is_closed(half));
    assert!(text(kept).starts_with("HTTP/1.1 200 OK"), "and then it is closed");
    let slow = "POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{";
    refused(&reply(raw(&server.url, slow.as_bytes())), 408, "request_timeout", "--read-timeout");
    // What takes long to answer is waited for.
    let long = with(question("Count."), json!({"max_tokens": 400, "n": 4, "temperature": 0}));
    assert_eq!(server.chat(&long).status, 200);
}

#[test]
fn idle_connections_shut_nobody_out() {
    let mut command = Command::new("bash");
    // So many files, and with them connections, as there are for a process.
    command.args(["-c", "ulimit -n 96; exec \"$@\"", "bash", SAPO]);
    let server = Server::start_by(command, &[], Stdio::piped());
    let asked = open(&server.url, "POST", "/v1/chat/completions", question("hi").to_string().as_bytes());
    let idle: Vec<TcpStream> = (0..200).map(|_| raw(&server.url, b"GET /hea")).collect();
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(reply(asked).status, 200, "whoever is being answered stays");
    assert_eq!(idle.len(), 200);
}

#[test]
fn a_server_ends_though_connections_are_open() {
    let mut server = Server::start(&[]);
    let idle: Vec<TcpStream> = (0..50).map(|_| raw(&server.url, b"GET /health HTTP/1.1\r\nho")).collect();
    assert_eq!(server.get("/health").status, 200);
    let told = Instant::now();
    server.signal("-INT");
    assert_eq!(server.wait().code(), Some(0));
    // It lets requests end for some seconds, and there are none.
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert!(idle.into_iter().all(is_closed));
}

#[test]
fn a_request_whose_client_has_gone_is_not_computed_any_more() {
    let server = Server::start(&[]);
    for stream in [false, true] {
        let body = with(question("Count."), json!({"max_tokens": 4000, "n": 128, "stream": stream})).to_string();
        let asked = open(&server.url, "POST", "/v1/chat/completions", body.as_bytes());
        until("it is started", || server.get("/health").body["running"].as_u64() > Some(0));
        drop(asked);
        // It would go on for minutes.
        until("it is given up", || {
            let health = server.get("/health").body;
            ["in_flight", "running", "waiting"].iter().all(|count| health[*count] == 0)
        });
        assert_eq!(server.metric("sapo_requests_total{outcome=\"abandoned\"}"), 1 + u64::from(stream));
    }
    assert_eq!(send(&server.url, "GET", "/health", b"").status, 200);
}
