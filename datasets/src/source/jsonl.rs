//! Query files: one JSON object a line, pictures beside the file or inside it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::row::{data_uri, query_line};
use super::{OpenOptions, RowReader};
use crate::error::{DatasetError, Result};
use crate::query::Query;

/// Where a written file keeps its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureStore {
    /// As files `images/<sha256>.<ext>` beside the file, each once.
    Beside,
    /// As data URIs in the rows.
    Inside,
}

/// Reads a query file. Blank lines are skipped.
///
/// # Errors
/// For the first row that cannot be used, with file, row and remedy.
pub fn read(path: &Path, options: &OpenOptions) -> Result<Vec<Query>> {
    let file = File::open(path).map_err(|error| DatasetError::io(path, error))?;
    let reader = RowReader { options, path };
    let mut queries = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let place = format!("{} row {}", path.display(), index + 1);
        let line = line.map_err(|error| DatasetError::row(&place, error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Map<String, Value> = serde_json::from_str(&line)
            .map_err(|error| DatasetError::row(&place, format!("no JSON object: {error}")))?;
        queries.push(reader.query(row, index + 1, None)?);
    }
    Ok(queries)
}

/// Writes a query file, aside first and then under its name.
///
/// # Errors
/// When the file exists already, or cannot be written.
pub fn write(path: &Path, queries: &[Query], pictures: PictureStore) -> Result<()> {
    write_aside(path, |file| {
        let mut file = BufWriter::new(file);
        for query in queries {
            let images = match pictures {
                PictureStore::Inside => query.images.iter().map(data_uri).collect(),
                PictureStore::Beside => store_beside(path, query)?,
            };
            let line = query_line(query, &images);
            writeln!(file, "{line}").map_err(|error| DatasetError::io(path, error))?;
        }
        file.flush().map_err(|error| DatasetError::io(path, error))
    })
}

/// Writes the pictures of a query as files, and gives their paths relative to the query file.
fn store_beside(path: &Path, query: &Query) -> Result<Vec<String>> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let store = |picture: &crate::picture::Picture| {
        let name = format!("images/{}.{}", picture.sha256(), picture.extension());
        let file = folder.join(&name);
        if !file.exists() {
            fs::create_dir_all(folder.join("images")).map_err(|error| DatasetError::io(&file, error))?;
            fs::write(&file, picture.bytes()).map_err(|error| DatasetError::io(&file, error))?;
        }
        Ok(name)
    };
    query.images.iter().map(store).collect()
}

