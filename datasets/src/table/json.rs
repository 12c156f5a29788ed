//! JSON lines, and a JSON list of objects: the places of the rows are held (8 bytes each), the rows are not.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sapo_pictures::file;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::strict::StrictObject;
use super::{RawPicture, Row, Visit};
use crate::error::{DatasetError, Fault, Result};

/// How many rows are looked at to learn which columns there are.
const HEAD_ROWS: u64 = 32;
/// The file is read in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a row at most: each is held whole while it is read.
const MOST_ROW_BYTES: u64 = 256 << 20;

/// A file of JSON objects.
#[derive(Debug)]
pub(crate) struct JsonTable {
    path: PathBuf,
    file: Mutex<File>,
    /// Where each row starts, and the end of the last one.
    offsets: Vec<u64>,
    form: Form,
    columns: Vec<String>,
    pictures: Vec<String>,
    /// The first row that is an object.
    first_readable: u64,
}

/// How rows follow each other.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// One on each line.
    Lines,
    /// In one list.
    List,
}

impl JsonTable {
    /// One object a line; blank lines are passed over.
    ///
    /// # Errors
    /// When the file cannot be read, or none of its first rows is a JSON object. A single one that is none is an error
    /// only where it is asked for.
    pub(super) fn of_lines(path: &Path) -> Result<Self> {
        Self::open(path, Form::Lines)
    }

    /// One list of objects.
    ///
    /// # Errors
    /// When the file cannot be read, or is no such list.
    pub(super) fn of_list(path: &Path) -> Result<Self> {
        Self::open(path, Form::List)
    }

    fn open(path: &Path, form: Form) -> Result<Self> {
        let io = |error| DatasetError::io(path, error);
        let open = || File::open(path).map_err(io);
        // What grows while it is read, or never ends, is read as far as it went when it was opened.
        let length = file::length(path).map_err(io)?;
        let reader = BufReader::with_capacity(PIECE_BYTES, open()?.take(length));
        let offsets = match form {
            Form::Lines => line_offsets(reader, path)?,
            Form::List => list_offsets(reader, path)?,
        };
        if let Some(at) = offsets.windows(2).position(|span| span[1] - span[0] > MOST_ROW_BYTES) {
            return Err(too_long(path, at));
        }
        let file = Mutex::new(open()?);
        let (columns, pictures) = (Vec::new(), Vec::new());
        let mut table = Self { path: path.to_owned(), file, offsets, form, columns, pictures, first_readable: 0 };
        let (mut readable, mut first_error) = (None, None);
        for index in 0..table.len().min(HEAD_ROWS) {
            match table.values(index) {
                Ok(values) => {
                    readable.get_or_insert(index);
                    let new = values.into_iter().map(|(name, _)| name).filter(|name| !table.columns.contains(name));
                    let new: Vec<String> = new.collect();
                    table.columns.extend(new);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match (readable, first_error) {
            (None, Some(error)) => return Err(error),
            (readable, _) => table.first_readable = readable.unwrap_or(0),
        }
        Ok(table)
    }

    /// The first row that is an object; 0 where there is none.
    pub(crate) fn first_readable(&self) -> u64 {
        self.first_readable
    }

    pub(super) fn len(&self) -> u64 {
        self.offsets.len().saturating_sub(1) as u64
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn set_pictures(&mut self, pictures: &[String]) {
        pictures.clone_into(&mut self.pictures);
    }

    pub(super) fn row(&self, index: u64) -> Result<Row> {
        let mut row = Row { values: self.values(index)?, ..Row::default() };
        for column in &self.pictures {
            if let Some(value) = row.values.shift_remove(column) {
                let pictures = raw_pictures(value).map_err(|value| {
                    let wanted = "a path, base64, a data URL or {bytes, path} is wanted, or a list of them";
                    let reason = format!("column `{column}` holds {value}; {wanted}");
                    DatasetError::row(self.place(index), reason).about(Fault::PictureDamaged)
                })?;
                row.pictures.insert(column.clone(), pictures);
            }
        }
        Ok(row)
    }

    pub(super) fn scan(&self, columns: &[&str], visit: &mut Visit<'_>) -> Result<()> {
        let io = |error| DatasetError::io(&self.path, error);
        // A handle of its own: this one reads on where it stands.
        let mut file = BufReader::with_capacity(PIECE_BYTES, File::open(&self.path).map_err(io)?);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.offsets.first().copied().unwrap_or(0))).map_err(io)?;
        for (index, span) in self.offsets.windows(2).enumerate() {
            bytes.resize((span[1] - span[0]) as usize, 0);
            file.read_exact(&mut bytes).map_err(io)?;
            let mut parser = serde_json::Deserializer::from_slice(&bytes);
            visit(index as u64, Chosen(columns).deserialize(&mut parser).ok().as_ref())?;
        }
        Ok(())
    }

    fn values(&self, index: u64) -> Result<Map<String, Value>> {
        let (start, end) = (self.offsets[index as usize], self.offsets[index as usize + 1]);
        let mut bytes = vec![0; (end - start) as usize];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(start))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|error| DatasetError::io(&self.path, error))?;
        }
        let mut parser = serde_json::Deserializer::from_slice(bytes.trim_ascii());
        let row = StrictObject.deserialize(&mut parser).and_then(|row| match self.form {
            Form::Lines => parser.end().map(|()| row),
            // What follows is the comma before the next row, or the end of the list.
            Form::List => Ok(row),
        });
        row.map_err(|error| DatasetError::row(self.place(index), format!("not a JSON object: {error}")))
    }

    fn place(&self, index: u64) -> String {
        format!("{} row {}", self.path.display(), index + 1)
    }
}

