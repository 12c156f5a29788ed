//! Misuses of data: sources, rows, pictures, memory.

use crate::refused;

const SMOKE: [&str; 4] = ["train", "configs/smoke.toml", "run.name=never", "--json"];

fn run_is_refused(more: &[&str], words: &[&str]) {
    refused(&[&SMOKE[..], more].concat(), 2, words);
}

#[test]
fn a_source_that_is_not_there_is_named_with_its_key() {
    run_is_refused(&["data.count.source=nowhere/train.parquet"], &["data.count", "nowhere/train.parquet"]);
    run_is_refused(&["data.count.source=synthetic:cuont"], &["data.count", "did you mean `count`?"]);
    run_is_refused(&["phases.careful.data=[{ use = \"digitz\" }]"], &["phases.careful", "did you mean `digits`?"]);
}

#[test]
fn files_that_hold_no_rows_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.jsonl");
    std::fs::write(&empty, "").expect("written");
    let source = format!("data.count.source={}", empty.display());
    run_is_refused(&[&source], &["empty.jsonl"]);
    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"prompt\": \"1 + 1?\", \"answer\":\n").expect("written");
    refused(&["data", "show", &broken.display().to_string()], 2, &["broken.jsonl"]);
}

#[test]
fn a_run_that_needs_more_memory_than_there_is_does_not_start() {
    let large = [
        "run.decode_rows=1000000",
        "run.cache_mib=10000000",
        "phases.reasoning.prompts_per_step=100000",
        "phases.reasoning.rollouts_per_prompt=16",
        "phases.reasoning.sampling.max_new_tokens=2000",
    ];
    run_is_refused(&large, &["the run needs about", "reasoning holds", "run.allow_over_memory=true"]);
    refused(&["plan", "--model", "2b", "--memory", "80"], 2, &["80GB"]);
}
