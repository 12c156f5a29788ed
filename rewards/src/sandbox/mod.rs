//! The sandbox: programs that nobody trusts run behind walls, or on a server that has its own.
//!
//! A program is started by a launcher, which is this same binary called anew: a supervisor that watches over time,
//! memory and processes and kills everything that is left at the end, and a stage that takes every right from itself
//! (resource limits, Landlock, seccomp) before it becomes the program. Whoever has a `main` of his own calls [`serve`]
//! in its first line, so that his binary can be the launcher; see [`Unavailable::NoLauncher`].

pub(crate) mod interpreter;
#[cfg(target_os = "linux")]
mod local;
pub(crate) mod remote;
pub mod selftest;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub(crate) use local::{Killer, Started, start};
use selftest::SelfTest;

/// How far a program is kept from everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Namespaces (user, process, network, mount, IPC, host name) on top of everything that `standard` has.
    Strict,
    /// Landlock, seccomp, resource limits, and a user of its own when started by root.
    Standard,
    /// A server that runs programs (SandboxFusion's `/run_code`).
    Remote,
    /// Resource limits alone. The program can read, write and send what the user can.
    None,
}

impl Level {
    /// Its name in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Standard => "standard",
            Self::Remote => "remote",
            Self::None => "none",
        }
    }
}

/// The level that a config asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// The strictest local level that passes its self-test here; never `remote` and never `none`.
    #[default]
    Auto,
    /// This or nothing.
    Strict,
    /// This or nothing.
    Standard,
    /// A server, whose URL the config names.
    Remote,
    /// No walls, because the user says so.
    None,
}

/// What a program may use. What is `None` is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of processor time of the program and all that it starts.
    pub cpu_secs: Option<f64>,
    /// Seconds on the clock.
    pub wall_secs: Option<f64>,
    /// Bytes of address space of one process, and of memory of all of them, with what they share.
    pub memory_bytes: Option<u64>,
    /// Bytes of one file that it writes.
    pub file_bytes: Option<u64>,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Bytes of stdout, and of stderr, that are read; then it is killed.
    pub output_bytes: usize,
}

impl Limits {
    /// Nothing is limited but the output that is read.
    pub const NONE: Self = Self {
        cpu_secs: None,
        wall_secs: None,
        memory_bytes: None,
        file_bytes: None,
        processes: u32::MAX,
        output_bytes: 1 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_secs: Some(5.0),
            wall_secs: Some(20.0),
            memory_bytes: Some(1 << 30),
            file_bytes: Some(16 << 20),
            processes: 64,
            output_bytes: 1 << 20,
        }
    }
}

/// A program to be run, with all that it is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// The program and its arguments.
    pub program: Vec<String>,
    /// Its whole environment, beside `HOME` and `TMPDIR`, which are its work folder unless they are given.
    pub environment: Vec<(String, String)>,
    /// Files of its work folder by name. The folder is private and goes when the program has ended.
    pub files: Vec<(String, Vec<u8>)>,
    /// What it can read from stdin.
    pub stdin: Vec<u8>,
    /// Folders and files that it may read, beside the system's programs and libraries.
    pub read: Vec<PathBuf>,
    /// Where it begins; its work folder when nothing is given.
    pub folder: Option<PathBuf>,
}

/// Who ended a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Itself, or a signal.
    Itself,
    /// The limit of processor time.
    Cpu,
    /// The limit on the clock.
    Wall,
    /// The limit of memory.
    Memory,
    /// The limit of processes.
    Processes,
    /// The limit of all files together, also of those without a name: four times that of one file, and 10,000 of them.
    Files,
    /// The limit of output, or who asked for it does not need it any more.
    Stopped,
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// Who ended it.
    pub ended: Ended,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed on stdout, up to the limit.
    pub stdout: Vec<u8>,
    /// What it printed on stderr, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether one of them was longer than the limit.
    pub flooded: bool,
    /// Processor time in seconds, to about 10 ms.
    pub cpu_secs: f64,
    /// The most memory that it was seen to have, in bytes.
    pub peak_bytes: u64,
}

/// Why a sandbox cannot be had, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There is no binary that can be the launcher.
    #[error(
        "the sandbox has no launcher: call `sapo_rewards::sandbox::serve()` in the first line of `main` and return its \
         code if it has one, or set the variable {} to the path of the `sapo` program",
        LAUNCHER_VARIABLE
    )]
    NoLauncher,
    /// The system is not Linux.
    #[error("local sandboxes need Linux; use sandbox = \"remote\" with a url")]
    NotLinux,
    /// The level does not hold here.
    #[error("the sandbox level `{level}` cannot be used here: {reason}")]
    Refused {
        /// The level.
        level: &'static str,
        /// What is missing, or which probe got through.
        reason: String,
    },
}

