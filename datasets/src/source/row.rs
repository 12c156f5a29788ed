//! One row of a query file, read strictly, and written back.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::OpenOptions;
use crate::columns::{Columns, nearest};
use crate::error::{DatasetError, Result};
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role};
use crate::video::Video;

/// The keys of a query file.
pub(super) const KEYS: [&str; 9] =
    ["id", "task", "messages", "images", "videos", "ground_truth", "rubric", "tools", "columns"];
/// What stands for a picture in a text prompt.
pub(super) const IMAGE_MARK: &str = "<image>";
/// What stands for a video in a text prompt.
pub(super) const VIDEO_MARK: &str = "<video>";

/// The line of a query file; `images` are paths, hashes or data URIs, one for each picture. Videos stay where they are.
pub fn query_line(query: &Query, images: &[String]) -> Value {
    let mut line = Map::new();
    line.insert("id".to_owned(), query.id.as_str().into());
    line.insert("task".to_owned(), query.task.as_str().into());
    line.insert("messages".to_owned(), json!(query.messages));
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

/// Turns rows of one file into queries.
pub(super) struct RowReader<'a> {
    pub(super) options: &'a OpenOptions,
    /// The file; its folder is where relative picture paths start, its stem names rows without id or task.
    pub(super) path: &'a Path,
}

impl RowReader<'_> {
    /// Reads a row. `number` counts from 1; `pictures` are those that the file itself holds.
    pub(super) fn query(
        &self,
        mut row: Map<String, Value>,
        number: usize,
        pictures: Option<Vec<Picture>>,
    ) -> Result<Query> {
        let place = self.place(number);
        let foreign = row.get("messages").is_none_or(Value::is_null);
        if !foreign {
            self.refuse_unknown_keys(&row, &place)?;
        }
        let images = match pictures {
            Some(pictures) => pictures,
            None => self.images(&mut row, &place)?,
        };
        let videos = self.videos(&mut row, &place)?;
        let ground_truth = self.ground_truth(&mut row, &place)?;
        let shown = [(Part::Image, images.len()), (Part::Video, videos.len())];
        let messages = if foreign { self.prompt(&mut row, &shown, &place)? } else { messages(&mut row, &place)? };
        let stem = self.path.file_stem().map_or_else(|| "data".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let query = Query {
            id: match row.remove("id") {
                Some(Value::Number(number)) => number.to_string(),
                id => string(id, "id", &place)?.unwrap_or_else(|| format!("{stem}-{number}")),
            },
            task: string(row.remove("task"), "task", &place)?.unwrap_or(stem),
            messages,
            images,
            videos,
            ground_truth,
            rubric: string(row.remove("rubric"), "rubric", &place)?,
            tools: tools(row.remove("tools"), &place)?,
            columns: columns(row, &place)?,
        };
        check_marks(&query, &place)?;
        Ok(query)
    }

    fn place(&self, number: usize) -> String {
        format!("{} row {number}", self.path.display())
    }

    /// Our own format has no other keys, but for columns that the options name.
    fn refuse_unknown_keys(&self, row: &Map<String, Value>, place: &str) -> Result<()> {
        let Columns { prompt_key, answer_key, image_key, video_key } = &self.options.columns;
        let named = [prompt_key, answer_key, image_key, video_key];
        let known = |key: &str| KEYS.contains(&key) || named.iter().any(|name| name.as_deref() == Some(key));
        match row.keys().find(|key| !known(key)) {
            Some(key) => {
                let guess = nearest(key, KEYS.into_iter());
                let reason = format!("unknown key `{key}`; {guess} (further columns belong in `columns`)");
                Err(DatasetError::row(place, reason))
            }
            None => Ok(()),
        }
    }

    fn ground_truth(&self, row: &mut Map<String, Value>, place: &str) -> Result<Option<Value>> {
        let key = self.options.columns.answer(place, &present(row))?;
        let value = key.and_then(|key| row.remove(&key)).filter(|value| !value.is_null());
        if value.is_none() && self.options.require_ground_truth {
            let reason = "no ground truth; add `ground_truth`, or name its column by `answer_key`";
            return Err(DatasetError::row(place, reason));
        }
        Ok(value)
    }

    /// A foreign row's question as one user message; pictures, and then videos, without a mark come first.
    fn prompt(&self, row: &mut Map<String, Value>, shown: &[(Part, usize)], place: &str) -> Result<Vec<Message>> {
        row.remove("messages");
        let key = self.options.columns.prompt(place, &present(row))?;
        let mut prompt = match row.remove(&key) {
            Some(Value::String(text)) => {
                vec![Message { role: Role::User, content: marked_parts(&text) }]
            }
            // A conversation, as veRL and EasyR1 write it.
            Some(list @ Value::Array(_)) => {
                let mut holder = Map::from_iter([("messages".to_owned(), list)]);
                messages(&mut holder, place)?
            }
            _ => return Err(DatasetError::row(place, format!("`{key}` is neither text nor a list of messages"))),
        };
        for (kind, count) in shown.iter().rev() {
            let marked = prompt.iter().flat_map(|message| &message.content).any(|part| part == kind);
            if let (false, Some(last)) = (marked, prompt.iter_mut().rev().find(|message| message.role == Role::User)) {
                last.content.splice(0..0, std::iter::repeat_n(kind.clone(), *count));
            }
        }
        Ok(prompt)
    }

    fn videos(&self, row: &mut Map<String, Value>, place: &str) -> Result<Vec<Video>> {
        let Some(key) = self.options.columns.videos(place, &present(row))? else { return Ok(Vec::new()) };
        let values = match row.remove(&key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        let video = |value: &Value| {
            let path = value.as_str().or_else(|| value["path"].as_str()).ok_or_else(|| {
                let wanted = "a path, or {\"path\": .., \"fps\": ..}, is wanted";
                DatasetError::row(place, format!("`{key}` holds {value}; {wanted}"))
            })?;
            let fps = match &value["fps"] {
                Value::Null => None,
                fps => Some(fps.as_f64().ok_or_else(|| {
                    DatasetError::row(place, format!("`fps` is {fps}; frames a second must be a number above 0"))
                })?),
            };
            Video::open(&folder.join(path), fps, place)
        };
        values.iter().map(video).collect()
    }

    fn images(&self, row: &mut Map<String, Value>, place: &str) -> Result<Vec<Picture>> {
        let Some(key) = self.options.columns.images(place, &present(row))? else { return Ok(Vec::new()) };
        let values = match row.remove(&key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Object(object) => object.get("path").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        };
        values
            .iter()
            .map(|value| {
                let text = text(value).ok_or_else(|| {
                    DatasetError::row(place, format!("`{key}` holds {value}; a path or a data URI is wanted"))
                })?;
                picture(&text, self.path, place)
            })
            .collect()
    }
}

fn present(row: &Map<String, Value>) -> Vec<&str> {
    row.keys().map(String::as_str).collect()
}

/// A picture by data URI, by path relative to the file, or by hash in the folder `images` beside the file.
pub(super) fn picture(text: &str, file: &Path, place: &str) -> Result<Picture> {
    if let Some(rest) = text.strip_prefix("data:") {
        let encoded = rest.split_once(";base64,").map(|(_, encoded)| encoded);
        let bytes = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
        let bytes = bytes
            .ok_or_else(|| DatasetError::row(place, "a data URI that is not base64 (data:image/png;base64,...)"))?;
        return Picture::from_bytes(bytes, place);
    }
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let mut path = folder.join(text);
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let known = ["png", "jpg", "webp"].map(|extension| folder.join("images").join(format!("{text}.{extension}")));
        path = known.into_iter().find(|path| path.exists()).unwrap_or(path);
    }
    let bytes = std::fs::read(&path)
        .map_err(|error| DatasetError::row(place, format!("cannot read the picture {}: {error}", path.display())))?;
    Picture::from_bytes(bytes, &format!("{place}, picture {}", path.display()))
}

