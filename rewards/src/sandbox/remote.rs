//! `sandbox = "remote"`: a server that runs programs behind its own walls, by SandboxFusion's `/run_code`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Ended, Limits, Ran};
use crate::net::{NoMore, Patience, Posted, Poster, Retry, Time};
use crate::text::shortened;

/// A longer reply is refused; reading stops there.
const LONGEST_REPLY_BYTES: usize = 64 << 20;
/// Seconds that a server may take beyond the limits of a program, for waiting in its own queue.
const GRACE_SECS: f64 = 60.0;

/// Why nothing is known about a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RemoteFault {
    /// The server is down, overloaded or faulty.
    Down(String),
    /// The server refuses: asking again is useless.
    Refused(String),
}

/// A connection to such a server, for one thread.
pub(crate) struct Remote {
    poster: Poster,
    runtime: Runtime,
    max_tries: u32,
    retry_base_secs: f64,
}

impl Remote {
    /// A connection to the server at `url`, with or without `/run_code`; nothing is sent yet.
    pub(crate) fn new(
        url: &str,
        api_key_env: Option<&str>,
        max_tries: u32,
        retry_base_secs: f64,
    ) -> Result<Self, String> {
        let base = url.trim_end_matches('/');
        let url = if base.ends_with("/run_code") { base.to_owned() } else { format!("{base}/run_code") };
        let poster = Poster::new(url, "sandbox server", api_key_env, LONGEST_REPLY_BYTES)
            .map_err(|reason| format!("url = \"{base}\": {reason}"))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no connection to the sandbox server: {error}"))?;
        Ok(Self { poster, runtime, max_tries, retry_base_secs })
    }

    /// Runs a program with an input.
    pub(crate) fn run(&self, language: &str, code: &str, stdin: &str, limits: &Limits) -> Result<Ran, RemoteFault> {
        let wall = limits.wall_secs.unwrap_or(86_400.0);
        let mut body = json!({
            "code": code, "language": language, "stdin": stdin, "compile_timeout": wall, "run_timeout": wall,
        });
        if let Some(bytes) = limits.memory_bytes {
            body["memory_limit_MB"] = json!(bytes >> 20);
        }
        self.runtime.block_on(self.ask(body.to_string(), Duration::from_secs_f64(2.0 * wall + GRACE_SECS)))
    }

    async fn ask(&self, body: String, limit: Duration) -> Result<Ran, RemoteFault> {
        let patience = Patience { tries: self.max_tries, base_secs: self.retry_base_secs, ..Patience::within(limit) };
        let time = Time::default();
        let mut retry = Retry::new(&patience, &time, &body);
        loop {
            let (message, after) = match timeout(retry.left(), self.poster.post(body.clone())).await {
                Ok(Posted::Reply(reply)) => match read(&reply) {
                    Ok(ran) => return Ok(ran),
                    Err(reason) => (format!("{}: {reason}", self.poster.url()), None),
                },
                Ok(Posted::Endless(message)) => return Err(RemoteFault::Down(message)),
                Ok(Posted::Refused(message)) => return Err(RemoteFault::Refused(message)),
                Ok(Posted::Busy { message, after }) => (message, after),
                Err(_) => (format!("{} gave no reply within {} s", self.poster.url(), limit.as_secs_f64()), None),
            };
            retry.wait(after).await.map_err(|no_more| match no_more {
                NoMore::Tries(tries) => RemoteFault::Down(format!("{message}, after {tries} tries")),
                NoMore::Time => RemoteFault::Down(format!("{message}, and {} s are over", limit.as_secs_f64())),
            })?;
        }
    }
}

/// What a reply says of the program; an error when it says that the server failed, or nothing that can be understood.
fn read(reply: &str) -> Result<Ran, String> {
    let strange = || format!("a reply that says nothing of the program: {}", shortened(reply.trim()));
    let value: Value = serde_json::from_str(reply).map_err(|_| strange())?;
    let status = value["status"].as_str().ok_or_else(strange)?;
    if !matches!(status, "Success" | "Failed") {
        return Err(format!("{status}: {}", shortened(value["message"].as_str().unwrap_or_default())));
    }
    let ran = |stage: &Value| -> Option<Ran> {
        let text = |key: &str| stage[key].as_str().unwrap_or_default().as_bytes().to_vec();
        let ended = match stage["status"].as_str()? {
            "Finished" => Ended::Itself,
            "TimeLimitExceeded" => Ended::Wall,
            _ => return None,
        };
        let code = stage["return_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        if ended == Ended::Itself && code.is_none() {
            return None;
        }
        let cpu_secs = stage["execution_time"].as_f64().unwrap_or(0.0);
        Some(Ran {
            ended,
            code,
            signal: None,
            stdout: text("stdout"),
            stderr: text("stderr"),
            flooded: false,
            cpu_secs,
            peak_bytes: 0,
        })
    };
    match (&value["run_result"], &value["compile_result"]) {
        (Value::Null, compiled) => {
            // What does not compile was never run; that is the program's fault.
            let compiled = ran(compiled).ok_or_else(strange)?;
            if compiled.code == Some(0) { Err(strange()) } else { Ok(compiled) }
        }
        (run, _) => {
            let run = ran(run).ok_or_else(strange)?;
            // A server that contradicts itself is not believed.
            if (status == "Success") == (run.code == Some(0) && run.ended == Ended::Itself) {
                Ok(run)
            } else {
                Err(strange())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_the_program_counts() {
        let run =
            |status: &str, code: Value| json!({"status": status, "return_code": code, "stdout": "1\n", "stderr": ""});
        let read = |status: &str, compiled: Value, run: Value| {
            read(&json!({"status": status, "message": "m", "compile_result": compiled, "run_result": run}).to_string())
        };
        let good = read("Success", Value::Null, run("Finished", json!(0))).unwrap();
        assert_eq!((good.ended, good.code, good.stdout), (Ended::Itself, Some(0), b"1\n".to_vec()));
        assert_eq!(read("Failed", Value::Null, run("Finished", json!(1))).unwrap().code, Some(1));
        assert_eq!(read("Failed", Value::Null, run("TimeLimitExceeded", Value::Null)).unwrap().ended, Ended::Wall);
        assert_eq!(read("Failed", run("Finished", json!(1)), Value::Null).unwrap().code, Some(1));
        for (status, compiled, run) in [
            ("SandboxError", Value::Null, Value::Null),
            ("Failed", Value::Null, run("Error", json!(1))),
            ("Success", Value::Null, Value::Null),
            ("Success", Value::Null, run("Finished", Value::Null)),
            ("Success", Value::Null, run("Finished", json!(1))),
            ("Failed", Value::Null, run("Finished", json!(0))),
            ("Failed", run("Finished", json!(0)), Value::Null),
        ] {
            assert!(read(status, compiled.clone(), run.clone()).is_err(), "{status} {compiled} {run}");
        }
        assert!(super::read("{}").is_err() && super::read("half a rep").is_err());
    }
}
