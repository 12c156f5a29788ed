//! Programs of policies that cheat, break or hurt: each with the verdict that it must get.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sapo_datasets::{Demonstration, Difficulty, Message, Part, Query, Role, Split, Stream, Style, Task, Transcript};
use sapo_rewards::code::{Code, CodeConfig, Counted};
use sapo_rewards::reward::{Item, Reward, score_all};
use sapo_rewards::sandbox::Wanted;
use sapo_rewards::score::{FailureKind, Outcome, PartScore};
use serde_json::{Value, json};

use crate::Test;
use crate::walls::levels;

pub(crate) const TESTS: &[Test] = &[
    ("programs::eleven_attacks", eleven_attacks),
    ("programs::traps_of_outputs", traps_of_outputs),
    ("programs::walls_hold_at_every_level", walls_hold_at_every_level),
    ("programs::links_out_of_the_work_folder_are_not_followed", links_out_of_the_work_folder_are_not_followed),
    ("programs::one_limit_for_all_tests_of_an_answer", one_limit_for_all_tests_of_an_answer),
    ("programs::shares_and_tolerances", shares_and_tolerances),
    ("programs::what_is_no_program_or_no_test", what_is_no_program_or_no_test),
    ("programs::other_interpreters", other_interpreters),
    ("programs::the_example_of_the_catalogue", the_example_of_the_catalogue),
    ("programs::golds_of_the_generated_task", golds_of_the_generated_task),
    ("programs::a_server_that_fails_is_never_a_failed_test", a_server_that_fails_is_never_a_failed_test),
];

/// Short limits: processor time does not depend on how busy the machine is, and the clock only ends what sleeps.
pub(crate) fn config() -> CodeConfig {
    CodeConfig { cpu_secs: 1.5, wall_secs: 60.0, memory_mb: 256, processes: 24, output_kb: 64, ..CodeConfig::default() }
}

fn query(truth: Value) -> Query {
    Query {
        id: "q".to_owned(),
        task: "test".to_owned(),
        messages: vec![Message { role: Role::User, content: vec![Part::text("?")] }],
        conversational: false,
        images: Vec::new(),
        videos: Vec::new(),
        ground_truth: Some(truth),
        rubric: None,
        tools: Vec::new(),
        columns: serde_json::Map::new(),
    }
}

/// Scores programs in one batch, each with its ground truth.
fn scored(config: &CodeConfig, cases: &[(Value, String)]) -> Vec<PartScore> {
    let code = Code::new("code", config).expect("options that make sense");
    let pairs: Vec<(Query, Transcript)> =
        cases.iter().map(|(truth, response)| (query(truth.clone()), Transcript::of_answer("q", response))).collect();
    let items: Vec<Item<'_>> = pairs.iter().map(|(query, transcript)| Item { query, transcript }).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(score_all(&code, &items))
}

fn fenced(program: &str) -> String {
    format!("Here it is:\n```python\n{program}\n```\n")
}

/// Programs with the verdict on their first test that does not pass, or `Passed`; what they score follows from it.
pub(crate) fn expect(config: &CodeConfig, truth: &Value, cases: &[(&str, &str, &str)]) {
    let given: Vec<(Value, String)> = cases.iter().map(|(_, program, _)| (truth.clone(), fenced(program))).collect();
    for ((name, _, verdict), score) in cases.iter().zip(scored(config, &given)) {
        let evidence = score.evidence.clone().unwrap_or_default();
        let value = score.outcome.value();
        assert_eq!(value, Some(f64::from(u8::from(*verdict == "Passed"))), "{name}: {score:?}");
        let verdicts = verdict.split('|').any(|verdict| evidence.contains(&format!(" {verdict}")));
        assert!(verdicts, "{name}: expected {verdict}, got {evidence}");
    }
}

