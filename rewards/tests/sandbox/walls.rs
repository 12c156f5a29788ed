//! The walls of every local level: the self-test, and what programs may and may not do.

use std::time::Instant;

use sapo_rewards::sandbox::{Ended, Job, Level, Limits, Ran, Sandbox, Wanted, self_test};

use crate::Test;

pub(crate) const TESTS: &[Test] = &[
    ("walls::a_level_that_passes_its_self_test_holds_every_probe", a_level_that_passes_its_self_test_holds_every_probe),
    ("walls::none_is_not_held", none_is_not_held),
    ("walls::programs_get_what_they_are_given_and_nothing_else", programs_get_what_they_are_given_and_nothing_else),
    ("walls::limits_end_programs", limits_end_programs),
    ("walls::nobody_survives", nobody_survives),
    ("walls::what_cannot_be_run_is_a_fault_of_the_sandbox", what_cannot_be_run_is_a_fault_of_the_sandbox),
];

/// The levels that hold on this machine; a machine without any would fail the first test.
pub(crate) fn levels() -> Vec<Sandbox> {
    [Wanted::Strict, Wanted::Standard].into_iter().filter_map(|wanted| Sandbox::choose(wanted).ok()).collect()
}

fn shell(script: &str) -> Job {
    Job { program: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), ..Job::default() }
}

fn ran(sandbox: &Sandbox, job: &Job, limits: Limits) -> Ran {
    sandbox.run(job, &limits).unwrap_or_else(|reason| panic!("{:?}: {reason}", sandbox.level()))
}

fn a_level_that_passes_its_self_test_holds_every_probe() {
    let tests: Vec<_> =
        [Level::Strict, Level::Standard].into_iter().map(|level| self_test(level).expect("a launcher")).collect();
    for test in &tests {
        assert_eq!(
            test.reason.is_none(),
            test.probes.len() == 12 && test.probes.iter().all(|probe| probe.held),
            "{test:?}"
        );
    }
    assert!(tests.iter().any(|test| test.reason.is_none()), "no level holds on this machine: {tests:#?}");
    assert!(Sandbox::choose(Wanted::Auto).is_ok());
    // A server has no local walls to test.
    assert!(Sandbox::choose(Wanted::Remote).is_err());
}

/// The probes can tell: without walls, the same things are possible.
fn none_is_not_held() {
    let sandbox = Sandbox::choose(Wanted::None).expect("limits alone");
    let reads = ran(&sandbox, &shell("cat /etc/passwd"), Limits::default());
    assert_eq!(reads.code, Some(0), "{reads:?}");
    assert!(!reads.stdout.is_empty());
}

fn programs_get_what_they_are_given_and_nothing_else() {
    for sandbox in levels() {
        let job = Job {
            environment: vec![("GIVEN".to_owned(), "yes".to_owned())],
            files: vec![("here.txt".to_owned(), b"file".to_vec())],
            stdin: b"input".to_vec(),
            ..shell("cat here.txt; cat; env | cut -d= -f1 | sort | tr '\\n' ' '; echo problem >&2; exit 7")
        };
        let ran = ran(&sandbox, &job, Limits::default());
        let text = String::from_utf8(ran.stdout.clone()).expect("text");
        assert_eq!(
            text.trim(),
            "fileinputGIVEN HOME PATH PWD TMPDIR".replace("PWD ", if text.contains("PWD") { "PWD " } else { "" }),
            "{ran:?}"
        );
        assert_eq!((ran.code, ran.ended, ran.stderr.as_slice()), (Some(7), Ended::Itself, b"problem\n".as_slice()));
        for attempt in ["cat /etc/passwd", "ls /", "ls /tmp", "cat /proc/1/environ", "echo x > /dev/shm/x"] {
            let ran = self::ran(&sandbox, &shell(attempt), Limits::default());
            assert!(ran.code != Some(0) && ran.stdout.is_empty(), "{attempt}: {ran:?}");
        }
    }
}

fn limits_end_programs() {
    for sandbox in levels() {
        let limits = Limits { cpu_secs: Some(0.2), output_bytes: 1000, file_bytes: Some(1 << 16), ..Limits::default() };
        let loops = ran(&sandbox, &shell("while :; do :; done"), limits);
        assert_eq!(loops.ended, Ended::Cpu, "{loops:?}");
        // The processor time of children counts.
        let children = ran(&sandbox, &shell("(while :; do :; done) & (while :; do :; done) & wait"), limits);
        assert_eq!(children.ended, Ended::Cpu, "{children:?}");
        let sleeps = ran(&sandbox, &shell("sleep 1000"), Limits { wall_secs: Some(0.3), ..limits });
        assert_eq!(sleeps.ended, Ended::Wall, "{sleeps:?}");
        let floods = ran(&sandbox, &shell("yes"), Limits { cpu_secs: Some(20.0), ..limits });
        assert!(floods.flooded && floods.stdout.len() == 1000, "{:?}", floods.ended);
        // A program that ends by itself when nobody reads any more.
        let ends = ran(&sandbox, &shell("yes 2>/dev/null; exit 0"), Limits { cpu_secs: Some(20.0), ..limits });
        assert!(ends.flooded, "{:?}", ends.ended);
        let whole = ran(&sandbox, &shell("printf '%0100d' 0"), Limits { output_bytes: 100, ..limits });
        assert!(!whole.flooded && whole.stdout.len() == 100 && whole.code == Some(0), "{whole:?}");
        let file =
            ran(&sandbox, &shell("yes | head -c 200000 > big; wc -c < big"), Limits { cpu_secs: Some(20.0), ..limits });
        let size: u64 = String::from_utf8_lossy(&file.stdout).trim().parse().unwrap_or(u64::MAX);
        assert!(size <= 1 << 16, "{file:?}");
        let script = "i=0; while [ $i -lt 50 ]; do head -c 60000 /dev/zero > f$i; i=$((i + 1)); done; sleep 1000";
        let files = ran(&sandbox, &shell(script), Limits { cpu_secs: Some(20.0), ..limits });
        assert_eq!(files.ended, Ended::Files, "{files:?}");
        let signal = ran(&sandbox, &shell("kill -9 $$"), Limits::default());
        // The first process of a namespace cannot kill itself.
        assert!(signal.signal == Some(9) || sandbox.level() == Level::Strict, "{signal:?}");
    }
}

/// What a program leaves running ends with it, and does not hold up who reads its output.
fn nobody_survives() {
    for sandbox in levels().into_iter().chain(Sandbox::choose(Wanted::None)) {
        let begun = Instant::now();
        let script = "(setsid sleep 987 || sleep 987) & (sleep 986 &) ; echo done";
        let ran = ran(&sandbox, &shell(script), Limits::default());
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(0), b"done\n".as_slice()), "{ran:?}");
        assert!(begun.elapsed().as_secs() < 100);
    }
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let ours = [b"sleep\x00987\x00".as_slice(), b"sleep\x00986\x00".as_slice()];
        assert!(!ours.contains(&line.as_slice()), "{:?} survived", entry.path());
    }
}

fn what_cannot_be_run_is_a_fault_of_the_sandbox() {
    for sandbox in levels() {
        let job = Job { program: vec!["sapo-no-such-program".to_owned()], ..Job::default() };
        let fault = sandbox.run(&job, &Limits::default()).expect_err("no such program");
        assert!(fault.contains("sapo-no-such-program"), "{fault}");
        // What a program does in its own name is not.
        let exits = ran(&sandbox, &shell("exit 127"), Limits::default());
        assert_eq!(exits.code, Some(127), "{exits:?}");
    }
}
