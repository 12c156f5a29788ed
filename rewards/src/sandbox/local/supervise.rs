//! The supervisor: it stands between whoever asks and the program, watches what the program uses, and kills all that
//! is left when it has ended, when it has used too much, or when nobody wants it any more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Uid, chown};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitOptions, WaitStatus, getegid, geteuid, getpid, pidfd_open,
    set_child_subreaper, set_dumpable_behavior, wait,
};
use rustix::thread::UnshareFlags;

use super::confine::become_user;
use super::folder::{MOST_ENTRIES, bytes_below};
use super::mounts::{seal, used};
use super::tree;
use super::wire::{Report, Spec, receive, send};
use super::{CONFINE, MARK, OWN};
use crate::sandbox::{Ended, Limits};

/// How often it is looked at what a program uses in its first seconds, and after them.
const LOOK: Duration = Duration::from_millis(10);
const LATER_LOOK: Duration = Duration::from_millis(50);
/// All files of a program together may be so many times as large as one.
const FILES: u64 = 4;
/// The first seconds.
const FIRST: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody has ended when nothing is limited.
const IDLE_LOOK: Duration = Duration::from_secs(2);

/// Does what is asked and reports.
pub(super) fn supervise(control: &UnixStream) {
    let report = match receive::<Spec>(control) {
        Ok(Some((spec, descriptors))) => run(control, spec, descriptors).unwrap_or_else(Report::fault),
        Ok(None) => return,
        Err(error) => Report::fault(error.to_string()),
    };
    tree::end(own());
    // Nobody listens: then there is nobody to tell.
    drop(send(control, &report, &[]));
}

fn own() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn run(control: &UnixStream, mut spec: Spec, descriptors: Vec<OwnedFd>) -> Result<Report, String> {
    let told = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        return Err("the supervisor was not given three descriptors".to_owned());
    };
    set_child_subreaper(Some(getpid())).map_err(told("subreaper"))?;
    if let Some(user) = spec.user {
        chown(&spec.folder, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).map_err(told("work folder"))?;
    }
    if spec.namespaces {
        if let Some(user) = spec.user.take() {
            become_user(user).map_err(|error| format!("user of its own: {error}"))?;
            // Otherwise the files in /proc with the maps of users belong to root.
            set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(told("user of its own"))?;
        }
        unshare().map_err(|error| format!("namespaces: {error}"))?;
        // Where that is not allowed, what it would keep out is denied altogether.
        let room = spec.limits.file_bytes.map(|limit| limit.saturating_mul(FILES + 1));
        spec.sealed = seal(&spec.folder, room).is_ok();
    }
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let mut command = Command::new(OWN);
    command.args([MARK, CONFINE]).env_clear().stdin(Stdio::from(OwnedFd::from(theirs)));
    command.stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr)).process_group(0);
    let child = command.spawn().map_err(|error| format!("the launcher cannot be started again: {error}"))?;
    drop(command);
    let program = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no process number")?;
    send(&ours, &spec, &[stdin.as_fd()]).map_err(|error| error.to_string())?;
    drop(stdin);
    match receive::<String>(&ours) {
        Ok(None) => Ok(watch(control, program, &spec)),
        Ok(Some((reason, _))) => Err(reason),
        // It was killed before it could say anything.
        Err(error) => Err(format!("the stage before the program ended: {error}")),
    }
}

/// Namespaces of its own, in which the user stays who it is.
fn unshare() -> io::Result<()> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let all = UnshareFlags::NEWUSER
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    #[expect(deprecated, reason = "only unsharing the table of descriptors is unsafe, which is not done here")]
    rustix::thread::unshare(all)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Waits until the program ends or must be ended.
fn watch(control: &UnixStream, program: Pid, spec: &Spec) -> Report {
    let limits = &spec.limits;
    let begun = Instant::now();
    let process = pidfd_open(program, PidfdFlags::empty()).ok();
    let mut peak_bytes = 0;
    let mut ended = Ended::Itself;
    let mut status = None;
    let unlimited = Limits { output_bytes: limits.output_bytes, ..Limits::NONE } == *limits;
    loop {
        // Its status is kept until it is waited for; others that end are waited for as well.
        while let Ok(Some((pid, how))) = wait(WaitOptions::NOHANG) {
            if pid == program {
                status = Some(how);
            }
        }
        let usage = if unlimited && status.is_none() { tree::Usage::default() } else { tree::usage(own()) };
        peak_bytes = peak_bytes.max(usage.memory_bytes);
        if status.is_some() {
            return report(ended, status, usage.cpu_secs, peak_bytes);
        }
        let broken = broken(spec, &usage, begun.elapsed().as_secs_f64());
        if let Some(broken) = broken {
            ended = broken;
            tree::end(own());
            return report(ended, None, tree::usage(own()).cpu_secs, peak_bytes);
        }
        let mut waited = vec![PollFd::new(control, PollFlags::IN)];
        waited.extend(process.as_ref().map(|process| PollFd::new(process, PollFlags::IN)));
        let pause = match process {
            Some(_) if unlimited => IDLE_LOOK,
            Some(_) if begun.elapsed() > FIRST => LATER_LOOK,
            _ => LOOK,
        };
        let pause =
            Timespec { tv_sec: i64::try_from(pause.as_secs()).unwrap_or(1), tv_nsec: pause.subsec_nanos().into() };
        // An interrupted wait is as good as one that is over.
        _ = poll(&mut waited, Some(&pause));
        if !waited[0].revents().is_empty() {
            // Nothing more is ever said to it: the other side has closed.
            if let Ok(Some((pid, how))) = wait(WaitOptions::NOHANG)
                && pid == program
            {
                return report(Ended::Itself, Some(how), tree::usage(own()).cpu_secs, peak_bytes);
            }
            tree::end(own());
            return report(Ended::Stopped, None, tree::usage(own()).cpu_secs, peak_bytes);
        }
    }
}

/// The limit that a program has broken.
fn broken(spec: &Spec, usage: &tree::Usage, wall_secs: f64) -> Option<Ended> {
    let limits = &spec.limits;
    let over = |limit: Option<f64>, used: f64| limit.is_some_and(|limit| used > limit);
    if over(limits.cpu_secs, usage.cpu_secs) {
        Some(Ended::Cpu)
    } else if over(limits.wall_secs, wall_secs) {
        Some(Ended::Wall)
    } else if limits.memory_bytes.is_some_and(|limit| usage.memory_bytes > limit) {
        Some(Ended::Memory)
    } else if usage.processes > limits.processes {
        Some(Ended::Processes)
    } else if limits.file_bytes.is_some_and(|limit| file_bytes(spec) > FILES.saturating_mul(limit)) {
        Some(Ended::Files)
    } else {
        None
    }
}

/// The bytes of all files of a program, also of those that have lost their names; more than any limit for too many.
fn file_bytes(spec: &Spec) -> u64 {
    if spec.sealed {
        return match used(&spec.folder) {
            Ok((_, files)) if files > MOST_ENTRIES as u64 => u64::MAX,
            Ok((bytes, _)) => bytes,
            Err(_) => u64::MAX,
        };
    }
    bytes_below(&spec.folder).saturating_add(tree::unnamed_bytes(own()))
}

fn report(ended: Ended, status: Option<WaitStatus>, cpu_secs: f64, peak_bytes: u64) -> Report {
    let code = status.and_then(|status| status.exit_status());
    let signal = status.and_then(|status| status.terminating_signal());
    Report { fault: None, ended, code, signal, cpu_secs, peak_bytes }
}
