//! Connections: so many at most, and none of them for ever. One that says nothing, or takes nothing, is closed; and where there
//! is no more room, the one that has been idle for longest makes place.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::held::Held;
use super::stalled::Stalled;

/// The head of a request is there within so long.
const MOST_HEAD: Duration = Duration::from_secs(10);
/// Connections at most, where the system lets a process have more files than that.
const MOST_CONNECTIONS: usize = 2048;
/// Files that are left for everything else.
const OTHER_FILES: usize = 64;
/// Connections where the system does not say how many files there may be.
const USUAL_CONNECTIONS: usize = 512;
/// How long it takes to try again where a connection could not be accepted.
const AGAIN: Duration = Duration::from_millis(100);
/// What is said where there is no room, and nobody to make place.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: application/json\r\ncontent-length: 99\r\n\r\n\
    {\"error\":{\"message\":\"too many connections\",\"type\":\"server_error\",\"param\":null,\"code\":\"overloaded\"}}";

/// What is known of a connection.
#[derive(Debug)]
struct Known {
    /// Requests that are being answered.
    at_work: usize,
    /// Whether there was a request yet.
    was_asked: bool,
    /// Since when it is as it is.
    since: Instant,
    task: Option<AbortHandle>,
}

/// The connections that are open, by their numbers.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<BTreeMap<u64, Known>>>);

impl Open {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, number: u64) {
        self.all().insert(number, Known { at_work: 0, was_asked: false, since: Instant::now(), task: None });
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.all().get_mut(&number) {
            change(known);
        }
    }

    /// Closes the one that has been idle for longest, if one is.
    fn close_idle(&self) -> bool {
        let mut all = self.all();
        let idle = all.iter().filter(|(_, known)| known.at_work == 0).min_by_key(|(_, known)| known.since);
        let Some(number) = idle.map(|(number, _)| *number) else { return false };
        let task = all.remove(&number).and_then(|known| known.task);
        task.inspect(AbortHandle::abort).is_some()
    }

    /// Closes those that never asked anything.
    fn close_unasked(&self) {
        self.all()
            .values()
            .filter(|known| !known.was_asked)
            .filter_map(|known| known.task.as_ref())
            .for_each(AbortHandle::abort);
    }
}

/// A request that is being answered, until its reply is on its way or nobody wants it any more.
#[derive(Debug)]
struct AtWork {
    open: Open,
    number: u64,
}

impl AtWork {
    fn new(open: &Open, number: u64) -> Self {
        open.change(number, |known| {
            known.at_work += 1;
            known.was_asked = true;
        });
        Self { open: open.clone(), number }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.open.change(self.number, |known| {
            known.at_work = known.at_work.saturating_sub(1);
            known.since = Instant::now();
        });
    }
}

async fn tracked(State((open, number)): State<(Open, u64)>, request: Request, next: Next) -> Response {
    let at_work = AtWork::new(&open, number);
    next.run(request).await.map(|body| axum::body::Body::new(Held::new(body, at_work)))
}

/// Serves until `drain` says so, and what is under way then has ended. No part of a request, and no part of a reply, is waited
/// for longer than `patience`.
///
/// # Errors
/// None but those of the system that make all connections impossible.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Duration,
    mut drain: oneshot::Receiver<()>,
) -> io::Result<()> {
    let (open, most) = (Open::default(), most_connections());
    let (draining, drained) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for number in 0_u64.. {
        let stream = tokio::select! {
            _ = &mut drain => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            },
        };
        let is_full = open.all().len() >= most;
        if is_full && !open.close_idle() {
            // Whoever is turned away is told; it is nobody's loss if that does not reach them.
            drop(stream.try_write(NO_ROOM));
            continue;
        }
        open.begin(number);
        let task = tasks.spawn(connection(stream, router.clone(), patience, (open.clone(), number), drained.clone()));
        open.change(number, |known| known.task = Some(task));
        // It is heard before the next one is: whoever has asked already must not be taken for idle.
        tokio::task::yield_now().await;
    }
    drop(listener);
    open.close_unasked();
    // An error means that no connection is left.
    _ = draining.send(true);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// A connection from its beginning to its end.
async fn connection(
    stream: TcpStream,
    router: Router,
    patience: Duration,
    (open, number): (Open, u64),
    mut drained: watch::Receiver<bool>,
) {
    // Tokens are sent as they come. What fails here fails later.
    drop(stream.set_nodelay(true));
    let service = TowerToHyperService::new(router.layer(from_fn_with_state((open.clone(), number), tracked)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(MOST_HEAD.min(patience));
    let connection = http.serve_connection(TokioIo::new(Stalled::new(stream, patience)), service);
    let mut connection = std::pin::pin!(connection);
    // How it ended is the client's affair.
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        _ = drained.changed() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
    open.all().remove(&number);
}

/// Connections at most: a file each, and some files for everything else.
fn most_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match files {
        Some("unlimited") => MOST_CONNECTIONS,
        Some(files) => files
            .parse::<usize>()
            .map_or(USUAL_CONNECTIONS, |files| files.saturating_sub(OTHER_FILES).clamp(1, MOST_CONNECTIONS)),
        None => USUAL_CONNECTIONS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_place() {
        let open = Open::default();
        assert!(!open.close_idle());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut tasks = JoinSet::new();
        for number in 0..3 {
            open.begin(number);
            let task = tasks.spawn_on(std::future::pending::<()>(), runtime.handle());
            open.change(number, |known| known.task = Some(task));
        }
        let working = AtWork::new(&open, 0);
        assert!(open.close_idle());
        assert_eq!(open.all().keys().copied().collect::<Vec<_>>(), [0, 2], "0 is at work, and 1 came before 2");
        drop(working);
        assert!(open.close_idle());
        assert_eq!(open.all().keys().copied().collect::<Vec<_>>(), [0], "2 has been idle for longer");
        let cancelled = runtime.block_on(async {
            let ended = [tasks.join_next().await, tasks.join_next().await];
            ended
                .iter()
                .flatten()
                .filter(|ended| ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled))
                .count()
        });
        assert_eq!(cancelled, 2);
        assert!((1..=MOST_CONNECTIONS).contains(&most_connections()));
    }

    #[test]
    fn whoever_is_turned_away_is_told_in_json() {
        let text = std::str::from_utf8(NO_ROOM).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let error: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(error["error"]["code"], "overloaded");
    }
}
