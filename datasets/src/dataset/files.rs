//! Rows of files: several files are one space of indices, and each file has its own columns.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use super::generated::is_wanted;
use super::shards::Shards;
use crate::columns::Columns;
use crate::error::{DatasetError, Result};
use crate::layout::{Example, Layout, RowRules};
use crate::nearest::nearest;
use crate::table::Table;

/// The column by which the rows of one file are told apart into splits.
const SPLIT_COLUMN: &str = "split";

/// What is done where two rows share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RepeatedIds {
    Refused,
    /// Whoever reads the rows tells of them.
    Allowed,
}

/// Opened files.
#[derive(Debug)]
pub(super) struct Files {
    shards: Vec<Shard>,
    pub(super) rules: RowRules,
}

#[derive(Debug)]
struct Shard {
    /// The index of its first row.
    start: u64,
    table: Table,
    layout: Layout,
}

impl Files {
    /// Opens all files of a source, without reading their rows.
    ///
    /// # Errors
    /// When one cannot be read or has no question, or two rows share an id and that is refused.
    pub(super) fn open(found: &Shards, columns: &Columns, rules: RowRules, ids: RepeatedIds) -> Result<Self> {
        let mut shards = Vec::with_capacity(found.files.len());
        let mut start = 0;
        for (path, stem) in found.files.iter().zip(stems(&found.files)) {
            let mut table = Table::open(path)?;
            let layout = Layout::of(&table, path, stem, columns)?;
            table.set_pictures(layout.images());
            let length = table.len();
            shards.push(Shard { start, table, layout });
            start += length;
        }
        let files = Self { shards, rules };
        if ids == RepeatedIds::Refused {
            files.refuse_repeated_ids()?;
        }
        Ok(files)
    }

    pub(super) fn len(&self) -> u64 {
        self.shards.last().map_or(0, |shard| shard.start + shard.table.len())
    }

    /// What is worth saying of the files; of files that are alike, once.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for note in self.shards.iter().flat_map(|shard| shard.table.notes()) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// Whether some row may name its own task.
    pub(super) fn names_tasks(&self) -> bool {
        self.shards.iter().any(|shard| shard.layout.names_tasks())
    }

    /// The row at `index`, which is below [`Files::len`].
    pub(super) fn get(&self, index: u64) -> Result<Example> {
        let (shard, row) = self.at(index);
        shard.layout.read(&self.rules, shard.table.row(row)?, row + 1)
    }

    /// Rows one after another, all below [`Files::len`].
    pub(super) fn visit(&self, from: u64, count: u64, visit: &mut dyn FnMut(u64, Result<Example>)) {
        let (mut index, end) = (from, from + count);
        while index < end {
            let (shard, row) = self.at(index);
            let rows = (shard.table.len() - row).min(end - index);
            shard.table.visit(row, rows, &mut |row, read| {
                let example = read.and_then(|read| shard.layout.read(&self.rules, read, row + 1));
                visit(shard.start + row, example);
            });
            index += rows;
        }
    }

    /// File and row, as errors name them.
    pub(super) fn place(&self, index: u64) -> String {
        let (shard, row) = self.at(index);
        shard.layout.place(row + 1)
    }

    /// File and row, as errors name them, with the column of the pictures.
    pub(super) fn picture_place(&self, index: u64) -> String {
        let (shard, row) = self.at(index);
        let column = shard.layout.images().first().map(|column| format!(", column `{column}`")).unwrap_or_default();
        format!("{}{column}", shard.layout.place(row + 1))
    }

    fn at(&self, index: u64) -> (&Shard, u64) {
        let shard = &self.shards[self.shards.partition_point(|shard| shard.start <= index) - 1];
        (shard, index - shard.start)
    }

    /// The rows whose columns have the wanted values; only these columns are read.
    ///
    /// # Errors
    /// When no file has such a column, or no row such values.
    pub(super) fn fitting(&self, only: &BTreeMap<String, String>, place: &str) -> Result<Vec<u64>> {
        let names: Vec<&str> = only.keys().map(String::as_str).collect();
        self.refuse_unknown(&names, place)?;
        let mut kept = Vec::new();
        for shard in &self.shards {
            shard.table.scan(&names, &mut |row, values| {
                if values.is_some_and(|values| is_wanted(values, only)) {
                    kept.push(shard.start + row);
                }
                Ok(())
            })?;
        }
        if kept.is_empty() {
            let wanted: Vec<String> = only.iter().map(|(column, value)| format!("`{value}` in `{column}`")).collect();
            return Err(DatasetError::row(place, format!("no row has {}", wanted.join(" and "))));
        }
        Ok(kept)
    }

    fn refuse_unknown(&self, names: &[&str], place: &str) -> Result<()> {
        let columns: Vec<&str> =
            self.shards.iter().flat_map(|shard| shard.table.columns()).map(String::as_str).collect();
        match names.iter().find(|name| !columns.contains(name)) {
            Some(&SPLIT_COLUMN) => {
                let reason = "no column `split`, by which the rows of a file belong to splits; leave the `@` out";
                Err(DatasetError::row(place, reason))
            }
            Some(name) => {
                let guess = nearest(name, columns.iter().copied());
                Err(DatasetError::row(place, format!("no column `{name}`, by which rows are chosen; {guess}")))
            }
            None => Ok(()),
        }
    }

    /// Seeds and records are keyed by ids. Hashes of all are compared; rows without an id differ by their number.
    fn refuse_repeated_ids(&self) -> Result<()> {
        let hasher = RandomState::new();
        let mut seen: HashMap<u64, u64> = HashMap::new();
        for shard in &self.shards {
            let Some(column) = shard.layout.id_column() else { continue };
            let column = column.split_once('.').map_or(column, |(column, _)| column);
            shard.table.scan(&[column], &mut |row, values| {
                let Some(values) = values else { return Ok(()) };
                let id = shard.layout.scanned_id(values, row + 1);
                match seen.insert(hasher.hash_one(&id), shard.start + row) {
                    None => Ok(()),
                    Some(earlier) => {
                        let (first, row_of_first) = self.at(earlier);
                        let reason =
                            format!("has the id `{id}` of {}; ids must differ", first.layout.place(row_of_first + 1));
                        Err(DatasetError::row(shard.layout.place(row + 1), reason))
                    }
                }
            })?;
        }
        Ok(())
    }
}

/// What rows without an id are called after: the names of the files, with a number where two are alike.
fn stems(files: &[PathBuf]) -> Vec<String> {
    let stem =
        |path: &Path| path.file_stem().map_or_else(|| "data".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let plain: Vec<String> = files.iter().map(|path| stem(path)).collect();
    let name = |(index, name): (usize, &String)| match plain.iter().filter(|other| *other == name).count() {
        1 => name.clone(),
        _ => format!("{name}.{}", index + 1),
    };
    plain.iter().enumerate().map(name).collect()
}
