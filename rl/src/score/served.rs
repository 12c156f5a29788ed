//! A judge that a run starts: a child process of this program that serves a model on loopback, and ends with the run.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::error::{Result, RunError};

/// Lines of the child's stderr that an error quotes at most.
const QUOTED_LINES: usize = 12;

/// A running `sapo serve`, whose replies do not depend on what else is asked.
#[derive(Debug)]
pub struct Served {
    child: Child,
    url: String,
}

impl Served {
    /// Starts a server of `model` (a preset or a folder) as a child of this process, which must be `sapo` itself, and
    /// waits until it takes requests for `name`, with answers of at most `max_new_tokens` tokens.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it listens: then the last lines that it said are quoted.
    pub fn start(model: &str, name: &str, max_new_tokens: usize) -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|error| RunError::Internal(format!("the path of this program is not known: {error}")))?;
        Self::start_program(&program, model, name, max_new_tokens)
    }

    /// The same with the path of `sapo` given.
    ///
    /// # Errors
    /// As [`Served::start`].
    pub fn start_program(program: &Path, model: &str, name: &str, max_new_tokens: usize) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(["serve", "--model", model, "--name", name, "--max-new-tokens", &max_new_tokens.to_string()])
            .args(["--port", "0", "--until-stdin-closes"])
            // It is asked by this process alone, which has no key.
            .env_remove("SAPO_API_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        alone(&mut command);
        let child = command.spawn().map_err(|source| RunError::io(program, source))?;
        // From here on, dropping it ends the child.
        let mut served = Self { child, url: String::new() };
        let last_lines =
            served.child.stderr.take().map(|stderr| thread::spawn(move || last_lines(BufReader::new(stderr))));
        let mut line = String::new();
        if let Some(stdout) = served.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|source| RunError::io(program, source))?;
        }
        match serde_json::from_str::<Value>(&line).ok().as_ref().and_then(|line| line["url"].as_str()) {
            Some(url) => {
                url.clone_into(&mut served.url);
                Ok(served)
            }
            None => Err(served.failed(model, last_lines)),
        }
    }

    /// The base URL that requests are sent to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The child's process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Largest resident memory of the child so far, in bytes; 0 where the system does not tell.
    pub fn peak_rss_bytes(&self) -> u64 {
        crate::memory::peak_rss_bytes(self.child.id())
    }

    /// Why a child that did not listen failed, in its own words.
    fn failed(mut self, model: &str, last_lines: Option<JoinHandle<VecDeque<String>>>) -> RunError {
        self.end();
        let lines = last_lines.and_then(|lines| lines.join().ok()).unwrap_or_default();
        let said = Vec::from(lines).join("\n");
        let said = said.strip_prefix("error: ").unwrap_or(&said);
        RunError::User(format!("the model `{model}` cannot be served: {said}"))
    }

    fn end(&mut self) {
        // All of these fail only when the child has ended already.
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps the child out of this process's group: Ctrl-C on a terminal must not reach it, since a run that finishes its
/// step after Ctrl-C still needs its judge.
#[cfg(unix)]
fn alone(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn alone(_: &mut Command) {}

/// Reads to the end and keeps the last lines: a child whose stderr nobody reads would stop when the pipe is full.
fn last_lines(stderr: impl BufRead) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    for line in stderr.split(b'\n').map_while(std::io::Result::ok) {
        if lines.len() == QUOTED_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    lines
}
