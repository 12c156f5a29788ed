//! Files as they may be opened: regular ones, with something in them, and no further than they say.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The length of a file that can be read to its end: pipes and devices never end, and neither do those of `/proc`, which
/// say that they are empty.
///
/// # Errors
/// When it is not there, no regular file, or empty ([`io::ErrorKind::UnexpectedEof`]).
pub fn length(path: &Path) -> io::Result<u64> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    match metadata.len() {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty")),
        length => Ok(length),
    }
}

/// The bytes of a file of `most` bytes at most, as many as it had when it was opened.
///
/// # Errors
/// As [`length`], or when it cannot be read; [`io::ErrorKind::FileTooLarge`] when it has more.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let length = length(path)?;
    if length > most {
        let reason = format!("it has {length} bytes, and at most {most} are taken");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_within_the_limit_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let reason = |path: &Path, most| read(path, most).unwrap_err();
        assert!(read(&folder.join("Cargo.toml"), 1 << 20).unwrap().starts_with(b"[package]"));
        assert_eq!(reason(&folder.join("Cargo.toml"), 10).kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(reason(folder, 10).to_string(), "it is not a file");
        assert_eq!(reason(&folder.join("gone"), 10).kind(), io::ErrorKind::NotFound);
        if cfg!(target_os = "linux") {
            assert_eq!(reason(Path::new("/dev/zero"), 10).to_string(), "it is not a file");
            assert_eq!(reason(Path::new("/proc/kmsg"), 10).to_string(), "it is empty");
        }
    }
}
