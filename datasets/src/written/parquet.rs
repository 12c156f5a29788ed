//! Writes Parquet in the Hugging Face layout: `images` as a list of `{bytes, path}`, the rest as text columns. Rows are
//! written as they come, in row groups of bounded size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use polars::prelude::*;
use serde_json::{Map, Value, json};

use super::{RESPONSE_COLUMN, write_file};
use crate::dataset::Example;
use crate::error::Result;
use crate::layout::CONVERSATIONAL;
use crate::layout::marks::{marked_parts, marked_text};
use crate::picture::Picture;
use crate::query::{Message, Query, Role};
use crate::video::Video;

/// The key under which the writer notes column types of its own. Arrow looks at nothing else where it finds it, and
/// `datasets` of Hugging Face would not see that there are pictures.
const OWN_TYPES_KEY: &[u8; 12] = b"ARROW:schema";
/// A key of the same length that no reader knows.
const UNKNOWN_KEY: &[u8; 12] = b"polars:types";

/// Rows of a row group at most.
const GROUP_ROWS: usize = 1000;
/// Bytes of the pictures of a row group, from which on no further row comes in.
const GROUP_BYTES: usize = 32 << 20;
/// The column with the videos.
const VIDEOS_COLUMN: &str = "videos";

/// Writes rows so that `datasets` of Hugging Face shows their pictures, and opening the file gives them back
/// unchanged. A row group is held in memory, no more.
///
/// `prompt` and `answer` are for people; `ground_truth`, `columns`, `tools`, `videos` and (for conversations) `messages`
/// are JSON.
///
/// # Errors
/// When the file exists already or cannot be written, or `rows` gives an error: there is no file then.
pub fn write(path: &Path, rows: impl IntoIterator<Item = io::Result<Example>>) -> Result<()> {
    write_file(path, |file| {
        let note = KeyValueMetadata::from_static(vec![("huggingface".to_owned(), features().to_string())]);
        // Pictures are compressed already.
        let writer = ParquetWriter::new(&mut *file).with_compression(ParquetCompression::Uncompressed);
        let schema = frame(&[]).map_err(io::Error::other)?.schema().clone();
        let mut writer = writer.with_key_value_metadata(Some(note)).batched(&schema).map_err(io::Error::other)?;
        let (mut group, mut bytes) = (Vec::new(), 0);
        let mut flush = |group: &mut Vec<Example>| {
            let frame = frame(group).map_err(io::Error::other)?;
            group.clear();
            writer.write_batch(&frame).map_err(io::Error::other)
        };
        for row in rows {
            let row = row?;
            bytes += row.query.images.iter().map(|picture| picture.bytes().len()).sum::<usize>();
            group.push(row);
            if group.len() == GROUP_ROWS || bytes >= GROUP_BYTES {
                flush(&mut group)?;
                bytes = 0;
            }
        }
        if !group.is_empty() {
            flush(&mut group)?;
        }
        writer.finish().map_err(io::Error::other)?;
        drop(writer);
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
fn features() -> Value {
    let text = json!({"dtype": "string", "_type": "Value"});
    let mut features = Map::new();
    for name in ["id", "task", "prompt"] {
        features.insert(name.to_owned(), text.clone());
    }
    features.insert("images".to_owned(), json!({"feature": {"_type": "Image"}, "_type": "List"}));
    for name in ["answer", "ground_truth", "messages", "rubric", "tools", "columns", VIDEOS_COLUMN, RESPONSE_COLUMN] {
        features.insert(name.to_owned(), text.clone());
    }
    json!({"info": {"features": features}})
}

fn frame(rows: &[Example]) -> PolarsResult<DataFrame> {
    let texts = |name: &str, of: &dyn Fn(&Query) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(|row| of(&row.query)).collect::<Vec<Option<String>>>())
    };
    let truth = |query: &Query| query.ground_truth.as_ref().map(ToString::to_string);
    let answer = |query: &Query| match &query.ground_truth {
        Some(Value::String(text)) => Some(text.clone()),
        other => other.as_ref().map(ToString::to_string),
    };
    let responses: Vec<Option<&str>> = rows.iter().map(|row| row.response.as_deref()).collect();
    let columns = vec![
        texts("id", &|query| Some(query.id.clone())),
        texts("task", &|query| Some(query.task.clone())),
        texts("prompt", &|query| Some(prompt_text(&query.messages))),
        images(rows)?,
        texts("answer", &answer),
        texts("ground_truth", &truth),
        texts("messages", &|query| needs_messages(query).then(|| json!(query.messages).to_string())),
        texts("rubric", &|query| query.rubric.clone()),
        texts("tools", &|query| (!query.tools.is_empty()).then(|| json!(query.tools).to_string())),
        texts("columns", &|query| Some(columns_of(query).to_string())),
        texts(VIDEOS_COLUMN, &|query| (!query.videos.is_empty()).then(|| videos(query).to_string())),
        Column::new(RESPONSE_COLUMN.into(), responses),
    ];
    DataFrame::new(rows.len(), columns)
}

/// The further columns, with a mark where the question was a list of messages before it was written.
fn columns_of(query: &Query) -> Value {
    let mut columns = query.columns.clone();
    if query.conversational {
        columns.insert(CONVERSATIONAL.to_owned(), true.into());
    }
    Value::Object(columns)
}

/// The videos of a query, as a list.
fn videos(query: &Query) -> Value {
    query.videos.iter().map(Video::to_json).collect()
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

fn images(rows: &[Example]) -> PolarsResult<Column> {
    let dtype = DataType::Struct(vec![
        Field::new("bytes".into(), DataType::Binary),
        Field::new("path".into(), DataType::String),
    ]);
    let rows = rows.iter().map(|Example { query, .. }| {
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
