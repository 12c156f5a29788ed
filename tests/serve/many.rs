//! Many requests at once, some of whose clients go away: nothing is lost, and nothing is left behind.

use std::io::Read;
use std::thread;

use serde_json::json;

use crate::client::{Server, open, question, reply, until, with};

/// Requests of the test; every third client goes away, half of those as soon as it hears something.
const REQUESTS: usize = 300;
/// Clients at a time.
const CLIENTS: usize = 16;
/// Memory may grow by so much after the first half.
const MOST_GROWTH: u64 = 64 << 20;

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Asks for the request of this number; whether it was answered as a whole.
fn ask(server: &Server, number: usize) -> bool {
    let streams = number.is_multiple_of(2);
    let fields = json!({"max_tokens": 1 + number % 24, "n": 1 + number % 3, "seed": number, "stream": streams});
    let body = with(question(&format!("Say {number}.")), fields).to_string();
    let mut stream = open(&server.url, "POST", "/v1/chat/completions", body.as_bytes());
    if number.is_multiple_of(3) {
        if streams {
            // Something has come, so that it is under way.
            stream.read_exact(&mut [0; 16]).expect("the beginning of a reply");
        }
        return false;
    }
    if streams {
        let text = crate::client::text(stream);
        assert!(text.ends_with("data: [DONE]\n\n"), "{number}: {text}");
    } else {
        let reply = reply(stream);
        assert_eq!(crate::choices(&reply).as_array().map(Vec::len), Some(1 + number % 3), "{number}");
    }
    true
}

#[test]
fn no_request_is_lost_and_nothing_is_left_behind() {
    let server = Server::start(&[]);
    let half = |from: usize| -> usize {
        thread::scope(|scope| {
            let server = &server;
            let client = |client: usize| {
                (from..from + REQUESTS / 2)
                    .filter(|number| number % CLIENTS == client)
                    .filter(|number| ask(server, *number))
                    .count()
            };
            let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
            clients.into_iter().map(|client| client.join().expect("answered")).sum()
        })
    };
    let idle = || {
        until("nothing is under way", || {
            let names =
                ["sapo_requests_in_flight", "sapo_samples{state=\"running\"}", "sapo_samples{state=\"waiting\"}"];
            names.iter().all(|name| server.metric(name) == 0)
        });
    };
    let first = half(0);
    idle();
    let before = resident(server.child.id());
    let second = half(REQUESTS / 2);
    idle();
    let after = resident(server.child.id());
    assert_eq!(first + second, REQUESTS - REQUESTS / 3, "whoever waits is answered");
    assert!(after < before + MOST_GROWTH, "{before} bytes, then {after}");
    let outcome = |outcome: &str| server.metric(&format!("sapo_requests_total{{outcome=\"{outcome}\"}}"));
    let ended = [outcome("answered"), outcome("abandoned")];
    assert!(ended[0] >= (first + second) as u64 && ended[0] + ended[1] <= REQUESTS as u64, "{ended:?}");
    assert_eq!([outcome("refused"), outcome("failed")], [0, 0]);
}
