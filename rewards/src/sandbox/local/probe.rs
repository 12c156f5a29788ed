//! The probes of a self-test: harmless attempts to get through each wall, made by this binary inside the sandbox.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, setsid};

use super::{MARK, OWN, PROBE, confine, run};
use crate::sandbox::selftest::{Probe, SelfTest};
use crate::sandbox::{Ended, Job, Level, Limits, Ran, Sandbox, Unavailable};

/// What is printed when a wall held.
const HELD: &str = "held";
/// Processes that the probes may have.
const PROCESSES: u32 = 12;
/// Children that a fork bomb tries to have.
const BOMB: u32 = 40;
/// Memory that the probes may have, and what they try to take, in pieces.
const MEMORY_BYTES: u64 = 384 << 20;
const PIECE_BYTES: usize = 32 << 20;

/// Tries every wall of a level. A level without walls has only its limits tried.
pub(crate) fn self_test(level: Level) -> Result<SelfTest, Unavailable> {
    super::launcher()?;
    let begun = Instant::now();
    let millis = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let refused = |reason: String| SelfTest { reason: Some(reason), ..SelfTest::of(level, Vec::new(), millis()) };
    let outside = match Outside::new() {
        Ok(outside) => outside,
        Err(error) => return Ok(refused(format!("nothing to probe with: {error}"))),
    };
    let sandbox = Sandbox::untested(level);
    let harmless = outside.run(&sandbox, "harmless", Limits::default());
    if let Some(reason) = unheld(harmless) {
        return Ok(refused(reason));
    }
    let small =
        Limits { cpu_secs: Some(20.0), processes: PROCESSES, memory_bytes: Some(MEMORY_BYTES), ..Limits::default() };
    let brief = Limits { cpu_secs: Some(0.1), ..small };
    let narrow = Limits { output_bytes: 4096, ..small };
    let all: [(&'static str, Limits); 12] = [
        ("read a secret", small),
        ("write outside", small),
        ("change outside", small),
        ("socket", small),
        ("fork bomb", small),
        ("big memory", small),
        ("nameless files", small),
        ("long run", brief),
        ("big output", narrow),
        ("setsid", small),
        ("trace parent", small),
        ("kill parent", small),
    ];
    let open = ["read a secret", "write outside", "change outside", "socket", "setsid", "trace parent", "kill parent"];
    let tried = all.iter().filter(|(name, _)| level != Level::None || !open.contains(name));
    let probes = tried.map(|(name, limits)| outside.probe(&sandbox, name, *limits)).collect();
    let enforced = enforced(level, unheld(outside.run(&sandbox, "change inside", small)).is_none());
    Ok(SelfTest { enforced, ..SelfTest::of(level, probes, millis()) })
}

/// What limits programs on this machine, in words; `sealed` where they can change their own files' modes.
fn enforced(level: Level, sealed: bool) -> Vec<&'static str> {
    let mut said = vec![
        "processor time, processes and output: watched, and ended beyond the limit",
        "memory: the address space of each process by the kernel (RLIMIT_AS); all processes together watched, shared \
         memory with its whole size",
    ];
    if level == Level::None {
        said.push("files: watched, with open files that have lost their names");
        return said;
    }
    said.push("memory files (memfd), System V and POSIX shared memory: refused");
    if sealed {
        said.push("files: the work folder is memory of a bounded size (tmpfs), nameless files included");
        said.push("chmod, utime, setxattr: refused outside the work folder (mounts are read-only)");
    } else {
        said.push("files: watched, with open files that have lost their names");
        said.push("chmod, utime, setxattr: refused everywhere, also in the work folder");
    }
    said
}

