//! The fault table of processes: whatever one item does to its worker, the others keep their exact scores.

use std::fs;

use futures_util::future::join_all;

use super::*;
use crate::plugin::worker::kill_group;

/// A worker in the words of a shell: the value of an answer is the number that it is, and some words do harm.
const WORKER: &str = r#"
echo '{"v":1,"ready":true}' >&3
while IFS= read -r line; do
    id=${line#*\"id\":}; id=${id%%,*}
    said=$(printf '%s' "$line" | grep -o '"response":"[^"]*"' | cut -d'"' -f4)
    values=$(printf '%s\n' "$said" | sed 's/^string$/"1"/; s/^infinite$/1e999/' | paste -sd, -)
    case "$said" in
        *die*) echo 'cannot go on' >&2; kill -KILL $$ ;;
        *hang*) sleep 1000 ;;
        *slow*) sleep 0.2; values=$(printf '%s' "$values" | sed 's/slow/0.75/') ;;
        *print*) echo '{"id":1,"outcomes":[0]}'; echo noise >&2; values=$(printf '%s' "$values" | sed 's/print/0.75/') ;;
        *few*) values=$(printf '%s' "$values" | sed 's/,*few//') ;;
        *many*) values=$(printf '%s' "$values" | sed 's/many/1,1/') ;;
        *raise*) printf '{"id":%s,"error":"no such table"}\n' "$id" >&3; continue ;;
        *batches*) values=$(printf '%s' "$values" | sed "s/batches/{\"value\":0,\"evidence\":\"$id\"}/g") ;;
        *process*) values="{\"value\":0,\"evidence\":\"$$\"}" ;;
        *child*) sleep 1000 & values="{\"value\":0,\"evidence\":\"$!\"}" ;;
    esac
    printf '{"id":%s,"outcomes":[%s]}\n' "$id" "$values" >&3
done
"#;

fn shell(script: &str) -> ProcessConfig {
    ProcessConfig { command: ["sh", "-c", script].map(str::to_owned).to_vec(), workers: 1, ..ProcessConfig::default() }
}

fn plugin(config: &ProcessConfig) -> Plugin {
    Plugin::process("plugin", config).unwrap()
}

/// 64 answers, of which one does harm; the others must have their exact values.
async fn harmed(config: &ProcessConfig, harm: &str) -> PartScore {
    let said = |at: usize| if at == 37 { harm.to_owned() } else { (at as f64 / 64.0).to_string() };
    let pairs: Vec<_> = (0..64).map(|at| pair(Value::Null, &said(at))).collect();
    let plugin = plugin(config);
    let mut scores = scores(&plugin, &pairs).await;
    for (at, value) in values(&scores).into_iter().enumerate().filter(|(at, _)| *at != 37) {
        assert_eq!(value, Some(at as f64 / 64.0), "{harm}: {at}: {:?}", scores[at]);
    }
    scores.swap_remove(37)
}

#[tokio::test]
async fn a_killed_worker_fails_only_the_item_that_kills_it() {
    let score = harmed(&shell(WORKER), "die").await;
    let (kind, message) = failure(&score);
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(message.contains("SIGKILL") && message.contains("cannot go on"), "{message}");
}

#[tokio::test]
async fn a_hung_worker_fails_only_the_item_that_hangs_it() {
    let score = harmed(&ProcessConfig { timeout_secs: 1.0, ..shell(WORKER) }, "hang").await;
    let (kind, message) = failure(&score);
    assert_eq!(kind, FailureKind::Timeout);
    assert!(message.contains("timeout_secs = 1"), "{message}");
}

#[tokio::test]
async fn slow_items_and_prints_cost_nothing() {
    for harm in ["slow", "print"] {
        assert_eq!(harmed(&shell(WORKER), harm).await.outcome, Outcome::Value(0.75), "{harm}");
    }
}

