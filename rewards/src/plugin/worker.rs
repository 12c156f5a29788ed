//! A worker: one child process that is sent requests on its stdin and replies on a descriptor of its own.
//!
//! Its stdout belongs to whoever prints there: a shell gives the child the pipe of its stdout as descriptor 3, and its
//! stderr's pipe as stdout, before it becomes the child.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sandbox::{self, Limits, Wanted};

#[cfg(target_os = "linux")]
use crate::sandbox::{Job, Level, Sandbox, Started};

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
    /// The sandbox that it runs in, when the config names one.
    pub(super) guard: Option<Guard>,
}

/// The sandbox of a worker, and what it may read there.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) wanted: Wanted,
    pub(super) limits: Limits,
    pub(super) read: Vec<PathBuf>,
}

/// A worker's process: a child of this one, or behind a supervisor that ends everything below it.
enum Process {
    Plain(Child),
    #[cfg(target_os = "linux")]
    Guarded(Started),
}

/// Who can end a worker from another thread.
pub(super) enum Killer {
    /// The group of a plain child.
    Group(u32),
    #[cfg(target_os = "linux")]
    Guarded(sandbox::Killer),
}

impl Killer {
    /// Ends the worker.
    pub(super) fn kill(&self) {
        match self {
            Self::Group(pid) => kill_group(*pid),
            #[cfg(target_os = "linux")]
            Self::Guarded(killer) => killer.kill(),
        }
    }
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
    process: Process,
    requests: Sender<String>,
    replies: Receiver<Option<String>>,
    printed: Printed,
    /// Fails once nobody can print any more.
    printing: Receiver<()>,
    ended: bool,
}

impl Worker {
    /// Starts a child; whether it lives is told by its first line.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub(super) fn start(launch: &Launch) -> Result<Self, String> {
        let (process, [stdin, stdout, stderr]) = begin(launch)?;
        Self::talk(process, stdin, stdout, stderr).map_err(|error| error.to_string())
    }

    fn talk(process: Process, stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> std::io::Result<Self> {
        let (requests, waiting) = channel();
        let (reply, replies) = channel();
        let (print, printing) = channel();
        let printed = Printed::default();
        let lines = Arc::clone(&printed);
        // From here on, dropping it ends the child, and with it these threads.
        let worker = Self { process, requests, replies, printed, printing, ended: false };
        let thread = || thread::Builder::new().name("reward pipe".to_owned());
        let (stdin, stdout, stderr) = (File::from(stdin), File::from(stdout), File::from(stderr));
        thread().spawn(move || write_requests(stdin, &waiting))?;
        thread().spawn(move || read_replies(BufReader::new(stdout), &reply))?;
        thread().spawn(move || {
            keep_lines(BufReader::new(stderr), &lines);
            drop(print);
        })?;
        Ok(worker)
    }

    /// The number of the child's process, or of its supervisor.
    pub(super) fn pid(&self) -> u32 {
        match &self.process {
            Process::Plain(child) => child.id(),
            #[cfg(target_os = "linux")]
            Process::Guarded(started) => started.pid(),
        }
    }

    /// Somebody who can end it from another thread.
    pub(super) fn killer(&self) -> Option<Killer> {
        match &self.process {
            Process::Plain(child) => Some(Killer::Group(child.id())),
            #[cfg(target_os = "linux")]
            Process::Guarded(started) => started.killer().ok().map(Killer::Guarded),
        }
    }

    /// Whether the child has not ended by itself.
    pub(super) fn lives(&mut self) -> bool {
        match &mut self.process {
            Process::Plain(child) => matches!(child.try_wait(), Ok(None)),
            #[cfg(target_os = "linux")]
            Process::Guarded(started) => started.lives(),
        }
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
        let closed = || "it closed its result channel".to_owned();
        let until = Instant::now() + left.min(LAST_WORDS);
        match &mut self.process {
            Process::Plain(child) => loop {
                match child.try_wait() {
                    Ok(Some(status)) => return status.to_string(),
                    Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                    _ => return closed(),
                }
            },
            #[cfg(target_os = "linux")]
            Process::Guarded(started) => started.ended(left.clamp(LAST_WORDS, 10 * LAST_WORDS)).unwrap_or_else(closed),
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
        match &mut self.process {
            Process::Plain(child) => {
                kill_group(child.id());
                // Both fail only when it has ended already.
                drop(child.kill());
                drop(child.wait());
            }
            #[cfg(target_os = "linux")]
            Process::Guarded(started) => started.end(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The shell that gives a worker its channel before it becomes the worker.
const SHELL: [&str; 4] = ["/bin/sh", "-c", "exec \"$@\" 3>&1 1>&2", "sh"];

/// A process and its three pipes. Where there is a launcher, a supervisor stands between, with walls or without.
fn begin(launch: &Launch) -> Result<(Process, [OwnedFd; 3]), String> {
    #[cfg(target_os = "linux")]
    if sandbox::has_launcher() || launch.guard.is_some() {
        return guarded(launch);
    }
    if launch.guard.is_some() {
        return Err(sandbox::Unavailable::NotLinux.to_string());
    }
    let mut command = Command::new(SHELL[0]);
    command
        .args(&SHELL[1..])
        .args(&launch.program)
        .env_clear()
        .envs(launch.environment.iter().map(|(key, value)| (key, value)))
        .env(CHANNEL_VARIABLE, CHANNEL)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    own_group(&mut command);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok((Process::Plain(child), [OwnedFd::from(stdin), OwnedFd::from(stdout), OwnedFd::from(stderr)]))
        }
        _ => Err("its pipes are missing".to_owned()),
    }
}

#[cfg(target_os = "linux")]
fn guarded(launch: &Launch) -> Result<(Process, [OwnedFd; 3]), String> {
    let (sandbox, limits, read) = match &launch.guard {
        Some(guard) => {
            let sandbox = Sandbox::choose(guard.wanted).map_err(|error| error.to_string())?;
            // A plugin's files are the user's own, which another user might not be able to read.
            (sandbox.without_private_user(), guard.limits, guard.read.clone())
        }
        None => (Sandbox::untested(Level::None), Limits::NONE, Vec::new()),
    };
    let mut environment = launch.environment.clone();
    if launch.guard.is_some() {
        environment.retain(|(key, _)| key != "HOME" && key != "TMPDIR");
    }
    environment.push((CHANNEL_VARIABLE.to_owned(), CHANNEL.to_owned()));
    let program = SHELL.iter().map(|word| (*word).to_owned()).chain(launch.program.iter().cloned()).collect();
    let folder = std::env::current_dir().ok();
    let job = Job { program, environment, read, folder, ..Job::default() };
    let mut started = sandbox::start(&sandbox, &job, &limits)?;
    match (started.stdin.take(), started.stdout.take(), started.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            Ok((Process::Guarded(started), [OwnedFd::from(stdin), OwnedFd::from(stdout), OwnedFd::from(stderr)]))
        }
        _ => Err("its pipes are missing".to_owned()),
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

fn write_requests(mut stdin: File, waiting: &Receiver<String>) {
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
