//! What programs may change and take: nothing outside their folder, and no memory or file that is not counted.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use sapo_rewards::sandbox::{Ended, Job, Level, Limits, Ran, Sandbox, self_test};

use crate::Test;
use crate::walls::levels;

pub(crate) const TESTS: &[Test] = &[
    ("resources::what_is_known_of_files_outside_stays", what_is_known_of_files_outside_stays),
    (
        "resources::their_own_files_are_theirs_where_mounts_are_sealed",
        their_own_files_are_theirs_where_mounts_are_sealed,
    ),
    ("resources::shared_memory_counts", shared_memory_counts),
    ("resources::memory_files_do_not_exist", memory_files_do_not_exist),
    ("resources::files_without_a_name_count", files_without_a_name_count),
    ("resources::signals_and_deep_folders_do_not_help", signals_and_deep_folders_do_not_help),
];

fn python(program: &str) -> Job {
    Job { program: ["/usr/bin/python3", "-c", program].map(str::to_owned).to_vec(), ..Job::default() }
}

fn ran(sandbox: &Sandbox, job: &Job, limits: Limits) -> Ran {
    sandbox.run(job, &limits).unwrap_or_else(|reason| panic!("{:?}: {reason}", sandbox.level()))
}

/// Limits for a machine that is busy: the clock ends only what sleeps.
fn patient() -> Limits {
    Limits { cpu_secs: Some(20.0), wall_secs: Some(100.0), memory_bytes: Some(256 << 20), ..Limits::default() }
}

/// The same user owns the file, and may look at it.
fn what_is_known_of_files_outside_stays() {
    let folder = std::env::temp_dir().join(format!("sapo-outside-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("file");
    fs::write(&file, "x").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    let before = fs::metadata(&file).expect("a file");
    let path = file.display().to_string();
    let program = format!(
        "import os\np = {path:?}\nf = os.open(p, os.O_RDONLY)\nfor name, change in [\
         ('mode', lambda: os.chmod(p, 0o600)), ('open mode', lambda: os.fchmod(f, 0o600)),\
         ('owner', lambda: os.chown(p, os.getuid(), os.getgid())), ('times', lambda: os.utime(p, (1, 1))),\
         ('open times', lambda: os.utime(f, (1, 1))), ('attribute', lambda: os.setxattr(p, 'user.sapo', b'x')),\
         ('open attribute', lambda: os.setxattr(f, 'user.sapo', b'x'))]:\n    \
         try:\n        change()\n        print(name)\n    except OSError as error:\n        \
         assert error.errno in (1, 13, 30, 95), error\nprint('end')"
    );
    for sandbox in levels().into_iter().map(Sandbox::without_private_user) {
        let job = Job { read: vec![folder.clone()], ..python(&program) };
        let ran = ran(&sandbox, &job, patient());
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "end\n", "{:?}: {ran:?}", sandbox.level());
        let after = fs::metadata(&file).expect("a file");
        assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()));
    }
    fs::remove_dir_all(&folder).expect("a folder of ours");
}

fn their_own_files_are_theirs_where_mounts_are_sealed() {
    for sandbox in levels() {
        let test = self_test(sandbox.level()).expect("a launcher");
        let sealed = test.enforced.iter().any(|line| line.contains("outside the work folder"));
        assert!(sealed != test.enforced.iter().any(|line| line.contains("everywhere")), "{test:?}");
        // Only namespaces can have mounts of their own.
        assert!(!sealed || sandbox.level() == Level::Strict, "{test:?}");
        let program = "import os, shutil\nopen('a', 'w').write('x')\ntry:\n    os.chmod('a', 0o700)\n    os.utime('a', (1, 1))\n    \
                       shutil.copy('a', 'b')\n    print(oct(os.stat('b').st_mode & 0o777), int(os.stat('a').st_mtime))\n\
                       except PermissionError:\n    print('refused')";
        let ran = ran(&sandbox, &python(program), patient());
        let wanted = if sealed { "0o700 1\n" } else { "refused\n" };
        assert_eq!(String::from_utf8_lossy(&ran.stdout), wanted, "{:?}: {ran:?}", sandbox.level());
    }
}

/// Memory that children have filled and that outlives them.
fn shared_memory_counts() {
    let fill = "import mmap, os, time\nkept = []\nfor _ in range(12):\n    kept.append(mmap.mmap(-1, 40 << 20))\n    \
                if os.fork() == 0:\n        for at in range(0, 40 << 20, 4096):\n            kept[-1][at] = 1\n        \
                os._exit(0)\n    os.wait()\n    if len(kept) % 3 == 0:\n        if os.fork() != 0:\n            \
                time.sleep(1000)\n        kept = []\nprint('through')";
    for sandbox in levels() {
        let ran = ran(&sandbox, &python(fill), patient());
        let refused = String::from_utf8_lossy(&ran.stderr).contains("Error");
        assert!(!String::from_utf8_lossy(&ran.stdout).contains("through"), "{:?}: {ran:?}", sandbox.level());
        assert!(ran.ended == Ended::Memory || refused, "{:?}: {ran:?}", sandbox.level());
    }
}

fn memory_files_do_not_exist() {
    let program = "import os\nfor make in [lambda: os.memfd_create('x'), lambda: open('/dev/shm/x', 'w')]:\n    \
                   try:\n        make()\n        print('through')\n    except OSError as error:\n        print(error.errno)";
    for sandbox in levels() {
        let ran = ran(&sandbox, &python(program), patient());
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(said.starts_with("38\n") && !said.contains("through"), "{:?}: {ran:?}", sandbox.level());
    }
}

fn files_without_a_name_count() {
    let program = "import os, time\nkept = []\nfor n in range(9):\n    f = open(f'f{n}', 'wb')\n    os.unlink(f'f{n}')\n    \
                   f.write(bytes(1 << 20))\n    f.flush()\n    kept.append(f)\ntime.sleep(1000)\n";
    for sandbox in levels() {
        let ran = ran(&sandbox, &python(program), Limits { file_bytes: Some(1 << 20), ..patient() });
        let full = String::from_utf8_lossy(&ran.stderr).contains("No space left");
        assert!(ran.ended == Ended::Files || full, "{:?}: {ran:?}", sandbox.level());
    }
}

fn signals_and_deep_folders_do_not_help() {
    for sandbox in levels() {
        let limits = Limits { cpu_secs: Some(0.3), ..patient() };
        let deaf = "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n    \
                    except (OSError, ValueError):\n        pass\nwhile True:\n    pass";
        let ran = ran(&sandbox, &python(deaf), limits);
        assert_eq!(ran.ended, Ended::Cpu, "{:?}: {ran:?}", sandbox.level());
        let deep = "import os\nfor n in range(400):\n    os.mkdir('d')\n    os.chdir('d')\nopen('hidden', 'w').close()\n\
                    os.mkdir('closed', 0)\nprint('end')";
        let ran = self::ran(&sandbox, &python(deep), patient());
        assert_eq!(ran.stdout, b"end\n", "{:?}: {ran:?}", sandbox.level());
    }
    let own = format!("sapo-sandbox-{}-", std::process::id());
    let folders = fs::read_dir(std::env::temp_dir()).expect("a temporary folder").flatten();
    let closed = |entry: &fs::DirEntry| entry.path().join("d").exists();
    assert!(!folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own)).any(|entry| closed(&entry)));
}
