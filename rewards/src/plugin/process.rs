//! `kind = "process"`: a reward that is a Python function, or any program that speaks JSON lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sapo_datasets::hex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::pool::WorkerLimits;
use super::worker::{CHANNEL_VARIABLE, Guard, Launch};
use crate::reward::Role;
use crate::sandbox::interpreter::{found, python};
use crate::sandbox::{self, Wanted};

/// What the interpreter runs for `python = "file.py:function"`.
const SHIM: &str = include_str!("shim.py");
/// Variables that every worker gets when they are set.
const ENVIRONMENT: [&str; 9] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "VIRTUAL_ENV"];

/// A Python function with the signature of verl, TRL, EasyR1 or verifiers or of one's own (docs/rewards.md), or any program
/// that speaks JSON lines; see `sapo reward schema`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// The program and its arguments; it speaks JSON lines itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Instead of `command`: `file.py:function`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// What runs the file.
    pub interpreter: String,
    /// Whether functions with the signatures of TRL and verifiers get prompts and completions as lists of messages. Left
    /// out, it is what the function's annotation says, else what the data has: messages where the prompt is a list of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<bool>,
    /// Processes at a time.
    pub workers: usize,
    /// Items in a request at most.
    pub batch_size: usize,
    /// Seconds for one request; then the worker is killed and the batch halved.
    pub timeout_secs: f64,
    /// Seconds until a worker must be ready.
    pub start_timeout_secs: f64,
    /// So many workers may die over one batch without a score between; one more and the rest of it fails, and after a
    /// second such batch in a row the reward is given up.
    pub max_restarts: u32,
    /// Environment variables for the workers, beside `PATH`, `HOME`, `USER`, `LANG`, `TMPDIR` and the like.
    pub env: Vec<String>,
    /// Items have the paths of their pictures in `images`.
    pub pictures: bool,
    /// The least and the greatest value; others are failures.
    pub range: [f64; 2],
    /// What it is for: `verifier` tells right from wrong, `form` looks at the form alone, `penalty` is taken off. Left out,
    /// it is a verifier where it is a rubric's `correct`, else something about form. `sapo reward check` goes by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Walls for a plugin that you do not trust: `auto`, `strict` or `standard`; it has no network then. A plugin of
    /// your own may need the network, a GPU and your files, so that the default is `none`.
    pub sandbox: Wanted,
    /// In a sandbox: folders and files that workers may read, beside the program, its folder, and what belongs to the
    /// system and the interpreter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<PathBuf>,
    /// In a sandbox: memory in MiB.
    pub memory_mb: u64,
    /// Further arguments of the Python function, by name, as `reward_kwargs` of verl and `reward_function_kwargs` of EasyR1.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub kwargs: Map<String, Value>,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            python: None,
            interpreter: "python3".to_owned(),
            messages: None,
            workers: 2,
            batch_size: 64,
            timeout_secs: 30.0,
            start_timeout_secs: 60.0,
            max_restarts: 32,
            env: Vec::new(),
            pictures: false,
            range: [0.0, 1.0],
            role: None,
            sandbox: Wanted::None,
            read: Vec::new(),
            memory_mb: 4096,
            kwargs: Map::new(),
        }
    }
}

impl ProcessConfig {
    pub(super) fn limits(&self) -> WorkerLimits {
        WorkerLimits {
            batch: Duration::from_secs_f64(self.timeout_secs),
            start: Duration::from_secs_f64(self.start_timeout_secs),
            max_restarts: self.max_restarts,
        }
    }

