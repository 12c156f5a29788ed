//! The work folder of a program: private, and gone when the program has ended.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
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
