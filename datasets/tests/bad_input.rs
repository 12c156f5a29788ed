//! Bad input is an error that names file, row, column and remedy; nothing changes silently.

use std::fs;
use std::path::Path;

use sapo_datasets::synthetic::{Task, query};
use sapo_datasets::{Columns, Dataset, Difficulty, OpenContext, Result, SourceConfig, Split};
use serde_json::{Value, json};

fn write(folder: &Path, rows: &[Value]) -> SourceConfig {
    let path = folder.join("data.jsonl");
    fs::write(&path, rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"))
        .expect("the test's own data is good");
    SourceConfig { source: path.display().to_string(), ..SourceConfig::default() }
}

fn open(config: &SourceConfig) -> Result<Dataset> {
    Dataset::open("mine", config, &OpenContext::default())
}

/// What is said about the first rows.
fn message_of(config: &SourceConfig) -> String {
    match open(config).and_then(|dataset| dataset.check_head(64)) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

fn message(rows: &[Value]) -> String {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    message_of(&write(folder.path(), rows))
}

#[test]
fn good_rows_are_good() {
    assert_eq!(message(&[json!({"problem": "2+2?", "answer": "4", "level": 3})]), "");
}

#[test]
fn rows_that_say_two_things_are_refused() {
    let user = |text: &str| json!({"role": "user", "content": text});
    let assistant = json!({"role": "assistant", "content": "4"});
    for (row, says) in [
        (
            json!({"problem": "2+2?", "answer": "4", "solution": "5"}),
            "`answer` and `solution` disagree; name one by columns.ground_truth",
        ),
        (
            json!({"problem": "2+2?", "prompt": "3+3?"}),
            "`prompt` and `problem` ask different things; name one by columns.question",
        ),
        (json!({"messages": [user("2+2?"), assistant], "response": "5"}), "different responses"),
        (json!({"problem": "a", "response": "5", "completion": "6"}), "`response` and `completion` disagree"),
        (
            json!({"problem": "a", "image": "a.png", "images": ["b.png"]}),
            "both hold pictures; name one by columns.images",
        ),
    ] {
        let message = message(std::slice::from_ref(&row));
        assert!(message.contains("data.jsonl row 1") && message.contains(says), "{row}: {message}");
    }
    let same =
        json!({"messages": [user("2+2?"), assistant], "prompt": "2+2?", "answer": 4, "solution": "4", "response": "4"});
    assert_eq!(message(&[same]), "", "two that agree are one");
}

#[test]
fn messages_of_no_known_form_are_refused() {
    let one = |message: Value| json!({"messages": [message]});
    let user = |text: &str| json!({"role": "user", "content": text});
    let assistant = |text: &str| json!({"role": "assistant", "content": text});
    for (row, says) in [
        (one(json!({"role": "usr", "content": "Hi"})), "column `messages`, message 1: is spoken by \"usr\""),
        (one(json!({"role": "user", "text": "Hi"})), "neither `content` nor `value` (keys: `text`)"),
        (one(json!({"role": "user", "content": [{"type": "audio"}]})), "type `audio`"),
        (one(json!({"role": "user", "content": [{"type": "text", "txt": "a"}]})), "without `text`"),
        (one(json!({"role": "user", "content": "a", "tool_calls": [1]})), "has `tool_calls`"),
        (one(json!({"role": "assistant", "content": "a"})), "no message that could be answered"),
        (one(json!({"role": "system", "content": "a"})), "ends with a system message"),
        (json!({"prompt": {"a": 1}}), "text or a list of messages is wanted"),
        (json!({"messages": [user("a"), assistant("b"), assistant("c")]}), "ends with two messages of the assistant"),
        (json!({"messages": [{"role": "tool", "content": "a"}]}), "no message of a user"),
        (one(user("")), "the question is empty"),
        (one(json!({"role": "user", "content": []})), "the question is empty"),
        (json!({"problem": " \n"}), "the question is empty"),
        (json!({"prompt": null, "x": 1}), "no question: column `prompt` is empty"),
    ] {
        let message = message(std::slice::from_ref(&row));
        assert!(message.contains("data.jsonl row 1") && message.contains(says), "{row}: {message}");
    }
}

#[test]
fn pictures_are_named_by_row_column_and_path() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let clock = query(Task::Clock, Split::Train, 1, 0).images[0].clone();
    fs::write(folder.path().join("good.png"), clock.bytes()).expect("the test's own data is good");
    fs::write(folder.path().join("half.png"), &clock.bytes()[..clock.bytes().len() / 2])
        .expect("the test's own data is good");
    fs::write(folder.path().join("text.png"), "hello").expect("the test's own data is good");
    let row = |text: &str, images: Value| json!({"problem": text, "images": images});
    let good = row("What?", json!(["good.png"]));
    for (bad, says) in [
        (row("What?", json!(["good.png", "gone.png"])), "column `images`, picture 2: cannot read the picture"),
        (row("What?", json!(["half.png"])), "column `images`, picture 1: "),
        (row("What?", json!(["text.png"])), "text.png: not a PNG, JPEG, WebP, GIF, BMP or TIFF picture"),
        (row("What?", json!([7])), "column `images` holds 7; a path"),
        (row("What?", json!(["data:image/png;base64,aGVsbG8="])), "not a PNG"),
        (row("What?", json!(["https://a.b/c.png"])), "is not fetched"),
        (row("<image>What <image>?", json!(["good.png"])), "name 2 pictures, but there are 1"),
        (row("<image>What?", json!([])), "name 1 pictures, but there are 0"),
        (row("<image 2>What?", json!(["good.png"])), "no mark names picture 1"),
        (json!({"problem": "<video>What?", "videos": []}), "name 1 videos, but there are 0"),
        (json!({"problem": "What?", "video": "gone"}), "cannot read the video"),
        (json!({"problem": "What?", "video": {"path": ".", "fps": 0}}), "frames a second must be above 0"),
    ] {
        let message = message_of(&write(folder.path(), &[good.clone(), bad.clone()]));
        assert!(message.contains("data.jsonl row 2") && message.contains(says), "{bad}: {message}");
    }
    let config = write(folder.path(), &[good.clone(), row("What?", json!(["half.png"]))]);
    assert!(open(&config).expect("the test's own data is good").get(1).is_ok(), "decoding waits until a batch is made");
}

#[test]
fn unknown_layouts_name_what_was_seen() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let message = message(&[json!({"mesages": [], "uid": 1})]);
    for says in ["is it `mesages`?", "columns: `mesages`, `uid`", "columns.question"] {
        assert!(message.contains(says), "{message}");
    }
    let mut config = write(folder.path(), &[json!({"question": "a", "answr": "b"})]);
    config.columns = Columns { ground_truth: Some("answer".to_owned()), ..Columns::default() };
    let message = message_of(&config);
    assert!(
        message.contains("no column `answer`, which columns.ground_truth names; did you mean `answr`?"),
        "{message}"
    );
}

