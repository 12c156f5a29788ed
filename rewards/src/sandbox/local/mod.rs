//! Local sandboxes on Linux: how a program is started, fed, read and ended.

mod confine;
mod folder;
mod mounts;
pub(super) mod probe;
mod supervise;
mod tree;
mod wire;

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Ended, Job, LAUNCHER_VARIABLE, Level, Limits, Ran, Sandbox, Unavailable};
use folder::Folder;
use wire::{Report, Spec};

/// The first argument of a launcher.
const MARK: &str = "__sapo-sandbox";
/// The second one, of each of its stages.
const SUPERVISE: &str = "supervise";
const CONFINE: &str = "confine";
const PROBE: &str = "probe";
/// This binary, even after another has taken its place on the disk.
const OWN: &str = "/proc/self/exe";
/// How long a supervisor may take beyond the limits of its program, on a machine that is busy.
const GRACE: Duration = Duration::from_secs(60);
/// The last words of a program whose supervisor has reported are waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The users that root becomes: a range that systemd gives out for the moment.
const USERS: std::ops::Range<u32> = 61184..65520;
/// What the names of work folders begin with.
const WORK: &str = "sapo-sandbox-";
/// What is found where a command has no path of its own.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Whether this process began with [`serve`].
static SERVES: AtomicBool = AtomicBool::new(false);
/// Programs that were started from here.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// See [`super::serve`].
pub(super) fn serve() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(MARK.as_ref()) {
        SERVES.store(true, Ordering::Relaxed);
        return None;
    }
    let stage = arguments.next().unwrap_or_default();
    if stage == PROBE {
        return Some(probe::act(arguments));
    }
    let control = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let Ok(control) = control else { return Some(ExitCode::from(2)) };
    if stage == SUPERVISE {
        supervise::supervise(&control);
        Some(ExitCode::SUCCESS)
    } else {
        confine::confine(&control);
        Some(ExitCode::from(2))
    }
}

/// The binary that is the launcher.
pub(super) fn launcher() -> Result<PathBuf, Unavailable> {
    if SERVES.load(Ordering::Relaxed) {
        return Ok(PathBuf::from(OWN));
    }
    std::env::var_os(LAUNCHER_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or(Unavailable::NoLauncher)
}

/// A program that runs. Dropping it ends it, with all that it has started, and removes its work folder.
pub(crate) struct Started {
    supervisor: Child,
    control: UnixStream,
    /// Where the program reads from; taken by whoever writes.
    pub(crate) stdin: Option<PipeWriter>,
    /// What it prints on stdout; taken by whoever reads.
    pub(crate) stdout: Option<PipeReader>,
    /// What it prints on stderr; taken by whoever reads.
    pub(crate) stderr: Option<PipeReader>,
    folder: Folder,
    /// What the supervisor said at the end, once it was heard.
    report: Option<Report>,
}

/// Who can end a program from another thread.
#[derive(Debug)]
pub(crate) struct Killer(UnixStream);

impl Killer {
    /// Ends the program; its supervisor does it, so this does not wait.
    pub(crate) fn kill(&self) {
        // It fails only when the supervisor has gone.
        drop(self.0.shutdown(std::net::Shutdown::Write));
    }
}

impl Started {
    /// The supervisor's process number.
    pub(crate) fn pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// Somebody who can end it.
    pub(crate) fn killer(&self) -> io::Result<Killer> {
        self.control.try_clone().map(Killer)
    }

    /// Whether it has not ended by itself.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.supervisor.try_wait(), Ok(None))
    }

    /// How it has ended, when it does so by itself within this time.
    pub(crate) fn ended(&mut self, patience: Duration) -> Option<String> {
        if self.report.is_none() {
            let patience = patience.max(Duration::from_millis(1));
            self.control.set_read_timeout(Some(patience)).ok()?;
            self.report = wire::receive::<Report>(&self.control).ok().flatten().map(|(report, _)| report);
        }
        let report = self.report.as_ref()?;
        match (&report.fault, report.code, report.signal) {
            (Some(fault), ..) => Some(fault.clone()),
            (None, Some(code), _) => Some(format!("exit status: {code}")),
            (None, None, Some(9)) => Some("signal: 9 (SIGKILL)".to_owned()),
            (None, None, Some(signal)) => Some(format!("signal: {signal}")),
            (None, None, None) if report.ended == Ended::Stopped => None,
            (None, None, None) => Some(format!("it broke the limit {:?}", report.ended)),
        }
    }

    /// Ends it with all that it has started.
    pub(crate) fn end(&mut self) {
        drop(self.control.shutdown(std::net::Shutdown::Write));
        self.ended(GRACE);
        if self.report.is_none() {
            drop(self.supervisor.kill());
        }
        drop(self.supervisor.wait());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.end();
        self.folder.remove();
    }
}

