//! Queries that are held in memory: those of a file, read at once, or those of a generated task; and the writers of
//! files. Training reads [`crate::Dataset`] instead, row by row.

pub mod jsonl;
pub mod parquet;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use jsonl::query_line;

use crate::columns::Columns;
use crate::config::SourceConfig;
use crate::dataset::{Dataset, OpenContext};
use crate::error::{DatasetError, Result};
pub use crate::layout::RESPONSE_COLUMN;
use crate::query::{Demonstration, Query};
use crate::synthetic::{Stream, Style, Task};
use crate::write::write_new;

/// How a source is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The seed of generated tasks; files ignore it.
    pub seed: u64,
    /// Names of foreign columns.
    pub columns: Columns,
    /// Whether a row without a ground truth is an error.
    pub require_ground_truth: bool,
}

/// Queries by index: unlimited (a generated task) or a list (a file, or a slice of anything).
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    rows: Rows,
    start: u64,
    end: Option<u64>,
}

#[derive(Clone, Debug)]
enum Rows {
    Generated(Stream),
    Listed(Arc<[Query]>),
}

/// Opens what [`SourceConfig::source`] may name, as in `synthetic:clock@test[0:200]`, and reads all rows of files.
///
/// # Errors
/// When the text is no such address, nothing lies there, or a row cannot be used; the message names file and row.
pub fn open(spec: &str, seed: u64) -> Result<Source> {
    open_with(spec, &OpenOptions { seed, ..OpenOptions::default() })
}

/// [`open`] with foreign column names, and with the choice whether each row must have a ground truth.
///
/// # Errors
/// As [`open`], and for a row without a ground truth when `options` requires one.
pub fn open_with(spec: &str, options: &OpenOptions) -> Result<Source> {
    let config = SourceConfig { source: spec.to_owned(), columns: options.columns.clone(), ..SourceConfig::default() };
    let context = OpenContext { seed: options.seed, ..OpenContext::default() };
    let dataset = Dataset::open(&stem(spec), &config, &context)?;
    if let Some(stream) = dataset.generated() {
        let source = Source { name: spec.to_owned(), rows: Rows::Generated(stream), start: 0, end: None };
        let (from, to) = dataset.bounds();
        return source.slice(Some(from), to);
    }
    let mut queries = Vec::new();
    for (index, example) in dataset.iter().enumerate() {
        let example = example?;
        let mut query = example.query;
        if query.ground_truth.is_none() && options.require_ground_truth {
            let reason = "no ground truth; add `ground_truth`, or name its column by columns.ground_truth";
            return Err(DatasetError::row(format!("{spec} row {}", index + 1), reason));
        }
        if let Some(response) = example.response {
            query.columns.insert(RESPONSE_COLUMN.to_owned(), response.into());
        }
        queries.push(query);
    }
    Ok(Source::of_queries(spec, queries))
}

/// What rows that name no task are called after.
fn stem(spec: &str) -> String {
    let path = spec.split(['@', '[']).next().unwrap_or(spec);
    Path::new(path).file_stem().map_or_else(|| "data".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// Lets `fill` write a new file.
fn write_file(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    write_new(path, fill).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            DatasetError::row(path.display().to_string(), "exists already; remove it or choose another name")
        }
        _ => DatasetError::io(path, error),
    })
}

impl Source {
    /// An unlimited source of a generated task.
    pub fn of_stream(stream: Stream) -> Self {
        let name = format!("synthetic:{}@{}", stream.task, stream.split);
        Self { name, rows: Rows::Generated(stream), start: 0, end: None }
    }

    /// A source of given queries, such as those that curation kept.
    pub fn of_queries(name: impl Into<String>, queries: impl Into<Arc<[Query]>>) -> Self {
        Self { name: name.into(), rows: Rows::Listed(queries.into()), start: 0, end: None }
    }

    /// The text by which it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The generated task behind it, if there is one.
    pub fn task(&self) -> Option<Task> {
        match self.rows {
            Rows::Generated(stream) => Some(stream.task),
            Rows::Listed(_) => None,
        }
    }

    /// How many queries there are; `None` is unlimited.
    pub fn len(&self) -> Option<usize> {
        let end = match &self.rows {
            Rows::Generated(_) => self.end,
            Rows::Listed(queries) => Some(self.end.unwrap_or(queries.len() as u64)),
        };
        end.map(|end| (end - self.start) as usize)
    }

    /// Whether it has no queries at all.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The query at `index`.
    ///
    /// # Errors
    /// When `index` is past the end.
    pub fn get(&self, index: u64) -> Result<Query> {
        let row = self.row(index)?;
        Ok(match &self.rows {
            Rows::Generated(stream) => stream.query(row),
            Rows::Listed(queries) => queries[row as usize].clone(),
        })
    }

    /// The demonstration at `index`: drawn in `style` for a generated task, else the query's column `response`.
    ///
    /// # Errors
    /// When `index` is past the end, or a listed query has no text in its column `response`.
    pub fn demonstration(&self, index: u64, style: Style) -> Result<Demonstration> {
        let row = self.row(index)?;
        match &self.rows {
            Rows::Generated(stream) => Ok(stream.demonstration(row, style)),
            Rows::Listed(queries) => {
                let query = queries[row as usize].clone();
                let response = query.columns.get(RESPONSE_COLUMN).and_then(|value| value.as_str()).map(str::to_owned);
                match response {
                    Some(response) => Ok(Demonstration { query, response }),
                    None => Err(DatasetError::row(
                        format!("{} query `{}`", self.name, query.id),
                        format!("no response to imitate; put it in the column `{RESPONSE_COLUMN}`"),
                    )),
                }
            }
        }
    }