/// Where each line that is not blank starts, and the end of the file.
fn line_offsets(mut file: BufReader<Take<File>>, path: &Path) -> Result<Vec<u64>> {
    let (mut offsets, mut at) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.by_ref().take(MOST_ROW_BYTES + 1).read_until(b'\n', &mut line);
        let length = read.map_err(|error| DatasetError::io(path, error))? as u64;
        if length > MOST_ROW_BYTES {
            return Err(too_long(path, offsets.len()));
        }
        if length == 0 {
            offsets.push(at);
            return Ok(offsets);
        }
        if !line.trim_ascii().is_empty() {
            offsets.push(at);
        }
        at += length;
    }
}

fn too_long(path: &Path, index: usize) -> DatasetError {
    let place = format!("{} row {}", path.display(), index + 1);
    DatasetError::row(place, format!("is longer than the {} MiB that a row may have", MOST_ROW_BYTES >> 20))
}

/// Where each object of the list starts, and the end of the file. Only brackets and quotes are looked at.
fn list_offsets(mut file: BufReader<Take<File>>, path: &Path) -> Result<Vec<u64>> {
    let (mut offsets, mut at, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    loop {
        let piece = file.fill_buf().map_err(|error| DatasetError::io(path, error))?;
        if piece.is_empty() {
            offsets.push(at);
            return Ok(offsets);
        }
        for &byte in piece {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'[' | b'{' => {
                    if depth == 0 && byte == b'{' {
                        let reason = "is one object, not a list of rows; write one row a line and call it .jsonl";
                        return Err(DatasetError::row(path.display().to_string(), reason));
                    }
                    if depth == 1 {
                        offsets.push(at);
                    }
                    depth += 1;
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        let length = piece.len();
        file.consume(length);
    }
}

/// The pictures of a cell, or the value that is none.
pub(crate) fn raw_pictures(value: Value) -> std::result::Result<Vec<RawPicture>, Value> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![RawPicture::Text(text)]),
        Value::Array(values) => {
            let each: Vec<_> = values.into_iter().map(raw_pictures).collect::<std::result::Result<_, _>>()?;
            Ok(each.concat())
        }
        Value::Object(mut fields) => {
            // The bytes win; the path serves when they are null.
            let found =
                ["bytes", "path", "url"].iter().find_map(|name| fields.shift_remove(*name).filter(|v| !v.is_null()));
            match found {
                Some(Value::String(text)) => Ok(vec![RawPicture::Text(text)]),
                // pandas and its like write bytes as numbers.
                Some(Value::Array(numbers)) => {
                    let byte = |number: &Value| number.as_u64().and_then(|number| u8::try_from(number).ok());
                    let bytes: Option<Vec<u8>> = numbers.iter().map(byte).collect();
                    bytes.map(|bytes| vec![RawPicture::Bytes(bytes)]).ok_or(Value::Array(numbers))
                }
                _ => Err(Value::Object(fields)),
            }
        }
        other => Err(other),
    }
}

