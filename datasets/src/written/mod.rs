//! Writers of data files that Sapo and others read back: Parquet in the Hugging Face layout, and JSON lines.

pub mod jsonl;
pub mod parquet;

use std::fs::File;
use std::io;
use std::path::Path;

pub use jsonl::query_line;

use crate::error::{DatasetError, Result};
pub use crate::layout::RESPONSE_COLUMN;
use crate::write::write_new;

/// Lets `fill` write a new file.
fn write_file(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    write_new(path, fill).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            DatasetError::row(path.display().to_string(), "exists already; remove it or choose another name")
        }
        _ => DatasetError::io(path, error),
    })
}
