//! Rows of a generated task: unlimited, the same for the same seed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{DatasetError, Result};
use crate::layout::{Example, RowRules, text_of};
use crate::synthetic::{Stream, Style};

/// How many questions are looked at for one that is as `only` wants it.
const STRETCH: u64 = 10_000;

/// A generated task with what a config says about it.
#[derive(Debug)]
pub(super) struct Generated {
    pub(super) stream: Stream,
    pub(super) hasty: f64,
    pub(super) rules: RowRules,
    pub(super) only: BTreeMap<String, String>,
    /// Whether `only` was settled when the source was opened, which a limited one allows.
    pub(super) is_limited: bool,
}

impl Generated {
    /// The row at `index`. Where `only` passes rows over, each index has a stretch of questions of its own, and its
    /// row is the first of them that fits; so every row is found without those before it.
    pub(super) fn get(&self, index: u64) -> Result<Example> {
        let row = if self.only.is_empty() || self.is_limited { index } else { self.first_fitting(index)? };
        let style = if self.is_hasty(row) { Style::Hasty } else { Style::Careful };
        let shown = self.stream.demonstration(row, style);
        let mut query = shown.query;
        let place = format!("synthetic:{} row {row}", self.stream.task);
        self.rules.reword(&mut query.messages, &query.columns, &place)?;
        if let Some(task) = &self.rules.task {
            query.task.clone_from(task);
        }
        Ok(Example { query, response: Some(shown.response), spoken: false })
    }

    /// Which of the rows from `start` up to `end` are as `only` wants them.
    pub(super) fn fitting(&self, start: u64, end: u64) -> Vec<u64> {
        (start..end).filter(|&row| self.fits(row)).collect()
    }

    fn first_fitting(&self, index: u64) -> Result<u64> {
        let rows = index.saturating_mul(STRETCH)..index.saturating_add(1).saturating_mul(STRETCH);
        rows.into_iter().find(|&row| self.fits(row)).ok_or_else(|| self.nothing_fits())
    }

    pub(super) fn nothing_fits(&self) -> DatasetError {
        let wanted: Vec<String> = self.only.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        let reason = format!(
            "no question is as `only` wants it ({}); see `sapo data show {}`",
            wanted.join(", "),
            self.stream.task
        );
        DatasetError::row(format!("synthetic:{}", self.stream.task), reason)
    }

    fn fits(&self, row: u64) -> bool {
        is_wanted(&self.stream.columns(row), &self.only)
    }

    /// A share of the rows, told apart by a hash, so that it does not matter in which order they are read.
    fn is_hasty(&self, row: u64) -> bool {
        let digest = Sha256::digest(format!("hasty/{}/{row}", self.stream.seed).as_bytes());
        let number = digest.iter().take(4).fold(0_u32, |value, &byte| value << 8 | u32::from(byte));
        f64::from(number) < self.hasty * 2.0_f64.powi(32)
    }
}

/// Whether the columns have the wanted values; what is no text is compared as it is written.
pub(super) fn is_wanted(columns: &Map<String, Value>, only: &BTreeMap<String, String>) -> bool {
    only.iter().all(|(column, wanted)| columns.get(column).is_some_and(|value| text_of(value) == *wanted))
}