#[tokio::test]
async fn wrong_counts_and_values_fail_only_the_item_that_causes_them() {
    for (harm, kind, says) in [
        ("few", FailureKind::Protocol, "0 outcomes for 1 items"),
        ("many", FailureKind::Protocol, "2 outcomes for 1 items"),
        ("NaN", FailureKind::Protocol, "not JSON"),
        ("infinite", FailureKind::Protocol, "not JSON"),
        ("string", FailureKind::Invalid, "not \"1\""),
        ("raise", FailureKind::Protocol, "no such table"),
        ("7", FailureKind::Invalid, "outside its range 0..1"),
    ] {
        let score = harmed(&shell(WORKER), harm).await;
        let (got, message) = failure(&score);
        assert_eq!(got, kind, "{harm}: {message}");
        assert!(message.contains(says), "{harm}: {message}");
    }
}

#[tokio::test]
async fn several_workers_give_the_same() {
    let config = ProcessConfig { workers: 3, batch_size: 5, ..shell(WORKER) };
    assert_eq!(failure(&harmed(&config, "die").await).0, FailureKind::Unreachable);
}

#[tokio::test]
async fn a_worker_that_was_killed_from_outside_is_replaced_without_loss() {
    let plugin = plugin(&shell(WORKER));
    for _ in 0..3 {
        let first = scores(&plugin, &[pair(Value::Null, "process")]).await;
        let pid = first[0].evidence.as_deref().unwrap().parse().unwrap();
        kill_group(pid);
        let after = scores(&plugin, &[pair(Value::Null, "0.25")]).await;
        assert_eq!(values(&after), [Some(0.25)], "{after:?}");
    }
}

#[tokio::test]
async fn items_that_come_one_by_one_are_sent_together() {
    let plugin = plugin(&shell(WORKER));
    let pairs: Vec<_> = (0..64).map(|_| pair(Value::Null, "batches")).collect();
    let single = |(query, transcript)| {
        let plugin = &plugin;
        async move { plugin.score(&[Item { query, transcript }]).await.remove(0) }
    };
    let scored = join_all(pairs.iter().map(|(query, transcript)| single((query, transcript)))).await;
    let last = scored.iter().map(|score| score.evidence.as_deref().unwrap().parse::<u64>().unwrap()).max().unwrap();
    assert!(last <= 8, "{last} requests");
}

/// A file that does not exist yet.
fn fresh(name: &str) -> std::path::PathBuf {
    let file = std::env::temp_dir().join(format!("sapo-plugin-{}-{name}", std::process::id()));
    drop(fs::remove_file(&file));
    file
}

