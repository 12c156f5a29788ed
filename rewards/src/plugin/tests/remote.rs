//! Rewards behind a URL, on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server does with a request.
#[derive(Clone, Copy)]
enum Act {
    /// The value of an answer is the number that it is.
    Score,
    Status(u16),
    Say(&'static str),
    Hang,
}

async fn read_request(stream: &mut TcpStream) -> Value {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        match body {
            Some(body) => return body,
            None => assert!(read > 0, "{text}"),
        }
    }
}

async fn act(mut stream: TcpStream, act: Act) {
    let request = read_request(&mut stream).await;
    let (status, body) = match act {
        Act::Score => {
            let items = request["items"].as_array().unwrap().iter();
            let values = items.map(|item| json!(item["response"].as_str().unwrap().parse::<f64>().unwrap()));
            (200, json!({"id": request["id"], "outcomes": values.collect::<Vec<_>>()}).to_string())
        }
        Act::Status(status) => (status, "told so".to_owned()),
        Act::Say(body) => (200, body.to_owned()),
        Act::Hang => {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            return;
        }
    };
    let reply = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    drop(stream.write_all(reply.as_bytes()).await);
}

/// A server that does one act for each request, the last one again and again.
async fn server(acts: &'static [Act]) -> (HttpConfig, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/score", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let at = seen.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(act(stream, acts[at.min(acts.len() - 1)]));
        }
    });
    (HttpConfig { url, retry_base_secs: 0.001, workers: 1, ..HttpConfig::default() }, count)
}

async fn scored(config: &HttpConfig, count: usize) -> Vec<PartScore> {
    let pairs: Vec<_> = (0..count).map(|at| pair(Value::Null, &(at as f64 / 64.0).to_string())).collect();
    scores(&Plugin::http("plugin", config).unwrap(), &pairs).await
}

#[tokio::test]
async fn values_come_back_exactly_and_in_order_after_faults_of_the_server() {
    let (config, count) = server(&[Act::Status(503), Act::Status(429), Act::Score]).await;
    let config = HttpConfig { batch_size: 16, ..config };
    let expected: Vec<_> = (0..64).map(|at| Some(at as f64 / 64.0)).collect();
    assert_eq!(values(&scored(&config, 64).await), expected);
    assert!(count.load(Ordering::SeqCst) >= 6);
}

#[tokio::test]
async fn what_the_server_does_wrong_is_no_value() {
    let cases: [(&'static [Act], FailureKind, usize); 6] = [
        (&[Act::Status(500)], FailureKind::Unreachable, 5),
        (&[Act::Status(404)], FailureKind::Unavailable, 1),
        (&[Act::Say("{\"id\":1,\"outcomes\":[1]}")], FailureKind::Protocol, 1),
        (&[Act::Say("{\"id\":1,\"outcomes\":[NaN,NaN]}")], FailureKind::Protocol, 1),
        (&[Act::Say("{\"id\":1,\"outcomes\":[\"1\",null]}")], FailureKind::Invalid, 1),
        (&[Act::Hang], FailureKind::Timeout, 1),
    ];
    for (acts, kind, tries) in cases {
        let (config, count) = server(acts).await;
        let hangs = matches!(acts, [Act::Hang]);
        let config = if hangs { HttpConfig { timeout_secs: 0.1, max_tries: 1, ..config } } else { config };
        let scored = scored(&config, 2).await;
        assert_eq!(scored.iter().map(|score| failure(score).0).collect::<Vec<_>>(), [kind; 2], "{scored:?}");
        assert_eq!(count.load(Ordering::SeqCst), tries, "{scored:?}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_their_place() {
    let base = HttpConfig { url: "http://127.0.0.1:9".to_owned(), ..HttpConfig::default() };
    assert!(Plugin::http("x", &base).is_ok());
    for (bad, word) in [
        (HttpConfig::default(), "url"),
        (HttpConfig { url: "ftp://x".to_owned(), ..base.clone() }, "http://"),
        (HttpConfig { max_tries: 0, ..base.clone() }, "max_tries"),
        (HttpConfig { deadline_secs: 0.0, ..base.clone() }, "deadline_secs"),
        (HttpConfig { api_key_env: Some("SAPO_NO_SUCH_KEY".to_owned()), ..base }, "SAPO_NO_SUCH_KEY"),
    ] {
        let error = Plugin::http("x", &bad).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains(word) && error.contains("rewards.x")), "{word}");
    }
}
