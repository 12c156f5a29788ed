//! The run directory: files are appended to, or written aside and renamed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Result, RunError};

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Creates `dir/name`.
    ///
    /// # Errors
    /// When it exists already: nothing is overwritten.
    pub fn create(dir: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|source| RunError::io(dir, source))?;
        let path = dir.join(name);
        std::fs::create_dir(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => RunError::User(format!(
                "the run directory {} exists already; give another name (`run.name=...`) or move it away",
                path.display()
            )),
            _ => RunError::io(&path, source),
        })?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file within the folder; its parent is created.
    ///
    /// # Errors
    /// When the parent cannot be created.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source))?;
        }
        Ok(path)
    }

    /// Appends lines of JSON to a file, flushed.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&self, name: &str, lines: &[serde_json::Value]) -> Result<()> {
        let path = self.file(name)?;
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        let write = |mut file: File| file.write_all(text.as_bytes()).and_then(|()| file.flush());
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(write)
            .map_err(|source| RunError::io(&path, source))
    }

    /// Writes a JSON file aside and renames it into place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| RunError::Internal(error.to_string()))?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }

    /// Writes a file aside, synchronises it and renames it into place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file(name)?;
        let aside = path.with_extension("tmp");
        let written = File::create(&aside).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.and_then(|()| std::fs::rename(&aside, &path)).map_err(|source| RunError::io(&path, source))
    }
}
