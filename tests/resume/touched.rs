//! Run folders that somebody has touched: what was changed is named, and the run goes on from where it still fits.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{arguments, errors_of, finish, lines, same, same_record, sapo, signal, summary, until};

const SHORT: [&str; 4] =
    ["phases.careful.steps=4", "phases.cold_start.steps=2", "phases.reasoning.steps=4", "run.checkpoint_every=1"];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (path, place) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if path.is_dir() {
            copy(&path, &place);
        } else {
            std::fs::copy(&path, &place).expect("copied");
        }
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

fn first_in(folder: &Path) -> PathBuf {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").flatten().map(|one| one.path()).collect();
    paths.sort();
    paths.remove(0)
}

/// A run that was killed in its last phase, and how it would have ended.
fn killed(dir: &Path) -> Value {
    let whole = finish(&arguments(dir, "whole", &SHORT));
    let mut child = until(&arguments(&dir.join("killed"), "run", &SHORT), "evaluation (reasoning)");
    signal(&child, "-KILL");
    child.wait().expect("it ends");
    whole
}

/// Resumes a copy of the killed run that was touched. Gives its summary and what it said.
fn resumed(dir: &Path, name: &str, touch: impl FnOnce(&Path)) -> (Value, String) {
    let place = dir.join(name);
    copy(&dir.join("killed/run"), &place.join("run"));
    touch(&place.join("run"));
    let output = sapo(&arguments(&place, "run", &[&SHORT[..], &["--resume"]].concat())).output().expect("it starts");
    (summary(&output), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What is done to a run's folder.
type Touch<'a> = &'a dyn Fn(&Path);

#[test]
fn a_run_that_was_touched_goes_on_from_where_it_fits_or_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let whole = killed(dir);
    refused(dir);

    // A byte short, and no line: the checkpoint before fits.
    let (end, said) = resumed(dir, "short", |run| {
        change(&run.join("metrics.jsonl"), |bytes| {
            let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines");
            bytes.truncate(last);
        })
    });
    assert!(said.contains("metrics.jsonl is shorter than it was") && said.contains("the one before is used"), "{said}");
    same(&whole, &end);
    same_record(&dir.join("whole"), &dir.join("short/run"));

    // A pool that lost half of its queries is curated again, from the end of the phase before.
    let (end, said) = resumed(dir, "pool", |run| {
        change(&run.join("curation/curate.jsonl"), |bytes| {
            let half = bytes[..bytes.len() / 2].iter().rposition(|byte| *byte == b'\n').expect("lines");
            bytes.truncate(half + 1);
        })
    });
    assert!(said.contains("curation/curate.jsonl is shorter"), "{said}");
    same(&whole, &end);
    same_record(&dir.join("whole"), &dir.join("pool/run"));

    // One in which a query counts as solved that was not is not gone on with either.
    let (end, said) = resumed(dir, "turned", |run| {
        change(&run.join("curation/curate.jsonl"), |bytes| {
            let text = String::from_utf8(std::mem::take(bytes)).expect("text");
            *bytes = text.replacen("\"decision\":\"kept\"", "\"decision\":\"undecided\"", 1).into_bytes();
        })
    });
    assert!(said.contains("curation/curate.jsonl was changed") || said.contains("is shorter"), "{said}");
    same(&whole, &end);

    // What changes no number: a picture, a view, what others put there, what a kill left of a checkpoint.
    let mine = "checkpoints/step-999999";
    let picture = first_in(&dir.join("killed/run/images"));
    let (end, said) = resumed(dir, "views", |run| {
        change(&run.join("images").join(picture.file_name().expect("a name")), |bytes| bytes[9] ^= 1);
        std::fs::remove_dir_all(run.join("tb")).expect("removed");
        copy(&first_in(&run.join("checkpoints")), &run.join(mine));
        std::fs::create_dir(run.join("checkpoints/step-000099.tmp")).expect("made");
    });
    let name = picture.file_stem().and_then(|stem| stem.to_str()).expect("a name");
    assert!(said.contains("of the run's pictures 1 are missing or were changed") && said.contains(name), "{said}");
    same(&whole, &end);
    assert!(dir.join("views/run").join(mine).join("manifest.json").exists());
    assert!(!dir.join("views/run/checkpoints/step-000099.tmp").exists());
    let events = first_in(&dir.join("views/run/tb"));
    let all = lines(&dir.join("views/run/metrics.jsonl")).len() as u64;
    assert!(std::fs::metadata(events).expect("events").len() > all * 100, "it is made again from the metrics");
}

/// What changes the past is named.
fn refused(dir: &Path) {
    let touched = |name: &str, touch: &dyn Fn(&Path)| {
        let place = dir.join(name);
        copy(&dir.join("killed/run"), &place.join("run"));
        touch(&place.join("run"));
        let errors = errors_of(&arguments(&place, "run", &[&SHORT[..], &["--resume"]].concat()), 2);
        std::fs::remove_dir_all(place).expect("removed");
        errors
    };
    let doubled = |run: &Path| {
        change(&run.join("metrics.jsonl"), |bytes| {
            let end = bytes.iter().position(|byte| *byte == b'\n').expect("lines") + 1;
            bytes.splice(0..0, bytes[..end].to_vec());
        });
    };
    let cases: [(&str, &str, Touch<'_>); 4] = [
        ("doubled", "metrics.jsonl was changed", &doubled),
        ("flipped", "ledger.jsonl was changed", &|run| change(&run.join("ledger.jsonl"), |bytes| bytes[20] ^= 1)),
        ("gone", "queries.jsonl is missing", &|run| std::fs::remove_file(run.join("queries.jsonl")).expect("removed")),
        ("unmeasured", "eval/heldout-000000", &|run| {
            std::fs::remove_dir_all(run.join("eval/heldout-000000")).expect("removed");
        }),
    ];
    for (name, wanted, touch) in cases {
        let errors = touched(name, touch);
        assert!(errors.contains(wanted) && errors.contains("put the file back as it was"), "{name}: {errors}");
    }
}
