//! The stage that becomes the program: it takes every right from itself, and then runs it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getuid, set_parent_process_death_signal, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::tree;
use super::wire::{Spec, receive, send};

/// Programs and libraries of the system, and what they read when they start.
const SYSTEM: [&str; 18] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/sys/devices/system/cpu",
];
/// Devices that hold nothing.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// The bit of a call number in the x32 form of x86-64.
const X32: i64 = 0x4000_0000;
/// Numbers that only x32 has for `ptrace`, `process_vm_readv` and `process_vm_writev`.
const X32_ONLY: [i64; 3] = [521, 539, 540];
/// Flags of `clone` that make namespaces.
const NEW_NAMESPACES: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// The flag of `clone` that makes a thread.
const THREAD: u64 = 0x0001_0000;
/// The numbers of `fork` and `vfork`, which only x86-64 has.
const X86_FORKS: [i64; 2] = [57, 58];
/// Room for processes of the same user that start while a program runs, where the limit counts them all.
const OTHER_TASKS: u64 = 512;

/// Reads what must be done, does it, and becomes the program; comes back only with a fault, which it reports.
pub(super) fn confine(control: &UnixStream) {
    let reason = match receive::<Spec>(control) {
        Ok(Some((spec, descriptors))) => become_program(&spec, descriptors),
        Ok(None) => "nothing was asked of it".to_owned(),
        Err(error) => error.to_string(),
    };
    // Nobody listens: then there is nobody to tell.
    drop(send(control, &reason, &[]));
}

fn become_program(spec: &Spec, descriptors: Vec<OwnedFd>) -> String {
    let Ok([stdin]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return "the stage has no stdin to hand on".to_owned();
    };
    if let Err(reason) = restrict(spec) {
        return reason;
    }
    let Some((program, arguments)) = spec.program.split_first() else {
        return "the name of the program is empty".to_owned();
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(spec.environment.iter().map(|(key, value)| (key, value)));
    for key in ["HOME", "TMPDIR"] {
        if !spec.environment.iter().any(|(given, _)| given == key) {
            command.env(key, &spec.folder);
        }
    }
    command.stdin(Stdio::from(stdin));
    format!("`{program}` cannot be run: {}", command.exec())
}

fn restrict(spec: &Spec) -> Result<(), String> {
    let told = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| told("death signal", &error))?;
    set_limits(spec).map_err(|error| told("resource limits", &error))?;
    std::env::set_current_dir(&spec.begins).map_err(|error| told("work folder", &error))?;
    let scoped = if spec.walls { wall_files(spec)? } else { true };
    if let Some(user) = spec.user {
        become_user(user).map_err(|error| told("user of its own", &error))?;
        // A change of user forgets it.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| told("death signal", &error))?;
    }
    if spec.walls {
        let none = CapabilitySet::empty();
        // Root without them is a user like others; what runs next cannot get them back.
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
            .map_err(|error| told("capabilities", &error))?;
        let kills = !scoped && !spec.namespaces && spec.user.is_none();
        // The kernel counts no processes of root: then there can be none but this one.
        let forks = !getuid().is_root();
        for program in filters(kills, forks, spec.sealed).map_err(|error| told("seccomp", &error))? {
            seccompiler::apply_filter(&program).map_err(|error| told("seccomp", &error))?;
        }
    }
    Ok(())
}

