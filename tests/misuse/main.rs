//! Planted misuses: each ends with the exit code and the words that a user needs, and with nothing half done.

mod checkpoints;
mod config;
mod data;
mod evaluation;
mod flags;
mod rewards;

use std::path::Path;
use std::process::{Command, Output};

/// The binary at the root of the repository, with its answer within the test's own patience.
fn sapo(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_sapo")).args(arguments).current_dir(root).output().expect("the binary starts")
}

/// Runs the command and holds its end to what a user should meet: the exit code, and every one of the words on stderr.
#[track_caller]
fn refused(arguments: &[&str], exit_code: i32, words: &[&str]) {
    let output = sapo(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "sapo {}\n{said}", arguments.join(" "));
    for word in words {
        assert!(said.contains(word), "sapo {}: nothing says {word:?} in\n{said}", arguments.join(" "));
    }
    assert!(!said.contains("panicked"), "{said}");
}
