//! Tests of generated data sets and of views; files are tested in `tests/`.

use super::*;
use crate::synthetic::{self, Difficulty, Style};

fn open(source: &str) -> Result<Dataset> {
    let config = SourceConfig { source: source.to_owned(), ..SourceConfig::default() };
    open_config(&config)
}

fn open_config(config: &SourceConfig) -> Result<Dataset> {
    Dataset::open("mine", config, &OpenContext { seed: 3, ..OpenContext::default() })
}

fn ids(dataset: &Dataset, count: u64) -> Vec<String> {
    (0..count).map(|index| dataset.get(index).unwrap().query.id).collect()
}

#[test]
fn a_generated_task_is_unlimited_until_it_is_sliced() {
    let all = open("synthetic:arith").unwrap();
    assert_eq!((all.len(), all.task(), all.name()), (None, Some("arith"), "mine"));
    let shown = synthetic::demonstration(Task::Arith, 3, 7, Style::Careful);
    assert_eq!(all.get(7).unwrap(), Example { query: shown.query, response: Some(shown.response), spoken: false });
    let some = open("synthetic:clock@test[10:30]").unwrap();
    assert_eq!(some.len(), Some(20));
    assert_eq!(some.get(0).unwrap().query, synthetic::query(Task::Clock, Split::Test, 3, 10));
    assert!(some.get(20).unwrap_err().to_string().contains("has 20 rows"));
    assert_eq!(some.slice(Some(5), Some(6)).unwrap().get(0).unwrap().query.id, "clock-test-3-15");
    let context = OpenContext { default_split: Split::Test, ..OpenContext::default() };
    let config = SourceConfig { source: "synthetic:clock".to_owned(), ..SourceConfig::default() };
    assert_eq!(Dataset::open("c", &config, &context).unwrap().get(0).unwrap().query.id, "clock-test-0-0");
}

#[test]
fn views_count_from_their_own_start() {
    let all = open("synthetic:arith").unwrap();
    let later = all.starting_at(100);
    assert_eq!(ids(&later, 2), ["arith-train-3-100", "arith-train-3-101"]);
    let picked = later.slice(None, Some(10)).unwrap().picked(vec![9, 0, 5]);
    assert_eq!(ids(&picked, 3), ["arith-train-3-109", "arith-train-3-100", "arith-train-3-105"]);
    assert_eq!(ids(&picked.slice(Some(1), None).unwrap().picked(vec![1]), 1), ["arith-train-3-105"]);
    assert_eq!(picked.starting_at(5).len(), Some(3), "what has an end stays as it is");
    assert!(picked.picked(vec![3]).get(0).is_err());
    assert!(picked.slice(Some(1), Some(4)).is_err());
}

#[test]
fn a_share_answers_at_once() {
    let config = SourceConfig { source: "synthetic:arith".to_owned(), hasty: 0.3, ..SourceConfig::default() };
    let dataset = open_config(&config).unwrap();
    let is_hasty = |index| dataset.get(index).unwrap().response.unwrap().starts_with("</think>");
    let count = (0..1000).filter(|&index| is_hasty(index)).count();
    assert!((250..350).contains(&count), "{count}");
    assert!(open_config(&SourceConfig { hasty: 1.5, ..config }).unwrap_err().to_string().contains("between 0 and 1"));
}

#[test]
fn difficulties_share_no_id_and_the_usual_one_is_not_named() {
    let open_at = |difficulty| {
        open_config(&SourceConfig { source: "synthetic:clock".to_owned(), difficulty, ..SourceConfig::default() })
            .unwrap()
    };
    let usual = open_at(None);
    assert_eq!(ids(&usual, 1), ["clock-train-3-0"]);
    assert_eq!(usual.get(0).unwrap(), open_at(Some(Difficulty::Medium)).get(0).unwrap());
    assert!(!usual.get(0).unwrap().query.columns.contains_key("difficulty"));
    let hard = open_at(Some(Difficulty::Hard));
    assert_eq!(ids(&hard, 2), ["clock-hard-train-3-0", "clock-hard-train-3-1"]);
    let query = hard.get(0).unwrap().query;
    assert_eq!((query.task.as_str(), &query.columns["difficulty"]), ("clock", &serde_json::json!("hard")));
    assert_ne!(query.columns["content"], usual.get(0).unwrap().query.columns["content"]);
}

#[test]
fn only_some_rows_are_kept() {
    let only = BTreeMap::from([("language".to_owned(), "zh".to_owned())]);
    let config = SourceConfig { source: "synthetic:arith".to_owned(), only, ..SourceConfig::default() };
    let endless = open_config(&config).unwrap();
    let chinese: Vec<Example> = (0..20).map(|index| endless.get(index).unwrap()).collect();
    assert!(chinese.iter().all(|example| example.query.columns["language"] == "zh"));
    assert_ne!(chinese[0].query.id, chinese[1].query.id);
    let limited = open_config(&SourceConfig { source: "synthetic:arith[0:100]".to_owned(), ..config.clone() }).unwrap();
    let length = limited.len().unwrap();
    assert!((5..50).contains(&length), "{length}");
    assert!(limited.iter().all(|example| example.unwrap().query.columns["language"] == "zh"));
    let only = BTreeMap::from([("language".to_owned(), "fr".to_owned())]);
    let message = open_config(&SourceConfig { only, ..config }).unwrap().get(0).unwrap_err().to_string();
    assert!(message.contains("language = fr"), "{message}");
}

#[test]
fn questions_of_generated_tasks_are_reworded() {
    let config = SourceConfig {
        source: "synthetic:clock".to_owned(),
        task: Some("time".to_owned()),
        prompt: Some("Look. {{ content }} ({{ language }})".to_owned()),
        system: Some("Be brief.".to_owned()),
        ..SourceConfig::default()
    };
    let query = open_config(&config).unwrap().get(0).unwrap().query;
    assert_eq!((query.task.as_str(), query.messages.len()), ("time", 2));
    assert_eq!(query.messages[0].text(), "Be brief.");
    assert_eq!(query.messages[1].content[..2], [crate::Part::text("Look. "), crate::Part::Image]);
    assert!(query.question().ends_with("(en)") || query.question().ends_with("(zh)"));
}

#[test]
fn mistakes_are_named() {
    let message = |source: &str| open(source).unwrap_err().to_string();
    assert!(message("synthetic:artih").contains("did you mean `arith`?"));
    assert!(message("synthetic:arith@tets").contains("did you mean `test`?"));
    assert!(message("no/such.jsonl").contains("no/such.jsonl"));
    assert!(message("synthetic:arith[1:x]").contains("[1:x]"));
    for source in ["synthetic:arith[5:5]", "synthetic:arith[9:3]", "synthetic:arith[:0]"] {
        assert!(message(source).contains("no slice"), "{source}");
    }
    let columns = Columns { question: Some("q".to_owned()), ..Columns::default() };
    let config = SourceConfig { source: "synthetic:arith".to_owned(), columns, ..SourceConfig::default() };
    assert!(open_config(&config).unwrap_err().to_string().contains("no columns to name"));
}
