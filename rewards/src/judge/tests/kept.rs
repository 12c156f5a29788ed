//! Verdicts that are kept: from run to run, for what they were given for and nothing else, whatever happens to the file.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::stub::reply;
use super::*;

const ANSWERS: [&str; 4] = ["one red star", "two red stars", "one red star", "Solution:"];

async fn serving(revision: &str) -> Stub {
    let models = json!({"data": [{"id": "judge", "revision": revision}]});
    Stub::with_models(vec![Act::Judge], reply(200, "", &models.to_string())).await
}

async fn opened(config: &JudgeConfig, run: &Path) -> Judge {
    let judge = judge(config);
    judge.reach().await.unwrap();
    judge.open_cache(Some(run));
    judge
}

fn file(run: &Path) -> PathBuf {
    run.join("judge-cache/same-0.jsonl")
}

#[tokio::test]
async fn a_warm_cache_gives_the_same_scores_without_a_call() {
    let (stub, run) = (serving("r1").await, tempfile::tempdir().unwrap());
    let config = config(&stub.url);
    let cold = scores(&opened(&config, run.path()).await, &red_star(), &ANSWERS).await;
    assert_eq!((values(&cold), stub.requests()), (vec![Some(1.0), Some(0.0), Some(1.0), Some(0.0)], 2));
    let judge = opened(&config, run.path()).await;
    let warm = scores(&judge, &red_star(), &ANSWERS).await;
    assert_eq!((&warm, stub.requests(), judge.counts().cache_hits), (&cold, 2, 3));
    let off = JudgeConfig { cache: "off".to_owned(), ..config.clone() };
    assert_eq!(scores(&opened(&off, run.path()).await, &red_star(), &ANSWERS).await, cold);
    assert_eq!(stub.requests(), 4);
    // A folder of one's own, which another run may use as well.
    let shared = JudgeConfig { cache: run.path().join("shared").display().to_string(), ..config };
    let elsewhere = tempfile::tempdir().unwrap();
    scores(&opened(&shared, run.path()).await, &red_star(), &ANSWERS).await;
    scores(&opened(&shared, elsewhere.path()).await, &red_star(), &ANSWERS).await;
    assert_eq!(stub.requests(), 6);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_verdict_counts_only_for_what_it_was_given_for() {
    let (stub, run) = (serving("r1").await, tempfile::tempdir().unwrap());
    let base = config(&stub.url);
    let ask = async |config: &JudgeConfig, answer: &str| {
        let before = stub.requests();
        scores(&opened(config, run.path()).await, &red_star(), &[answer]).await;
        stub.requests() - before
    };
    assert_eq!(ask(&base, "one red star").await, 1);
    assert_eq!(ask(&base, "one red star").await, 0);
    let extra = |key: &str| [(key.to_owned(), json!(true))].into_iter().collect();
    let sampled = JudgeConfig { temperature: 0.7, ..base.clone() };
    for (what, config, answer, asked) in [
        ("another answer", base.clone(), "two red stars", 1),
        ("another seed", JudgeConfig { seed: 1, ..base.clone() }, "one red star", 1),
        ("another length", JudgeConfig { max_tokens: 9, ..base.clone() }, "one red star", 1),
        ("another temperature", sampled.clone(), "one red star", 1),
        ("more votes", JudgeConfig { votes: 3, ..sampled }, "one red star", 2),
        ("another field", JudgeConfig { extra_body: extra("x"), ..base.clone() }, "one red star", 1),
        ("more servers at a time", JudgeConfig { max_concurrency: 3, ..base.clone() }, "one red star", 0),
        ("another limit", JudgeConfig { requests_per_minute: Some(9), ..base.clone() }, "one red star", 0),
    ] {
        assert_eq!(ask(&config, answer).await, asked, "{what}");
        assert_eq!(ask(&config, answer).await, 0, "{what}, again");
    }
    let updated = serving("r2").await;
    let moved = JudgeConfig { endpoint: updated.url.clone(), ..base.clone() };
    scores(&opened(&moved, run.path()).await, &red_star(), &["one red star"]).await;
    assert_eq!(updated.requests(), 1, "another revision of the model");
    let twin = serving("r1").await;
    let moved = JudgeConfig { endpoint: twin.url.clone(), ..base };
    scores(&opened(&moved, run.path()).await, &red_star(), &["one red star"]).await;
    assert_eq!(twin.requests(), 0, "the same model elsewhere");
}

#[tokio::test]
async fn only_verdicts_are_kept() {
    let run = tempfile::tempdir().unwrap();
    for act in [Act::Status(500, ""), Act::Say("perhaps"), Act::Status(404, "")] {
        let stub = Stub::start(vec![act]).await;
        let failed = scores(&opened(&config(&stub.url), run.path()).await, &red_star(), &["one red star"]).await;
        assert!(kind(&failed[0]).is_some());
    }
    assert_eq!(std::fs::read_to_string(file(run.path())).unwrap(), "");
}

#[tokio::test]
async fn a_corrupt_file_costs_calls_and_no_score() {
    let (stub, run) = (serving("r1").await, tempfile::tempdir().unwrap());
    let config = config(&stub.url);
    let cold = scores(&opened(&config, run.path()).await, &red_star(), &ANSWERS).await;
    let text = std::fs::read_to_string(file(run.path())).unwrap();
    // A verdict that was turned round, and a file that was cut.
    let turned = text.replacen("\"verdict\":[1]", "\"verdict\":[0]", 1);
    assert_ne!(turned, text);
    for (damaged, calls) in [(turned.as_str(), 1), (&text[..text.len() - 9], 1), ("\u{0}\u{0}\u{0}", 2)] {
        std::fs::write(file(run.path()), damaged).unwrap();
        let before = stub.requests();
        let judge = opened(&config, run.path()).await;
        let notes = judge.take_notes();
        assert!(notes.iter().any(|note| note.contains("broken lines") && note.contains("set aside")), "{notes:?}");
        assert_eq!(scores(&judge, &red_star(), &ANSWERS).await, cold);
        assert_eq!(stub.requests() - before, calls);
    }
    let before = stub.requests();
    assert_eq!(scores(&opened(&config, run.path()).await, &red_star(), &ANSWERS).await, cold);
    assert_eq!(stub.requests(), before, "it was mended");
}

#[tokio::test]
async fn a_full_disk_or_a_folder_that_cannot_be_made_loses_no_score() {
    let (stub, run) = (serving("r1").await, tempfile::tempdir().unwrap());
    let blocked = run.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let config = config(&stub.url);
    let judge = opened(&JudgeConfig { cache: blocked.display().to_string(), ..config.clone() }, run.path()).await;
    assert!(judge.take_notes()[0].contains("in memory only"));
    let wanted = [Some(1.0), Some(0.0), Some(1.0), Some(0.0)];
    assert_eq!(values(&scores(&judge, &red_star(), &ANSWERS).await), wanted);
    if cfg!(target_os = "linux") {
        let judge = opened(&config, run.path()).await;
        judge.cache.write_to(OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert_eq!(values(&scores(&judge, &red_star(), &ANSWERS).await), wanted);
        let notes = judge.take_notes();
        assert_eq!(notes.len(), 1, "told once: {notes:?}");
        assert!(notes[0].contains("No space left") && judge.stopped().is_none(), "{notes:?}");
    }
}
