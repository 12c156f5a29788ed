//! The same five rows in the layouts of verl, EasyR1, TRL, ms-swift, ShareGPT and LLaVA give the same queries.

use std::fs::{self, File};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use polars::prelude::*;
use sapo_datasets::synthetic::{Task, query};
use sapo_datasets::written::parquet as written;
use sapo_datasets::{Dataset, Example, OpenContext, Part, Picture, Role, SourceConfig, Split};
use serde_json::{Value, json};

fn picture(index: u64) -> Picture {
    query(Task::Clock, Split::Train, 1, index).images[0].clone()
}

/// Question and truth; each row shows one picture, the last one two.
const ROWS: [(&str, &str); 5] = [
    ("<image>What time is it?", "3:00"),
    ("Is it noon on <image>?", "no"),
    ("<image>Read the clock.", "7:35"),
    ("<image>And this one?", "9:05"),
    ("Is <image> before <image>?", "yes"),
];

fn shown(row: usize) -> Vec<Picture> {
    (0..ROWS[row].0.matches("<image>").count()).map(|index| picture((row + index) as u64)).collect()
}

fn open(path: &Path) -> Dataset {
    let config = SourceConfig {
        source: path.display().to_string(),
        prompt: Some("{{ content | trim }} Answer in \\boxed{}.".to_owned()),
        system: Some("Think first.".to_owned()),
        ..SourceConfig::default()
    };
    Dataset::open("clocks", &config, &OpenContext::default()).expect("the test's own data is good")
}

fn examples(path: &Path) -> Vec<Example> {
    let dataset = open(path);
    dataset.check_head(5).expect("the test's own data is good");
    assert_eq!(dataset.len(), Some(5));
    dataset.iter().map(|row| row.expect("the row is good")).collect()
}

/// Writes one row after another as JSON lines, with the pictures as `cell` wants them.
fn jsonl(
    folder: &Path,
    name: &str,
    cell: impl Fn(&Picture) -> Value,
    row: impl Fn(&str, &str, Vec<Value>) -> Value,
) -> Vec<Example> {
    let lines: Vec<String> = (0..ROWS.len())
        .map(|index| row(ROWS[index].0, ROWS[index].1, shown(index).iter().map(&cell).collect()).to_string())
        .collect();
    let path = folder.join(format!("{name}.jsonl"));
    fs::write(&path, lines.join("\n")).expect("the test's own data is good");
    examples(&path)
}

fn data_url(picture: &Picture) -> Value {
    format!("data:image/png;base64,{}", BASE64.encode(picture.bytes())).into()
}

/// The parts of a message as TRL writes them.
fn typed(question: &str) -> Value {
    let mut parts = Vec::new();
    for (index, text) in question.split("<image>").enumerate() {
        if index > 0 {
            parts.push(json!({"type": "image"}));
        }
        if !text.is_empty() {
            parts.push(json!({"type": "text", "text": text}));
        }
    }
    parts.into()
}

/// The same rows by layout.
type Layouts = Vec<(&'static str, Vec<Example>)>;

/// Keeps a picture as a file beside the rows.
fn beside(at: &Path) -> impl Fn(&Picture) -> Value + '_ {
    move |picture| {
        let name = format!("{}.png", picture.sha256());
        fs::write(at.join(&name), picture.bytes()).expect("the test's own data is good");
        Value::from(name)
    }
}

/// Rows with a column for each thing.
fn columns(at: &Path) -> Layouts {
    let beside = beside(at);
    let bytes = |picture: &Picture| json!({"bytes": BASE64.encode(picture.bytes()), "path": null});
    vec![
        (
            "verl",
            jsonl(at, "verl", bytes, |question, truth, images| {
                json!({"data_source": "clocks", "prompt": [{"role": "user", "content": question}], "images": images,
                "ability": "clocks", "reward_model": {"style": "rule", "ground_truth": truth}, "extra_info": {"index": 1}})
            }),
        ),
        (
            "easyr1",
            jsonl(
                at,
                "easyr1",
                data_url,
                |question, truth, images| json!({"problem": question, "answer": truth, "images": images}),
            ),
        ),
        (
            "trl",
            jsonl(at, "trl", &beside, |question, truth, images| {
                json!({"prompt": [{"role": "user", "content": typed(question)}], "images": images, "solution": truth,
                "completion": [{"role": "assistant", "content": "So it is."}]})
            }),
        ),
    ]
}

/// Rows that are conversations.
fn conversations(at: &Path) -> Layouts {
    let beside = beside(at);
    vec![
        (
            "trl inline",
            jsonl(at, "inline", data_url, |question, truth, images| {
                let mut parts = typed(question);
                let places = parts
                    .as_array_mut()
                    .expect("the test's own data is good")
                    .iter_mut()
                    .filter(|part| part["type"] == "image");
                for (part, image) in places.zip(images) {
                    part["image"] = image;
                }
                json!({"prompt": [{"role": "user", "content": parts}], "answer": truth, "completion": "So it is."})
            }),
        ),
        (
            "ms-swift",
            jsonl(at, "swift", &beside, |question, truth, images| {
                json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "So it is."}],
                "images": images, "solution": truth})
            }),
        ),
        (
            "sharegpt",
            jsonl(
                at,
                "sharegpt",
                |picture| BASE64.encode(picture.bytes()).into(),
                |question, truth, images| {
                    json!({"conversations": [{"from": "human", "value": question, "weight": 1}, {"from": "gpt", "value": "So it is."}],
                "images": images, "answer": truth})
                },
            ),
        ),
        (
            "llava",
            jsonl(at, "llava", &beside, |question, truth, images| {
                json!({"id": null, "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": "So it is."}],
                "image": images, "answer": truth})
            }),
        ),
        ("easyr1 parquet", examples(&parquet(at))),
    ]
}

