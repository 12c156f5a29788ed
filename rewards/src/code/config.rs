//! `kind = "code"`: its options, and the interpreter that they name.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sandbox::interpreter::{found, python};
use crate::sandbox::{Job, Limits, Sandbox, Wanted};

/// The name of Python among languages.
pub(super) const PYTHON: &str = "python";

/// What the value of a program is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// 1 when every test passed, else 0; the first that does not pass is the last that is run.
    #[default]
    All,
    /// The share of tests that passed.
    Share,
}

/// The program in the last closed fenced block, run in the sandbox once for each hidden test.
///
/// The ground truth is `{"tests": [{"stdin", "stdout"}]}`, whole outputs compared up to spaces at the ends of lines and
/// blank lines at the end; or `{"entry_point": "f" or "Class.f", "tests": [{"args", "expected"}]}`, compared by type and
/// value (`args_json` and `expected_json` hold JSON as text, for integers of any length). With `{"tolerance"}` floats may
/// be off by it, absolutely or relatively.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CodeConfig {
    /// The language; a remote sandbox is asked for it by this name.
    pub language: String,
    /// The interpreter and its arguments; the file with the program is the last one.
    pub command: Vec<String>,
    /// Extension of the file with the program.
    pub extension: String,
    /// Tags of the fenced blocks that hold programs.
    pub fences: Vec<String>,
    /// What the value is: `all` (1 when every test passed), or `share` of the tests that passed.
    pub value: Counted,
    /// The level of the sandbox: `auto` (strict, else standard), `strict`, `standard`, `remote`, or `none`: no walls at all.
    pub sandbox: Wanted,
    /// For `remote`: a server with SandboxFusion's `/run_code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds the server's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Tries when the server is overloaded or faulty.
    pub max_tries: u32,
    /// Seconds before the second try, doubling.
    pub retry_base_secs: f64,
    /// Programs that run at a time; 0 is one for each processor.
    pub workers: usize,
    /// Seconds of processor time for one test.
    pub cpu_secs: f64,
    /// Seconds on the clock for one test.
    pub wall_secs: f64,
    /// Seconds on the clock for all tests of one answer together; tests that are left then do not pass.
    pub answer_secs: f64,
    /// MiB of memory.
    pub memory_mb: u64,
    /// MiB of the largest file; all files together may have four times as much.
    pub file_mb: u64,
    /// KiB of stdout, and of stderr; a program that prints more is ended.
    pub output_kb: usize,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Folders and files that programs may read, beside the system's and the interpreter's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<PathBuf>,
}

impl Default for CodeConfig {
    fn default() -> Self {
        Self {
            language: PYTHON.to_owned(),
            command: vec!["python3".to_owned()],
            extension: "py".to_owned(),
            fences: ["python", "python3", "py"].map(str::to_owned).to_vec(),
            value: Counted::All,
            sandbox: Wanted::Auto,
            url: None,
            api_key_env: None,
            max_tries: 5,
            retry_base_secs: 0.5,
            workers: 0,
            cpu_secs: 5.0,
            wall_secs: 20.0,
            answer_secs: 60.0,
            memory_mb: 1024,
            file_mb: 16,
            output_kb: 1024,
            processes: 64,
            read: Vec::new(),
        }
    }
}

impl CodeConfig {
    /// The limits of one test.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            cpu_secs: Some(self.cpu_secs),
            wall_secs: Some(self.wall_secs),
            memory_bytes: Some(self.memory_mb << 20),
            file_bytes: Some(self.file_mb << 20),
            processes: self.processes,
            output_bytes: self.output_kb << 10,
        }
    }

    /// Programs that run at a time.
    pub(super) fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.workers == 0 { processors() } else { self.workers }
    }

    /// Whether its options make sense; the interpreter's path when it is run here.
    pub(super) fn check(&self) -> Result<Option<PathBuf>, String> {
        let word =
            |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !word(&self.extension) || self.language.is_empty() || self.fences.iter().any(String::is_empty) {
            return Err("language, fences and extension must be plain words".to_owned());
        }
        if self.fences.is_empty() {
            return Err("fences is empty: no block could hold a program".to_owned());
        }
        for (key, secs) in [
            ("cpu_secs", self.cpu_secs),
            ("wall_secs", self.wall_secs),
            ("answer_secs", self.answer_secs),
            ("retry_base_secs", self.retry_base_secs),
        ] {
            if !(secs > 0.0 && secs <= 86_400.0) {
                return Err(format!("{key} = {secs}: it must be above 0 and at most a day"));
            }
        }
        let counts = [
            ("memory_mb", self.memory_mb, 1 << 20),
            ("file_mb", self.file_mb, 1 << 20),
            ("output_kb", self.output_kb as u64, 1 << 20),
            ("processes", u64::from(self.processes), 1 << 16),
            ("max_tries", u64::from(self.max_tries), 1000),
        ];
        for (key, value, most) in counts {
            if !(1..=most).contains(&value) {
                return Err(format!("{key} = {value}: it must be in 1..{most}"));
            }
        }
        if self.workers > 256 {
            return Err(format!("workers = {}: it must be at most 256", self.workers));
        }
        match (self.sandbox, &self.url) {
            (Wanted::Remote, None) => return Err("sandbox = \"remote\" needs the url of the server".to_owned()),
            (Wanted::Remote, Some(_)) => return Ok(None),
            (_, Some(_)) => return Err("a url is for sandbox = \"remote\"; leave one of them out".to_owned()),
            (_, None) => {}
        }
        let name = self.command.first().filter(|name| !name.is_empty());
        let name = name.ok_or("command is empty: it names the interpreter, as [\"python3\"]")?;
        let found = found(name).ok_or_else(|| {
            format!("command: the interpreter `{name}` is not installed; install it, or name another")
        })?;
        Ok(Some(found))
    }
}

