//! A data set: the rows of a generated task or of files by index, opened by a config and read when they are wanted.

mod address;
mod files;
mod generated;
mod shards;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::columns::Columns;
use crate::config::SourceConfig;
use crate::error::{DatasetError, Result};
use crate::layout::RowRules;
use crate::layout::template::Template;
use crate::split::Split;
use crate::synthetic::{Stream, Task};
use address::{Address, Place};
use files::{Files, RepeatedIds};
use generated::Generated;
use shards::Shards;

pub use crate::layout::Example;

/// Stands for a row that was picked past the end.
const NO_ROW: u64 = u64::MAX;

/// What opening a source needs beside its config.
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// The seed of generated tasks.
    pub seed: u64,
    /// Where relative paths start; empty is the working folder.
    pub base: PathBuf,
    /// The split of a generated task whose address names none.
    pub default_split: Split,
}

impl Default for OpenContext {
    fn default() -> Self {
        Self { seed: 0, base: PathBuf::new(), default_split: Split::Train }
    }
}

/// Rows by index, each read when it is asked for: from a generated task (unlimited) or from files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataset {
    opened: Arc<Opened>,
    view: View,
}

#[derive(Debug)]
struct Opened {
    name: String,
    task: Option<String>,
    rubric: Option<String>,
    template: Option<String>,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Generated(Generated),
    Files(Files),
}

/// Which rows a data set shows, in order.
#[derive(Clone, Debug)]
enum View {
    /// Those from `start` up to `end`; without an end there is no last one.
    Range { start: u64, end: Option<u64> },
    /// These.
    Picked(Arc<[u64]>),
}

impl View {
    fn len(&self) -> Option<u64> {
        match self {
            Self::Range { start, end } => end.map(|end| end - start),
            Self::Picked(rows) => Some(rows.len() as u64),
        }
    }

    /// The row behind an index; none past the end.
    fn row(&self, index: u64) -> Option<u64> {
        match self {
            Self::Range { start, end } => start.checked_add(index).filter(|row| end.is_none_or(|end| *row < end)),
            Self::Picked(rows) => rows.get(usize::try_from(index).ok()?).copied(),
        }
    }
}

impl Dataset {
    /// Opens the source that a config calls `name`. Of files, footers and places of rows are read, and the columns
    /// by which rows are chosen or named; no picture is.
    ///
    /// # Errors
    /// When nothing lies there, the columns are of no known layout, a column, template or split is not there, or two
    /// rows share an id. The message names the place and the remedy.
    pub fn open(name: &str, config: &SourceConfig, context: &OpenContext) -> Result<Self> {
        Self::open_with(name, config, context, RepeatedIds::Refused)
    }

    /// As [`Dataset::open`], where rows may share an id: for a check that names all that do.
    ///
    /// # Errors
    /// As [`Dataset::open`], but for ids.
    pub fn open_to_check(name: &str, config: &SourceConfig, context: &OpenContext) -> Result<Self> {
        Self::open_with(name, config, context, RepeatedIds::Allowed)
    }

    fn open_with(name: &str, config: &SourceConfig, context: &OpenContext, ids: RepeatedIds) -> Result<Self> {
        let place = format!("data.{name}");
        let address = Address::parse(&config.source, &context.base)?;
        let prompt = config.prompt.as_ref().map(|text| Template::open(text, &context.base, &place)).transpose()?;
        let task = config.task.clone();
        let rules = RowRules { task, name: name.to_owned(), system: config.system.clone(), prompt };
        let dataset = match &address.place {
            Place::Task(task) => Self::of_task(*task, &address, config, context, rules)?,
            Place::Path(path) => {
                let found = Shards::find(path, address.split.as_deref())?;
                Self::of_files(&found, config, rules, ids)?
            }
        };
        let sliced = dataset.slice(address.from, address.to)?;
        sliced.only(&config.only, &config.source)
    }

    fn of_task(
        task: Task,
        address: &Address,
        config: &SourceConfig,
        context: &OpenContext,
        rules: RowRules,
    ) -> Result<Self> {
        let mistake = |key: &str, reason: &str| DatasetError::row(format!("data.{}, {key}", rules.name), reason);
        if !(0.0..=1.0).contains(&config.hasty) {
            return Err(mistake("hasty", "a share must be between 0 and 1"));
        }
        if config.columns != Columns::default() {
            return Err(mistake("columns", "a generated task has no columns to name; leave the table out"));
        }
        let split = address.split.as_deref().map_or(Ok(context.default_split), Split::parse)?;
        let opened = Opened {
            name: rules.name.clone(),
            task: Some(rules.task.clone().unwrap_or_else(|| task.name().to_owned())),
            rubric: config.rubric.clone(),
            template: rules.prompt.as_ref().map(Template::source),
            rows: Rows::Generated(Generated {
                stream: Stream { task, split, seed: context.seed, difficulty: config.difficulty.unwrap_or_default() },
                hasty: config.hasty,
                rules,
                only: config.only.clone(),
                is_limited: address.to.is_some(),
            }),
        };
        Ok(Self { opened: Arc::new(opened), view: View::Range { start: 0, end: None } })
    }

