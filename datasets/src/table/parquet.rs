//! Parquet by row: the footer is read at once, rows when they are asked for, and few decoded ones are kept.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use polars::io::parquet::read::{FileMetadata, ParallelStrategy};
use polars::prelude::*;
use serde_json::{Map, Value};

use super::cell::{cell, raw_pictures};
use super::{RawPicture, Row, Visit, VisitRow};
use crate::error::{DatasetError, Fault, Result};

/// A row group of at most this many bytes is decoded as a whole: text, small pictures.
const SMALL_GROUP_BYTES: u64 = 4 << 20;
/// A row of a group of more than this many bytes takes so long to find that it is told.
const LARGE_GROUP_BYTES: u64 = 64 << 20;
/// Rows of a group of more than this many bytes are not read: each would take all of it into memory.
const MOST_GROUP_BYTES: u64 = 2 << 30;
/// A large row group that unpacks to this many times its size is no data.
const MOST_UNPACKED: u64 = 1000;
/// How to write files whose rows are found quickly.
const SMALLER_GROUPS: &str = "write it with smaller row groups, such as row_group_size=100 of pandas and pyarrow";
/// Decoded rows that are kept, in bytes.
const KEPT_BYTES: usize = 64 << 20;
/// Rows that are read at once where a column is scanned.
const SCAN_ROWS: u64 = 1 << 16;

/// A Parquet file.
#[derive(Debug)]
pub(crate) struct ParquetTable {
    path: PathBuf,
    file: File,
    metadata: Arc<FileMetadata>,
    columns: Vec<String>,
    /// Columns of types that have no JSON, and these types.
    unread: Vec<(String, String)>,
    /// Columns of bytes, which are read only when they hold pictures.
    binary: Vec<String>,
    pictures: Vec<String>,
    wanted: Vec<String>,
    groups: Vec<Group>,
    kept: Mutex<Kept>,
}

/// A row group.
#[derive(Clone, Copy, Debug)]
struct Group {
    start: u64,
    rows: u64,
    /// Its bytes when unpacked.
    bytes: u64,
    /// Its bytes in the file.
    packed: u64,
}

impl Group {
    /// Rows of a large group that are read at once.
    fn rows_ahead(&self) -> u64 {
        (SMALL_GROUP_BYTES.saturating_mul(self.rows) / self.bytes.max(1)).max(1)
    }
}

/// Decoded rows, the last used of them last.
#[derive(Debug, Default)]
struct Kept {
    blocks: Vec<Block>,
    /// The row after the one that was read last: whoever asks for it reads in order.
    next: u64,
    /// The start of the small row group that could not be read last, and why: each of its rows would take as long.
    broken: Option<(u64, String)>,
}

#[derive(Clone, Debug)]
struct Block {
    start: u64,
    frame: Arc<DataFrame>,
}

impl Block {
    fn holds(&self, index: u64) -> bool {
        (self.start..self.start + self.frame.height() as u64).contains(&index)
    }
}