#[test]
fn all_layouts_give_the_same_queries() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let at = folder.path();
    let layouts = [columns(at), conversations(at)].concat();
    for (name, examples) in &layouts {
        for (row, example) in examples.iter().enumerate() {
            let (query, first) = (&example.query, &layouts[0].1[row].query);
            assert_eq!(query.messages, first.messages, "{name} row {}", row + 1);
            assert_eq!(query.images, shown(row), "{name} row {}", row + 1);
            assert_eq!(query.ground_truth, Some(ROWS[row].1.into()), "{name}");
            assert_eq!(query.task, "clocks", "{name}");
            let says = (!name.starts_with("easyr1") && *name != "verl").then_some("So it is.");
            assert_eq!(example.response.as_deref(), says, "{name}");
        }
    }
    let (verl, easyr1) = (&layouts[0].1, &layouts[1].1);
    let message = &verl[4].query.messages;
    assert_eq!((message[0].role, message[0].text()), (Role::System, "Think first.".to_owned()));
    let parts =
        [Part::text("Is "), Part::Image, Part::text(" before "), Part::Image, Part::text("? Answer in \\boxed{}.")];
    assert_eq!(message[1].content, parts);
    let columns: Vec<&String> = verl[0].query.columns.keys().collect();
    assert_eq!(columns, ["data_source", "ability", "reward_model", "extra_info"], "rewards see them");
    assert_eq!(easyr1[2].query.id, "easyr1-3");
    assert_eq!(easyr1[2].query.columns.keys().collect::<Vec<_>>(), ["answer"], "under its own name as well");
}

#[test]
fn every_layout_is_read_back_from_what_it_is_converted_to() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let at = folder.path();
    for (number, (name, examples)) in [columns(at), conversations(at)].concat().into_iter().enumerate() {
        let path = at.join(format!("converted-{number}.parquet"));
        written::write(&path, examples.iter().cloned().map(Ok)).expect("the test's own data is good");
        let config = SourceConfig { source: path.display().to_string(), ..SourceConfig::default() };
        let dataset = Dataset::open("other", &config, &OpenContext::default()).expect("the test's own data is good");
        let read: Vec<Example> = dataset.iter().map(|row| row.expect("the row is good")).collect();
        // Where a response stood is no part of what is converted.
        let examples: Vec<Example> = examples.into_iter().map(|row| Example { spoken: false, ..row }).collect();
        assert_eq!(read, examples, "{name}");
    }
}

fn parquet(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("easyr1.parquet");
    let images = (0..ROWS.len()).map(|row| {
        let pictures = shown(row);
        let bytes: Vec<&[u8]> = pictures.iter().map(Picture::bytes).collect();
        let fields =
            [Series::new("bytes".into(), bytes), Series::new("path".into(), vec![None::<&str>; pictures.len()])];
        StructChunked::from_series("images".into(), pictures.len(), fields.iter())
            .expect("the test's own data is good")
            .into_series()
    });
    let images = Series::new("images".into(), images.collect::<Vec<Series>>());
    let columns = vec![
        Column::new("problem".into(), ROWS.map(|row| row.0)),
        Column::new("answer".into(), ROWS.map(|row| row.1)),
        images.into(),
    ];
    let mut frame = DataFrame::new(ROWS.len(), columns).expect("the test's own data is good");
    // Rows are found across row groups.
    let writer =
        ParquetWriter::new(File::create(&path).expect("the test's own data is good")).with_row_group_size(Some(2));
    writer.finish(&mut frame).expect("the test's own data is good");
    path
}

#[test]
fn rows_are_found_in_any_order_and_across_shards() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let path = parquet(folder.path());
    let all = examples(&path);
    let dataset = open(&path);
    for row in [4, 0, 3, 1, 2, 2, 4] {
        assert_eq!(dataset.get(row as u64).expect("the test's own data is good"), all[row]);
    }
    fs::create_dir(folder.path().join("more")).expect("the test's own data is good");
    fs::copy(&path, folder.path().join("more/easyr1.parquet")).expect("the test's own data is good");
    fs::copy(&path, folder.path().join("more/last.parquet")).expect("the test's own data is good");
    let shards = open(&folder.path().join("**/*.parquet"));
    assert_eq!(shards.len(), Some(15));
    assert_eq!(shards.get(13).expect("the test's own data is good").query.images, all[3].query.images);
    let ids: std::collections::BTreeSet<String> =
        shards.iter().map(|example| example.expect("the test's own data is good").query.id).collect();
    assert_eq!(ids.len(), 15, "files of one name do not share ids");
    assert!(ids.contains("easyr1.1-1") && ids.contains("last-5"));
}
