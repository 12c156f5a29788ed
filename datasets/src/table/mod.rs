//! Rows of one file by number, read when they are asked for: Parquet, JSON lines, or a JSON list.

mod cell;
mod json;
mod parquet;
mod strict;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use sapo_pictures::file;
use serde_json::{Map, Value};

use crate::error::{DatasetError, Result};
use json::JsonTable;
pub(crate) use json::raw_pictures;
use parquet::ParquetTable;

/// A row as the file holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// All columns but those with pictures.
    pub(crate) values: Map<String, Value>,
    /// The pictures by column, as they are written there.
    pub(crate) pictures: BTreeMap<String, Vec<RawPicture>>,
    /// Columns with a number that is none (NaN, infinity), for which JSON has no word: they are null among the values.
    pub(crate) not_finite: Vec<String>,
}

/// A picture as a cell holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawPicture {
    /// The encoded picture.
    Bytes(Vec<u8>),
    /// A path, a hash, base64 or a data URL.
    Text(String),
}

/// A file of rows.
#[derive(Debug)]
pub(crate) enum Table {
    Parquet(ParquetTable),
    Json(JsonTable),
}

/// Takes the number of a row and some of its columns, where they could be read.
type Visit<'a> = dyn FnMut(u64, Option<&Map<String, Value>>) -> Result<()> + 'a;

/// Takes the number of a row and the row, or why it cannot be read.
type VisitRow<'a> = dyn FnMut(u64, Result<Row>) + 'a;

/// The endings of the files that [`Table::open`] reads.
pub(crate) const ENDINGS: [&str; 3] = ["parquet", "jsonl", "json"];

impl Table {
    /// Opens a file by its ending, without reading its rows: the footer of Parquet, the places of the rows of JSON.
    ///
    /// # Errors
    /// When it cannot be read, is none of these kinds, or holds no rows.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let empty = || DatasetError::row(path.display().to_string(), "holds no rows");
        file::length(path).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => empty(),
            _ => DatasetError::io(path, error),
        })?;
        let table = match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => Self::Parquet(ParquetTable::open(path)?),
            Some("jsonl") => Self::Json(JsonTable::of_lines(path)?),
            Some("json") => Self::Json(JsonTable::of_list(path)?),
            _ => {
                let reason = "is not a data set: name a .parquet, .jsonl or .json file, a folder, or synthetic:TASK";
                return Err(DatasetError::row(path.display().to_string(), reason));
            }
        };
        if table.len() == 0 {
            return Err(empty());
        }
        Ok(table)
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Parquet(table) => table.len(),
            Self::Json(table) => table.len(),
        }
    }

    /// The columns: all of a Parquet file, those of the first rows of JSON.
    pub(crate) fn columns(&self) -> &[String] {
        match self {
            Self::Parquet(table) => table.columns(),
            Self::Json(table) => table.columns(),
        }
    }

    /// Columns whose values cannot be read, and their types.
    pub(crate) fn unread(&self) -> &[(String, String)] {
        match self {
            Self::Parquet(table) => table.unread(),
            Self::Json(_) => &[],
        }
    }

    /// What is worth saying of the file.
    pub(crate) fn notes(&self) -> Vec<String> {
        match self {
            Self::Parquet(table) => table.notes(),
            Self::Json(_) => Vec::new(),
        }
    }

    /// Says which columns hold pictures; other columns of bytes are not read at all.
    pub(crate) fn set_pictures(&mut self, pictures: &[String]) {
        match self {
            Self::Parquet(table) => table.set_pictures(pictures),
            Self::Json(table) => table.set_pictures(pictures),
        }
    }

    /// The row at `index`, which is below [`Table::len`].
    ///
    /// # Errors
    /// When it cannot be read; the message names file, row and column.
    pub(crate) fn row(&self, index: u64) -> Result<Row> {
        match self {
            Self::Parquet(table) => table.row(index),
            Self::Json(table) => table.row(index),
        }
    }

    /// Reads so many rows one after another, faster than each by itself; all of them are below [`Table::len`].
    pub(crate) fn visit(&self, from: u64, count: u64, visit: &mut VisitRow<'_>) {
        match self {
            Self::Parquet(table) => table.visit(from, count, visit),
            Self::Json(table) => (from..from + count).for_each(|index| visit(index, table.row(index))),
        }
    }

    /// Reads some columns of all rows, in order. A row that cannot be read gives `None`: whoever wants it whole gets
    /// its error.
    ///
    /// # Errors
    /// When the file cannot be read, or `visit` says so.
    pub(crate) fn scan(&self, columns: &[&str], visit: &mut Visit<'_>) -> Result<()> {
        match self {
            Self::Parquet(table) => table.scan(columns, visit),
            Self::Json(table) => table.scan(columns, visit),
        }
    }
}
