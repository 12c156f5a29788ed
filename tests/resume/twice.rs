//! Ctrl-C a second time: the program ends at once, and says what is kept.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::{arguments, sapo};

#[test]
fn a_second_interruption_ends_at_once_and_names_the_last_checkpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    // After a phase of eight steps comes an evaluation that is long enough to be interrupted twice.
    let more = ["run.phases=[\"careful\"]", "eval.heldout.queries_per_source=8", "eval.heldout.samples=4"];
    let mut command = sapo(&arguments(dir.path(), "twice", &more));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut heard = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with("evaluation (careful): ") {
        line.clear();
        assert!(heard.read_line(&mut line).expect("text") > 0, "the run never came to its second evaluation");
    }
    // Two signals, since equal ones that wait are one.
    let both = format!("kill -INT {0}; kill -TERM {0}", child.id());
    assert!(Command::new("sh").args(["-c", &both]).status().expect("sh runs").success());
    let mut rest = String::new();
    heard.read_to_string(&mut rest).expect("text");
    assert_eq!(child.wait().expect("an end").code(), Some(130), "{rest}");
    assert!(rest.contains("stopped at once; the last checkpoint is step 8"), "{rest}");
    assert!(rest.contains("sapo train --resume="), "{rest}");
}