#[tokio::test]
async fn what_cannot_start_fails_everything_with_the_reason_once() {
    let file = fresh("starts");
    let script = format!("echo start >> '{}'; echo 'no module named torch' >&2; exit 3", file.display());
    let plugin = plugin(&ProcessConfig { max_restarts: 1, ..shell(&script) });
    let pairs: Vec<_> = (0..64).map(|_| pair(Value::Null, "1")).collect();
    for _ in 0..2 {
        for score in scores(&plugin, &pairs).await {
            let (kind, message) = failure(&score);
            assert_eq!(kind, FailureKind::Unavailable);
            let says = ["cannot be started", "exit status: 3", "no module named torch"];
            assert!(says.iter().all(|says| message.contains(says)), "{message}");
        }
    }
    // Once, and one restart.
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2);
    fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_first_start_that_fails_is_tried_again() {
    let file = fresh("second");
    let script = format!("[ -e '{0}' ] || {{ echo > '{0}'; exit 1; }}\n{WORKER}", file.display());
    let scored = scores(&plugin(&shell(&script)), &[pair(Value::Null, "0.25")]).await;
    assert_eq!(values(&scored), [Some(0.25)], "{scored:?}");
    fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_batch_of_bad_items_does_not_end_the_reward() {
    let plugin = plugin(&ProcessConfig { max_restarts: 3, ..shell(WORKER) });
    let bad: Vec<_> = (0..16).map(|_| pair(Value::Null, "die")).collect();
    for _ in 0..3 {
        let scored = scores(&plugin, &bad).await;
        assert!(scored.iter().all(|score| failure(score).0 == FailureKind::Unreachable), "{scored:?}");
        assert!(
            scored.iter().any(|score| failure(score).1.contains("4 deaths of workers over one batch")),
            "{scored:?}"
        );
        let good = scores(&plugin, &[pair(Value::Null, "0.25")]).await;
        assert_eq!(values(&good), [Some(0.25)], "{good:?}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_or_does_not_greet_says_so() {
    let missing = ProcessConfig { command: vec!["sapo-no-such-program".to_owned()], ..shell("") };
    let strange = ProcessConfig { max_restarts: 0, ..shell("echo hello >&3; sleep 1000") };
    let mute = ProcessConfig { start_timeout_secs: 0.2, max_restarts: 0, ..shell("sleep 1000") };
    for (config, says) in [(missing, "not found"), (strange, "hello"), (mute, "start_timeout_secs = 0.2")] {
        let scored = scores(&plugin(&config), &[pair(Value::Null, "1")]).await;
        let (kind, message) = failure(&scored[0]);
        assert_eq!(kind, FailureKind::Unavailable);
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn workers_that_always_die_are_given_up() {
    let file = fresh("deaths");
    let script =
        format!("echo start >> '{}'; echo '{{\"v\":1,\"ready\":true}}' >&3; read -r line; exit 1", file.display());
    let plugin = plugin(&ProcessConfig { max_restarts: 3, ..shell(&script) });
    let pairs: Vec<_> = (0..16).map(|_| pair(Value::Null, "1")).collect();
    for (batch, kind) in
        [FailureKind::Unreachable, FailureKind::Unavailable, FailureKind::Unavailable].iter().enumerate()
    {
        let scored = scores(&plugin, &pairs).await;
        assert_eq!(failure(&scored[15]).0, *kind, "{batch}: {scored:?}");
        assert!(failure(&scored[15]).1.contains("4 deaths"), "{scored:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 8);
    fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn only_the_plain_environment_and_what_is_listed_is_handed_on() {
    let script = r#"echo '{"v":1,"ready":true}' >&3; read -r line
        printf '{"id":1,"outcomes":[{"value":1,"evidence":"%s|%s|%s"}]}\n' \
            "$SAPO_REWARD_CHANNEL" "${CARGO_PKG_NAME-unset}" "${CARGO_MANIFEST_DIR:+set}" > "$SAPO_REWARD_CHANNEL""#;
    let config = ProcessConfig { env: vec!["CARGO_MANIFEST_DIR".to_owned()], ..shell(script) };
    let scored = scores(&plugin(&config), &[pair(Value::Null, "1")]).await;
    assert_eq!(scored[0].evidence.as_deref(), Some("/dev/fd/3|unset|set"), "{scored:?}");
}

#[tokio::test]
async fn pictures_lie_in_a_folder_that_goes_with_the_plugin() {
    let script = r#"echo '{"v":1,"ready":true}' >&3; read -r line
        path=${line#*\"images\":[\"}; path=${path%%\"*}
        printf '{"id":1,"outcomes":[{"value":1,"evidence":"%s"}]}\n' "$path" >&3; read -r line"#;
    let (_, transcript) = pair(Value::Null, "1");
    let query = sapo_datasets::synthetic::demonstration(
        sapo_datasets::Task::Clock,
        1,
        0,
        sapo_datasets::synthetic::Style::Hasty,
    )
    .query;
    let plugin = plugin(&ProcessConfig { pictures: true, ..shell(script) });
    let scored = score_all(&plugin, &[Item { query: &query, transcript: &transcript }]).await;
    let path = std::path::PathBuf::from(scored[0].evidence.as_deref().unwrap());
    assert_eq!(fs::read(&path).unwrap(), query.images[0].bytes());
    drop(plugin);
    assert!(!path.exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dropping_a_plugin_ends_everything_that_it_started() {
    let plugin = plugin(&shell(WORKER));
    let scored = scores(&plugin, &[pair(Value::Null, "child")]).await;
    let child = scored[0].evidence.clone().unwrap();
    // Gone, or waiting to be counted as gone.
    let runs = || fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(runs());
    drop(plugin);
    let begun = std::time::Instant::now();
    while runs() {
        assert!(begun.elapsed().as_secs() < 20, "it still runs");
        std::thread::yield_now();
    }
}
