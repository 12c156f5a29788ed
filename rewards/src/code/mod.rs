//! Programs against hidden tests: the program of an answer is run in the sandbox once for each test, it is given the
//! input alone, and what it gives is compared here. What was expected is never near it.

mod config;
mod data;
mod program;
mod task;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use sapo_datasets::{Query, hex};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::error::{Result, RewardError};
use crate::extract;
use crate::kind::{Endpoints, Example, Kind};
use crate::reward::{Item, Reward, RewardSpec, Role, Scoring};
use crate::sandbox::remote::{Remote, RemoteFault};
use crate::sandbox::{Ended, Limits, Ran, Sandbox, Wanted};
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;
pub use config::{CodeConfig, Counted};
use config::{Interpreter, PYTHON};
use data::{Data, same_output};
pub use program::program;
use task::{Task, Test};

/// What calls a function of a program.
const HARNESS: &str = include_str!("harness.py");
/// Tests whose verdicts are told one by one.
const TOLD_TESTS: usize = 20;

/// The verdict on one test, with what was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// What was expected came, and the program ended well.
    Passed,
    /// Something else came.
    Failed(String),
    /// It took too long.
    TimeLimit,
    /// It took too much memory.
    MemoryLimit,
    /// It ended badly, or without saying anything that could be compared.
    RuntimeError(String),
    /// The sandbox failed: nothing is known about the program.
    SandboxError(String),
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed(_) => "Failed",
            Self::TimeLimit => "TimeLimit",
            Self::MemoryLimit => "MemoryLimit",
            Self::RuntimeError(_) => "RuntimeError",
            Self::SandboxError(_) => "SandboxError",
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Failed(seen) | Self::RuntimeError(seen) | Self::SandboxError(seen) => {
                format!("{} ({})", self.name(), shortened(seen))
            }
            _ => self.name().to_owned(),
        }
    }
}

/// A program that waits to be run, and who waits for its score.
struct Work {
    program: String,
    task: Task,
    done: oneshot::Sender<PartScore>,
}

/// Where work is handed to the threads that run programs, and what people should know of where they run.
type Workers = (Mutex<Sender<Work>>, String);

/// A reward that runs programs.
pub struct Code {
    spec: RewardSpec,
    config: Arc<CodeConfig>,
    interpreter: Option<std::path::PathBuf>,
    started: OnceLock<std::result::Result<Workers, String>>,
}

impl Code {
    /// A reward of programs; nothing is run yet.
    ///
    /// # Errors
    /// When an option makes no sense, or the interpreter is not installed.
    pub fn new(name: &str, config: &CodeConfig) -> Result<Self> {
        let interpreter = config.check().map_err(|reason| RewardError::reward(name, reason))?;
        if let (Wanted::Remote, Some(url)) = (config.sandbox, &config.url) {
            let remote = Remote::new(url, config.api_key_env.as_deref(), config.max_tries, config.retry_base_secs);
            drop(remote.map_err(|reason| RewardError::reward(name, reason))?);
        }
        let told = serde_json::to_vec(config).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(told);
        hash.update(HARNESS);
        let version = hex(&hash.finalize()[..6]);
        let spec = RewardSpec {
            role: Some(Role::Verifier),
            truth_is_answer: false,
            ..RewardSpec::rule(name, &format!("code/2 {version}"))
        };
        Ok(Self { spec, config: Arc::new(config.clone()), interpreter, started: OnceLock::new() })
    }

    /// Chooses the sandbox and starts the threads that run programs.
    fn start(&self) -> std::result::Result<(Mutex<Sender<Work>>, String), String> {
        let config = &self.config;
        let limits = config.limits();
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let local = match (&self.interpreter, config.sandbox) {
            (Some(path), wanted) => {
                let sandbox = Sandbox::choose(wanted).map_err(|error| error.to_string())?;
                let interpreter = Interpreter::new(config, path);
                // A machine that is busy is slow to start an interpreter.
                let patient = Limits { cpu_secs: Some(60.0), wall_secs: Some(120.0), ..limits };
                let sandbox = interpreter.settle(sandbox, config.language == PYTHON, &patient)?;
                Some((sandbox, interpreter))
            }
            (None, _) => None,
        };
        let level = local.as_ref().map_or("remote", |(sandbox, _)| sandbox.level().name());
        for _ in 0..config.threads() {
            let place = match &local {
                Some((sandbox, interpreter)) => Place::Local(sandbox.clone(), interpreter.clone()),
                None => {
                    let url = config.url.as_deref().unwrap_or_default();
                    let key = config.api_key_env.as_deref();
                    Place::Remote(Remote::new(url, key, config.max_tries, config.retry_base_secs)?)
                }
            };
            let (receiver, config) = (Arc::clone(&receiver), Arc::clone(config));
            let thread = thread::Builder::new().name("code".to_owned());
            let work = move || work(&receiver, &Runner { place, config, limits });
            thread.spawn(work).map_err(|error| format!("no thread for programs: {error}"))?;
        }
        Ok((Mutex::new(sender), format!("`{}` runs programs in the sandbox `{level}`", self.spec.name)))
    }