/// A picture as a data URI.
pub(super) fn data_uri(picture: &Picture) -> String {
    format!("data:{};base64,{}", picture.media_type(), BASE64.encode(picture.bytes()))
}

/// Text with `<image>` and `<video>` marks, as parts.
pub(super) fn marked_parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let image = rest.find(IMAGE_MARK).map(|at| (at, IMAGE_MARK.len(), Part::Image));
        let video = rest.find(VIDEO_MARK).map(|at| (at, VIDEO_MARK.len(), Part::Video));
        let next = [image, video].into_iter().flatten().min_by_key(|(at, ..)| *at);
        let before = next.as_ref().map_or(rest, |(at, ..)| &rest[..*at]);
        if !before.is_empty() {
            parts.push(Part::text(before));
        }
        let Some((at, len, part)) = next else { return parts };
        parts.push(part);
        rest = &rest[at + len..];
    }
}

fn messages(row: &mut Map<String, Value>, place: &str) -> Result<Vec<Message>> {
    let Some(Value::Array(mut list)) = row.remove("messages") else {
        return Err(DatasetError::row(place, "`messages` is no list"));
    };
    for message in &mut list {
        // Plain text is short for one text part.
        if let Some(Value::String(text)) = message.get("content") {
            message["content"] = json!(marked_parts(text));
        }
    }
    let messages: Vec<Message> = serde_json::from_value(Value::Array(list))
        .map_err(|error| DatasetError::row(place, format!("`messages` cannot be read: {error}")))?;
    if messages.is_empty() {
        return Err(DatasetError::row(place, "`messages` is empty"));
    }
    Ok(messages)
}

fn string(value: Option<Value>, key: &str, place: &str) -> Result<Option<String>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(DatasetError::row(place, format!("`{key}` is {other}; text is wanted"))),
    }
}

fn tools(value: Option<Value>, place: &str) -> Result<Vec<String>> {
    let value = value.filter(|value| !value.is_null()).unwrap_or_else(|| json!([]));
    serde_json::from_value(value).map_err(|_| DatasetError::row(place, "`tools` is no list of names"))
}

/// The column `columns`, and what else a foreign row holds.
fn columns(mut row: Map<String, Value>, place: &str) -> Result<Map<String, Value>> {
    let mut columns = match row.remove("columns") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(columns)) => columns,
        Some(other) => return Err(DatasetError::row(place, format!("`columns` is {other}; an object is wanted"))),
    };
    columns.extend(row.into_iter().filter(|(_, value)| !value.is_null()));
    Ok(columns)
}

fn check_marks(query: &Query, place: &str) -> Result<()> {
    for (kind, what, given) in
        [(Part::Image, "pictures", query.images.len()), (Part::Video, "videos", query.videos.len())]
    {
        let parts = query.messages.iter().flat_map(|message| &message.content);
        let marks = parts.filter(|part| **part == kind).count();
        if marks != given {
            let reason = format!("the messages name {marks} {what}, but there are {given}");
            return Err(DatasetError::row(place, reason));
        }
    }
    Ok(())
}