/// Programs that sleep take no longer for many tests than for one.
fn one_limit_for_all_tests_of_an_answer() {
    let tests: Vec<Value> = (0..6).map(|n| json!({"stdin": n.to_string(), "stdout": n.to_string()})).collect();
    let truth = json!({"tests": tests});
    let sleeps = fenced("import time\ntime.sleep(1000)");
    for value in [Counted::All, Counted::Share] {
        let config = CodeConfig { answer_secs: 0.5, value, ..config() };
        let score = &scored(&config, &[(truth.clone(), sleeps.clone())])[0];
        assert_eq!(score.outcome.value(), Some(0.0), "{score:?}");
        let evidence = score.evidence.clone().unwrap_or_default();
        assert!(evidence.contains("stopped after 1") && evidence.contains("TimeLimit"), "{evidence}");
        assert_eq!(evidence.contains("answer_secs = 0.5"), value == Counted::Share, "{evidence}");
    }
}

/// The gold of the generated task passes its hidden tests; the question, nothing, and the most frequent program of other
/// questions do not. Programs are run for 20 draws of each difficulty, the others cost nothing and are tried 1,000 times.
fn golds_of_the_generated_task() {
    for difficulty in Difficulty::ALL {
        let stream = Stream { difficulty, ..Stream::new(Task::Program, Split::Train, 5) };
        let shown: Vec<Demonstration> = (0..1_000).map(|index| stream.unpainted(index, Style::Careful)).collect();
        let truth = |shown: &Demonstration| shown.query.ground_truth.clone().expect("tests");
        let values = |cases: &[(Value, String)]| -> Vec<Option<f64>> {
            scored(&config(), cases).iter().map(|score| score.outcome.value()).collect()
        };
        let golds: Vec<(Value, String)> = shown[..20].iter().map(|one| (truth(one), one.response.clone())).collect();
        assert_eq!(values(&golds), vec![Some(1.0); 20], "{difficulty}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for one in &shown {
            *counts.entry(&one.response).or_default() += 1;
        }
        let (majority, count) = counts.into_iter().max_by_key(|(_, count)| *count).expect("answers");
        assert!(count < 50, "{difficulty}: {count} of 1000 are {majority}");
        let others = shown[..20].iter().filter(|one| truth(one) != truth_of(majority, &shown));
        let others: Vec<(Value, String)> = others.map(|one| (truth(one), majority.to_owned())).collect();
        assert!(others.len() > 15);
        assert_eq!(values(&others), vec![Some(0.0); others.len()], "{difficulty}: {majority}");
        for say in [|_: &Demonstration| String::new(), |one: &Demonstration| one.query.question()] {
            let said: Vec<(Value, String)> = shown.iter().map(|one| (truth(one), say(one))).collect();
            assert_eq!(values(&said), vec![Some(0.0); 1_000], "{difficulty}: {}", said[0].1);
        }
    }
}

/// The tests of the question whose gold this is.
fn truth_of(response: &str, shown: &[Demonstration]) -> Value {
    let found = shown.iter().find(|one| one.response == response).and_then(|one| one.query.ground_truth.clone());
    found.expect("a gold of one of them")
}