/// Gives up root for a user that owns nothing.
pub(super) fn become_user(user: u32) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn set_limits(spec: &Spec) -> io::Result<()> {
    let limits = &spec.limits;
    let own = spec.user.is_some() || spec.namespaces || !spec.walls;
    let processes = u64::from(limits.processes);
    let processes = if own { processes } else { processes + OTHER_TASKS + tree::tasks_of(getuid().as_raw()) };
    let cpu = limits.cpu_secs.map(|secs| secs.ceil() as u64 + 1);
    let mut wanted = vec![(Resource::Core, Some(0)), (Resource::Cpu, cpu), (Resource::As, limits.memory_bytes)];
    wanted.push((Resource::Fsize, limits.file_bytes));
    if spec.walls {
        wanted.push((Resource::Nproc, Some(processes)));
    }
    for (resource, most) in wanted {
        if most.is_none() {
            continue;
        }
        // A limit that is lower already stays.
        let hard = rustix::process::getrlimit(resource).maximum;
        let most = most.map(|most| hard.map_or(most, |hard| hard.min(most)));
        setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

/// Walls off files, TCP and, where the kernel can, signals and abstract sockets; whether it can.
fn wall_files(spec: &Spec) -> Result<bool, String> {
    let told = |error: landlock::RulesetError| format!("Landlock: {error}");
    let all = AccessFs::from_all(ABI::V5);
    let seen = AccessFs::from_read(ABI::V5);
    // A device file that root makes in its folder would lead out of it.
    let own = all & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let system = SYSTEM.iter().map(Path::new).chain(spec.read.iter().map(AsRef::as_ref));
    let status = Ruleset::default()
        .handle_access(all)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(system, seen)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(DEVICES, device)))
        .and_then(|rules| rules.add_rules(path_beneath_rules([&spec.folder], own)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(told)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("the kernel has no Landlock (Linux 5.13 or later, and not turned off at boot)".to_owned());
    }
    Ok(matches!(status.landlock, LandlockStatus::Available { effective_abi, .. } if effective_abi >= ABI::V6))
}

/// The calls that are denied; with `kills`, signals to others as well, without `forks`, those that make processes, and
/// where mounts do not seal everything outside, those that change what is known of a file.
fn filters(kills: bool, forks: bool, sealed: bool) -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let always = Vec::new;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(&x32_only()).map(|number| (*number, always())).collect();
    let when = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions).map_err(seccompiler::Error::Backend);
    let condition = |index: u8, op: SeccompCmpOp, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value).map_err(seccompiler::Error::Backend)
    };
    let mut clone = Vec::new();
    for flag in NEW_NAMESPACES {
        clone.push(when(vec![condition(0, SeccompCmpOp::MaskedEq(flag), flag)?])?);
    }
    if !forks {
        clone.push(when(vec![condition(0, SeccompCmpOp::MaskedEq(THREAD), 0)?])?);
        if cfg!(target_arch = "x86_64") {
            rules.extend(X86_FORKS.map(|number| (number, always())));
        }
    }
    rules.insert(libc::SYS_clone, clone);
    // The death signal, and limits of other processes.
    let mut controls = vec![when(vec![condition(0, SeccompCmpOp::Eq, 1)?])?];
    if !sealed {
        rules.extend(METADATA.iter().chain(old_metadata()).map(|number| (*number, always())));
        let mut marks = Vec::new();
        for request in FILE_MARKS {
            marks.push(when(vec![condition(1, SeccompCmpOp::Eq, request)?])?);
        }
        rules.insert(libc::SYS_ioctl, marks);
        // Who cannot be looked into could hide open files.
        controls.push(when(vec![condition(0, SeccompCmpOp::Eq, SET_DUMPABLE)?])?);
    }
    rules.insert(libc::SYS_prctl, controls);
    rules.insert(libc::SYS_prlimit64, vec![when(vec![condition(0, SeccompCmpOp::Ne, 0)?])?]);
    if kills {
        let own = u64::from(std::process::id());
        let other = |also: &[u64]| {
            let mut conditions = vec![condition(0, SeccompCmpOp::Ne, own)?];
            for value in also {
                conditions.push(condition(0, SeccompCmpOp::Ne, *value)?);
            }
            when(conditions)
        };
        rules.insert(libc::SYS_kill, vec![other(&[0])?]);
        rules.insert(libc::SYS_tgkill, vec![other(&[])?]);
        rules.insert(libc::SYS_tkill, vec![other(&[])?]);
    }
    if cfg!(target_arch = "x86_64") {
        let twins: Vec<_> =
            rules.iter().filter(|(number, _)| **number < X32).map(|(n, r)| (n | X32, r.clone())).collect();
        rules.extend(twins);
    }
    let missing = numbered_twice(&MISSING);
    let arch = std::env::consts::ARCH.try_into().map_err(seccompiler::Error::Backend)?;
    let compiled = [(rules, libc::EPERM), (missing, libc::ENOSYS)].map(|(rules, errno)| {
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)
            .and_then(BpfProgram::try_from)
            .map_err(seccompiler::Error::Backend)
    });
    compiled.into_iter().collect()
}

/// Calls that change what is known of a file, and those that hand open files to a place where nobody sees them.
const METADATA: [i64; 17] = [
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
];
/// Numbers that every architecture has, for kernels that are newer than the constants.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;
const MEMFD_SECRET: i64 = 447;
/// On x86-64: `chmod`, `chown`, `lchown`, `utime`, `utimes`, `futimesat`.
const OLD_METADATA: [i64; 6] = [90, 92, 94, 132, 235, 261];
/// Requests that change the marks of a file, as `chattr` does.
const FILE_MARKS: [u64; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];
/// The control of a process that keeps others from looking into it.
const SET_DUMPABLE: u64 = 4;
/// Calls that do not exist here: a program that hears so uses `clone`, whose flags can be looked at, and a file in its
/// folder, whose bytes are counted.
const MISSING: [i64; 3] = [libc::SYS_clone3, libc::SYS_memfd_create, MEMFD_SECRET];

fn old_metadata() -> &'static [i64] {
    if cfg!(target_arch = "x86_64") { &OLD_METADATA } else { &[] }
}

/// Rules that always hold, for both forms of x86-64.
fn numbered_twice(numbers: &[i64]) -> BTreeMap<i64, Vec<SeccompRule>> {
    let twin = |number: &i64| cfg!(target_arch = "x86_64").then_some(number | X32);
    numbers
        .iter()
        .flat_map(|number| [Some(*number), twin(number)])
        .flatten()
        .map(|number| (number, Vec::new()))
        .collect()
}

/// On x86-64, calls that the x32 form alone numbers so.
fn x32_only() -> Vec<i64> {
    if cfg!(target_arch = "x86_64") { X32_ONLY.iter().map(|number| number | X32).collect() } else { Vec::new() }
}

/// What no program may do: talk to anybody, look into or stop other processes, leave its group, change the system,
/// keep something in memory for those that come after it.
const DENIED: [i64; 61] = [
    libc::SYS_socket,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_sethostname,
    libc::SYS_acct,
    libc::SYS_syslog,
];

/// The process number of whoever started this one, unless it is out of sight.
pub(super) fn parent() -> Option<Pid> {
    rustix::process::getppid()
}