/// Starts a program.
pub(crate) fn start(sandbox: &Sandbox, job: &Job, limits: &Limits) -> Result<Started, String> {
    let launcher = launcher().map_err(|error| error.to_string())?;
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let folder = Folder::new(&format!("{WORK}{}-{number}", std::process::id()))
        .map_err(|error| format!("no work folder: {error}"))?;
    for (name, content) in &job.files {
        std::fs::write(folder.path().join(name), content).map_err(|error| format!("work folder: {error}"))?;
    }
    let walls = sandbox.level() != Level::None;
    let root = rustix::process::geteuid().is_root();
    let count = USERS.end - USERS.start;
    let user = USERS.start + std::process::id().wrapping_mul(31).wrapping_add(number) % count;
    let mut environment = job.environment.clone();
    if !environment.iter().any(|(key, _)| key == "PATH") {
        environment.push(("PATH".to_owned(), PATH.to_owned()));
    }
    let spec = Spec {
        namespaces: sandbox.level() == Level::Strict,
        walls,
        sealed: false,
        user: (walls && root && sandbox.private_user).then_some(user),
        limits: *limits,
        program: job.program.clone(),
        environment,
        begins: job.folder.clone().unwrap_or_else(|| folder.path().to_owned()),
        folder: folder.path().to_owned(),
        read: job.read.clone(),
    };
    begin(&launcher, &spec, folder).map_err(|error| format!("the launcher cannot be started: {error}"))
}

fn begin(launcher: &Path, spec: &Spec, folder: Folder) -> io::Result<Started> {
    let (control, theirs) = UnixStream::pair()?;
    let ((child_in, stdin), (stdout, child_out), (stderr, child_err)) = (pipe()?, pipe()?, pipe()?);
    let mut command = Command::new(launcher);
    command.args([MARK, SUPERVISE]).env_clear().stdin(Stdio::from(OwnedFd::from(theirs)));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C on a terminal must not reach it while a step is finished.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let supervisor = command.spawn()?;
    drop(command);
    let started = Started {
        supervisor,
        control,
        stdin: Some(stdin),
        stdout: Some(stdout),
        stderr: Some(stderr),
        folder,
        report: None,
    };
    wire::send(&started.control, spec, &[child_in.as_fd(), child_out.as_fd(), child_err.as_fd()])?;
    Ok(started)
}

/// One stream of a program's output, as far as it was read.
struct Output {
    pipe: Option<PipeReader>,
    bytes: Vec<u8>,
    flooded: bool,
}

impl Output {
    fn new(pipe: Option<PipeReader>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self { pipe, bytes: Vec::new(), flooded: false })
    }

    /// Reads what is there, up to the limit.
    fn read(&mut self, limit: usize) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut piece = [0; 16 << 10];
        match pipe.read(&mut piece) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                let room = limit.saturating_sub(self.bytes.len()).min(count);
                self.bytes.extend_from_slice(&piece[..room]);
                if room < count {
                    self.flooded = true;
                    self.pipe = None;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.pipe = None,
        }
    }
}

/// Writes what there is room for; nothing is left when all was written or nobody reads.
fn feed(stdin: &mut Option<PipeWriter>, rest: &mut &[u8]) {
    let Some(pipe) = stdin else { return };
    match pipe.write(rest) {
        Ok(count) => *rest = &rest[count..],
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(_) => *rest = &[],
    }
    if rest.is_empty() {
        *stdin = None;
    }
}

/// Runs a program to its end.
pub(super) fn run(sandbox: &Sandbox, job: &Job, limits: &Limits) -> Result<Ran, String> {
    let mut started = start(sandbox, job, limits)?;
    follow(&mut started, &job.stdin, limits).map_err(|error| format!("the sandbox failed: {error}"))?
}

fn follow(started: &mut Started, mut input: &[u8], limits: &Limits) -> io::Result<Result<Ran, String>> {
    let mut stdin = started.stdin.take().filter(|_| !input.is_empty());
    if let Some(stdin) = &stdin {
        rustix::io::ioctl_fionbio(stdin, true)?;
    }
    let mut outputs = [Output::new(started.stdout.take())?, Output::new(started.stderr.take())?];
    let wall = limits.wall_secs.map(Duration::from_secs_f64).unwrap_or(Duration::from_secs(86_400));
    let mut until = Instant::now() + wall + GRACE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let done = outputs.iter().all(|output| output.pipe.is_none());
        if started.report.is_some() && (done || left.is_zero()) {
            break;
        }
        if left.is_zero() {
            return Ok(Err("the supervisor did not report in time".to_owned()));
        }
        let [first, second] = &outputs;
        let mut waited = Vec::with_capacity(4);
        waited.extend(first.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        waited.extend(second.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        waited.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        if started.report.is_none() {
            waited.push(PollFd::new(&started.control, PollFlags::IN));
        }
        let pause =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waited, Some(&pause)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let reported = started.report.is_none() && waited.last().is_some_and(|control| !control.revents().is_empty());
        drop(waited);
        feed(&mut stdin, &mut input);
        for output in &mut outputs {
            output.read(limits.output_bytes);
            if output.flooded {
                drop(started.control.shutdown(std::net::Shutdown::Write));
            }
        }
        if reported {
            match wire::receive::<Report>(&started.control)? {
                Some((said, _)) => started.report = Some(said),
                None => return Ok(Err("the supervisor was killed".to_owned())),
            }
            stdin = None;
            until = Instant::now() + LAST_WORDS;
        }
    }
    Ok(match started.report.clone() {
        Some(report) => ran(report, outputs),
        None => Err("the supervisor did not report".to_owned()),
    })
}

/// What the supervisor said of a program, and what the program said itself.
fn ran(report: Report, [stdout, stderr]: [Output; 2]) -> Result<Ran, String> {
    if let Some(fault) = report.fault {
        return Err(fault);
    }
    Ok(Ran {
        ended: report.ended,
        code: report.code,
        signal: report.signal,
        flooded: stdout.flooded || stderr.flooded,
        stdout: stdout.bytes,
        stderr: stderr.bytes,
        cpu_secs: report.cpu_secs,
        peak_bytes: report.peak_bytes,
    })
}