fn adds() -> Value {
    json!({"entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}, {"args": {"a": 40, "b": 2}, "expected": 42}]})
}

fn eleven_attacks() {
    let attack = |body: &str| format!("import sys, os, atexit, gc, json\n{body}");
    let cases: Vec<(&str, String, &str)> = [
        ("exit at import", "sys.exit(0)\ndef add(a, b): return 0", "RuntimeError"),
        ("exit in the call", "def add(a, b): sys.exit(0)", "RuntimeError"),
        ("hard exit in the call", "def add(a, b): os._exit(0)", "RuntimeError"),
        ("atexit", "atexit.register(os._exit, 0)\ndef add(a, b): raise ValueError", "RuntimeError"),
        ("excepthook", "sys.excepthook = lambda *a: os._exit(0)\ndef add(a, b): raise ValueError", "RuntimeError"),
        (
            "always equal",
            "class E(int):\n    def __eq__(self, other): return True\n    def __hash__(self): return 3\n\
             def add(a, b): return E(0)",
            "Failed",
        ),
        (
            "frame peek",
            "def add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n            \
             if isinstance(v, dict) and 'expected' in v: return v['expected']\n        f = f.f_back\n    return -1",
            "Failed",
        ),
        (
            "gc scan",
            "def add(a, b):\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n            for k in \
             ('expected', 'tests'):\n                if k in o and isinstance(o[k], (int, list)): return o[k]\n    return -1",
            "Failed",
        ),
        (
            "reading the tests",
            "def add(a, b):\n    import glob\n    for p in glob.glob('*') + glob.glob('/tmp/*') + ['tests.json', \
             '../tests.json']:\n        try:\n            t = open(p).read()\n            if 'expected' in t: return 3\n        \
             except OSError: pass\n    return -1",
            "Failed",
        ),
        ("forged report", "print('ALL TESTS PASSED')\ndef add(a, b):\n    print('ALL TESTS PASSED'); return 0", "Failed"),
        ("patched dumps", "json.dumps = lambda *a, **k: 'true'\ndef add(a, b): return 0", "RuntimeError"),
        ("correct", "def add(a, b): return a + b", "Passed"),
        ("correct in a class of its own file", "add = lambda a, b: sum([a, b])", "Passed"),
        ("wrong", "def add(a, b): return a - b", "Failed"),
        ("right once", "def add(a, b): return 3", "Failed"),
    ]
    .into_iter()
    .map(|(name, body, verdict)| (name, attack(body), verdict))
    .collect();
    let cases: Vec<(&str, &str, &str)> =
        cases.iter().map(|(name, body, verdict)| (*name, body.as_str(), *verdict)).collect();
    expect(&config(), &adds(), &cases);
    // The same where the program prints.
    let prints = json!({"tests": [{"stdin": "1 2\n", "stdout": "3\n"}]});
    expect(
        &config(),
        &prints,
        &[
            ("exit", "import sys; sys.exit(0)", "Failed"),
            ("hard exit", "import os; os._exit(0)", "Failed"),
            ("forged", "print('ALL TESTS PASSED')", "Failed"),
            ("correct, bad end", "print(sum(map(int, input().split()))); raise SystemExit(1)", "RuntimeError"),
            ("correct", "print(sum(map(int, input().split())))", "Passed"),
        ],
    );
}

fn traps_of_outputs() {
    let lines = json!({"tests": [{"stdin": "3\n", "stdout": "1\n2\n3\n"}, {"stdin": "2\n", "stdout": "1\n2\n"}]});
    expect(
        &config(),
        &lines,
        &[
            ("correct", "for i in range(int(input())): print(i + 1)", "Passed"),
            ("spaces at the ends", "for i in range(int(input())): print(i + 1, '')\nprint()", "Passed"),
            ("prefix", "print(1)", "Failed"),
            ("more", "for i in range(int(input()) + 1): print(i + 1)", "Failed"),
            ("all candidates", "for n in range(1, 5):\n    for i in range(n): print(i + 1)", "Failed"),
            ("nothing", "input()", "Failed"),
            ("one line", "print('1 2 3')", "Failed"),
            ("only the shown input", "{3: lambda: print('1\\n2\\n3')}[int(input())]()", "RuntimeError"),
            (
                "reads stdin twice",
                "import sys\na = sys.stdin.read(); b = sys.stdin.read(); assert b == ''\nfor i in range(int(a)): print(i + 1)",
                "Passed",
            ),
            ("waits for more input", "input(); input()", "RuntimeError"),
            ("huge int as text", "print(10 ** 100000)", "RuntimeError"),
            ("no text", "import sys; sys.stdout.buffer.write(b'\\xff')", "Failed"),
            ("flood", "while True: print(1)", "RuntimeError"),
            ("large file", "open('x', 'wb').write(bytes(1 << 26)); print('1\\n2\\n3')", "RuntimeError"),
            (
                "closed output",
                "import os\nprint('1\\n2\\n3', flush=True); os.close(1); os.close(2)\nwhile True: pass",
                "TimeLimit",
            ),
        ],
    );
}

/// What must stay impossible, tried through the system's own calls; an empty list says that nothing got through.
const ESCAPES: &str = r#"
import ctypes, glob, os, signal, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def tries():
    through = []
    def attempt(name, call):
        try:
            if call() not in (None, False, -1): through.append(name)
        except (OSError, ValueError, AttributeError, subprocess.SubprocessError): pass
    parent = os.getppid()
    attempt("passwd", lambda: open("/etc/passwd").read())
    attempt("root", lambda: os.listdir("/"))
    attempt("environment", lambda: [k for k in os.environ if k.startswith(("CARGO", "SECRET"))] or None)
    attempt("parent's environment", lambda: open(f"/proc/{parent}/environ", "rb").read())
    for name in ("mem", "maps"):
        attempt(name, lambda: open(f"/proc/{parent}/{name}", "rb").fileno())
    attempt("trace", lambda: libc.ptrace(16, parent, 0, 0) if parent else -1)
    attempt("trace the first", lambda: libc.ptrace(16, 1, 0, 0) if os.getpid() != 1 else -1)
    attempt("kill parent", lambda: (os.kill(parent, signal.SIGCONT), 1) if parent else None)
    attempt("internet", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    attempt("datagram", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    attempt("unix", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
    attempt("session", lambda: subprocess.run(["true"], start_new_session=True))
    attempt("group", lambda: subprocess.run(["true"], process_group=0))
    for path in ("/tmp/x", "/dev/shm/x", "/var/tmp/x", "/usr/x", "../x", "/proc/self/oom_score_adj"):
        attempt(path, lambda: open(path, "w"))
    attempt("link", lambda: (os.symlink("/etc/passwd", "link"), open("link").read()))
    attempt("hard link", lambda: os.link("/etc/passwd", "hard") or 1)
    attempt("shared memory", lambda: libc.shmget(4242, 4096, 0o1666))
    attempt("semaphore", lambda: libc.semget(4242, 1, 0o1666))
    attempt("namespace", lambda: 1 if libc.unshare(0x10000000) == 0 else -1)
    attempt("mount", lambda: 1 if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else -1)
    attempt("pid handle", lambda: os.pidfd_open(os.getpid()))
    attempt("device", lambda: os.mknod("disk", 0o60600, os.makedev(254, 0)) or 1)
    attempt("clock", lambda: 1 if libc.settimeofday(None, ctypes.create_string_buffer(8)) == 0 else -1)
    attempt("another user", lambda: os.setuid(12345) or 1)
    attempt("root again", lambda: os.setuid(0) or 1 if os.getuid() else None)
    attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 10) or 1)
    attempt("death signal", lambda: 1 if libc.prctl(1, 0, 0, 0, 0) == 0 else -1)
    attempt("x32", lambda: libc.syscall(0x40000029, 2, 1, 0))
    attempt("io_uring", lambda: libc.syscall(425, 4, ctypes.create_string_buffer(256)))
    return through
"#;

fn walls_hold_at_every_level() {
    let truth = json!({"entry_point": "tries", "tests": [{"args": [], "expected": []}]});
    // Bounded by itself: a wall that does not hold must not take the machine with it.
    let bomb = "import os, time\ndef f():\n    n = 0\n    try:\n        while n < 100:\n            if os.fork() == 0:\n                \
                time.sleep(20); os._exit(0)\n            n += 1\n    except OSError: pass\n    return 0 if n < 30 else 1";
    let one = json!({"entry_point": "f", "tests": [{"args": [], "expected": 1}]});
    let levels = levels();
    assert!(!levels.is_empty());
    for sandbox in levels {
        let wanted = match sandbox.level() {
            sapo_rewards::sandbox::Level::Strict => Wanted::Strict,
            _ => Wanted::Standard,
        };
        let config = CodeConfig { sandbox: wanted, ..config() };
        expect(&config, &truth, &[("escapes", ESCAPES, "Passed")]);
        // Few processes or the end: either is no fault of the sandbox.
        let scores = scored(&config, &[(one.clone(), fenced(bomb)), (adds(), fenced("def add(a, b): return a + b"))]);
        assert_eq!(scores[0].outcome, Outcome::Value(0.0), "{:?}", scores[0]);
        assert_eq!(scores[1].outcome, Outcome::Value(1.0), "{:?}", scores[1]);
    }
}

fn links_out_of_the_work_folder_are_not_followed() {
    let kept = std::env::temp_dir().join(format!("sapo-kept-{}", std::process::id()));
    std::fs::create_dir_all(kept.join("inner")).expect("a folder");
    std::fs::write(kept.join("inner/file"), "kept").expect("a file");
    let program = format!(
        "import os\ndef f():\n    os.symlink({0:?}, 'link'); os.mkdir('shut'); os.chmod('shut', 0)\n    return os.path.islink('link')",
        kept.display().to_string()
    );
    let truth = json!({"entry_point": "f", "tests": [{"args": [], "expected": true}]});
    expect(&config(), &truth, &[("links out", &program, "Passed")]);
    assert_eq!(std::fs::read_to_string(kept.join("inner/file")).expect("it is kept"), "kept");
    std::fs::remove_dir_all(&kept).expect("it is ours");
}

fn shares_and_tolerances() {
    let program = "def add(a, b): return a + b if a < 10 else 0";
    let share = CodeConfig { value: Counted::Share, ..config() };
    assert_eq!(scored(&share, &[(adds(), fenced(program))])[0].outcome, Outcome::Value(0.5));
    let stopped = scored(&config(), &[(adds(), fenced("def add(a, b): return 0"))]).remove(0);
    assert!(stopped.evidence.as_deref().is_some_and(|told| told.contains("stopped after 1")), "{stopped:?}");
    assert_eq!(stopped.extracted.as_deref(), Some("def add(a, b): return 0\n"));
    let third = |tolerance: Value| json!({"entry_point": "A.f", "tolerance": tolerance, "tests": [{"args": [3], "expected": 0.333333}]});
    let method = "class A:\n    def f(self, n): return 1 / n";
    expect(&config(), &third(json!(1e-5)), &[("near", method, "Passed")]);
    expect(&config(), &third(Value::Null), &[("not exact", method, "Failed")]);
    let nan = "class A:\n    def f(self, n): return float('nan')";
    expect(&config(), &third(json!(1e-5)), &[("nan", nan, "Failed")]);
    let printed = json!({"tolerance": 1e-5, "tests": [{"stdin": "3", "stdout": "x 0.333333\n"}]});
    expect(
        &config(),
        &printed,
        &[("near", "print('x', 1 / int(input()))", "Passed"), ("far", "print('x', 0.33)", "Failed")],
    );
    let long = json!({"entry_point": "f", "tests": [
        {"args_json": "[100000000000000000000000000000000000001]", "expected_json": "100000000000000000000000000000000000002"}
    ]});
    expect(
        &config(),
        &long,
        &[
            ("long integers", "def f(n): return n + 1", "Passed"),
            ("rounded", "def f(n): return int(float(n)) + 1", "Failed"),
        ],
    );
}

fn what_is_no_program_or_no_test() {
    let right = "def add(a, b): return a + b";
    let two = format!("```python\ndef add(a, b): return 0\n```\nNo:\n```python\n{right}\n```");
    let thought = format!("<think>{}</think>I do not know.", fenced(right));
    for (response, value) in [
        (fenced(right), 1.0),
        (two, 1.0),
        (right.to_owned(), 0.0),
        (String::new(), 0.0),
        ("```python\n\n```".to_owned(), 0.0),
        (format!("```python\n{right}"), 0.0),
        (thought, 0.0),
        (format!("<think>{}", fenced(right)), 0.0),
        (fenced(&format!("{right}\n#{}", "x".repeat(70_000))), 0.0),
    ] {
        let score = scored(&config(), &[(adds(), response.clone())]).remove(0);
        assert_eq!(score.outcome, Outcome::Value(value), "{response}: {score:?}");
    }
    for truth in [json!({"tests": []}), json!(7), json!({"entry_point": "add", "tests": [{"stdout": "3"}]})] {
        let score = scored(&config(), &[(truth, fenced(right))]).remove(0);
        assert!(matches!(score.outcome, Outcome::Failed { kind: FailureKind::GroundTruth, .. }), "{score:?}");
    }
}

fn other_interpreters() {
    let shell = CodeConfig {
        language: "bash".to_owned(),
        command: vec!["sh".to_owned()],
        extension: "sh".to_owned(),
        fences: vec!["sh".to_owned()],
        ..config()
    };
    let truth = json!({"tests": [{"stdin": "41\n", "stdout": "42"}]});
    let answer = |program: &str| (truth.clone(), format!("```sh\n{program}\n```"));
    let scores = scored(&shell, &[answer("read n; echo $((n + 1))"), answer("echo 41")]);
    assert_eq!(
        scores.iter().map(|score| score.outcome.value()).collect::<Vec<_>>(),
        [Some(1.0), Some(0.0)],
        "{scores:?}"
    );
    let missing = CodeConfig { command: vec!["sapo-no-such-interpreter".to_owned()], ..config() };
    let error = Code::new("code", &missing).err().expect("it is not installed").to_string();
    assert!(error.contains("rewards.code") && error.contains("sapo-no-such-interpreter"), "{error}");
}

fn the_example_of_the_catalogue() {
    let entry =
        sapo_rewards::catalogue::catalogue().into_iter().find(|entry| entry.kind == "code").expect("it is listed");
    let score =
        scored(&CodeConfig::default(), &[(entry.example.ground_truth, entry.example.response.to_owned())]).remove(0);
    assert_eq!(score.outcome, Outcome::Value(1.0), "{score:?}");
    let code = Code::new("code", &config()).expect("options that make sense");
    let told = code.prepare().expect("a sandbox").expect("it says which");
    assert!(told.contains("strict") || told.contains("standard"), "{told}");
}

/// A server that gives one reply again and again, and counts.
fn server(status: u16, reply: Value) -> (CodeConfig, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let read = stream.read(&mut piece).unwrap_or(0);
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request);
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str::<Value>(body).ok());
                if body.is_some_and(|body| body["code"].is_string() && body["language"] == "python") {
                    assert!(text.starts_with("POST /run_code "), "{text}");
                    // What is expected is never sent.
                    assert!(!text.contains("31337"), "{text}");
                    break;
                }
                assert!(read > 0, "{text}");
            }
            seen.fetch_add(1, Ordering::SeqCst);
            let body = reply.to_string();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    let config = CodeConfig {
        sandbox: Wanted::Remote,
        url: Some(url),
        max_tries: 3,
        retry_base_secs: 0.001,
        workers: 1,
        ..config()
    };
    (config, count)
}

