//! The beginning of a file that only grows: how long it is, and the hash over it, which goes on as the file does.

use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::path::Path;

use sapo_datasets::hex;
use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// The beginning of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    bytes: u64,
    hash: Sha256,
}

impl Head {
    /// The first `bytes` of a file, or all that there are of them; of a file that is not there, none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path, bytes: u64) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let (mut file, mut head, mut piece) = (file.take(bytes), Self::default(), vec![0; PIECE]);
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(head),
                Ok(count) => head.add(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A whole file, as long as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn whole(path: &Path) -> Result<Self> {
        // By its length, and not to its end: a device has none.
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self::read(path, bytes)
    }

    /// The file goes on with these bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 over it, in hex.
    pub(crate) fn sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_goes_on_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        assert_eq!(Head::whole(&path).unwrap().bytes(), 0, "what is not there has no beginning");
        std::fs::write(&path, "one\n").unwrap();
        let mut head = Head::whole(&path).unwrap();
        head.add(b"two\n");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let read = Head::read(&path, 8).unwrap();
        assert_eq!((head.bytes(), head.sha256()), (read.bytes(), read.sha256()));
        assert_eq!(Head::read(&path, 99).unwrap().bytes(), 14, "no more than there is");
        assert_ne!(Head::whole(&path).unwrap().sha256(), read.sha256());
        assert_eq!(Head::default().sha256(), crate::metrics::sha256(b""));
    }
}
