//! Parquet in the Hugging Face layout: `images` as a list of `{bytes, path}`, the rest as text columns.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use polars::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::jsonl::write_aside;
use super::row::{IMAGE_MARK, VIDEO_MARK, marked_parts, picture};
use super::{OpenOptions, RESPONSE_COLUMN, RowReader};
use crate::error::{DatasetError, Result};
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role};
use crate::video::Video;

/// Columns that hold JSON as text in files that [`write`] made.
const JSON_COLUMNS: [&str; 5] = ["messages", "videos", "ground_truth", "tools", "columns"];

/// The key under which the writer notes column types of its own. Arrow looks at nothing else where it finds it, and
/// `datasets` of Hugging Face would not see that there are pictures.
const OWN_TYPES_KEY: &[u8; 12] = b"ARROW:schema";
/// A key of the same length that no reader knows.
const UNKNOWN_KEY: &[u8; 12] = b"polars:types";

/// Reads a Parquet file. Either `bytes` or `path` of a picture may be null; a path is relative to the file.
///
/// # Errors
/// When it is no Parquet file, or for the first row that cannot be used, with file, row and remedy.
pub fn read(path: &Path, options: &OpenOptions) -> Result<Vec<Query>> {
    let file = File::open(path).map_err(|error| DatasetError::io(path, error))?;
    let broken = |error: PolarsError| {
        DatasetError::row(path.display().to_string(), format!("cannot be read as Parquet: {error}"))
    };
    let frame = ParquetReader::new(file).finish().map_err(broken)?;
    let series: Vec<Series> = frame.columns().iter().map(|column| column.as_materialized_series().clone()).collect();
    let names: Vec<&str> = series.iter().map(|column| column.name().as_str()).collect();
    let image_column = options.columns.images(&path.display().to_string(), &names)?;
    let own = names.contains(&"messages") && names.contains(&"ground_truth");
    let reader = RowReader { options, path };
    let mut queries = Vec::with_capacity(frame.height());
    for row in 0..frame.height() {
        let place = format!("{} row {}", path.display(), row + 1);
        let mut values = Map::new();
        let mut pictures = Vec::new();
        for column in &series {
            let name = column.name().as_str();
            if Some(name) == image_column.as_deref() {
                pictures = read_pictures(column, row, path, &place)?;
            } else {
                values.insert(name.to_owned(), cell(column, row).map_err(broken)?);
            }
        }
        if own {
            open_json(&mut values, &place)?;
        }
        queries.push(reader.query(values, row + 1, Some(pictures))?);
    }
    Ok(queries)
}

/// Turns the JSON texts that [`write`] wrote back into values, and drops the columns that repeat them for people.
fn open_json(values: &mut Map<String, Value>, place: &str) -> Result<()> {
    for name in JSON_COLUMNS {
        if let Some(Value::String(text)) = values.get(name) {
            let value = serde_json::from_str(text)
                .map_err(|error| DatasetError::row(place, format!("`{name}` is no JSON: {error}")))?;
            values.insert(name.to_owned(), value);
        }
    }
    values.remove("answer");
    if let Some(Value::String(response)) = values.remove(RESPONSE_COLUMN) {
        let columns = values.entry("columns").or_insert(Value::Null);
        if columns.is_null() {
            *columns = json!({});
        }
        if let Value::Object(columns) = columns {
            columns.insert(RESPONSE_COLUMN.to_owned(), response.into());
        }
    }
    if values.get("messages").is_some_and(|messages| !messages.is_null()) {
        values.remove("prompt");
    }
    Ok(())
}

