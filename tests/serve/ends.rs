//! How a server ends: told to, with its parent, and as a run's child.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sapo::score::served::Served;
use serde_json::json;

use crate::client::{SAPO, Server, open, question, reply, send, text, until, with};

/// Decoding that would go on for minutes.
fn endless() -> String {
    with(question("Count."), json!({"max_tokens": 4000, "n": 128})).to_string()
}

/// Whether the process is there and not a zombie.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

#[test]
fn a_signal_lets_the_requests_in_flight_finish() {
    let mut server = Server::start(&[]);
    let body = with(question("Count."), json!({"max_tokens": 300, "temperature": 0})).to_string();
    let asked = open(&server.url, "POST", "/v1/chat/completions", body.as_bytes());
    until("it is started", || server.get("/health").body["in_flight"] == 1);
    server.signal("-INT");
    assert_eq!(reply(asked).status, 200);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut server = Server::start(&[]);
    let asked = open(&server.url, "POST", "/v1/chat/completions", endless().as_bytes());
    until("it is started", || server.get("/health").body["in_flight"] == 1);
    server.signal("-TERM");
    // The first one is known to have arrived when the server no longer takes connections.
    let address = server.url.replace("http://", "");
    until("it takes no more", || std::net::TcpStream::connect(&address).is_err());
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    drop(asked);
}

#[test]
fn a_request_that_does_not_end_is_cut() {
    let mut server = Server::start(&[]);
    let asked = open(&server.url, "POST", "/v1/chat/completions", endless().as_bytes());
    until("it is started", || server.get("/health").body["in_flight"] == 1);
    let told = Instant::now();
    server.signal("-TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    // The model may be too busy to say so.
    let said = text(asked);
    assert!(said.is_empty() || said.contains("\"code\":\"stopping\""), "{said}");
}

#[test]
fn it_ends_when_stdin_closes_even_while_it_works() {
    let mut server = Server::start(&["--until-stdin-closes"]);
    let asked = open(&server.url, "POST", "/v1/chat/completions", endless().as_bytes());
    until("it is started", || server.get("/health").body["in_flight"] == 1);
    drop(server.stdin.take());
    assert_eq!(server.wait().code(), Some(0));
    drop(asked);
}

#[test]
fn a_closed_stdin_is_nothing_to_a_server_of_its_own() {
    let server = Server::start_with_stdin(&[], Stdio::null());
    assert_eq!(server.chat(&question("hi")).status, 200);
}

#[test]
fn it_ends_when_the_process_that_holds_its_stdin_is_killed() {
    let mut holder = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().expect("sleep starts");
    let held = Stdio::from(holder.stdout.take().expect("piped"));
    let mut server = Server::start_with_stdin(&["--until-stdin-closes"], held);
    assert_eq!(server.get("/health").status, 200);
    // `kill` sends SIGKILL: the holder gets no chance to close anything itself.
    holder.kill().expect("killed");
    holder.wait().expect("a child");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_run_starts_its_judge_and_ends_it() {
    let served = Served::start_program(Path::new(SAPO), "tiny", "judge", 16).expect("it listens");
    let health = send(served.url(), "GET", "/health", b"").body;
    assert_eq!(health["model"], "judge");
    let ask = with(question("Same?"), json!({"model": "judge", "max_tokens": 16}));
    let answered = send(served.url(), "POST", "/v1/chat/completions", ask.to_string().as_bytes());
    assert_eq!(answered.status, 200, "{}", answered.body);
    let too_long = with(ask, json!({"max_tokens": 17})).to_string();
    assert_eq!(send(served.url(), "POST", "/v1/chat/completions", too_long.as_bytes()).status, 400);
    assert!(served.peak_rss_bytes() > 1 << 20, "{}", served.peak_rss_bytes());
    let pid = served.pid();
    assert!(alive(pid));
    drop(served);
    assert!(!alive(pid), "dropping waits for the child's end");
}

#[test]
fn a_judge_that_cannot_start_says_why() {
    let missing = Served::start_program(Path::new(SAPO), "no-such-model", "judge", 16).expect_err("there is none");
    let said = missing.to_string();
    assert!(said.contains("`no-such-model` cannot be served") && said.contains("there is no model"), "{said}");
    let program = Path::new("/no/such/program");
    let said = Served::start_program(program, "tiny", "judge", 16).expect_err("there is none").to_string();
    assert!(said.contains("/no/such/program"), "{said}");
}
