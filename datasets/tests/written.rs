//! What the writers write is read back unchanged, from Parquet and from JSON lines.

use std::fs;
use std::path::Path;

use sapo_datasets::source::{RESPONSE_COLUMN, jsonl, open, parquet};
use sapo_datasets::synthetic::{Task, query};
use sapo_datasets::{Message, Part, Query, Role, Split, Video};

fn read(path: &Path) -> Vec<Query> {
    open(path.to_str().expect("the test's own data is good"), 0)
        .expect("the test's own data is good")
        .iter()
        .map(|row| row.expect("the row is good"))
        .collect()
}

fn queries() -> Vec<Query> {
    let mut queries: Vec<Query> =
        Task::ALL.into_iter().flat_map(|task| (0..4).map(move |index| query(task, Split::Test, 2, index))).collect();
    queries[0].rubric = Some("strict".to_owned());
    queries[1].tools = vec!["zoom".to_owned()];
    queries[2].ground_truth = None;
    queries[3].columns.insert(RESPONSE_COLUMN.to_owned(), "7</think>7".into());
    queries[5].columns.insert(RESPONSE_COLUMN.to_owned(), "</think>3".into());
    let asked = queries[3].messages[0].clone();
    queries[3].messages = vec![Message { role: Role::System, content: vec![Part::text("Be brief.")] }, asked];
    let two = queries[6].images[0].clone();
    queries[6].images.push(two);
    queries[6].messages[0].content.push(Part::Image);
    queries
}

#[test]
fn parquet_is_read_back() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let path = folder.path().join("test.parquet");
    parquet::write(&path, &queries()).expect("the test's own data is good");
    assert_eq!(read(&path), queries());
    assert!(parquet::write(&path, &queries()).unwrap_err().to_string().contains("exists already"));
    let text: Vec<Query> = (0..3).map(|index| query(Task::Logic, Split::Test, 2, index)).collect();
    let path = folder.path().join("text.parquet");
    parquet::write(&path, &text).expect("the test's own data is good");
    assert_eq!(read(&path), text, "no picture at all");
}

#[test]
fn json_lines_are_read_back() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    for (name, store) in [("inside.jsonl", jsonl::PictureStore::Inside), ("beside.jsonl", jsonl::PictureStore::Beside)]
    {
        let path = folder.path().join(name);
        jsonl::write(&path, &queries(), store).expect("the test's own data is good");
        assert_eq!(read(&path), queries());
        assert!(jsonl::write(&path, &queries(), store).unwrap_err().to_string().contains("exists already"));
    }
    assert!(folder.path().join("images").is_dir());
}

#[test]
fn hashes_name_pictures_beside_the_file() {
    let asked = query(Task::Clock, Split::Train, 1, 0);
    let folder = tempfile::tempdir().expect("the test's own data is good");
    fs::create_dir(folder.path().join("images")).expect("the test's own data is good");
    let hash = asked.images[0].sha256().to_owned();
    fs::write(folder.path().join(format!("images/{hash}.png")), asked.images[0].bytes())
        .expect("the test's own data is good");
    let path = folder.path().join("queries.jsonl");
    fs::write(&path, jsonl::query_line(&asked, &[hash]).to_string()).expect("the test's own data is good");
    assert_eq!(read(&path), [asked]);
}

#[test]
fn videos_are_named_by_their_place() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let clip = folder.path().join("clip");
    fs::create_dir(&clip).expect("the test's own data is good");
    fs::write(clip.join("0.png"), "a frame").expect("the test's own data is good");
    let mut asked = query(Task::Arith, Split::Test, 2, 0);
    asked.messages[0].content.splice(0..0, [Part::Video, Part::Video]);
    asked.videos = vec![
        Video::open(&clip, Some(12.5), "test").expect("the test's own data is good"),
        Video::of_frames(&[clip.join("0.png"), clip.join("0.png")], Some(2.0), "test")
            .expect("the test's own data is good"),
    ];
    let queries = [asked, query(Task::Clock, Split::Test, 2, 1)];
    let path = folder.path().join("test.parquet");
    parquet::write(&path, &queries).expect("the test's own data is good");
    assert_eq!(read(&path), queries);
    let path = folder.path().join("test.jsonl");
    jsonl::write(&path, &queries, jsonl::PictureStore::Inside).expect("the test's own data is good");
    assert_eq!(read(&path), queries);
}

#[test]
fn the_file_names_its_features() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let path = folder.path().join("test.parquet");
    parquet::write(&path, &[query(Task::Clock, Split::Test, 2, 0)]).expect("the test's own data is good");
    let bytes = fs::read(&path).expect("the test's own data is good");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("huggingface") && text.contains(r#""_type":"Image""#));
    assert!(!text.contains("ARROW:schema"), "it would hide the features from Arrow");
}