/// A cell as JSON; binary data has no JSON and is left out.
fn cell(column: &Series, row: usize) -> PolarsResult<Value> {
    let value = column.get(row)?;
    Ok(match value {
        AnyValue::Null | AnyValue::Binary(_) | AnyValue::BinaryOwned(_) => Value::Null,
        AnyValue::Boolean(value) => value.into(),
        AnyValue::String(text) => text.into(),
        AnyValue::List(list) => (0..list.len()).map(|index| cell(&list, index)).collect::<PolarsResult<_>>()?,
        _ if column.dtype().is_struct() => {
            let fields = column.struct_()?.fields_as_series();
            let read = |field: &Series| Ok((field.name().to_string(), cell(field, row)?));
            Value::Object(fields.iter().map(read).collect::<PolarsResult<_>>()?)
        }
        value if value.is_integer() => value.extract::<i64>().map_or(Value::Null, Value::from),
        value if value.is_float() => {
            value.extract::<f64>().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        other => other.to_string().into(),
    })
}

/// The pictures of a row: a list of structs, one struct, or bytes.
fn read_pictures(column: &Series, row: usize, path: &Path, place: &str) -> Result<Vec<Picture>> {
    let broken = |error: PolarsError| DatasetError::row(place, error.to_string());
    match column.get(row).map_err(broken)? {
        AnyValue::Null => Ok(Vec::new()),
        AnyValue::List(list) => {
            let each = (0..list.len()).map(|index| read_pictures(&list, index, path, place));
            Ok(each.collect::<Result<Vec<_>>>()?.concat())
        }
        AnyValue::Binary(bytes) => Ok(vec![Picture::from_bytes(bytes, place)?]),
        AnyValue::BinaryOwned(bytes) => Ok(vec![Picture::from_bytes(bytes, place)?]),
        AnyValue::String(text) => Ok(vec![picture(text, path, place)?]),
        _ if column.dtype().is_struct() => {
            // The bytes win; the path serves when they are null.
            let fields = column.struct_().map_err(broken)?;
            for name in ["bytes", "path"] {
                if let Ok(field) = fields.field_by_name(name) {
                    let found = read_pictures(&field, row, path, place)?;
                    if !found.is_empty() {
                        return Ok(found);
                    }
                }
            }
            Err(DatasetError::row(place, "a picture with neither `bytes` nor `path`"))
        }
        other => Err(DatasetError::row(
            place,
            format!("a picture column of type {}; `bytes` and `path` are wanted", other.dtype()),
        )),
    }
}

/// Writes queries so that `datasets` of Hugging Face shows their pictures, and [`read`] gives them back unchanged.
///
/// `prompt` and `answer` are for people; `ground_truth`, `columns`, `tools` and (for conversations) `messages` are
/// JSON. Responses to imitate, if there are any, have a column of their own.
///
/// # Errors
/// When the file exists already, or cannot be written.
pub fn write(path: &Path, queries: &[Query]) -> Result<()> {
    let broken =
        |error: PolarsError| DatasetError::row(path.display().to_string(), format!("cannot be written: {error}"));
    let mut frame = frame(queries).map_err(broken)?;
    write_aside(path, |file| {
        let features = features(&further_columns(queries));
        let note = KeyValueMetadata::from_static(vec![("huggingface".to_owned(), features.to_string())]);
        // Pictures are compressed already.
        let writer = ParquetWriter::new(&mut *file).with_compression(ParquetCompression::Uncompressed);
        writer.with_key_value_metadata(Some(note)).finish(&mut frame).map_err(broken)?;
        hide_own_types(file).map_err(|error| DatasetError::io(path, error))
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
    let parts = messages.iter().flat_map(|message| &message.content);
    parts
        .map(|part| match part {
            Part::Text { text } => text.as_str(),
            Part::Image => IMAGE_MARK,
            Part::Video => VIDEO_MARK,
        })
        .collect()
}

/// Whether the prompt's text alone would not give the same messages back.
fn needs_messages(query: &Query) -> bool {
    let rebuilt = [Message { role: Role::User, content: marked_parts(&prompt_text(&query.messages)) }];
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::columns::Columns;
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    #[test]
    fn what_is_written_is_read_back() {
        let mut queries: Vec<Query> = Task::ALL
            .into_iter()
            .flat_map(|task| (0..4).map(move |index| query(task, Split::Test, 2, index)))
            .collect();
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.parquet");
        write(&path, &queries).unwrap();
        assert_eq!(read(&path, &OpenOptions::default()).unwrap(), queries);
        assert!(write(&path, &queries).unwrap_err().to_string().contains("exists already"));
    }

    #[test]
    fn files_without_pictures_are_read_back() {
        let queries: Vec<Query> = (0..3).map(|index| query(Task::Logic, Split::Test, 2, index)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.parquet");
        write(&path, &queries).unwrap();
        assert_eq!(read(&path, &OpenOptions::default()).unwrap(), queries);
    }

    #[test]
    fn videos_are_named_by_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip");
        fs::create_dir(&clip).unwrap();
        let mut asked = query(Task::Arith, Split::Test, 2, 0);
        asked.messages[0].content.insert(0, Part::Video);
        asked.videos = vec![Video::open(&clip, Some(12.5), "test").unwrap()];
        let queries = [asked, query(Task::Clock, Split::Test, 2, 1)];
        let path = folder.path().join("test.parquet");
        write(&path, &queries).unwrap();
        assert_eq!(read(&path, &OpenOptions::default()).unwrap(), queries);
    }

    #[test]
    fn the_file_names_its_features() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.parquet");
        write(&path, &[query(Task::Clock, Split::Test, 2, 0)]).unwrap();
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("huggingface") && text.contains(r#""_type":"Image""#));
        assert!(!text.contains("ARROW:schema"), "it would hide the features from Arrow");
    }

    #[test]
    fn foreign_files_are_read_by_their_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geo.parquet");
        let clock = query(Task::Clock, Split::Test, 2, 0);
        fs::write(folder.path().join("one.png"), clock.images[0].bytes()).unwrap();
        let fields = [
            Series::new("bytes".into(), [None, Some(clock.images[0].bytes())]),
            Series::new("path".into(), [Some("one.png"), None]),
        ];
        let pictures = StructChunked::from_series("image".into(), 2, fields.iter()).unwrap().into_series();
        let columns = vec![
            Column::new("problem".into(), ["What time?", "<image>And now?"]),
            Column::new("solution".into(), ["3:00", "4:00"]),
            Column::new("level".into(), [1_i64, 2]),
            Column::from(pictures),
        ];
        let mut frame = DataFrame::new(2, columns).unwrap();
        ParquetWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
        let queries = read(&path, &OpenOptions::default()).unwrap();
        assert_eq!(queries[0].images, clock.images);
        assert_eq!(queries[1].images, clock.images);
        assert_eq!(queries[1].question(), "And now?");
        assert_eq!(
            (queries[1].ground_truth.clone(), queries[1].columns["level"].clone()),
            (Some("4:00".into()), 2.into())
        );
        let columns = Columns { answer_key: Some("solutoin".to_owned()), ..Columns::default() };
        let message = read(&path, &OpenOptions { columns, ..OpenOptions::default() }).unwrap_err().to_string();
        assert!(message.contains("did you mean `solution`?"), "{message}");
    }

    #[test]
    fn a_torn_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torn.parquet");
        write(&path, &[query(Task::Clock, Split::Test, 2, 0)]).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(read(&path, &OpenOptions::default()).unwrap_err().to_string().contains("cannot be read as Parquet"));
    }
}
