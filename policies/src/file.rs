//! Files and folders: bounded reads of texts, and folders that appear whole or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{PolicyError, Result};

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_bytes(path, limit)?;
    String::from_utf8(bytes).map_err(|_| PolicyError::file(path.display().to_string(), "is not UTF-8 text"))
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

/// JSON as people read it, with a line's end behind it.
pub(crate) fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("JSON values can be written");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_whole_or_as_it_was() {
        let all = tempfile::tempdir().expect("a folder");
        // What a crash left behind is no part of the next attempt.
        std::fs::create_dir_all(all.path().join("a.b.tmp")).expect("a folder");
        std::fs::write(all.path().join("a.b.tmp/torn"), "").expect("can be written");
        let folder = all.path().join("a.b");
        write_folder(&folder, |aside| write_synced(&aside.join("one"), b"1")).expect("is written");
        let failed = write_folder(&folder, |aside| {
            write_synced(&aside.join("two"), b"2")?;
            Err(PolicyError::input("no more"))
        });
        assert!(failed.is_err());
        assert_eq!((names(&folder), names(all.path())), (vec!["one".to_owned()], vec!["a.b".to_owned()]));
        write_folder(&folder, |aside| write_synced(&aside.join("two"), b"2")).expect("is written");
        assert_eq!((names(&folder), names(all.path())), (vec!["two".to_owned()], vec!["a.b".to_owned()]));
    }

    #[test]
    fn long_files_are_not_read() {
        let all = tempfile::tempdir().expect("a folder");
        let path = all.path().join("long");
        std::fs::write(&path, "12345").expect("can be written");
        assert_eq!(read_text(&path, 5).expect("short enough"), "12345");
        assert!(read_text(&path, 4).expect_err("too long").to_string().contains("4 bytes"));
        // A file without an end is not read to it.
        assert!(read_bytes(Path::new("/dev/zero"), 1 << 16).is_err());
    }
}