impl ParquetTable {
    /// Reads the footer.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a Parquet file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let io = |error| DatasetError::io(path, error);
        let file = File::open(path).map_err(io)?;
        let (metadata, schema) = footer(&file, path)?;
        let groups = groups(&metadata).ok_or_else(|| broken(path, "its row groups add up to no number"))?;
        let (read, unread): (Vec<_>, Vec<_>) = schema.iter_values().partition(|field| is_read(&field.dtype));
        let columns = read.iter().map(|field| field.name.to_string()).collect();
        let unread = unread.iter().map(|field| (field.name.to_string(), format!("{:?}", field.dtype))).collect();
        let is_binary = |field: &&ArrowField| matches!(field.dtype, ArrowDataType::BinaryView | ArrowDataType::Binary);
        let binary = schema.iter_values().filter(is_binary).map(|field| field.name.to_string()).collect();
        let kept = Mutex::default();
        let mut table = Self {
            path: path.to_owned(),
            file,
            metadata,
            columns,
            unread,
            binary,
            pictures: Vec::new(),
            wanted: Vec::new(),
            groups,
            kept,
        };
        table.set_pictures(&[]);
        table.groups.iter().try_for_each(|group| refuse_huge_group(path, *group))?;
        Ok(table)
    }

    fn largest_group(&self) -> u64 {
        self.groups.iter().map(|group| group.bytes).max().unwrap_or(0)
    }

    /// What is worth saying of the file: columns that are not read, row groups that are slow.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.unread.is_empty() {
            let columns: Vec<String> = self.unread.iter().map(|(name, kind)| format!("`{name}` ({kind})")).collect();
            notes.push(format!(
                "no reward and no template sees {}: write what is needed as text or numbers",
                columns.join(", ")
            ));
        }
        let bytes = self.largest_group();
        if bytes > LARGE_GROUP_BYTES {
            notes.push(format!("each row that is drawn reads up to {} MiB: {SMALLER_GROUPS}", bytes >> 20));
        }
        notes
    }

    pub(super) fn len(&self) -> u64 {
        self.groups.iter().map(|group| group.rows).sum()
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn unread(&self) -> &[(String, String)] {
        &self.unread
    }

    pub(super) fn set_pictures(&mut self, pictures: &[String]) {
        pictures.clone_into(&mut self.pictures);
        let wanted = self.columns.iter().filter(|name| !self.binary.contains(name) || pictures.contains(name));
        self.wanted = wanted.cloned().collect();
    }

    pub(super) fn row(&self, index: u64) -> Result<Row> {
        self.row_of(&self.block(index)?, index)
    }

    /// Rows one after another. Of a large row group, those that follow are decoded with the first, and not kept.
    pub(super) fn visit(&self, from: u64, count: u64, visit: &mut VisitRow<'_>) {
        let (mut index, end) = (from, from + count);
        while index < end {
            let block = self.block_from(index, end - index);
            // A damaged page spoils what was read with it: row by row it is found where it is.
            let block = block.or_else(|_| self.block_from(index, 1));
            match block {
                Err(error) => {
                    visit(index, Err(error));
                    index += 1;
                }
                Ok(block) => {
                    let block_end = end.min(block.start + block.frame.height() as u64);
                    for row in index..block_end {
                        visit(row, self.row_of(&block, row));
                    }
                    index = block_end.max(index + 1);
                }
            }
        }
    }

    fn row_of(&self, block: &Block, index: u64) -> Result<Row> {
        let at = (index - block.start) as usize;
        let place = || format!("{} row {}", self.path.display(), index + 1);
        let mut row = Row::default();
        for column in block.frame.columns() {
            let series = column.as_materialized_series();
            let name = series.name().as_str();
            if self.pictures.iter().any(|pictures| pictures == name) {
                let pictures: Vec<RawPicture> = raw_pictures(series, at)
                    .map_err(|reason| DatasetError::row(place(), format!("column `{name}` holds {reason}")))
                    .map_err(|error| error.about(Fault::PictureDamaged))?;
                row.pictures.insert(name.to_owned(), pictures);
            } else {
                let (value, not_finite) = cell(series, at)
                    .map_err(|error| DatasetError::row(place(), format!("column `{name}`: {error}")))?;
                row.values.insert(name.to_owned(), value);
                if not_finite {
                    row.not_finite.push(name.to_owned());
                }
            }
        }
        Ok(row)
    }

    pub(super) fn scan(&self, columns: &[&str], visit: &mut Visit<'_>) -> Result<()> {
        let present = columns.iter().filter(|name| self.columns.iter().any(|column| column == *name));
        let names: Vec<String> = present.map(|&name| name.to_owned()).collect();
        let pieces = (0..self.len()).step_by(SCAN_ROWS as usize);
        for start in pieces {
            let rows = SCAN_ROWS.min(self.len() - start);
            let frame = self.read(start, rows, &names)?;
            let series: Vec<&Series> = frame.columns().iter().map(Column::as_materialized_series).collect();
            for at in 0..rows {
                let values: PolarsResult<Map<String, Value>> =
                    series.iter().map(|column| Ok((column.name().to_string(), cell(column, at as usize)?.0))).collect();
                visit(start + at, values.ok().as_ref())?;
            }
        }
        Ok(())
    }

    /// Decoded rows among which is `index`. A small row group is decoded whole. Of a large one, whose rows are
    /// pictures, a row alone, or some of the following where the rows are read in order.
    fn block(&self, index: u64) -> Result<Block> {
        let group = self.group(index);
        let in_order = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let in_order = kept.next == index;
            kept.next = index + 1;
            if let Some(at) = kept.blocks.iter().position(|block| block.holds(index)) {
                let block = kept.blocks.remove(at);
                kept.blocks.push(block.clone());
                return Ok(block);
            }
            if let Some((_, reason)) = kept.broken.as_ref().filter(|(start, _)| *start == group.start) {
                return Err(self.unread_rows(group.start, group.rows, reason));
            }
            in_order
        };
        // Decoding is slow: it runs without the lock.
        let rows_ahead = group.rows_ahead();
        let (start, rows) = match in_order {
            _ if group.bytes <= SMALL_GROUP_BYTES => (group.start, group.rows),
            true => (index, rows_ahead.min(group.start + group.rows - index)),
            false => (index, 1),
        };
        let frame = self.frame(start, rows, &self.wanted).map_err(|reason| {
            let error = self.unread_rows(start, rows, &reason);
            if (start, rows) == (group.start, group.rows) {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).broken = Some((start, reason));
            }
            error
        })?;
        let block = Block { start, frame: Arc::new(frame) };
        if rows > 1 {
            self.keep(block.clone());
        }
        Ok(block)
    }

    /// Decoded rows of which `index` is the first, as many as fit and are wanted; all of a small row group.
    fn block_from(&self, index: u64, wanted: u64) -> Result<Block> {
        let group = self.group(index);
        if group.bytes <= SMALL_GROUP_BYTES {
            return self.block(index);
        }
        let rows = group.rows_ahead().min(group.start + group.rows - index).min(wanted);
        Ok(Block { start: index, frame: Arc::new(self.read(index, rows, &self.wanted)?) })
    }

    fn group(&self, index: u64) -> Group {
        self.groups[self.groups.partition_point(|group| group.start + group.rows <= index)]
    }

    fn keep(&self, block: Block) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.blocks.push(block);
        let mut room = KEPT_BYTES;
        // The newest first: whatever no longer fits behind it goes.
        let fitting = kept.blocks.iter().rev().take_while(|block| {
            let bytes = block.frame.estimated_size();
            room.checked_sub(bytes).is_some_and(|rest| {
                room = rest;
                true
            })
        });
        let dropped = kept.blocks.len() - fitting.count();
        kept.blocks.drain(..dropped);
    }

    fn read(&self, start: u64, rows: u64, columns: &[String]) -> Result<DataFrame> {
        self.frame(start, rows, columns).map_err(|reason| self.unread_rows(start, rows, &reason))
    }

    fn unread_rows(&self, start: u64, rows: u64, reason: &str) -> DatasetError {
        let place = format!("{} rows {} to {}", self.path.display(), start + 1, start + rows);
        DatasetError::row(place, format!("cannot be read as Parquet: {reason}"))
    }

    /// Reads rows that lie in the file, and pages of no other row group.
    fn frame(&self, start: u64, rows: u64, columns: &[String]) -> std::result::Result<DataFrame, String> {
        let file = self.file.try_clone().map_err(|error| error.to_string())?;
        let mut reader = ParquetReader::new(file)
            .with_slice(Some((start as usize, rows as usize)))
            .with_columns(Some(columns.to_vec()))
            .set_rechunk(true)
            // The other ways of reading also decode the row groups before the slice.
            .read_parallel(ParallelStrategy::RowGroups);
        reader.set_metadata(Arc::clone(&self.metadata));
        let frame = guarded(|| reader.finish())?;
        match frame.height() as u64 == rows {
            true => Ok(frame),
            false => Err("there are other rows than its footer says".to_owned()),
        }
    }
}

