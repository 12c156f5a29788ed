//! Writes query files: one JSON object a line, pictures beside the file or inside it.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{RESPONSE_COLUMN, write_file};
use crate::dataset::Example;
use crate::error::Result;
use crate::layout::CONVERSATIONAL;
use crate::layout::pictures::data_url;
use crate::query::Query;
use crate::video::Video;

/// Where a written file keeps its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureStore {
    /// As files `images/<sha256>.<ext>` beside the file, each once.
    Beside,
    /// As data URLs in the rows.
    Inside,
}

/// Writes a query file as its rows come, aside first and then under its name.
///
/// # Errors
/// When the file exists already or cannot be written, or `rows` gives an error: there is no file then.
pub fn write(path: &Path, rows: impl IntoIterator<Item = io::Result<Example>>, pictures: PictureStore) -> Result<()> {
    write_file(path, |file| {
        let mut file = BufWriter::new(file);
        for row in rows {
            let Example { query, response, .. } = row?;
            let images = match pictures {
                PictureStore::Inside => query.images.iter().map(data_url).collect(),
                PictureStore::Beside => store_beside(path, &query)?,
            };
            let mut line = query_line(&query, &images);
            if let Some(response) = response {
                line[RESPONSE_COLUMN] = response.into();
            }
            writeln!(file, "{line}")?;
        }
        file.flush()
    })
}

/// Writes the pictures of a query as files, and gives their paths relative to the query file.
fn store_beside(path: &Path, query: &Query) -> io::Result<Vec<String>> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let store = |picture: &crate::picture::Picture| {
        let name = format!("images/{}.{}", picture.sha256(), picture.extension());
        let file = folder.join(&name);
        if !file.exists() {
            fs::create_dir_all(folder.join("images"))?;
            fs::write(&file, picture.bytes())?;
        }
        Ok(name)
    };
    query.images.iter().map(store).collect()
}

/// The line of a query file; `images` are paths, hashes or data URLs, one for each picture. Videos stay where they are.
pub fn query_line(query: &Query, images: &[String]) -> Value {
    let mut line = Map::new();
    line.insert("id".to_owned(), query.id.as_str().into());
    line.insert("task".to_owned(), query.task.as_str().into());
    line.insert("messages".to_owned(), json!(query.messages));
    if query.conversational {
        line.insert(CONVERSATIONAL.to_owned(), true.into());
    }
    line.insert("images".to_owned(), json!(images));
    if !query.videos.is_empty() {
        line.insert("videos".to_owned(), query.videos.iter().map(Video::to_json).collect());
    }
    line.insert("ground_truth".to_owned(), query.ground_truth.clone().unwrap_or(Value::Null));
    if let Some(rubric) = &query.rubric {
        line.insert("rubric".to_owned(), rubric.as_str().into());
    }
    if !query.tools.is_empty() {
        line.insert("tools".to_owned(), json!(query.tools));
    }
    line.insert("columns".to_owned(), Value::Object(query.columns.clone()));
    Value::Object(line)
}