    /// The tests of a query.
    fn task(&self, query: &Query) -> std::result::Result<Task, String> {
        let truth = query.ground_truth.as_ref();
        let task = Task::read(truth.ok_or_else(|| format!("the query `{}` has no ground truth", query.id))?)?;
        match task.entry_point.is_some() && self.config.language != PYTHON {
            true => Err(format!("entry_point is for python alone, not for {}", self.config.language)),
            false => Ok(task),
        }
    }

    /// The program of an item and its tests, or the score when there is nothing to run.
    fn read(&self, item: &Item<'_>) -> std::result::Result<(String, Task), PartScore> {
        let fault = |reason: String| PartScore::failed(FailureKind::GroundTruth, reason);
        let task = self.task(item.query).map_err(fault)?;
        let wrong = |why: &str| PartScore::verdict(false, why);
        let answer = extract::answer(item.transcript).ok_or_else(|| wrong("the thinking is not closed"))?;
        if answer.len() > extract::LONGEST_BYTES {
            return Err(wrong("the answer is longer than 64 KiB"));
        }
        let program = program(answer, &self.config.fences).filter(|program| !program.trim().is_empty());
        Ok((program.ok_or_else(|| wrong("no closed fenced block holds a program"))?.to_owned(), task))
    }
}

impl Kind for CodeConfig {
    fn build(&self, name: &str, _: &Endpoints) -> Result<Arc<dyn Reward>> {
        Ok(Arc::new(Code::new(name, self)?))
    }

    /// Unscored: what runs a program is a launcher, which not every program that links this library is.
    fn example() -> Example {
        let truth = json!({"entry_point": "add", "tests": [
            {"args": [1, 2], "expected": 3},
            {"args": {"a": 2, "b": -2}, "expected": 0},
        ]});
        Example::unscored(truth, "```python\ndef add(a, b):\n    return a + b\n```")
    }
}

impl Reward for Code {
    fn spec(&self) -> &RewardSpec {
        &self.spec
    }

    fn prepare(&self) -> std::result::Result<Option<String>, String> {
        self.started.get_or_init(|| self.start()).as_ref().map(|(_, told)| Some(told.clone())).map_err(Clone::clone)
    }

    fn check_truth(&self, query: &Query) -> std::result::Result<(), String> {
        self.task(query).map(drop)
    }

    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a> {
        Box::pin(async move {
            let mut waiting = Vec::with_capacity(items.len());
            for item in items {
                waiting.push(match (self.read(item), self.started.get_or_init(|| self.start())) {
                    (Err(score), _) => Err(score),
                    (_, Err(reason)) => Err(PartScore::failed(FailureKind::Unavailable, reason.clone())),
                    (Ok((program, task)), Ok((sender, _))) => {
                        let (done, score) = oneshot::channel();
                        let sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
                        // Who does not take it drops the other end, which is noticed below.
                        drop(sender.send(Work { program, task, done }));
                        Ok(score)
                    }
                });
            }
            let mut scores = Vec::with_capacity(items.len());
            for score in waiting {
                let ended =
                    |_| PartScore::failed(FailureKind::Unreachable, "the thread that ran the program has ended");
                scores.push(match score {
                    Ok(score) => score.await.unwrap_or_else(ended),
                    Err(score) => score,
                });
            }
            scores
        })
    }
}

/// Runs programs until the reward is dropped.
fn work(waiting: &Mutex<Receiver<Work>>, runner: &Runner) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Work { program, task, done }) = next else { return };
        // Who asked may have gone.
        if !done.is_closed() {
            drop(done.send(runner.score(&program, &task)));
        }
    }
}

/// Where programs run.
enum Place {
    Local(Sandbox, Interpreter),
    Remote(Remote),
}

/// What one thread needs to score programs.
struct Runner {
    place: Place,
    config: Arc<CodeConfig>,
    limits: Limits,
}

impl Runner {
    fn score(&self, program: &str, task: &Task) -> PartScore {
        let mut passed = 0;
        let mut told = Vec::new();
        let mut run = 0;
        let begun = Instant::now();
        let mut late = false;
        for (at, test) in task.tests.iter().enumerate() {
            let left = self.config.answer_secs - begun.elapsed().as_secs_f64();
            late = left <= 0.0;
            if late {
                break;
            }
            let wall_secs = self.limits.wall_secs.map(|secs| secs.min(left));
            let verdict = match self.test(program, task, test, Limits { wall_secs, ..self.limits }) {
                Err((kind, reason)) => {
                    let message = format!("test {}: SandboxError ({reason})", at + 1);
                    return PartScore::failed(kind, message).extracted(program);
                }
                Ok(verdict) => verdict,
            };
            run += 1;
            passed += usize::from(verdict == Verdict::Passed);
            if told.len() < TOLD_TESTS || verdict != Verdict::Passed && told.len() < 2 * TOLD_TESTS {
                told.push(format!("{} {}", at + 1, verdict.told()));
            }
            if verdict != Verdict::Passed && self.config.value == Counted::All {
                break;
            }
        }
        let of = task.tests.len();
        let value = match self.config.value {
            Counted::All => f64::from(u8::from(passed == of)),
            Counted::Share => passed as f64 / of as f64,
        };
        let stopped = match run < of {
            true if late => format!(", stopped after {run}: answer_secs = {} are over", self.config.answer_secs),
            true => format!(", stopped after {run}"),
            false => String::new(),
        };
        PartScore::value(value, format!("{passed} of {of} tests passed{stopped}: {}", told.join(", ")))
            .extracted(program)
    }

