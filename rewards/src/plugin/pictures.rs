//! Pictures for plugins: a folder of its own, in which each picture lies once under its hash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sapo_datasets::Picture;

/// A private folder.
pub(super) struct PictureFolder(PathBuf);

impl PictureFolder {
    /// A new folder in the system's place for what is temporary.
    pub(super) fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, root) = (std::process::id(), std::env::temp_dir());
        loop {
            let folder = root.join(format!("sapo-pictures-{process}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
            match private(&folder) {
                Ok(()) => return Ok(Self(folder)),
                // A process that ended without its cleaning up had the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The path of a picture, which is written when it is not there.
    pub(super) fn path(&self, picture: &Picture) -> io::Result<String> {
        let path = self.0.join(format!("{}.{}", picture.sha256(), picture.extension()));
        if !path.exists() {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let aside = self.0.join(format!("aside-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
            fs::write(&aside, picture.bytes())?;
            fs::rename(&aside, &path)?;
        }
        Ok(path.display().to_string())
    }

    /// Removes the folder with everything in it; what cannot be removed is left to the system.
    pub(super) fn remove(&self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(unix)]
fn private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn private(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)
}