#[test]
fn a_type_that_changes_is_refused() {
    let row = |answer: Value| json!({"problem": "a", "answer": answer});
    let message = message(&[row(json!("4")), row(Value::Null), row(json!(4))]);
    assert!(message.contains("row 3: column `answer` is a number, but text in row 1"), "{message}");
}

#[test]
fn a_template_that_fails_names_the_row() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let mut rows = vec![json!({"problem": "a", "hint": "b"}); 40];
    rows[16] = json!({"problem": "a"});
    let mut config = write(folder.path(), &rows);
    config.prompt = Some("{{ content }} {{ hint }}".to_owned());
    let message = message_of(&config);
    assert!(message.contains("data.jsonl row 17: the prompt template fails"), "{message}");
    let dataset = open(&config).expect("the test's own data is good");
    assert!(dataset.get(16).is_err() && dataset.get(17).is_ok(), "a bad row spoils no other");
    config.prompt = Some("Think.".to_owned());
    assert!(message_of(&config).contains("data.mine, prompt: "));
}

#[test]
fn ids_must_differ() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let row = |id: &str| json!({"id": id, "problem": "a"});
    let config = write(folder.path(), &[row("a"), row("b"), row("a")]);
    let message = open(&config).unwrap_err().to_string();
    assert!(message.contains("row 3: has the id `a` of") && message.contains("row 1; ids must differ"), "{message}");
}

