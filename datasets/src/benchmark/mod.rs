//! Rows of public benchmarks, as they are published, as queries that a verifier can score: `sapo data convert --benchmark`.

mod asked;
mod families;

use std::path::{Path, PathBuf};

use crate::dataset::Example;
use crate::error::{DatasetError, Result};
use crate::table::Table;
pub use families::Benchmark;

/// A file of a benchmark.
#[derive(Debug)]
pub struct BenchmarkFile {
    benchmark: Benchmark,
    path: PathBuf,
    table: Table,
}

impl BenchmarkFile {
    /// Opens a Parquet, JSONL or JSON file in the layout of a benchmark.
    ///
    /// # Errors
    /// When it cannot be read, or lacks a column that the benchmark has.
    pub fn open(benchmark: Benchmark, path: &Path) -> Result<Self> {
        let mut table = Table::open(path)?;
        let pictures: Vec<String> = benchmark.pictures().iter().map(|name| (*name).to_owned()).collect();
        let there = table.columns().to_vec();
        let missing: Vec<&str> =
            benchmark.columns().iter().filter(|name| !there.iter().any(|column| column == *name)).copied().collect();
        if !missing.is_empty() {
            let reason = format!(
                "is not in the layout of {}: it lacks {} (columns: {})",
                benchmark.name(),
                missing.join(", "),
                there.join(", ")
            );
            return Err(DatasetError::row(path.display().to_string(), reason));
        }
        table.set_pictures(&pictures.into_iter().filter(|name| there.contains(name)).collect::<Vec<_>>());
        Ok(Self { benchmark, path: path.to_owned(), table })
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row as a query.
    ///
    /// # Errors
    /// When it cannot be used; the message names file and row.
    pub fn get(&self, index: u64) -> Result<Example> {
        let place = format!("{} row {}", self.path.display(), index + 1);
        let row = self.table.row(index)?;
        let read = self.benchmark.read(&row, index).map_err(|reason| DatasetError::row(&place, reason))?;
        read.query((self.benchmark.name(), self.benchmark.pictures()), &row, &self.path, &place)
    }
}

#[cfg(test)]
mod tests;
