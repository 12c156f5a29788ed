//! A worker: one child process that is sent requests on its stdin and replies on a descriptor of its own.
//!
//! Its stdout belongs to whoever prints there: a shell gives the child the pipe of its stdout as descriptor 3, and its
//! stderr's pipe as stdout, before it becomes the child.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The variable that holds the path of the result channel.
pub const CHANNEL_VARIABLE: &str = "SAPO_REWARD_CHANNEL";
/// Its value: descriptor 3.
const CHANNEL: &str = "/dev/fd/3";
/// Lines of what a child prints that are kept.
const KEPT_LINES: usize = 50;
/// Of these, so many are quoted in a message.
const QUOTED_LINES: usize = 4;
/// Longer printed lines are cut.
const LONGEST_PRINTED_BYTES: u64 = 4096;
/// A longer reply ends the worker.
const LONGEST_REPLY_BYTES: u64 = 64 << 20;
/// How often it is looked whether a silent child still lives: others may hold its pipes open.
const LOOK: Duration = Duration::from_millis(50);
/// How long the last words of a child that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What is run, and in which environment.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// What it is called in messages.
    pub(super) title: String,
    pub(super) program: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

/// Why no line came.
#[derive(Debug)]
pub(super) enum Silence {
    /// The child has ended.
    Ended(String),
    /// Nothing within the time.
    Late,
    /// More than a line may hold.
    Endless,
}

/// What a child printed last.
type Printed = Arc<Mutex<VecDeque<String>>>;

/// A running child. Dropping it kills it with everything that it has started.
pub(super) struct Worker {
    child: Child,
    requests: Sender<String>,
    replies: Receiver<Option<String>>,
    printed: Printed,
    /// Fails once nobody can print any more.
    printing: Receiver<()>,
    ended: bool,
}

impl Worker {
    /// Starts a child; whether it lives is told by its first line.
    pub(super) fn start(launch: &Launch) -> std::io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec \"$@\" 3>&1 1>&2", "sh"])
            .args(&launch.program)
            .env_clear()
            .envs(launch.environment.iter().map(|(key, value)| (key, value)))
            .env(CHANNEL_VARIABLE, CHANNEL)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        own_group(&mut command);
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (requests, waiting) = channel();
        let (reply, replies) = channel();
        let (print, printing) = channel();
        let printed = Printed::default();
        let lines = Arc::clone(&printed);
        // From here on, dropping it ends the child, and with it these threads.
        let worker = Self { child, requests, replies, printed, printing, ended: false };
        let thread = || thread::Builder::new().name("reward pipe".to_owned());
        if let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) {
            thread().spawn(move || write_requests(stdin, &waiting))?;
            thread().spawn(move || read_replies(BufReader::new(stdout), &reply))?;
            thread().spawn(move || {
                keep_lines(BufReader::new(stderr), &lines);
                drop(print);
            })?;
        }
        Ok(worker)
    }

    /// The child's process number, which is that of its group.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child has not ended by itself.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends one line; a child that has ended is noticed when its reply is waited for.
    pub(super) fn send(&self, line: String) {
        drop(self.requests.send(line));
    }

    /// Waits for the next line of the result channel.
    pub(super) fn line(&mut self, limit: Duration) -> Result<String, Silence> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.replies.recv_timeout(left.min(LOOK)) {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => return Err(Silence::Endless),
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Ended(self.ending(left))),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Silence::Late),
                Err(RecvTimeoutError::Timeout) => {
                    if !self.lives() {
                        // What it said before it ended counts.
                        return match self.replies.recv_timeout(LOOK) {
                            Ok(Some(line)) => Ok(line),
                            _ => Err(Silence::Ended(self.ending(Duration::ZERO))),
                        };
                    }
                }
            }
        }
    }

    /// How a child ended that has closed its channel.
    fn ending(&mut self, left: Duration) -> String {
        let until = Instant::now() + left.min(LAST_WORDS);
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return "it closed its result channel".to_owned(),
            }
        }
    }

    /// Kills the child and everything that it has started, and tells what was printed last.
    pub(super) fn end(mut self) -> String {
        self.kill();
        // Processes that left the group may hold the pipe open: they are not waited for.
        _ = self.printing.recv_timeout(LAST_WORDS);
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let from = printed.len().saturating_sub(QUOTED_LINES);
        let lines: Vec<&str> = printed.iter().skip(from).map(String::as_str).collect();
        if lines.is_empty() { String::new() } else { format!("; it printed last: {}", lines.join(" | ")) }
    }

    fn kill(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        kill_group(self.child.id());
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills every process of a group.
pub(super) fn kill_group(pid: u32) {
    let mut kill = Command::new("/bin/sh");
    kill.args(["-c", "kill -KILL \"-$1\"", "sh", &pid.to_string()]);
    // An error means that nobody of the group is left.
    drop(kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
}

/// A group of its own: it can be killed as a whole, and Ctrl-C on a terminal does not reach it while a step is finished.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

fn write_requests(mut stdin: ChildStdin, waiting: &Receiver<String>) {
    for line in waiting {
        if stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).and_then(|()| stdin.flush()).is_err()
        {
            return;
        }
    }
}

/// One piece up to the end of a line, at most `limit` bytes of it; `None` at the end.
fn piece(from: &mut impl BufRead, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match from.by_ref().take(limit).read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(bytes),
    }
}

fn read_replies(mut channel: impl BufRead, to: &Sender<Option<String>>) {
    while let Some(line) = piece(&mut channel, LONGEST_REPLY_BYTES) {
        let whole = (line.len() as u64) < LONGEST_REPLY_BYTES;
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.trim().is_empty() && whole {
            continue;
        }
        if to.send(whole.then_some(line)).is_err() || !whole {
            return;
        }
    }
}

fn keep_lines(mut printed: impl BufRead, to: &Mutex<VecDeque<String>>) {
    while let Some(line) = piece(&mut printed, LONGEST_PRINTED_BYTES) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut kept = to.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        if !line.is_empty() {
            kept.push_back(line);
        }
    }
}
