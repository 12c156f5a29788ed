//! Files and folders: bounded reads of texts, and folders that appear whole or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{PolicyError, Result};

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_bytes(path, limit)?;
    String::from_utf8(bytes).map_err(|_| PolicyError::file(path.display().to_string(), "is no UTF-8 text"))
}

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io = |source| PolicyError::io(path, source);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        let reason = format!("has more than {limit} bytes, the most that are read");
        return Err(PolicyError::file(path.display().to_string(), reason));
    }
    Ok(bytes)
}

/// Writes a file and waits until the disk has it.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| PolicyError::io(path, source);
    let mut file = File::create(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}

/// Fills a folder aside with `fill`, waits until the disk has it, and puts it in the place of `folder`, whose former
/// content, if any, is there until then.
///
/// # Errors
/// Those of `fill`, and when the folder cannot be written.
pub fn write_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let io = |source| PolicyError::io(folder, source);
    let (aside, old) = (beside(folder, ".tmp"), beside(folder, ".old"));
    remove(&aside)?;
    std::fs::create_dir_all(&aside).map_err(io)?;
    if let Err(error) = fill(&aside) {
        // The error at hand is the one to tell.
        drop(remove(&aside));
        return Err(error);
    }
    sync_folder(&aside)?;
    remove(&old)?;
    if folder.exists() {
        std::fs::rename(folder, &old).map_err(io)?;
    }
    std::fs::rename(&aside, folder).map_err(io)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_folder(parent.unwrap_or(Path::new(".")))?;
    remove(&old)
}

/// The path with an ending more.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    folder.with_file_name(name)
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(PolicyError::io(folder, source)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    let io = |source| PolicyError::io(folder, source);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}