    /// The verdict on one test; a sandbox that fails is asked once more.
    fn test(
        &self,
        program: &str,
        task: &Task,
        test: &Test,
        limits: Limits,
    ) -> std::result::Result<Verdict, (FailureKind, String)> {
        let ran = match self.run(program, task, test, &limits) {
            Err((FailureKind::Unreachable, _)) if matches!(self.place, Place::Local(..)) => {
                self.run(program, task, test, &limits)
            }
            other => other,
        }?;
        if ran.ended == Ended::Stopped && !ran.flooded {
            return Err((FailureKind::Unreachable, "the program was stopped from outside".to_owned()));
        }
        Ok(self.verdict(&ran, task, test))
    }

    fn run(
        &self,
        program: &str,
        task: &Task,
        test: &Test,
        limits: &Limits,
    ) -> std::result::Result<Ran, (FailureKind, String)> {
        // The arguments go in as the text that they are: long whole numbers must not be rounded here.
        let call = |args: &str| {
            let head = json!({"program": program, "entry_point": task.entry_point}).to_string();
            format!("{},\"args\":{args}}}", head.strip_suffix('}').unwrap_or(&head))
        };
        match (&self.place, test) {
            (Place::Local(sandbox, interpreter), test) => {
                let job = match test {
                    Test::Output { stdin, .. } => interpreter.program(program, stdin),
                    Test::Call { args, .. } => interpreter.python(HARNESS, &call(args)),
                };
                sandbox.run(&job, limits).map_err(|reason| (FailureKind::Unreachable, reason))
            }
            (Place::Remote(remote), test) => {
                let ran = match test {
                    Test::Output { stdin, .. } => remote.run(&self.config.language, program, stdin, limits),
                    Test::Call { args, .. } => remote.run(&self.config.language, HARNESS, &call(args), limits),
                };
                ran.map_err(|fault| match fault {
                    RemoteFault::Down(reason) => (FailureKind::Unreachable, reason),
                    RemoteFault::Refused(reason) => (FailureKind::Unavailable, reason),
                })
            }
        }
    }

    fn verdict(&self, ran: &Ran, task: &Task, test: &Test) -> Verdict {
        /// What the kernel sends when processor time is over, and what it sends last.
        const TIME_SIGNALS: [i32; 2] = [24, 9];
        match ran.ended {
            Ended::Cpu | Ended::Wall => return Verdict::TimeLimit,
            Ended::Memory => return Verdict::MemoryLimit,
            Ended::Processes => return Verdict::RuntimeError(format!("more than {} processes", self.limits.processes)),
            Ended::Files => return Verdict::RuntimeError("too many or too large files".to_owned()),
            // Output that was not read to its end could be the beginning of a wrong one.
            _ if ran.flooded => {
                return Verdict::RuntimeError(format!("more than {} bytes of output", self.limits.output_bytes));
            }
            Ended::Stopped => return Verdict::RuntimeError("it was stopped".to_owned()),
            Ended::Itself => {}
        }
        let last = String::from_utf8_lossy(&ran.stderr);
        let last = last.trim().lines().last().unwrap_or_default();
        match (ran.code, ran.signal) {
            (Some(0), _) => {}
            (None, Some(signal)) if TIME_SIGNALS.contains(&signal) && ran.cpu_secs >= self.config.cpu_secs => {
                return Verdict::TimeLimit;
            }
            _ if last.starts_with("MemoryError") => return Verdict::MemoryLimit,
            (Some(code), _) => return Verdict::RuntimeError(format!("exit code {code}: {last}")),
            (None, signal) => {
                return Verdict::RuntimeError(format!("signal {}: {last}", signal.unwrap_or_default()));
            }
        }
        match test {
            Test::Output { stdout: wanted, .. } => match std::str::from_utf8(&ran.stdout) {
                Ok(got) if same_output(wanted, got, task.tolerance) => Verdict::Passed,
                Ok(got) if got.trim().is_empty() => Verdict::Failed("nothing was printed".to_owned()),
                Ok(got) => Verdict::Failed(format!("printed {}", got.trim())),
                Err(_) => Verdict::Failed("the output is not text".to_owned()),
            },
            Test::Call { expected, .. } => {
                if ran.stdout.is_empty() {
                    return Verdict::RuntimeError("the function gave no result".to_owned());
                }
                // Exactly one value: more would be a guess.
                let got = serde_json::from_slice::<Value>(&ran.stdout).ok();
                match got.as_ref().and_then(Data::typed) {
                    None => Verdict::RuntimeError("the result cannot be understood".to_owned()),
                    Some(got) if expected.accepts(&got, task.tolerance) => Verdict::Passed,
                    Some(got) => Verdict::Failed(format!("gave {got}")),
                }
            }
        }
    }
}