    fn of_files(found: &Shards, config: &SourceConfig, rules: RowRules, ids: RepeatedIds) -> Result<Self> {
        let mistake = |key: &str, reason: &str| DatasetError::row(format!("data.{}, {key}", rules.name), reason);
        if config.hasty != 0.0 {
            return Err(mistake("hasty", "only generated tasks have demonstrations of two kinds; leave the key out"));
        }
        if config.difficulty.is_some() {
            return Err(mistake("difficulty", "only generated tasks have difficulties; leave the key out"));
        }
        let name = rules.name.clone();
        let template = rules.prompt.as_ref().map(Template::source);
        let files = Files::open(found, &config.columns, rules, ids)?;
        let task = match (&config.task, files.names_tasks()) {
            (Some(task), _) => Some(task.clone()),
            (None, true) => None,
            (None, false) => Some(name.clone()),
        };
        let view = match &found.split {
            Some(split) => {
                let wanted = BTreeMap::from([("split".to_owned(), split.clone())]);
                View::Picked(files.fitting(&wanted, &config.source)?.into())
            }
            None => View::Range { start: 0, end: Some(files.len()) },
        };
        let opened = Opened { name, task, rubric: config.rubric.clone(), template, rows: Rows::Files(files) };
        Ok(Self { opened: Arc::new(opened), view })
    }

    /// Settles `only` where there is an end; a generated task without one does it row by row.
    fn only(self, only: &BTreeMap<String, String>, place: &str) -> Result<Self> {
        if only.is_empty() {
            return Ok(self);
        }
        let kept: Vec<u64> = match (&self.opened.rows, &self.view) {
            (Rows::Generated(task), View::Range { start, end: Some(end) }) => {
                let kept = task.fitting(*start, *end);
                if kept.is_empty() {
                    return Err(task.nothing_fits());
                }
                kept
            }
            (Rows::Generated(_), _) => return Ok(self),
            (Rows::Files(files), View::Range { start, end }) => {
                let within = |row: &u64| row >= start && end.is_none_or(|end| *row < end);
                files.fitting(only, place)?.into_iter().filter(within).collect()
            }
            (Rows::Files(files), View::Picked(rows)) => {
                let fitting = files.fitting(only, place)?;
                rows.iter().copied().filter(|row| fitting.binary_search(row).is_ok()).collect()
            }
        };
        if kept.is_empty() {
            return Err(DatasetError::row(place, "no row of this slice is as `only` wants it"));
        }
        Ok(Self { view: View::Picked(kept.into()), ..self })
    }

    /// The name by which the config calls it.
    pub fn name(&self) -> &str {
        &self.opened.name
    }

    /// The task of all rows, when they have the same; `None` when a column names it row by row.
    pub fn task(&self) -> Option<&str> {
        self.opened.task.as_deref()
    }

    /// The text of the template that the question of each row is put into, if the config has one.
    pub fn prompt_template(&self) -> Option<String> {
        self.opened.template.clone()
    }

    /// The rubric that the config names for rows that name none.
    pub fn rubric(&self) -> Option<&str> {
        self.opened.rubric.as_deref()
    }

    /// The questions of the generated task behind it, if it is not files.
    pub fn generated(&self) -> Option<Stream> {
        match &self.opened.rows {
            Rows::Generated(task) => Some(task.stream),
            Rows::Files(_) => None,
        }
    }

    /// What is worth saying of its files: columns that are not read, row groups that are slow.
    pub fn notes(&self) -> Vec<String> {
        match &self.opened.rows {
            Rows::Generated(_) => Vec::new(),
            Rows::Files(files) => files.notes(),
        }
    }

    /// How many rows there are; `None` is unlimited.
    pub fn len(&self) -> Option<u64> {
        self.view.len()
    }

    /// Whether it has no rows at all.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The row at `index`; its pictures are read, and not yet decoded.
    ///
    /// # Errors
    /// When `index` is past the end, or the row cannot be used; the message names file, row, column and remedy.
    pub fn get(&self, index: u64) -> Result<Example> {
        let row = self.row(index)?;
        match &self.opened.rows {
            Rows::Generated(task) => task.get(row),
            Rows::Files(files) => files.get(row),
        }
    }

