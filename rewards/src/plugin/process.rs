//! `kind = "process"`: a reward that is a Python function, or any program that speaks JSON lines.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pool::Limits;
use super::worker::{CHANNEL_VARIABLE, Launch};

/// What the interpreter runs for `python = "file.py:function"`.
const SHIM: &str = include_str!("shim.py");
/// Variables that every worker gets when they are set.
const ENVIRONMENT: [&str; 9] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "VIRTUAL_ENV"];

/// A reward in a process of its own, as a config describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// The program and its arguments; it speaks JSON lines itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Instead of a command: `file.py:function`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// What runs the file.
    pub interpreter: String,
    /// Whether functions with TRL's signature get lists of messages instead of texts.
    pub messages: bool,
    /// Processes at a time.
    pub workers: usize,
    /// Items in a request at most.
    pub batch_size: usize,
    /// Seconds for one request; then the worker is killed.
    pub timeout_secs: f64,
    /// Seconds until a worker must be ready.
    pub start_timeout_secs: f64,
    /// So many workers may die without a score between; one more and the reward is given up.
    pub max_restarts: u32,
    /// Environment variables that workers get beside the plain ones.
    pub env: Vec<String>,
    /// Whether items have the paths of their pictures in `images`.
    pub pictures: bool,
    /// The least and the greatest value.
    pub range: [f64; 2],
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            python: None,
            interpreter: "python3".to_owned(),
            messages: false,
            workers: 2,
            batch_size: 64,
            timeout_secs: 30.0,
            start_timeout_secs: 60.0,
            max_restarts: 32,
            env: Vec::new(),
            pictures: false,
            range: [0.0, 1.0],
        }
    }
}

impl ProcessConfig {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            batch: Duration::from_secs_f64(self.timeout_secs),
            start: Duration::from_secs_f64(self.start_timeout_secs),
            max_restarts: self.max_restarts,
        }
    }

    /// What is run, and the version of the reward: the hash of the command, and of the file when it is Python.
    pub(super) fn launch(&self) -> Result<(Launch, String), String> {
        self.check()?;
        let mut hash = Sha256::new();
        let program = match &self.python {
            None => self.command.clone(),
            Some(place) => {
                let (file, function) = place
                    .rsplit_once(':')
                    .filter(|(file, function)| !file.is_empty() && !function.is_empty())
                    .ok_or_else(|| format!("python = \"{place}\": it must be file.py:function"))?;
                let text = std::fs::read(Path::new(file)).map_err(|error| format!("python = \"{place}\": {error}"))?;
                hash.update(text);
                let form = if self.messages { "messages" } else { "texts" };
                [self.interpreter.as_str(), "-u", "-c", SHIM, file, function, form].map(str::to_owned).to_vec()
            }
        };
        for word in &program {
            hash.update(word.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let version = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let title = self.python.clone().unwrap_or_else(|| self.command.join(" "));
        Ok((Launch { title, program, environment: self.environment()? }, version))
    }

    fn check(&self) -> Result<(), String> {
        match (self.command.is_empty(), &self.python) {
            (true, None) => return Err("give `command` (a list) or `python` (file.py:function)".to_owned()),
            (false, Some(_)) => return Err("`command` and `python` exclude each other; leave one out".to_owned()),
            _ => {}
        }
        if self.interpreter.is_empty() || self.command.first().is_some_and(String::is_empty) {
            return Err("the name of the program is empty".to_owned());
        }
        for (key, secs) in [("timeout_secs", self.timeout_secs), ("start_timeout_secs", self.start_timeout_secs)] {
            super::check_secs(key, secs)?;
        }
        super::check_counts(self.workers, self.batch_size)?;
        super::check_range(self.range)
    }

    fn environment(&self) -> Result<Vec<(String, String)>, String> {
        let plain = ENVIRONMENT.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let mut environment: BTreeMap<String, String> = plain.collect();
        for name in &self.env {
            if name == CHANNEL_VARIABLE {
                return Err(format!("env: {name} is set for every worker; leave it out"));
            }
            let value = std::env::var(name).map_err(|_| {
                format!("env: the environment has no variable `{name}` (as text); set it, or leave it out of the list")
            })?;
            environment.insert(name.clone(), value);
        }
        Ok(environment.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused_with_their_place() {
        let refused = |config: ProcessConfig| config.launch().err();
        let base = ProcessConfig { command: vec!["true".to_owned()], ..ProcessConfig::default() };
        assert_eq!(refused(base.clone()), None);
        let python = |place: &str| Some(place.to_owned());
        for (bad, word) in [
            (ProcessConfig::default(), "command"),
            (ProcessConfig { python: python("a.py:f"), ..base.clone() }, "exclude"),
            (ProcessConfig { command: vec![], python: python("a.py"), ..base.clone() }, "file.py:function"),
            (ProcessConfig { command: vec![], python: python("no-such.py:f"), ..base.clone() }, "no-such.py"),
            (ProcessConfig { command: vec![String::new()], ..base.clone() }, "empty"),
            (ProcessConfig { workers: 0, ..base.clone() }, "workers"),
            (ProcessConfig { batch_size: 0, ..base.clone() }, "batch_size"),
            (ProcessConfig { timeout_secs: 0.0, ..base.clone() }, "timeout_secs"),
            (ProcessConfig { start_timeout_secs: f64::NAN, ..base.clone() }, "start_timeout_secs"),
            (ProcessConfig { range: [1.0, 1.0], ..base.clone() }, "range"),
            (ProcessConfig { env: vec!["SAPO_NO_SUCH".to_owned()], ..base.clone() }, "SAPO_NO_SUCH"),
            (ProcessConfig { env: vec![CHANNEL_VARIABLE.to_owned()], ..base }, CHANNEL_VARIABLE),
        ] {
            assert!(refused(bad).is_some_and(|error| error.contains(word)), "{word}");
        }
    }

    #[test]
    fn the_version_changes_with_what_is_run() {
        let version = |word: &str| {
            let config =
                ProcessConfig { command: vec!["true".to_owned(), word.to_owned()], ..ProcessConfig::default() };
            config.launch().unwrap().1
        };
        assert_eq!(version("a"), version("a"));
        assert_ne!(version("a"), version("b"));
    }
}