fn a_server_that_fails_is_never_a_failed_test() {
    let run = |status: &str, code: i32, stdout: &str| {
        json!({"status": if code == 0 { "Success" } else { "Failed" }, "message": "", "compile_result": null, "run_result":
            {"status": status, "execution_time": 0.1, "return_code": code, "stdout": stdout, "stderr": ""}})
    };
    let broken = json!({"status": "SandboxError", "message": "no pod", "compile_result": null, "run_result": null});
    let truth = json!({"tests": [{"stdin": "1", "stdout": "31337\n"}]});
    for (status, reply, wanted, tries) in [
        (200, run("Finished", 0, "31337\n"), Ok(1.0), 1),
        (200, run("Finished", 0, "2\n"), Ok(0.0), 1),
        (200, run("Finished", 1, "31337\n"), Ok(0.0), 1),
        (200, run("TimeLimitExceeded", 1, "31337\n"), Ok(0.0), 1),
        (200, broken, Err(FailureKind::Unreachable), 3),
        (200, json!("half"), Err(FailureKind::Unreachable), 3),
        (500, json!({}), Err(FailureKind::Unreachable), 3),
        (429, json!({}), Err(FailureKind::Unreachable), 3),
        (401, json!({}), Err(FailureKind::Unavailable), 1),
    ] {
        let (config, count) = server(status, reply.clone());
        let score = scored(&config, &[(truth.clone(), fenced("print(1)"))]).remove(0);
        let got = match &score.outcome {
            Outcome::Value(value) => Ok(*value),
            Outcome::Failed { kind, .. } => Err(*kind),
            Outcome::Skip(_) => panic!("{score:?}"),
        };
        assert_eq!(got, wanted, "{status} {reply}: {score:?}");
        assert_eq!(count.load(Ordering::SeqCst), tries, "{score:?}");
    }
    // A function's result is what the harness says.
    let call = json!({"entry_point": "f", "tests": [{"args": [1], "expected": 31337}]});
    let (config, _) = server(200, run("Finished", 0, "[\"i\", \"0x7a69\"]"));
    assert_eq!(scored(&config, &[(call, fenced("def f(x): return x"))])[0].outcome, Outcome::Value(1.0));
    // Nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let nobody = CodeConfig { url: Some(url), ..config };
    let score = scored(&nobody, &[(truth, fenced("print(1)"))]).remove(0);
    assert!(matches!(score.outcome, Outcome::Failed { kind: FailureKind::Unreachable, .. }), "{score:?}");
}