    /// Reads `count` rows from the one at `from` on, in order, and hands each over with its index: faster than
    /// [`Dataset::get`] for each, since what lies together is read together. Past the end is an error of each row.
    pub fn visit(&self, from: u64, count: u64, visit: &mut dyn FnMut(u64, Result<Example>)) {
        let in_one_piece = |start: u64| {
            let end = start.checked_add(from)?.checked_add(count)?;
            (count > 0 && self.row(from).is_ok() && self.row(from + count - 1).is_ok()).then_some(end)
        };
        match (&self.opened.rows, &self.view) {
            (Rows::Files(files), View::Range { start, .. }) if in_one_piece(*start).is_some() => {
                files.visit(start + from, count, &mut |row, example| visit(row - start, example));
            }
            _ => (from..from.saturating_add(count)).for_each(|index| visit(index, self.get(index))),
        }
    }

    /// Where the row at `index` stands, as errors name it: file and row counted from 1, or task and row.
    pub fn place(&self, index: u64) -> String {
        match (self.row(index), &self.opened.rows) {
            (Ok(row), Rows::Files(files)) => files.place(row),
            (Ok(row), Rows::Generated(task)) => format!("synthetic:{} row {row}", task.stream.task),
            (Err(_), _) => format!("{} row {index}", self.name()),
        }
    }

    fn row(&self, index: u64) -> Result<u64> {
        let past = || match self.len() {
            Some(length) => format!("`{}` has {length} rows, so there is none at {index}", self.name()),
            None => format!("`{}` has no row at {index}", self.name()),
        };
        let held = |row: &u64| match &self.opened.rows {
            Rows::Generated(_) => *row != NO_ROW,
            Rows::Files(files) => *row < files.len(),
        };
        self.view.row(index).filter(held).ok_or_else(|| DatasetError::Request(past()))
    }

    /// The rows at these indices, in this order. An index past the end gives its error when it is read.
    pub fn picked(&self, indices: Vec<u64>) -> Self {
        let rows: Vec<u64> = indices.into_iter().map(|index| self.view.row(index).unwrap_or(NO_ROW)).collect();
        Self { opened: Arc::clone(&self.opened), view: View::Picked(rows.into()) }
    }

    /// A generated task from another row on, so that two phases do not see the same questions. What has an end stays
    /// as it is.
    pub fn starting_at(&self, first: u64) -> Self {
        let view = match &self.view {
            View::Range { start, end: None } => View::Range { start: start.saturating_add(first), end: None },
            view => view.clone(),
        };
        Self { opened: Arc::clone(&self.opened), view }
    }

    /// The rows from `from` up to, not including, `to`; a slice of a slice counts from the slice's start.
    ///
    /// # Errors
    /// When the slice is empty or reaches past the end.
    pub fn slice(&self, from: Option<u64>, to: Option<u64>) -> Result<Self> {
        let available = self.len();
        let from = from.unwrap_or(0);
        let to = to.or(available);
        let past_end = available.is_some_and(|available| to.is_some_and(|to| to > available));
        if past_end || to.is_some_and(|to| from >= to) {
            let there = available.map_or("unlimited".to_owned(), |count| count.to_string());
            let asked = format!("[{from}:{}]", to.map(|to| to.to_string()).unwrap_or_default());
            return Err(DatasetError::Request(format!("`{}`: no slice {asked} of {there} rows", self.name())));
        }
        let view = match &self.view {
            View::Range { start, .. } => {
                View::Range { start: start.saturating_add(from), end: to.map(|to| start.saturating_add(to)) }
            }
            View::Picked(rows) => {
                let end = to.map_or(rows.len(), |to| to as usize);
                View::Picked(rows[from as usize..end].into())
            }
        };
        Ok(Self { opened: Arc::clone(&self.opened), view })
    }

    /// All rows in order; it does not end when the data set is unlimited.
    pub fn iter(&self) -> impl Iterator<Item = Result<Example>> + '_ {
        (0..self.len().unwrap_or(u64::MAX)).map(|index| self.get(index))
    }

    /// Reads the first `rows` rows as training would, and decodes their pictures.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, row, column and remedy.
    pub fn check_head(&self, rows: usize) -> Result<()> {
        let count = self.len().map_or(rows as u64, |length| length.min(rows as u64));
        (0..count).try_for_each(|index| self.check_row(index))
    }

    /// Reads one row as training would, and decodes its pictures.
    ///
    /// # Errors
    /// What is wrong with it, with file, row, column and remedy.
    pub fn check_row(&self, index: u64) -> Result<()> {
        let example = self.get(index)?;
        let Rows::Files(files) = &self.opened.rows else { return Ok(()) };
        for (number, picture) in example.query.images.iter().enumerate() {
            picture.decode().map_err(|error| {
                let place =
                    format!("{}, picture {}", files.picture_place(self.row(index).unwrap_or(index)), number + 1);
                DatasetError::picture(&place, error.to_string())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