/// Why a probe that should have printed that the wall held did not.
fn unheld(ran: Result<Ran, String>) -> Option<String> {
    match ran {
        Err(reason) => Some(reason),
        Ok(ran) if ran.code == Some(0) && ran.stdout == HELD.as_bytes() => None,
        Ok(ran) => {
            let said = [ran.stdout.as_slice(), ran.stderr.as_slice()].concat();
            let how = match (ran.code, ran.signal) {
                (Some(code), _) => format!("code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => format!("{:?}", ran.ended),
            };
            Some(format!("{how}: {}", crate::text::shortened(String::from_utf8_lossy(&said).trim())))
        }
    }
}

/// What lies outside of the sandbox for the probes to reach for; it goes when it is dropped.
struct Outside {
    folder: PathBuf,
    listener: TcpListener,
}

impl Outside {
    fn new() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("sapo-probe-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let outside = Self { folder, listener: TcpListener::bind("127.0.0.1:0")? };
        fs::write(outside.folder.join("secret"), "secret")?;
        // Whether it may be read or written must not depend on whose it is.
        let all =
            |path: &Path, mode: u32| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
        all(&outside.folder, 0o777)?;
        all(&outside.folder.join("secret"), 0o666)?;
        Ok(outside)
    }

    fn run(&self, sandbox: &Sandbox, name: &str, limits: Limits) -> Result<Ran, String> {
        let port = self.listener.local_addr().map_err(|error| error.to_string())?.port().to_string();
        let (folder, own) = (self.folder.display().to_string(), std::process::id().to_string());
        let program = [OWN, MARK, PROBE, name, &folder, &port, &own].map(str::to_owned).to_vec();
        run(sandbox, &Job { program, read: vec![PathBuf::from(OWN)], ..Job::default() }, &limits)
    }

    fn probe(&self, sandbox: &Sandbox, name: &'static str, limits: Limits) -> Probe {
        let ran = self.run(sandbox, name, limits);
        let limit = match name {
            "long run" => Some(&[Ended::Cpu][..]),
            "big output" => Some(&[Ended::Stopped][..]),
            "fork bomb" => Some(&[Ended::Itself, Ended::Processes, Ended::Memory][..]),
            "big memory" => Some(&[Ended::Itself, Ended::Memory][..]),
            "nameless files" => Some(&[Ended::Itself, Ended::Files][..]),
            _ => None,
        };
        match (ran, limit) {
            // It may hear that nobody reads any more before it is ended.
            (Ok(ran), Some(_)) if name == "big output" && ran.flooded => {
                Probe { name, held: true, detail: format!("nothing was read after {} bytes", ran.stdout.len()) }
            }
            (Ok(ran), Some(limit)) if ran.ended != Ended::Itself => {
                let seen = ran.stdout.len().min(limits.output_bytes);
                let detail =
                    format!("ended by {:?} after {:.2} s of processor time, {seen} bytes", ran.ended, ran.cpu_secs);
                Probe { name, held: limit.contains(&ran.ended), detail }
            }
            (Ok(ran), Some(_)) if name == "big memory" && ran.code != Some(1) => {
                Probe { name, held: true, detail: "no more memory".to_owned() }
            }
            (ran, _) => match unheld(ran) {
                None => Probe { name, held: true, detail: "denied".to_owned() },
                Some(detail) => Probe { name, held: false, detail },
            },
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Makes an attempt, inside of the sandbox: 0 and [`HELD`] when the wall held, 1 and what got through when not.
pub(super) fn act(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let word = |index: usize| arguments.get(index).map_or("", String::as_str);
    let through = attempt(word(0), Path::new(word(1)), word(2).parse().unwrap_or(0), word(3).parse().unwrap_or(0));
    let said = through.as_deref().unwrap_or(HELD);
    // What cannot be printed is missed by whoever waits for it.
    drop(std::io::stdout().write_all(said.as_bytes()));
    if through.is_none() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What got through.
fn attempt(name: &str, folder: &Path, port: u16, parent: i32) -> Option<String> {
    let got = |what: &str| Some(what.to_owned());
    match name {
        "read a secret" if fs::read(folder.join("secret")).is_ok() => got("a file outside was read"),
        "read a secret" if fs::read_dir(folder).is_ok() => got("a folder outside was listed"),
        "read a secret" if fs::read("/etc/passwd").is_ok() => got("/etc/passwd was read"),
        "write outside" if fs::write(folder.join("made"), "x").is_ok() => got("a file was made outside"),
        "write outside" if fs::OpenOptions::new().append(true).open(folder.join("secret")).is_ok() => {
            got("a file outside was opened for writing")
        }
        "write outside" if fs::remove_file(folder.join("secret")).is_ok() => got("a file outside was removed"),
        "change outside" => changed(&folder.join("secret")).or_else(|| changed(Path::new(OWN))),
        "change inside" => fs::write("own", "x").is_err().then(String::new).or_else(|| {
            fs::set_permissions("own", std::os::unix::fs::PermissionsExt::from_mode(0o600)).err().map(|e| e.to_string())
        }),
        "nameless files" => nameless(),
        "socket" if TcpStream::connect(("127.0.0.1", port)).is_ok() => got("a server was reached"),
        "socket" if UdpSocket::bind("127.0.0.1:0").is_ok() => got("a socket was bound"),
        "socket" if UnixDatagram::unbound().is_ok() => got("a local socket was made"),
        "fork bomb" => bomb(),
        "big memory" => memory(),
        "long run" => burn(),
        "big output" => flood(),
        "setsid" if escaped_group() => got("it left its process group"),
        "session" if setsid().is_ok() => got("a child began a session"),
        "trace parent" => [Some(parent), above()].into_iter().flatten().find_map(traced),
        "kill parent" => [Some(parent), above()].into_iter().flatten().find_map(signalled),
        "wait" => {
            std::thread::sleep(Duration::from_secs(600));
            None
        }
        _ => None,
    }
}

/// The supervisor, when it is in sight.
fn above() -> Option<i32> {
    confine::parent().map(|pid| pid.as_raw_nonzero().get())
}

fn escaped_group() -> bool {
    // The leader of a group cannot leave it anyway, a child can.
    let child = || {
        let mut child = Command::new(OWN);
        child.args([MARK, PROBE, "session"]).stdin(Stdio::null()).stdout(Stdio::null());
        child
    };
    let mut leader = child();
    std::os::unix::process::CommandExt::process_group(&mut leader, 0);
    let succeeds = |mut command: Command| command.status().is_ok();
    setsid().is_ok() || succeeds(leader) || child().status().is_ok_and(|status| !status.success())
}

fn traced(pid: i32) -> Option<String> {
    for name in ["environ", "mem", "maps"] {
        if fs::File::open(format!("/proc/{pid}/{name}")).is_ok() {
            return Some(format!("{name} of process {pid} was opened"));
        }
    }
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok().map(|_| format!("process {pid} was opened"))
}

fn signalled(pid: i32) -> Option<String> {
    // This signal does nothing to a process that runs.
    kill_process(Pid::from_raw(pid)?, Signal::CONT).ok().map(|()| format!("process {pid} was sent a signal"))
}

fn bomb() -> Option<String> {
    let mut children = Vec::new();
    for _ in 0..BOMB {
        let child = Command::new(OWN).args([MARK, PROBE, "wait"]).stdout(Stdio::null()).stdin(Stdio::null()).spawn();
        match child {
            Ok(child) => children.push(child),
            Err(_) => return (children.len() > PROCESSES as usize).then(|| format!("{} processes", children.len())),
        }
    }
    // Whoever watches may not have looked yet.
    std::thread::sleep(Duration::from_secs(5));
    Some(format!("{BOMB} processes"))
}

fn memory() -> Option<String> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while taken.len() * PIECE_BYTES < 2 * MEMORY_BYTES as usize {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE_BYTES).is_err() {
            return None;
        }
        piece.resize(PIECE_BYTES, 1);
        taken.push(piece);
    }
    Some(format!("{} MB were taken", (taken.len() * PIECE_BYTES) >> 20))
}

/// Which of the things that are known of a file could be changed.
fn changed(path: &Path) -> Option<String> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, setxattr, utimensat};
    let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    let done = [
        ("mode", fs::set_permissions(path, mode).is_ok()),
        ("times", utimensat(CWD, path, &times, AtFlags::empty()).is_ok()),
        ("attributes", setxattr(path, "user.sapo", b"x", XattrFlags::empty()).is_ok()),
    ];
    done.iter().find(|(_, done)| *done).map(|(what, _)| format!("the {what} of a file outside were changed"))
}

/// Writes files that lose their names at once, more than all files together may have.
fn nameless() -> Option<String> {
    let piece = vec![1; 1 << 20];
    let most = Limits::default().file_bytes.unwrap_or(0) / piece.len() as u64;
    let mut open = Vec::new();
    for number in 0..8 {
        let name = format!("nameless-{number}");
        let Ok(mut file) = fs::File::create(&name) else { return None };
        drop(fs::remove_file(&name));
        for _ in 0..most - 1 {
            if file.write_all(&piece).is_err() {
                return None;
            }
        }
        open.push(file);
    }
    // Whoever watches may not have looked yet.
    std::thread::sleep(Duration::from_secs(5));
    Some(format!("{} files of {most} MiB were written", open.len()))
}

fn burn() -> Option<String> {
    let begun = Instant::now();
    let mut count = 0_u64;
    while begun.elapsed() < Duration::from_secs(30) {
        count = count.wrapping_add(1);
    }
    Some(format!("it ran on and counted to {count}"))
}

fn flood() -> Option<String> {
    let piece = [b'x'; 4096];
    let mut written = 0;
    while written < 1 << 24 && std::io::stdout().write_all(&piece).is_ok() {
        written += piece.len();
    }
    Some(format!("{written} bytes were written"))
}