    /// The queries from `from` up to, not including, `to`; a slice of a slice counts from the slice's start.
    ///
    /// # Errors
    /// When the slice is empty or reaches past the end.
    pub fn slice(mut self, from: Option<u64>, to: Option<u64>) -> Result<Self> {
        let available = self.len().map(|length| length as u64);
        let from = from.unwrap_or(0);
        let to = to.or(available);
        let past_end = available.is_some_and(|available| to.is_some_and(|to| to > available));
        if past_end || to.is_some_and(|to| from >= to) {
            let there = available.map_or("unlimited".to_owned(), |count| count.to_string());
            let asked = format!("[{from}:{}]", to.map(|to| to.to_string()).unwrap_or_default());
            return Err(DatasetError::Request(format!("`{}`: no slice {asked} of {there} queries", self.name)));
        }
        self.end = to.map(|to| self.start + to);
        self.start += from;
        Ok(self)
    }

    /// All queries in order; it does not end when the source is unlimited.
    pub fn iter(&self) -> impl Iterator<Item = Result<Query>> + '_ {
        let end = self.len().map_or(u64::MAX, |length| length as u64);
        (0..end).map(|index| self.get(index))
    }

    /// Decodes every picture of a listed source and gives what is wrong, each with the query's id. Opening a file
    /// looks only at a picture's first bytes, so a truncated or oversized one shows up here, or when it is used.
    pub fn check_pictures(&self) -> Vec<DatasetError> {
        if matches!(self.rows, Rows::Generated(_)) {
            return Vec::new();
        }
        let check = |query: Query| {
            let place = format!("{} query `{}`", self.name, query.id);
            query.images.into_iter().filter_map(move |picture| {
                picture.decode().err().map(|error| DatasetError::picture(&place, error.to_string()))
            })
        };
        self.iter().filter_map(Result::ok).flat_map(check).collect()
    }

    fn row(&self, index: u64) -> Result<u64> {
        match self.len() {
            Some(length) if index >= length as u64 => {
                Err(DatasetError::Request(format!("`{}` has {length} queries, so there is none at {index}", self.name)))
            }
            _ => Ok(self.start + index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;
    use crate::synthetic;

    #[test]
    fn generated_sources_are_unlimited_until_sliced() {
        let all = open("synthetic:arith", 3).unwrap();
        assert_eq!((all.len(), all.task()), (None, Some(Task::Arith)));
        assert_eq!(all.get(7).unwrap(), synthetic::query(Task::Arith, Split::Train, 3, 7));
        let some = open("synthetic:clock@test[10:30]", 3).unwrap();
        assert_eq!(some.len(), Some(20));
        assert_eq!(some.get(0).unwrap(), synthetic::query(Task::Clock, Split::Test, 3, 10));
        assert!(some.get(20).is_err());
        assert_eq!(some.slice(Some(5), Some(6)).unwrap().get(0).unwrap().id, "clock-test-3-15");
    }

    #[test]
    fn impossible_slices_are_refused() {
        for spec in ["synthetic:arith[5:5]", "synthetic:arith[9:3]", "synthetic:arith[:0]"] {
            assert!(open(spec, 0).unwrap_err().to_string().contains("no slice"), "{spec}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |spec: &str| open(spec, 0).unwrap_err().to_string();
        assert!(message("synthetic:artih").contains("did you mean `arith`?"));
        assert!(message("synthetic:arith@tets").contains("did you mean `test`?"));
        assert!(message("no/such.jsonl").contains("no/such.jsonl"));
        assert!(message("synthetic:arith[1:x]").contains("[1:x]"));
    }

    #[test]
    fn a_truncated_picture_is_found_and_named() {
        let mut queries: Vec<Query> =
            (0..3).map(|index| synthetic::query(Task::Clock, Split::Test, 1, index)).collect();
        let bytes = queries[1].images[0].bytes();
        queries[1].images = vec![crate::Picture::from_bytes(&bytes[..bytes.len() / 2], "test").unwrap()];
        let found = Source::of_queries("some", queries).check_pictures();
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("some query `clock-test-1-1`: "), "{}", found[0]);
    }

    #[test]
    fn demonstrations_come_from_tasks_and_from_a_column() {
        let task = Source::of_stream(Stream::new(Task::Count, Split::Train, 1));
        let shown = task.demonstration(4, Style::Careful).unwrap();
        assert_eq!(shown, synthetic::demonstration(Task::Count, 1, 4, Style::Careful));
        let mut query = shown.query;
        let without = Source::of_queries("kept", vec![query.clone()]);
        assert!(without.demonstration(0, Style::Careful).unwrap_err().to_string().contains("`response`"));
        query.columns.insert("response".to_owned(), "1</think>1".into());
        let with = Source::of_queries("kept", vec![query]);
        assert_eq!(with.demonstration(0, Style::Hasty).unwrap().response, "1</think>1");
    }
}
