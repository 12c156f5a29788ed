//! Sandboxes, programs of policies and plugins behind walls. This binary is the launcher of what it tests, so that it has a
//! `main` of its own: `cargo test --test sandbox [WORD...]` runs the tests whose names hold a word.
#![expect(clippy::print_stdout, reason = "a test runner tells what it runs")]

mod functions;
mod plugins;
mod programs;
mod resources;
mod walls;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// A test and its name.
type Test = (&'static str, fn());

/// Tests that run at a time.
const THREADS: usize = 2;

fn main() -> ExitCode {
    if let Some(code) = sapo_rewards::sandbox::serve() {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all: Vec<Test> = [walls::TESTS, resources::TESTS, programs::TESTS, functions::TESTS, plugins::TESTS].concat();
    let chosen: Vec<Test> =
        all.into_iter().filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word))).collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((name, test)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let held = catch_unwind(test).is_ok();
                    failed.fetch_or(!held, Ordering::Relaxed);
                    println!(
                        "test {name} ... {} ({:.2} s)",
                        if held { "ok" } else { "FAILED" },
                        begun.elapsed().as_secs_f64()
                    );
                }
            });
        }
    });
    println!("{} tests", chosen.len());
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