/// An interpreter that runs in a sandbox.
#[derive(Clone, Debug)]
pub(super) struct Interpreter {
    command: Vec<String>,
    environment: Vec<(String, String)>,
    read: Vec<PathBuf>,
    extension: String,
}

impl Interpreter {
    /// The interpreter of a config, which lies at `path`.
    pub(super) fn new(config: &CodeConfig, path: &Path) -> Self {
        let mut command = config.command.clone();
        command[0] = path.display().to_string();
        let mut read = config.read.clone();
        read.push(path.to_owned());
        read.extend(path.canonicalize());
        let folder = path.parent().map_or(String::new(), |folder| format!("{}:", folder.display()));
        let plain =
            [("LANG", "C.UTF-8"), ("LC_ALL", "C.UTF-8"), ("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")];
        let mut environment: Vec<(String, String)> =
            vec![("PATH".to_owned(), format!("{folder}/usr/local/bin:/usr/bin:/bin"))];
        environment.extend(plain.map(|(key, value)| (key.to_owned(), value.to_owned())));
        if config.language == PYTHON {
            let python = python(path);
            command[0] = python.executable.display().to_string();
            read.extend(python.folders);
            // `-I` would have it ignore the seed of its hashes; this isolates it as well.
            for (key, value) in [
                ("PYTHONHASHSEED", "0"),
                ("PYTHONSAFEPATH", "1"),
                ("PYTHONNOUSERSITE", "1"),
                ("PYTHONDONTWRITEBYTECODE", "1"),
                ("PYTHONUTF8", "1"),
            ] {
                environment.push((key.to_owned(), value.to_owned()));
            }
        }
        Self { command, environment, read, extension: config.extension.clone() }
    }

    fn job(&self, arguments: &[&str], stdin: &str) -> Job {
        let mut program = self.command.clone();
        program.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Job {
            program,
            environment: self.environment.clone(),
            files: Vec::new(),
            stdin: stdin.as_bytes().to_vec(),
            read: self.read.clone(),
            folder: None,
        }
    }

    /// A program that reads `stdin`.
    pub(super) fn program(&self, text: &str, stdin: &str) -> Job {
        let name = format!("program.{}", self.extension);
        let mut job = self.job(&[&name], stdin);
        job.files.push((name, text.as_bytes().to_vec()));
        job
    }

    /// A short program on the command line of Python.
    pub(super) fn python(&self, text: &str, stdin: &str) -> Job {
        self.job(&["-c", text], stdin)
    }

    /// The sandbox in which it runs: with a user of its own, else without.
    pub(super) fn settle(&self, sandbox: Sandbox, python: bool, limits: &Limits) -> Result<Sandbox, String> {
        if !python {
            return Ok(sandbox);
        }
        let mut reason = String::new();
        let level = sandbox.level().name();
        for sandbox in [sandbox.clone(), sandbox.without_private_user()] {
            match sandbox.run(&self.python("print('sapo')", ""), limits) {
                Ok(ran) if ran.code == Some(0) && ran.stdout.trim_ascii() == b"sapo" => return Ok(sandbox),
                Ok(ran) => {
                    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
                    reason = format!("code {:?}, {:?}: {said}", ran.code, ran.ended);
                }
                Err(fault) => reason = fault,
            }
        }
        Err(format!(
            "the interpreter {} does not run in the sandbox `{level}` ({reason}); list the folders that it needs in \
             `read`, or give it more memory_mb",
            self.command[0]
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused_with_their_place() {
        let base = CodeConfig { command: vec!["sh".to_owned()], ..CodeConfig::default() };
        assert!(base.check().is_ok_and(|path| path.is_some_and(|path| path.is_absolute())));
        let url = Some("http://127.0.0.1:9".to_owned());
        let remote = CodeConfig { sandbox: Wanted::Remote, url: url.clone(), command: vec![], ..base.clone() };
        assert_eq!(remote.check(), Ok(None));
        for (bad, word) in [
            (CodeConfig { command: vec![], ..base.clone() }, "command is empty"),
            (CodeConfig { command: vec!["sapo-no-such".to_owned()], ..base.clone() }, "not installed"),
            (CodeConfig { command: vec!["/no/such".to_owned()], ..base.clone() }, "not installed"),
            (CodeConfig { extension: "../x".to_owned(), ..base.clone() }, "extension"),
            (CodeConfig { fences: vec![], ..base.clone() }, "fences"),
            (CodeConfig { cpu_secs: 0.0, ..base.clone() }, "cpu_secs"),
            (CodeConfig { wall_secs: f64::NAN, ..base.clone() }, "wall_secs"),
            (CodeConfig { answer_secs: 0.0, ..base.clone() }, "answer_secs"),
            (CodeConfig { memory_mb: 0, ..base.clone() }, "memory_mb"),
            (CodeConfig { sandbox: Wanted::Remote, ..base.clone() }, "url"),
            (CodeConfig { url, ..base }, "remote"),
        ] {
            assert!(bad.check().is_err_and(|error| error.contains(word)), "{word}");
        }
    }
}
