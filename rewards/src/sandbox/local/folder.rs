//! The work folder of a program: private, and gone when the program has ended.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder that is removed when it is dropped, whatever a program has left in it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(number: u32) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("sapo-sandbox-{}-{number}", std::process::id()));
        let make = || fs::DirBuilder::new().mode(0o700).create(&path);
        match make() {
            // A process of the same number has left it behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove(&path);
                make()?;
            }
            other => other?,
        }
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn remove(&self) {
        remove(&self.0);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a folder; links in it are removed, not followed. What the program has closed is opened first.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_err() && path.exists() {
        open(path);
        // What cannot be removed now stays.
        drop(fs::remove_dir_all(path));
    }
}

fn open(folder: &Path) {
    drop(fs::set_permissions(folder, fs::Permissions::from_mode(0o700)));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open(&entry.path());
        }
    }
}

/// Entries of a folder that are looked at; a program that has made more has made too many.
const MOST_ENTRIES: usize = 10_000;

/// The bytes of all files below a folder, as far as it can be looked into; more than any limit for too many files.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut seen = 0;
    let mut next = vec![folder.to_owned()];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST_ENTRIES {
                return u64::MAX;
            }
            // Links are not followed.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                next.push(entry.path());
            } else {
                bytes = bytes.saturating_add(about.blocks().saturating_mul(512));
            }
        }
    }
    bytes
}