/// The variable with the path of a launcher, for programs whose `main` does not call [`serve`].
pub const LAUNCHER_VARIABLE: &str = "SAPO_LAUNCHER";

/// Makes this binary the launcher of sandboxes: to be called in the first line of `main`, before any thread starts.
///
/// `Some` means that the process was started as a launcher and has done its work: `main` must return the code at once.
pub fn serve() -> Option<ExitCode> {
    #[cfg(target_os = "linux")]
    return local::serve();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// A local sandbox that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    level: Level,
    private_user: bool,
}

/// The levels that were tried in this process.
static TRIED: Mutex<BTreeMap<Level, SelfTest>> = Mutex::new(BTreeMap::new());

impl Sandbox {
    /// The local sandbox that a config asks for, after its self-test, which runs once in a process.
    ///
    /// # Errors
    /// When the level (with `auto`: every level) does not hold here; the message says why.
    pub fn choose(wanted: Wanted) -> Result<Self, Unavailable> {
        let levels: &[Level] = match wanted {
            Wanted::Auto => &[Level::Strict, Level::Standard],
            Wanted::Strict => &[Level::Strict],
            Wanted::Standard => &[Level::Standard],
            Wanted::None => &[Level::None],
            Wanted::Remote => &[],
        };
        let mut reasons = Vec::new();
        for level in levels {
            match self_test(*level)?.reason {
                None => return Ok(Self { level: *level, private_user: true }),
                Some(reason) => reasons.push(format!("{}: {reason}", level.name())),
            }
        }
        Err(Unavailable::Refused {
            level: match wanted {
                Wanted::Auto => "auto",
                Wanted::Remote => "remote",
                _ => levels.first().map_or("auto", |level| level.name()),
            },
            reason: reasons.join("; "),
        })
    }

    /// A sandbox of that level, tested or not.
    pub(crate) fn untested(level: Level) -> Self {
        Self { level, private_user: true }
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Without a user of its own: for programs that only the user who runs this may read.
    #[must_use]
    pub fn without_private_user(self) -> Self {
        Self { private_user: false, ..self }
    }

    /// Runs a program to its end and returns what came of it.
    ///
    /// # Errors
    /// When the sandbox itself failed, so that nothing is known about the program.
    pub fn run(&self, job: &Job, limits: &Limits) -> Result<Ran, String> {
        #[cfg(target_os = "linux")]
        return local::run(self, job, limits);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (job, limits, self.private_user);
            Err(Unavailable::NotLinux.to_string())
        }
    }
}

/// The self-test of a local level; it runs once in a process.
///
/// # Errors
/// When there is no launcher, so that nothing could be tried.
pub fn self_test(level: Level) -> Result<SelfTest, Unavailable> {
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(test) = tried.get(&level) {
        return Ok(test.clone());
    }
    #[cfg(target_os = "linux")]
    {
        let test = local::probe::self_test(level)?;
        tried.insert(level, test.clone());
        Ok(test)
    }
    #[cfg(not(target_os = "linux"))]
    {
        tried.clear();
        Err(Unavailable::NotLinux)
    }
}

/// Whether programs can be launched from this process at all.
pub fn has_launcher() -> bool {
    #[cfg(target_os = "linux")]
    return local::launcher().is_ok();
    #[cfg(not(target_os = "linux"))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `main` of this test does not call [`serve`].
    #[test]
    fn without_a_launcher_it_says_what_to_do() {
        assert!(std::env::var_os(LAUNCHER_VARIABLE).is_none() && !has_launcher());
        for wanted in [Wanted::Auto, Wanted::Strict, Wanted::Standard, Wanted::None] {
            let error = Sandbox::choose(wanted).unwrap_err();
            assert_eq!(error, if cfg!(target_os = "linux") { Unavailable::NoLauncher } else { Unavailable::NotLinux });
        }
        assert!(Unavailable::NoLauncher.to_string().contains("sandbox::serve()"));
        assert!(Sandbox::untested(Level::Strict).run(&Job::default(), &Limits::default()).is_err());
    }

    #[test]
    fn a_probe_that_gets_through_refuses_the_level() {
        let probe = |name, held| selftest::Probe { name, held, detail: "seen".to_owned() };
        assert_eq!(SelfTest::of(Level::Strict, vec![probe("a", true)], 1).reason, None);
        let reason = SelfTest::of(Level::Strict, vec![probe("a", true), probe("b", false)], 1).reason;
        assert_eq!(reason.as_deref(), Some("the probe `b` got through (seen)"));
    }
}
