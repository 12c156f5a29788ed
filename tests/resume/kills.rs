//! Runs that are killed at random moments.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use serde_json::Value;

use super::{arguments, finish, lines, same, same_record, sapo, signal, summary};

/// Runs, kills at a moment, and gives whether it was still going on then.
fn killed(arguments: &[String], moment: Duration) -> bool {
    let mut child = sapo(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut said = child.stderr.take().expect("a pipe");
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        drop(said.read_to_end(&mut all));
        drop(ended.send(all));
    });
    let goes_on = end.recv_timeout(moment) == Err(mpsc::RecvTimeoutError::Timeout);
    if goes_on {
        signal(&child, "-KILL");
    }
    child.wait().expect("it ends");
    goes_on
}

/// So many runs, each killed once at a moment that the seed draws, and resumed: all end as the one that nobody disturbed.
fn kills(dir: &Path, count: u64, more: &[&str]) {
    let began = Instant::now();
    let undisturbed = finish(&arguments(dir, "undisturbed", more));
    assert!(lines(&dir.join("undisturbed/audit.jsonl")).len() > 9, "there is an audit to be resumed");
    let mut longest = began.elapsed();
    let mut random = ChaCha8Rng::seed_from_u64(14);
    let mut killed_so_far = 0;
    while killed_so_far < count {
        let name = format!("killed-{killed_so_far}");
        let moment = longest.mul_f64(random.random::<f64>());
        if killed(&arguments(dir, &name, more), moment) {
            killed_so_far += 1;
        } else {
            // It had ended: whatever a machine does beside this, later moments would come too late as well.
            longest = moment;
        }
        let end = finish(&arguments(dir, &name, &[more, &["--resume"]].concat()));
        same(&undisturbed, &end);
        same_record(&dir.join("undisturbed"), &dir.join(&name));
        let weights = end["weights_sha256"].as_str().expect("a hash");
        writeln!(std::io::stderr(), "{killed_so_far}: killed at {:.2} s: {weights}", moment.as_secs_f64())
            .expect("stderr");
        std::fs::remove_dir_all(dir.join(&name)).expect("removed");
    }
}

#[test]
fn runs_that_are_killed_at_three_random_moments_end_as_the_undisturbed_one() {
    let dir = tempfile::tempdir().expect("a folder");
    // Short, since it is done four times.
    let more =
        ["phases.careful.steps=4", "phases.cold_start.steps=2", "phases.reasoning.steps=3", "run.checkpoint_every=1"];
    kills(dir.path(), 3, &more);
}

/// Takes some minutes: CONTRIBUTING.md has the command.
#[test]
#[ignore = "20 runs"]
fn runs_that_are_killed_at_twenty_random_moments_end_as_the_undisturbed_one() {
    let dir = tempfile::tempdir().expect("a folder");
    kills(dir.path(), 20, &[]);
}

/// The whole smoke run, its judge included.
fn smoke(dir: &Path, name: &str, more: &[&str]) -> Vec<String> {
    let given = ["train", "configs/smoke.toml", "--json"].map(str::to_owned);
    let own = [format!("run.dir={}", dir.display()), format!("run.name={name}")];
    given.into_iter().chain(own).chain(more.iter().map(|text| (*text).to_owned())).collect()
}

/// Two resumes of one run at once: one goes on, and the other is refused by name. Where the run had ended, both tell its end.
fn contested(arguments: &[String], name: &str) -> Value {
    let start = || {
        let mut command = sapo(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    };
    let both = [start(), start()].map(|child| std::thread::spawn(|| child.wait_with_output().expect("it ends")));
    let ended = both.map(|child| child.join().expect("no panic"));
    let (good, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(|output| output.status.success());
    for output in refused {
        let said = String::from_utf8_lossy(&output.stderr);
        let by_name = said.contains(name);
        let known = ["is in use by another process", "exists already"].iter().any(|reason| said.contains(reason));
        assert!(output.status.code() == Some(2) && by_name && known, "{said}");
    }
    summary(good.first().expect("one of them goes on"))
}

/// `SAPO_STORM` is how many runs there are: CONTRIBUTING.md has the command for 100.
#[test]
fn runs_in_a_storm_of_kills_and_resumes_end_as_the_undisturbed_one() {
    let runs = std::env::var("SAPO_STORM").ok().and_then(|runs| runs.parse().ok()).unwrap_or(2);
    let dir = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    let undisturbed = finish(&smoke(dir.path(), "undisturbed", &[]));
    let longest = began.elapsed();
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let (mut kills, mut contests) = (0, 0);
    for run in 0..runs {
        let name = format!("storm-{run}");
        let resumed = smoke(dir.path(), &name, &["--resume"]);
        for kill in 0..random.random_range(1..=4) {
            let given = if kill == 0 { smoke(dir.path(), &name, &[]) } else { resumed.clone() };
            kills += u64::from(killed(&given, longest.mul_f64(random.random::<f64>())));
        }
        let is_contested = run % 2 == 1;
        contests += u64::from(is_contested);
        let end = if is_contested { contested(&resumed, &name) } else { finish(&resumed) };
        same(&undisturbed, &end);
        same_record(&dir.path().join("undisturbed"), &dir.path().join(&name));
        std::fs::remove_dir_all(dir.path().join(&name)).expect("removed");
        let weights = end["weights_sha256"].as_str().expect("a hash");
        writeln!(std::io::stderr(), "{}: {kills} kills, {contests} contests so far: {weights}", run + 1)
            .expect("stderr");
    }
}