/// Lets `fill` write a file that takes its name only when it is complete; an existing file is never replaced.
pub(super) fn write_aside(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Err(DatasetError::row(path.display().to_string(), "exists already; remove it or choose another name"));
    }
    let io = |error| DatasetError::io(path, error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let aside = path.with_file_name(name);
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&aside).map_err(io)?;
    fill(&mut file)?;
    file.sync_all().map_err(io)?;
    fs::rename(&aside, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Part;
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    fn read_text(text: &str, options: &OpenOptions) -> Result<Vec<Query>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        fs::write(&path, text).unwrap();
        read(&path, options)
    }

    fn message(text: &str) -> String {
        let options = OpenOptions { require_ground_truth: true, ..OpenOptions::default() };
        read_text(text, &options).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut queries: Vec<Query> = Task::ALL
            .into_iter()
            .flat_map(|task| (0..5).map(move |index| query(task, Split::Train, 1, index)))
            .collect();
        queries[0].rubric = Some("strict".to_owned());
        queries[1].tools = vec!["zoom".to_owned()];
        queries[2].ground_truth = None;
        let folder = tempfile::tempdir().unwrap();
        for (name, store) in [("inside.jsonl", PictureStore::Inside), ("beside.jsonl", PictureStore::Beside)] {
            let path = folder.path().join(name);
            write(&path, &queries, store).unwrap();
            assert_eq!(read(&path, &OpenOptions::default()).unwrap(), queries);
            assert!(write(&path, &queries, store).unwrap_err().to_string().contains("exists already"));
        }
        assert!(folder.path().join("images").is_dir());
    }

    #[test]
    fn hashes_name_pictures_beside_the_file() {
        let asked = query(Task::Clock, Split::Train, 1, 0);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let hash = asked.images[0].sha256().to_owned();
        fs::write(folder.path().join(format!("images/{hash}.png")), asked.images[0].bytes()).unwrap();
        let path = folder.path().join("queries.jsonl");
        fs::write(&path, query_line(&asked, &[hash]).to_string()).unwrap();
        assert_eq!(read(&path, &OpenOptions::default()).unwrap(), [asked]);
    }

    #[test]
    fn videos_are_folders_or_files_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("clip")).unwrap();
        let path = folder.path().join("data.jsonl");
        let rows = [
            r#"{"problem":"When does it stop?","answer":"2","video":"clip"}"#,
            r#"{"problem":"Is <image> in <video> or <video>?","images":[],"videos":["clip",{"path":"clip","fps":24}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"video"},{"type":"text","text":"Why?"}]}],"videos":["clip"]}"#,
        ];
        fs::write(&path, rows[0]).unwrap();
        let read_one = || read(&path, &OpenOptions::default()).map(|mut queries| queries.remove(0));
        let query = read_one().unwrap();
        assert_eq!(query.messages[0].content, [Part::Video, Part::text("When does it stop?")]);
        assert_eq!((query.videos[0].path(), query.videos[0].fps()), (folder.path().join("clip").as_path(), None));
        fs::write(&path, rows[1].replace("<image> in ", "")).unwrap();
        let query = read_one().unwrap();
        let parts = [Part::text("Is "), Part::Video, Part::text(" or "), Part::Video, Part::text("?")];
        assert_eq!(query.messages[0].content, parts);
        assert_eq!(query.videos[1].fps(), Some(24.0));
        fs::write(&path, query_line(&query, &[]).to_string()).unwrap();
        assert_eq!(read_one().unwrap(), query, "what is written is read back");
        fs::write(&path, rows[2]).unwrap();
        assert_eq!(read_one().unwrap().videos.len(), 1);
        for (row, says) in [
            (rows[1].to_owned(), "name 1 pictures, but there are 0"),
            (rows[2].replace(r#""videos":["clip"]"#, r#""videos":[]"#), "name 1 videos, but there are 0"),
            (rows[0].replace("clip", "gone"), "gone"),
            (rows[0].replace(r#""clip""#, r#"{"path":"clip","fps":0}"#), "frames a second must be above 0"),
            (rows[0].replace(r#""clip""#, "7"), "a path"),
        ] {
            fs::write(&path, row).unwrap();
            let message = read_one().unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn bad_rows_are_errors_with_place_and_remedy() {
        let good = r#"{"id":"a","messages":[{"role":"user","content":"Hi"}],"ground_truth":1}"#;
        assert!(message(&format!("{good}\n{{")).contains("row 2: no JSON object"));
        assert!(message(&good.replace("ground_truth", "ground_thruth")).contains("did you mean `ground_truth`?"));
        let unknown = good.replace(r#""id""#, r#""rubrik":"x","id""#);
        assert!(message(&unknown).contains("unknown key `rubrik`; did you mean `rubric`?"), "{}", message(&unknown));
        let no_truth = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
        assert!(message(no_truth).contains("data.jsonl row 1: no ground truth"));
        assert!(message(&good.replace("Hi", "<image>Hi")).contains("name 1 pictures, but there are 0"));
        assert!(message(&good.replace(r#""id":"a""#, r#""images":["gone.png"]"#)).contains("gone.png"));
        assert!(message(&good.replace("user", "usr")).contains("`messages` cannot be read"));
        assert!(
            message(&good.replace(r#""id":"a""#, r#""images":["data:image/png;base64,aGVsbG8="]"#))
                .contains("not a PNG")
        );
    }

    #[test]
    fn foreign_rows_keep_their_further_columns() {
        let row = r#"{"problem":"What is <image>?","answer":"4","image":[],"level":3}"#;
        assert!(read_text(row, &OpenOptions::default()).unwrap_err().to_string().contains("name 1 pictures"));
        let row = r#"{"problem":"What is 2+2?","answer":"4","level":3}"#;
        let queries = read_text(row, &OpenOptions::default()).unwrap();
        assert_eq!(queries[0].question(), "What is 2+2?");
        assert_eq!((queries[0].id.as_str(), queries[0].task.as_str()), ("data-1", "data"));
        assert_eq!(queries[0].ground_truth, Some("4".into()));
        assert_eq!(queries[0].columns["level"], 3);
    }
}
