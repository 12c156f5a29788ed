//! What the writers write is read back unchanged, from Parquet and from JSON lines.

use std::fs;
use std::path::Path;

use sapo_datasets::synthetic::{Task, query};
use sapo_datasets::written::{jsonl, parquet};
use sapo_datasets::{Dataset, Example, Message, OpenContext, Part, Picture, Query, Role, SourceConfig, Split, Video};

fn open(path: &Path) -> Dataset {
    let config = SourceConfig { source: path.display().to_string(), ..SourceConfig::default() };
    Dataset::open("mine", &config, &OpenContext::default()).expect("the test's own data is good")
}

fn read(path: &Path) -> Vec<Example> {
    open(path).iter().map(|row| row.expect("the row is good")).collect()
}

fn unanswered(queries: impl IntoIterator<Item = Query>) -> Vec<Example> {
    queries.into_iter().map(|query| Example { query, response: None, spoken: false }).collect()
}

fn write_parquet(path: &Path, rows: &[Example]) -> sapo_datasets::Result<()> {
    parquet::write(path, rows.iter().cloned().map(Ok))
}

fn write_jsonl(path: &Path, rows: &[Example], store: jsonl::PictureStore) -> sapo_datasets::Result<()> {
    jsonl::write(path, rows.iter().cloned().map(Ok), store)
}

fn rows() -> Vec<Example> {
    let queries = Task::ALL.into_iter().flat_map(|task| (0..4).map(move |index| query(task, Split::Test, 2, index)));
    let mut rows = unanswered(queries);
    rows[3].response = Some("7</think>7".to_owned());
    rows[5].response = Some("</think>3".to_owned());
    // A further column of that name is another thing.
    rows[5].query.columns.insert("response".to_owned(), "another".into());
    change(&mut rows);
    rows
}

/// What rows may hold beside what generated ones do.
fn change(rows: &mut [Example]) {
    let mut queries: Vec<&mut Query> = rows.iter_mut().map(|row| &mut row.query).collect();
    queries[0].rubric = Some("strict".to_owned());
    queries[1].tools = vec!["zoom".to_owned()];
    queries[2].ground_truth = None;
    let asked = queries[3].messages[0].clone();
    queries[3].messages = vec![Message { role: Role::System, content: vec![Part::text("Be brief.")] }, asked];
    let two = queries[6].images[0].clone();
    queries[6].images.push(two);
    queries[6].messages[0].content.push(Part::Image);
}

#[test]
fn parquet_is_read_back() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let path = folder.path().join("test.parquet");
    write_parquet(&path, &rows()).expect("the test's own data is good");
    assert_eq!(read(&path), rows());
    assert!(write_parquet(&path, &rows()).unwrap_err().to_string().contains("exists already"));
    let text = unanswered((0..3).map(|index| query(Task::Logic, Split::Test, 2, index)));
    let path = folder.path().join("text.parquet");
    write_parquet(&path, &text).expect("the test's own data is good");
    assert_eq!(read(&path), text, "no picture at all");
}

#[test]
fn row_groups_are_bounded_and_an_error_leaves_no_file() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let path = folder.path().join("many.parquet");
    let many = unanswered((0..2300).map(|index| query(Task::Arith, Split::Train, 1, index)));
    write_parquet(&path, &many).expect("the test's own data is good");
    let dataset = open(&path);
    assert_eq!(dataset.len(), Some(2300));
    let mut seen = Vec::new();
    dataset.visit(950, 1200, &mut |index, row| seen.push((index, row.expect("the row is good"))));
    assert!(seen.iter().map(|(index, _)| *index).eq(950..2150), "in order, across row groups");
    assert!(seen.iter().all(|(index, row)| *row == many[*index as usize]));
    let broken = many.iter().take(1500).cloned().map(Ok).chain([Err(std::io::Error::other("enough"))]);
    let path = folder.path().join("none.parquet");
    assert!(parquet::write(&path, broken).unwrap_err().to_string().contains("enough"));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left aside");
}

#[test]
fn json_lines_are_read_back() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    for (name, store) in [("inside.jsonl", jsonl::PictureStore::Inside), ("beside.jsonl", jsonl::PictureStore::Beside)]
    {
        let path = folder.path().join(name);
        write_jsonl(&path, &rows(), store).expect("the test's own data is good");
        assert_eq!(read(&path), rows());
        assert!(write_jsonl(&path, &rows(), store).unwrap_err().to_string().contains("exists already"));
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
    assert_eq!(read(&path), unanswered([asked]));
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
    let rows = unanswered([asked, query(Task::Clock, Split::Test, 2, 1)]);
    let path = folder.path().join("test.parquet");
    write_parquet(&path, &rows).expect("the test's own data is good");
    assert_eq!(read(&path), rows);
    let path = folder.path().join("test.jsonl");
    write_jsonl(&path, &rows, jsonl::PictureStore::Inside).expect("the test's own data is good");
    assert_eq!(read(&path), rows);
}

#[test]
fn the_file_names_its_features() {
    let folder = tempfile::tempdir().expect("the test's own data is good");
    let path = folder.path().join("test.parquet");
    write_parquet(&path, &unanswered([query(Task::Clock, Split::Test, 2, 0)])).expect("the test's own data is good");
    let bytes = fs::read(&path).expect("the test's own data is good");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("huggingface") && text.contains(r#""_type":"Image""#));
    assert!(!text.contains("ARROW:schema"), "it would hide the features from Arrow");
}

#[test]
fn a_browser_is_shown_what_it_knows() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures").join(name);
        Picture::from_bytes(fs::read(path).expect("a fixture"), name).expect("a picture")
    };
    let (tiff, gif) = (read("rgb-raw.tiff"), read("still.gif"));
    let shown = tiff.for_browsers().expect("it is whole");
    assert_eq!((tiff.media_type(), shown.media_type()), ("image/tiff", "image/png"));
    assert_eq!(shown.decode().expect("it is whole"), tiff.decode().expect("it is whole"));
    assert_eq!(gif.for_browsers().expect("it is whole").sha256(), gif.sha256());
    assert_eq!(shown.size().expect("it has one"), (12, 8));
}
