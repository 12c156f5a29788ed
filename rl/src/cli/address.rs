//! Sources that are named on the command line, by their address alone.

use std::path::{Path, PathBuf};

use sapo_datasets::{Dataset, OpenContext, SourceConfig, Split};

use crate::error::Result;

/// Opens `FILE.jsonl`, `FILE.parquet`, a folder, a glob or `synthetic:TASK`, each with an optional `@split` and slice. Its name
/// is the task, or the file's name without its end.
///
/// # Errors
/// When the source cannot be used.
pub(crate) fn open(address: &str, seed: u64, default_split: Split) -> Result<Dataset> {
    let source = SourceConfig { source: address.to_owned(), ..SourceConfig::default() };
    let context = OpenContext { seed, base: PathBuf::new(), default_split };
    Ok(Dataset::open(&name(address), &source, &context)?)
}

/// A name for a source that has none.
pub(crate) fn name(address: &str) -> String {
    let bare = address.strip_prefix("synthetic:").unwrap_or(address);
    let end = bare.find(['@', '[', '*']).filter(|end| *end > 0).unwrap_or(bare.len());
    let stem = Path::new(&bare[..end]).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "data".to_owned())
}
