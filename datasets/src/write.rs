//! Files that are either whole or not there: written beside their place, synced, and then renamed.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Lets `fill` write a file that takes the place of `path` only when it is complete, and syncs file and folder.
/// A reader sees the old file or the new one; after a crash no part of either is left under the name.
///
/// # Errors
/// What `fill` gives, or what the system says; `path` is then as it was before.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    filled(path, fill)?.persist(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// As [`write_atomically`], for a file that must not be there yet.
///
/// # Errors
/// As [`write_atomically`], and [`io::ErrorKind::AlreadyExists`] when there is such a file.
pub fn write_new(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    filled(path, fill)?.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(path)
}

fn filled(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<NamedTempFile> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".");
    let mut builder = Builder::new();
    builder.prefix(&name).suffix(".partial");
    // The default of the crate is a file that only its owner reads; the umask decides, as for any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut aside = builder.tempfile_in(folder(path))?;
    fill(aside.as_file_mut())?;
    aside.as_file().sync_all()?;
    Ok(aside)
}

/// Syncs the folder that holds `path`: a rename in it is on the disk only then.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomically(&path, |file| file.write_all(b"one")).unwrap();
        write_atomically(&path, |file| file.write_all(b"two")).unwrap();
        let torn = write_atomically(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("full"))
        });
        assert!(torn.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        write_new(&path, |file| file.write_all(b"one")).unwrap();
        let again = write_new(&path, |file| file.write_all(b"two")).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(write_new(Path::new("/"), |_| Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_the_umask_says() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "x").unwrap();
        let path = folder.path().join("aside");
        write_atomically(&path, |file| file.write_all(b"x")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