/// What the end of a file says: its row groups, and the columns with their types.
fn footer(file: &File, path: &Path) -> Result<(Arc<FileMetadata>, Arc<ArrowSchema>)> {
    let handles = file.try_clone().and_then(|first| Ok((first, file.try_clone()?)));
    let (first, second) = handles.map_err(|error| DatasetError::io(path, error))?;
    let read = guarded(|| {
        let mut metadata = FileMetadata::clone(ParquetReader::new(first).get_metadata()?);
        // What a writer notes of its own types (categories, large lists) is left out: the plain types say enough.
        metadata.key_value_metadata = None;
        let metadata = Arc::new(metadata);
        let mut reader = ParquetReader::new(second);
        reader.set_metadata(Arc::clone(&metadata));
        Ok((metadata, reader.schema()?))
    });
    read.map_err(|reason| broken(path, &reason))
}

/// The one seam at which a panic of the reader becomes an error: a damaged file makes it break off in many places.
fn guarded<T>(read: impl FnOnce() -> PolarsResult<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("the file is damaged".to_owned()),
    }
}

/// The row groups that have rows; `None` where their numbers do not add up.
fn groups(metadata: &FileMetadata) -> Option<Vec<Group>> {
    let (mut groups, mut start) = (Vec::new(), 0_u64);
    for group in &metadata.row_groups {
        let (rows, bytes) = (group.num_rows() as u64, group.total_byte_size() as u64);
        let packed = u64::try_from(group.compressed_size()).unwrap_or(0);
        groups.push(Group { start, rows, bytes, packed });
        start = start.checked_add(rows).filter(|end| *end < 1 << 48)?;
    }
    groups.retain(|group| group.rows > 0);
    Some(groups)
}