#[test]
fn rows_are_chosen_by_columns() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let row =
        |index: usize| json!({"problem": "a", "split": if index < 6 { "train" } else { "val" }, "level": index % 2});
    let mut config = write(folder.path(), &(0..10).map(row).collect::<Vec<_>>());
    let plain = config.source.clone();
    config.source = format!("{plain}@val");
    let val = open(&config).expect("the test's own data is good");
    assert_eq!((val.len(), val.get(0).expect("the test's own data is good").query.id.as_str()), (Some(4), "data-7"));
    config.source = format!("{plain}@train[1:4]");
    config.only.insert("level".to_owned(), "1".to_owned());
    let only = open(&config).expect("the test's own data is good");
    let ids: Vec<String> = only.iter().map(|example| example.expect("the test's own data is good").query.id).collect();
    assert_eq!(ids, ["data-2", "data-4"], "the slice comes first, then what is kept of it");
    config.source = format!("{plain}@test");
    assert!(message_of(&config).contains("no row has `test` in `split`"));
    config.source = plain;
    config.only = [("levle".to_owned(), "1".to_owned())].into();
    assert!(message_of(&config).contains("did you mean `level`?"));
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let at = |name: &str, bytes: &str| {
        fs::write(folder.path().join(name), bytes).expect("the test's own data is good");
        let source = folder.path().join(name).display().to_string();
        message_of(&SourceConfig { source, ..SourceConfig::default() })
    };
    assert!(at("empty.jsonl", "").contains("empty.jsonl: holds no rows"));
    assert!(at("torn.parquet", "PAR1 and then nothing").contains("cannot be read as Parquet"));
    assert!(at("data.csv", "a,b").contains("is not a data set"));
    assert!(at("broken.jsonl", "{\"problem\": \"a\"}\n{").contains("row 2: not a JSON object"));
    let config = write(folder.path(), &[json!({"problem": "a"})]);
    assert!(message_of(&SourceConfig { hasty: 0.5, ..config.clone() }).contains("only generated tasks"));
    let hard = SourceConfig { difficulty: Some(Difficulty::Hard), ..config };
    assert!(message_of(&hard).contains("difficulty") && message_of(&hard).contains("only generated tasks"));
}

#[test]
fn a_key_that_stands_twice_is_named() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    for (name, text) in [
        ("a.jsonl", "{\"problem\": \"a\"}\n{\"problem\": \"a\", \"answer\": 1, \"answer\": 2}"),
        ("a.json", "[{\"problem\": \"a\"}, {\"problem\": \"a\", \"x\": {\"answer\": 1, \"answer\": 2}}]"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("the test's own data is good");
        let message = message_of(&SourceConfig { source: path.display().to_string(), ..SourceConfig::default() });
        assert!(message.contains(&format!("{name} row 2: ")), "{message}");
        assert!(message.contains("the key `answer` stands twice"), "{message}");
    }
}

#[test]
fn a_last_message_of_the_assistant_is_marked() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let spoken = json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]});
    let beside = json!({"messages": [{"role": "user", "content": "a"}], "response": "b"});
    let dataset = open(&write(folder.path(), &[spoken, beside])).expect("the test's own data is good");
    let rows: Vec<_> = dataset.iter().map(|row| row.expect("the test's own data is good")).collect();
    assert_eq!((rows[0].spoken, rows[1].spoken), (true, false));
    assert_eq!((rows[0].response.as_deref(), rows[1].response.as_deref()), (Some("b"), Some("b")));
}

#[cfg(target_os = "linux")]
#[test]
fn what_never_ends_is_not_opened() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    for (name, target) in
        [("a.jsonl", "/dev/zero"), ("b.json", "/proc/kmsg"), ("c.parquet", "/dev/zero"), ("d.png", "/dev/zero")]
    {
        std::os::unix::fs::symlink(target, folder.path().join(name)).expect("the test's own data is good");
    }
    for (name, says) in
        [("a.jsonl", "it is not a file"), ("b.json", "holds no rows"), ("c.parquet", "it is not a file")]
    {
        let source = folder.path().join(name).display().to_string();
        let message = message_of(&SourceConfig { source, ..SourceConfig::default() });
        assert!(message.contains(name) && message.contains(says), "{message}");
    }
    let picture = |name: &str| message_of(&write(folder.path(), &[json!({"problem": "a", "image": name})]));
    for name in ["d.png", "/proc/kmsg"] {
        let message = picture(name);
        assert!(message.contains("row 1, column `image`, picture 1: cannot read the picture"), "{message}");
    }
}

#[test]
fn our_own_rows_are_closed() {
    let own =
        json!({"id": "a", "messages": [{"role": "user", "content": "Hi"}], "ground_truth": 1, "columns": {"x": 1}});
    assert_eq!(message(std::slice::from_ref(&own)), "");
    let mut unknown = own;
    unknown["rubrik"] = "x".into();
    assert!(message(&[unknown]).contains("unknown key `rubrik`; did you mean `rubric`?"));
}
