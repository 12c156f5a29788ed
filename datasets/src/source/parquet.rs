//! Writes Parquet in the Hugging Face layout: `images` as a list of `{bytes, path}`, the rest as text columns.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use polars::prelude::*;
use serde_json::{Map, Value, json};

use super::{RESPONSE_COLUMN, write_file};
use crate::error::Result;
use crate::layout::marks::{marked_parts, marked_text};
use crate::picture::Picture;
use crate::query::{Message, Query, Role};
use crate::video::Video;

/// The key under which the writer notes column types of its own. Arrow looks at nothing else where it finds it, and
/// `datasets` of Hugging Face would not see that there are pictures.
const OWN_TYPES_KEY: &[u8; 12] = b"ARROW:schema";
/// A key of the same length that no reader knows.
const UNKNOWN_KEY: &[u8; 12] = b"polars:types";

/// Writes queries so that `datasets` of Hugging Face shows their pictures, and opening the file gives them back
/// unchanged.
///
/// `prompt` and `answer` are for people; `ground_truth`, `columns`, `tools` and (for conversations) `messages` are
/// JSON. Responses to imitate, if there are any, have a column of their own.
///
/// # Errors
/// When the file exists already, or cannot be written.
pub fn write(path: &Path, queries: &[Query]) -> Result<()> {
    write_file(path, |file| {
        let mut frame = frame(queries).map_err(io::Error::other)?;
        let features = features(&further_columns(queries));
        let note = KeyValueMetadata::from_static(vec![("huggingface".to_owned(), features.to_string())]);
        // Pictures are compressed already.
        let writer = ParquetWriter::new(&mut *file).with_compression(ParquetCompression::Uncompressed);
        writer.with_key_value_metadata(Some(note)).finish(&mut frame).map_err(io::Error::other)?;
        hide_own_types(file)
    })
}

/// Renames the key of the writer's own column types, which is the last of its kind in the footer.
fn hide_own_types(file: &mut File) -> std::io::Result<()> {
    let mut end = [0; 8];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut end)?;
    let length = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    let start = file.seek(SeekFrom::End(-8 - i64::from(length)))?;
    let mut footer = vec![0; length as usize];
    file.read_exact(&mut footer)?;
    if let Some(at) = footer.windows(OWN_TYPES_KEY.len()).rposition(|window| window == OWN_TYPES_KEY) {
        file.seek(SeekFrom::Start(start + at as u64))?;
        file.write_all(UNKNOWN_KEY)?;
    }
    Ok(())
}

/// What the key `huggingface` of the file says, so that pictures are recognised.
fn features(further: &[&str]) -> Value {
    let text = json!({"dtype": "string", "_type": "Value"});
    let mut features = Map::new();
    for name in ["id", "task", "prompt"] {
        features.insert(name.to_owned(), text.clone());
    }
    features.insert("images".to_owned(), json!({"feature": {"_type": "Image"}, "_type": "List"}));
    for name in ["answer", "ground_truth", "messages", "rubric", "tools", "columns"] {
        features.insert(name.to_owned(), text.clone());
    }
    features.extend(further.iter().map(|name| ((*name).to_owned(), text.clone())));
    json!({"info": {"features": features}})
}

/// The columns that only some files have, in order.
fn further_columns(queries: &[Query]) -> Vec<&'static str> {
    let videos = queries.iter().any(|query| !query.videos.is_empty()).then_some("videos");
    let responses = queries.iter().any(|query| response(query).is_some()).then_some(RESPONSE_COLUMN);
    videos.into_iter().chain(responses).collect()
}

fn frame(queries: &[Query]) -> PolarsResult<DataFrame> {
    let texts = |name: &str, of: &dyn Fn(&Query) -> Option<String>| {
        Column::new(name.into(), queries.iter().map(of).collect::<Vec<Option<String>>>())
    };
    let truth = |query: &Query| query.ground_truth.as_ref().map(ToString::to_string);
    let answer = |query: &Query| match &query.ground_truth {
        Some(Value::String(text)) => Some(text.clone()),
        other => other.as_ref().map(ToString::to_string),
    };
    let mut columns = vec![
        texts("id", &|query| Some(query.id.clone())),
        texts("task", &|query| Some(query.task.clone())),
        texts("prompt", &|query| Some(prompt_text(&query.messages))),
        images(queries)?,
        texts("answer", &answer),
        texts("ground_truth", &truth),
        texts("messages", &|query| needs_messages(query).then(|| json!(query.messages).to_string())),
        texts("rubric", &|query| query.rubric.clone()),
        texts("tools", &|query| (!query.tools.is_empty()).then(|| json!(query.tools).to_string())),
        texts("columns", &|query| Some(Value::Object(further(query)).to_string())),
    ];
    for name in further_columns(queries) {
        columns.push(match name {
            RESPONSE_COLUMN => texts(name, &|query| response(query).map(str::to_owned)),
            _ => texts(name, &|query| (!query.videos.is_empty()).then(|| videos(query).to_string())),
        });
    }
    DataFrame::new(queries.len(), columns)
}

/// The videos of a query, as a list.
fn videos(query: &Query) -> Value {
    query.videos.iter().map(Video::to_json).collect()
}

/// The response to imitate, if the query has one.
fn response(query: &Query) -> Option<&str> {
    query.columns.get(RESPONSE_COLUMN).and_then(Value::as_str)
}

/// The columns that have none of their own in the file.
fn further(query: &Query) -> Map<String, Value> {
    let own = |name: &str| name == RESPONSE_COLUMN && response(query).is_some();
    query.columns.iter().filter(|(name, _)| !own(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The text of a conversation with `<image>` marks.
fn prompt_text(messages: &[Message]) -> String {
    marked_text(messages.iter().flat_map(|message| &message.content))
}

/// Whether the prompt's text alone would not give the same messages back.
fn needs_messages(query: &Query) -> bool {
    let rebuilt = [Message { role: Role::User, content: marked_parts(&prompt_text(&query.messages), &mut Vec::new()) }];
    query.messages != rebuilt
}

fn images(queries: &[Query]) -> PolarsResult<Column> {
    let dtype = DataType::Struct(vec![
        Field::new("bytes".into(), DataType::Binary),
        Field::new("path".into(), DataType::String),
    ]);
    let rows = queries.iter().map(|query| {
        let bytes: Vec<&[u8]> = query.images.iter().map(Picture::bytes).collect();
        let paths: Vec<String> =
            query.images.iter().map(|picture| format!("{}.{}", picture.sha256(), picture.extension())).collect();
        let fields = [Series::new("bytes".into(), bytes), Series::new("path".into(), paths)];
        let list = StructChunked::from_series("images".into(), query.images.len(), fields.iter())?.into_series();
        Ok(AnyValue::List(list))
    });
    let rows = rows.collect::<PolarsResult<Vec<AnyValue<'_>>>>()?;
    Ok(Series::from_any_values_and_dtype("images".into(), &rows, &DataType::List(Box::new(dtype)), true)?.into())
}
