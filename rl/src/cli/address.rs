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
    open_config(&SourceConfig { source: address.to_owned(), ..SourceConfig::default() }, seed, default_split)
}

/// [`open`] with what else is said of the source.
///
/// # Errors
/// When the source cannot be used.
pub(crate) fn open_config(config: &SourceConfig, seed: u64, default_split: Split) -> Result<Dataset> {
    let context = OpenContext { seed, base: PathBuf::new(), default_split };
    Ok(Dataset::open(&name(&config.source), config, &context)?)
}

/// A name for a source that has none.
pub(crate) fn name(address: &str) -> String {
    let bare = address.strip_prefix("synthetic:").unwrap_or(address);
    let end = bare.find(['@', '[', '*']).filter(|end| *end > 0).unwrap_or(bare.len());
    let stem = Path::new(&bare[..end]).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "data".to_owned())
}
