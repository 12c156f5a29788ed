//! Functions of policies that cheat, break or hurt: each with the verdict that it must get.

use sapo_rewards::code::CodeConfig;
use serde_json::{Value, json};

use crate::Test;
use crate::programs::{config, expect};

pub(crate) const TESTS: &[Test] = &[("functions::traps_of_functions", traps_of_functions)];

/// Functions that should give 1: a name, the program, its verdict.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("int", "def f(): return 1", "Passed"),
    ("bool for int", "def f(): return True", "Failed"),
    ("float for int", "def f(): return 1.0", "Failed"),
    ("text for int", "def f(): return '1'", "Failed"),
    ("list of candidates", "def f(): return [0, 1, 2]", "Failed"),
    ("generator", "def f(): yield 1", "RuntimeError"),
    ("nothing", "def f(): pass", "Failed"),
    ("not there", "def g(): return 1", "RuntimeError"),
    ("no function", "f = 1", "RuntimeError"),
    ("does not compile", "def f( return 1", "RuntimeError"),
    ("huge int", "def f(): return 10 ** 20000", "Failed"),
    ("huge int as text", "def f(): return str(10 ** 100000)", "RuntimeError"),
    (
        "huge int as text, unlimited",
        "import sys\nsys.set_int_max_str_digits(0)\ndef f(): return len(str(7 ** 9000000))",
        "TimeLimit",
    ),
    ("recursion", "def f(): return f()", "RuntimeError"),
    (
        "recursion without a limit",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef g(x): return [g(y) for y in [x]]\ndef f(): return g(1)",
        // Where frames live on the heap, it takes until a limit.
        "RuntimeError|MemoryLimit|TimeLimit",
    ),
    ("deep result", "def f():\n    x = []\n    for _ in range(90): x = [x]\n    return x", "RuntimeError"),
    ("reads stdin twice", "import sys\nassert sys.stdin.read() == sys.stdin.read() == ''\ndef f(): return 1", "Passed"),
    ("asks for input", "def f(): return int(input())", "RuntimeError"),
    ("prints", "def f():\n    print([\"i\", \"0x2\"]); return 1", "Passed"),
    (
        "says it twice",
        "import os\ndef f():\n    for fd in range(3, 20):\n        try: os.write(fd, b'[\"i\",\"0x1\"]')\n        \
                 except OSError: pass\n    return 2",
        "RuntimeError",
    ),
    ("spins", "def f():\n    while True: pass", "TimeLimit"),
    (
        "threads left running",
        "import threading\ndef g():\n    while True: pass\ndef f():\n    threading.Thread(target=g).start(); return 1",
        "TimeLimit",
    ),
    (
        "threads that may be left",
        "import threading, time\ndef f():\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n    return 1",
        "Passed",
    ),
    ("memory", "def f(): return len(bytearray(10 ** 10))", "MemoryLimit"),
    ("memory, slowly", "def f():\n    x = []\n    while True: x.append(bytearray(1 << 20))", "MemoryLimit"),
    ("flood", "def f():\n    while True: print('x' * 1000)", "RuntimeError"),
    ("flood as a result", "def f(): return 'x' * 10 ** 6", "RuntimeError"),
    (
        "deletes its folder",
        "import os, shutil\ndef f():\n    shutil.rmtree(os.getcwd(), ignore_errors=True); return 1",
        "Passed",
    ),
    ("kills itself", "import os\ndef f():\n    os.kill(os.getpid(), 9); os.abort()", "RuntimeError"),
    ("hashes are fixed", "import os\ndef f(): return 1 if os.environ['PYTHONHASHSEED'] == '0' else 0", "Passed"),
];

fn traps_of_functions() {
    let of = |expected: Value| json!({"entry_point": "f", "tests": [{"args": [], "expected": expected}]});
    let one = of(json!(1));
    expect(&config(), &one, FUNCTIONS);
    let slow = CodeConfig { wall_secs: 1.0, ..config() };
    expect(
        &slow,
        &one,
        &[("sleeps until the limit", "import time\ndef f():\n    time.sleep(999); return 1", "TimeLimit")],
    );
    // A file or a segment for the next test: each of two calls must be the first.
    let twice = json!({"entry_point": "f", "tests": [{"args": [], "expected": 1}, {"args": [], "expected": 1}]});
    let cache = "import os, tempfile, glob\ndef f():\n    places = ['.', tempfile.gettempdir(), os.environ['HOME'], '/tmp', \
                 '/var/tmp', '/dev/shm', '/run', '..']\n    n = 1\n    for p in places:\n        p = os.path.join(p, 'sapo-cache-of-a-test')\n        \
                 n += os.path.exists(p) and p != './sapo-cache-of-a-test' and not p.startswith(os.getcwd())\n        try: open(p, 'w').write('3')\n        \
                 except OSError: pass\n    return n";
    expect(&config(), &twice, &[("writes a cache for the next test", cache, "Passed")]);
}
