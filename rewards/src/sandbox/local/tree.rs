//! The processes below this one, as `/proc` shows them: who they are, what they use, and an end to all of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// How long killed processes are waited for.
const REAP: Duration = Duration::from_secs(10);

/// What processes use together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu_secs: f64,
    pub(super) memory_bytes: u64,
    pub(super) processes: u32,
}

/// The fields of `/proc/PID/stat` after the name.
fn stat(pid: i32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.get(text.rfind(')')? + 1..)?;
    // The state is a letter, and some fields may be negative.
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// The processes below `root`, whoever started them.
pub(super) fn below(root: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        let children = children(parent);
        found.extend(&children);
        next.extend(children);
    }
    found
}

fn children(parent: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let mut known = true;
    let mut children = Vec::new();
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => children.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            Err(_) if task.path().join("stat").exists() => known = false,
            Err(_) => {}
        }
    }
    if known { children } else { searched(parent) }
}

/// The children of a process, found among all processes: for kernels that keep no list of children.
fn searched(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|stat| stat.get(1) == Some(&(parent as u64)))).collect()
}

/// What the processes below `root` use now, with those that `root` has waited for.
pub(super) fn usage(root: i32) -> Usage {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as u64;
    let at = |stat: &[u64], index: usize| stat.get(index).copied().unwrap_or(0);
    let own = stat(root).unwrap_or_default();
    let mut spent = at(&own, 13) + at(&own, 14);
    let mut usage = Usage::default();
    let mut seen = BTreeSet::new();
    for pid in below(root) {
        let Some(stat) = stat(pid) else { continue };
        spent += (11..15).map(|index| at(&stat, index)).sum::<u64>();
        usage.processes += 1;
        let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let mut pages = pages.split_whitespace().skip(1).filter_map(|field| field.parse::<u64>().ok());
        let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        let own = resident.saturating_sub(shared) * page;
        // Where the maps cannot be read, all that is shared is counted, libraries and all.
        let lent = shared_maps(pid, &mut seen).unwrap_or(shared * page);
        usage.memory_bytes = usage.memory_bytes.saturating_add(own).saturating_add(lent);
    }
    usage.cpu_secs = spent as f64 / ticks;
    usage
}

/// The bytes of memory that a process has mapped to share it, as large as they are and not as far as they were touched:
/// who touched them may have ended. What another has mapped as well counts once.
fn shared_maps(pid: i32, seen: &mut BTreeSet<u64>) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut bytes = 0_u64;
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else { continue };
        let (inode, name) = (fields.nth(2).and_then(|inode| inode.parse().ok()), fields.next().unwrap_or_default());
        let anonymous = ["/dev/zero", "/memfd:", "/SYSV", "/dev/shm/"].iter().any(|start| name.starts_with(start));
        let (Some((from, to)), Some(inode)) = (range.split_once('-'), inode) else { continue };
        if rights.ends_with('s') && anonymous && seen.insert(inode) {
            let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
            bytes = bytes.saturating_add(number(to).saturating_sub(number(from)));
        }
    }
    Some(bytes)
}

/// The bytes of open files without a name, as far as processes below `root` show them.
pub(super) fn unnamed_bytes(root: i32) -> u64 {
    let mut seen = BTreeSet::new();
    let mut bytes = 0_u64;
    for pid in below(root) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(about) = fs::metadata(entry.path()) else { continue };
            if about.is_file() && about.nlink() == 0 && seen.insert((about.dev(), about.ino())) {
                bytes = bytes.saturating_add(about.blocks().saturating_mul(512));
            }
        }
    }
    bytes
}

/// Kills everything below `root`, which is this process, until nobody is left.
pub(super) fn end(root: i32) {
    let until = Instant::now() + REAP;
    loop {
        let left = below(root);
        for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // Who has ended already cannot be killed.
            _ = kill_process(pid, Signal::KILL);
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        if left.is_empty() || Instant::now() > until {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Processes and threads of a user, for a limit that counts them all.
pub(super) fn tasks_of(user: u32) -> u64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let mut tasks = 0;
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        let text = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        if field("Uid:") == Some(u64::from(user)) {
            tasks += field("Threads:").unwrap_or(1);
        }
    }
    tasks
}
