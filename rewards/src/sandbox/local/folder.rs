//! The work folder of a program: private, and gone when the program has ended.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

/// What the names of folders begin with that are removed when nobody uses them any more.
const OURS: &str = "sapo-sandbox-";
/// A younger folder may be one that was just made and is not yet locked.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder that is removed when it is dropped, whatever a program has left in it. It is locked as long as it is used, so
/// that one that a killed process has left behind is known by its lock that nobody holds.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held, not read.
    _lock: fs::File,
}

impl Folder {
    /// A new folder in the temporary folder of the system; the first of a process removes what others have left behind.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        let temporary = std::env::temp_dir();
        SWEPT.call_once(|| sweep(&temporary, YOUNG));
        Self::below(&temporary, name)
    }

    fn below(temporary: &Path, name: &str) -> io::Result<Self> {
        let path = temporary.join(name);
        let make = || fs::DirBuilder::new().mode(0o700).create(&path);
        match make() {
            // A process of the same number has left it behind.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                remove(&path);
                make()?;
            }
            other => other?,
        }
        let lock = fs::File::open(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(&self) {
        remove(&self.path);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes work folders of this user that no process holds any more.
fn sweep(temporary: &Path, young: Duration) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(OURS));
        // Neither a link nor what was made in this minute.
        let Ok(about) = entry.metadata() else { continue };
        let old = about.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age >= young));
        if !(ours && about.is_dir() && old) {
            continue;
        }
        let Ok(folder) = fs::File::open(entry.path()) else { continue };
        if folder.try_lock().is_ok() {
            remove(&entry.path());
        }
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
pub(super) const MOST_ENTRIES: usize = 10_000;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_any_more_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        for name in ["sapo-sandbox-1-0", "sapo-sandbox-1-1", "another"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("left"), "x").unwrap();
        }
        std::os::unix::fs::symlink(at("another"), at("sapo-sandbox-link")).unwrap();
        let held = Folder::below(temporary.path(), "sapo-sandbox-2-0").unwrap();
        // A folder of this minute may not be locked yet.
        sweep(temporary.path(), YOUNG);
        assert!(at("sapo-sandbox-1-0").exists());
        sweep(temporary.path(), Duration::ZERO);
        let left: Vec<bool> =
            ["sapo-sandbox-1-0", "sapo-sandbox-1-1", "another/left", "sapo-sandbox-link", "sapo-sandbox-2-0"]
                .map(|name| at(name).symlink_metadata().is_ok())
                .to_vec();
        assert_eq!(left, [false, false, true, true, true]);
        drop(held);
        assert!(!at("sapo-sandbox-2-0").exists());
    }
}