/// Reads some keys of an object and passes over the others.
struct Chosen<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Chosen<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Chosen<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> std::result::Result<Self::Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = row.next_key::<String>()? {
            if self.0.contains(&key.as_str()) {
                values.insert(key, row.next_value()?);
            } else {
                row.next_value::<IgnoredAny>()?;
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(name: &str, text: &str) -> Result<JsonTable> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        if name.ends_with('l') { JsonTable::of_lines(&path) } else { JsonTable::of_list(&path) }
    }

    #[test]
    fn lines_and_lists_hold_the_same_rows() {
        let lines = table("a.jsonl", "{\"a\":1}\n\n {\"a\":2,\"b\":\"}]\\\"[{\"}\r\n{\"a\":[{}]}").unwrap();
        let list = table("a.json", "[ {\"a\":1},\n{\"a\":2,\"b\":\"}]\\\"[{\"},{\"a\":[{}]}]\n").unwrap();
        for table in [lines, list] {
            assert_eq!((table.len(), table.columns()), (3, &["a".to_owned(), "b".to_owned()][..]));
            for (index, row) in [json!({"a": 1}), json!({"a": 2, "b": "}]\"[{"}), json!({"a": [{}]})].iter().enumerate()
            {
                assert_eq!(Value::Object(table.row(index as u64).unwrap().values), *row);
            }
        }
    }

    #[test]
    fn what_is_no_list_or_no_object_is_named() {
        let message = |name: &str, text: &str| table(name, text).unwrap_err().to_string();
        assert!(message("a.json", "{\"a\":1}").contains("not a list of rows"));
        assert!(message("a.jsonl", "[1]\n[2]").contains("row 1: not a JSON object"));
        assert_eq!(table("a.json", "[]").unwrap().len(), 0);
        assert_eq!(table("a.jsonl", " \n").unwrap().len(), 0);
    }

    #[test]
    fn a_row_that_is_broken_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, b"{broken\n{\"a\":1}\n[1]\n{\"a\":\"\xff\"}\n{\"a\":NaN}\n{\"a\":2}").unwrap();
        let table = JsonTable::of_lines(&path).unwrap();
        assert_eq!((table.len(), table.first_readable(), table.columns()), (6, 1, &["a".to_owned()][..]));
        let good: Vec<u64> = (0..6).filter(|index| table.row(*index).is_ok()).collect();
        assert_eq!(good, [1, 5]);
        assert!(table.row(2).unwrap_err().to_string().contains("row 3: not a JSON object"));
    }

    #[test]
    fn a_scan_reads_the_wanted_keys_and_passes_over_broken_rows() {
        let mut text: String = (0..40).map(|index| format!("{{\"id\":{index},\"x\":\"{index}\"}}\n")).collect();
        text.push_str("{broken\n{\"x\":1}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut seen = Vec::new();
        let table = JsonTable::of_lines(&path).unwrap();
        table
            .scan(&["id"], &mut |index, row| {
                seen.push((index, row.map(|row| (row.len(), row.get("id").and_then(Value::as_u64)))));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen[39], (39, Some((1, Some(39)))));
        assert_eq!(seen[40..], [(40, None), (41, Some((0, None)))]);
    }

    #[test]
    fn pictures_are_written_in_many_ways() {
        let text = |text: &str| RawPicture::Text(text.to_owned());
        let read = |value: Value| raw_pictures(value);
        assert_eq!(read(json!("a.png")).unwrap(), [text("a.png")]);
        assert_eq!(read(json!([{"bytes": null, "path": "a"}, "b"])).unwrap(), [text("a"), text("b")]);
        assert_eq!(read(json!({"bytes": [1, 255], "path": "a"})).unwrap(), [RawPicture::Bytes(vec![1, 255])]);
        assert_eq!(read(Value::Null).unwrap(), []);
        assert!(read(json!([7])).is_err() && read(json!({"bytes": [256]})).is_err() && read(json!({})).is_err());
    }
}