fn refuse_huge_group(path: &Path, group: Group) -> Result<()> {
    let mebibytes = group.bytes >> 20;
    if group.bytes > MOST_GROUP_BYTES {
        let reason = format!(
            "a row group holds {mebibytes} MiB, and each of its rows would take all of that into memory; {SMALLER_GROUPS}"
        );
        return Err(DatasetError::row(path.display().to_string(), reason));
    }
    if group.bytes > LARGE_GROUP_BYTES && group.bytes / MOST_UNPACKED > group.packed {
        let reason = format!(
            "a row group of {} bytes unpacks to {mebibytes} MiB, more than {MOST_UNPACKED} times as much; {SMALLER_GROUPS}",
            group.packed
        );
        return Err(DatasetError::row(path.display().to_string(), reason));
    }
    Ok(())
}

/// Whether a column becomes JSON or pictures: text, bytes, numbers, flags, and lists and structs of these. Times,
/// dates and decimals would need much more of polars.
fn is_read(dtype: &ArrowDataType) -> bool {
    use ArrowDataType as D;
    match dtype {
        D::Null | D::Boolean | D::Int32 | D::Int64 | D::UInt32 | D::UInt64 | D::Float32 | D::Float64 => true,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => true,
        D::List(inner) | D::LargeList(inner) => is_read(&inner.dtype),
        D::Struct(fields) => fields.iter().all(|field| is_read(&field.dtype)),
        _ => false,
    }
}

fn broken(path: &Path, reason: &str) -> DatasetError {
    DatasetError::row(path.display().to_string(), format!("cannot be read as Parquet: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_are_slow_are_told_and_those_that_fill_the_memory_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| {
            let path = folder.path().join(name);
            let columns =
                [Column::new("problem".into(), vec!["?"]), Column::new("x".into(), vec![vec![0_u8; bytes].as_slice()])];
            let mut frame = DataFrame::new(1, columns.to_vec()).unwrap();
            let writer = ParquetWriter::new(File::create(&path).unwrap());
            writer.with_compression(ParquetCompression::Uncompressed).finish(&mut frame).unwrap();
            ParquetTable::open(&path).unwrap().notes()
        };
        assert_eq!(write("small.parquet", 10), Vec::<String>::new());
        let notes = write("large.parquet", 65 << 20);
        assert!(notes.len() == 1 && notes[0].contains("up to 65 MiB"), "{notes:?}");
        let refused =
            |bytes, packed| refuse_huge_group(Path::new("x.parquet"), Group { start: 0, rows: 9, bytes, packed });
        refused(MOST_GROUP_BYTES, MOST_GROUP_BYTES / 20).unwrap();
        refused(1 << 20, 10).unwrap();
        let error = refused(1 << 30, 1 << 19).unwrap_err().to_string();
        assert!(error.contains("524288 bytes unpacks to 1024 MiB"), "{error}");
        let error = refused(5 << 30, 1 << 30).unwrap_err().to_string();
        assert!(
            error.contains("x.parquet") && error.contains("5120 MiB") && error.contains("row_group_size"),
            "{error}"
        );
    }
}