    /// What is run, and the version of the reward: the hash of the command, and of the file when it is Python.
    pub(super) fn launch(&self) -> Result<(Launch, String), String> {
        self.check()?;
        let mut hash = Sha256::new();
        let mut program = match &self.python {
            None => self.command.clone(),
            Some(place) => {
                let (file, function) = place
                    .rsplit_once(':')
                    .filter(|(file, function)| !file.is_empty() && !function.is_empty())
                    .ok_or_else(|| format!("python = \"{place}\": it must be file.py:function"))?;
                let text = std::fs::read(Path::new(file)).map_err(|error| format!("python = \"{place}\": {error}"))?;
                hash.update(text);
                let options = json!({"messages": self.messages, "kwargs": self.kwargs}).to_string();
                [self.interpreter.as_str(), "-u", "-c", SHIM, file, function, &options].map(str::to_owned).to_vec()
            }
        };
        for word in &program {
            hash.update(word.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let version = hex(&digest[..6]);
        let title = self.python.clone().unwrap_or_else(|| self.command.join(" "));
        let guard = self.guard(&mut program);
        Ok((Launch { title, program, environment: self.environment()?, guard }, version))
    }

    fn check(&self) -> Result<(), String> {
        match (self.command.is_empty(), &self.python) {
            (true, None) => return Err("give `command` (a list) or `python` (file.py:function)".to_owned()),
            (false, Some(_)) => return Err("`command` and `python` exclude each other; leave one out".to_owned()),
            _ => {}
        }
        if self.python.is_none() && (self.messages.is_some() || !self.kwargs.is_empty()) {
            return Err("messages and kwargs are for `python`; a command gets what its protocol says".to_owned());
        }
        if self.interpreter.is_empty() || self.command.first().is_some_and(String::is_empty) {
            return Err("the name of the program is empty".to_owned());
        }
        for (key, secs) in [("timeout_secs", self.timeout_secs), ("start_timeout_secs", self.start_timeout_secs)] {
            super::check_secs(key, secs)?;
        }
        super::check_counts(self.workers, self.batch_size)?;
        if self.sandbox == Wanted::Remote {
            return Err(
                "sandbox = \"remote\" is for kind = \"code\"; here it is auto, strict, standard or none".to_owned()
            );
        }
        if !(1..=1 << 20).contains(&self.memory_mb) {
            return Err(format!("memory_mb = {}: it must be in 1..1048576", self.memory_mb));
        }
        if self.sandbox != Wanted::None && self.pictures {
            return Err("pictures and a sandbox do not go together; leave one of them out".to_owned());
        }
        super::check_range(self.range)
    }

    /// The sandbox of the workers, and what they may read there; a script that looks for Python gives way to Python.
    fn guard(&self, program: &mut [String]) -> Option<Guard> {
        if self.sandbox == Wanted::None {
            return None;
        }
        let absolute = |path: &Path| std::path::absolute(path).ok();
        let mut read: Vec<PathBuf> = self.read.iter().filter_map(|path| absolute(path)).collect();
        if let Some(path) = program.first().and_then(|name| found(name)) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            read.extend(path.canonicalize());
            if self.python.is_some() || name.starts_with("python") {
                let python = python(&path);
                program[0] = python.executable.display().to_string();
                read.extend(python.folders);
            }
            read.push(path);
        }
        // What is handed over by its name is meant to be read.
        read.extend(program.iter().skip(1).map(Path::new).filter(|path| path.is_file()).filter_map(absolute));
        if let Some((file, _)) = self.python.as_ref().and_then(|place| place.rsplit_once(':')) {
            read.extend(absolute(Path::new(file)).as_deref().and_then(Path::parent).map(Path::to_owned));
        }
        let limits = sandbox::Limits {
            cpu_secs: None,
            wall_secs: None,
            memory_bytes: Some(self.memory_mb << 20),
            ..sandbox::Limits::default()
        };
        Some(Guard { wanted: self.sandbox, limits, read })
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
        // Nothing is written beside the user's file.
        environment.entry("PYTHONDONTWRITEBYTECODE".to_owned()).or_insert_with(|| "1".to_owned());
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
            (ProcessConfig { messages: Some(true), ..base.clone() }, "for `python`"),
            (ProcessConfig { kwargs: Map::from_iter([("a".to_owned(), 1.into())]), ..base.clone() }, "for `python`"),
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
