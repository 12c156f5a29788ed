//! Verdicts on disk: lines of JSON with a checksum each, in a folder that several runs may share.
//!
//! Every run appends to a file of its own, which it holds locked, and reads all others when it starts. So nobody waits
//! for anybody, nothing is ever half written by two, and a line that does not match its checksum is noticed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use sapo_datasets::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::verdict::Verdict;

/// What a verdict is kept under.
pub(super) type Key = [u8; 32];

/// Longest line that can be a record.
const LONGEST_LINE: u64 = 4096;
/// Files of one folder that are looked at.
const MOST_FILES: usize = 1000;
/// Records that are read; with about 100 bytes each they bound the memory.
const MOST_RECORDS: usize = 4_000_000;

/// The file that this run appends to.
pub(super) struct Store {
    file: File,
    path: PathBuf,
    /// Bytes of whole records; what is behind them is cut off again.
    length: u64,
    broken: bool,
}

/// What a folder holds, and what people should know about it.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) records: BTreeMap<Key, Verdict>,
    pub(super) notes: Vec<String>,
}

impl Store {
    /// Opens a folder for a judge of that name. A file with broken lines is set aside, and its good lines are written
    /// anew.
    ///
    /// # Errors
    /// When the folder or a file of its own cannot be made.
    pub(super) fn open(folder: &Path, name: &str) -> std::io::Result<Opened> {
        std::fs::create_dir_all(folder)?;
        let (mut records, mut notes, mut own) = (BTreeMap::new(), Vec::new(), None);
        for number in 0..MOST_FILES {
            let path = folder.join(format!("{name}-{number}.jsonl"));
            if !path.exists() {
                if own.is_none() {
                    // A file that somebody else has made and locked in between is theirs.
                    let file = append(&path)?;
                    if !locked(&file)? {
                        continue;
                    }
                    own = Some(Self { file, path, length: 0, broken: false });
                }
                break;
            }
            let file = append(&path)?;
            let free = locked(&file)?;
            let read = read(&file, &mut records)?;
            if !free {
                // Its owner may be in the middle of a line.
                continue;
            }
            let (file, length) = match read.broken {
                0 => (file, read.length),
                broken => {
                    let aside = set_aside(&path)?;
                    notes.push(format!(
                        "{} has {broken} broken lines; it was set aside as {}, and its {} good lines were kept",
                        path.display(),
                        aside.display(),
                        read.good.len()
                    ));
                    rebuilt(&path, &read.good)?
                }
            };
            if own.is_none() {
                own = Some(Self { file, path, length, broken: false });
            }
        }
        let store = own.ok_or_else(|| std::io::Error::other(format!("it holds more than {MOST_FILES} files")))?;
        Ok(Opened { store, records, notes })
    }

    /// Keeps a verdict. After an error nothing more is written, and the error is given once.
    pub(super) fn keep(&mut self, key: &Key, verdict: &Verdict) -> Result<(), String> {
        if self.broken {
            return Ok(());
        }
        let line = line(key, verdict);
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.broken = true;
                // Half a line would be set aside by the next run; when it cannot be cut off, that is what happens.
                drop(self.file.set_len(self.length));
                Err(format!("{} cannot be written: {error}; verdicts are kept in memory only", self.path.display()))
            }
        }
    }

    /// A store whose file is another one.
    #[cfg(test)]
    pub(super) fn writing_to(self, file: File) -> Self {
        Self { file, ..self }
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

fn locked(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What a file holds.
struct Lines {
    good: Vec<(Key, Verdict)>,
    broken: usize,
    length: u64,
}

fn read(file: &File, records: &mut BTreeMap<Key, Verdict>) -> std::io::Result<Lines> {
    let mut reader = BufReader::new(file);
    let mut lines = Lines { good: Vec::new(), broken: 0, length: file.metadata()?.len() };
    let mut bytes = Vec::new();
    while records.len() < MOST_RECORDS {
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        match record(&bytes) {
            Some((key, verdict)) => {
                records.insert(key, verdict.clone());
                lines.good.push((key, verdict));
            }
            None => lines.broken += 1,
        }
    }
    Ok(lines)
}

fn line(key: &Key, verdict: &Verdict) -> String {
    let key = hex(key);
    format!("{}\n", json!({"key": key, "verdict": verdict, "sum": sum(&key, verdict)}))
}

fn sum(key: &str, verdict: &Verdict) -> String {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(verdict);
    hex(&hash.finalize()[..6])
}

fn record(line: &[u8]) -> Option<(Key, Verdict)> {
    let text = line.strip_suffix(b"\n")?;
    let value: Value = serde_json::from_slice(text).ok()?;
    let key = value["key"].as_str()?;
    let verdict = value["verdict"].as_array()?.iter().map(|choice| u8::try_from(choice.as_u64()?).ok());
    let verdict = verdict.collect::<Option<Verdict>>()?;
    (value["sum"].as_str()? == sum(key, &verdict)).then_some((unhex(key)?, verdict))
}

fn unhex(text: &str) -> Option<Key> {
    let mut key = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}

/// Gives a file another name, so that nothing of it is lost.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = (1..=MOST_FILES).map(|number| path.with_extension(format!("broken-{number}"))).find(|to| !to.exists());
    let aside = aside.ok_or_else(|| std::io::Error::other("too many broken files were set aside; remove some"))?;
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

fn rebuilt(path: &Path, good: &[(Key, Verdict)]) -> std::io::Result<(File, u64)> {
    let text: String = good.iter().map(|(key, verdict)| line(key, verdict)).collect();
    let mut file = append(path)?;
    // Nobody else can hold it: it was made here.
    locked(&file)?;
    file.write_all(text.as_bytes())?;
    Ok((file, text.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        [number; 32]
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let folder = folder();
        let mut opened = Store::open(folder.path(), "j").unwrap();
        assert!(opened.records.is_empty() && opened.notes.is_empty());
        opened.store.keep(&key(1), &vec![1]).unwrap();
        opened.store.keep(&key(2), &vec![0, 1, 0]).unwrap();
        drop(opened);
        let opened = Store::open(folder.path(), "j").unwrap();
        assert_eq!(opened.records, BTreeMap::from([(key(1), vec![1]), (key(2), vec![0, 1, 0])]));
        assert!(opened.notes.is_empty());
        assert!(Store::open(folder.path(), "other").unwrap().records.is_empty());
    }

    #[test]
    fn two_runs_share_a_folder_and_write_apart() {
        let folder = folder();
        let mut one = Store::open(folder.path(), "j").unwrap();
        one.store.keep(&key(1), &vec![1]).unwrap();
        let mut two = Store::open(folder.path(), "j").unwrap();
        assert_eq!(two.records.len(), 1, "what the other has written so far is known");
        for number in 2..50 {
            one.store.keep(&key(number), &vec![1]).unwrap();
            two.store.keep(&key(number + 50), &vec![0]).unwrap();
        }
        // Half a line of somebody who is still writing is no damage.
        one.store.file.write_all(b"{\"key\": \"12").unwrap();
        let three = Store::open(folder.path(), "j").unwrap();
        assert_eq!((three.records.len(), three.notes.len()), (97, 0));
    }

    #[test]
    fn damage_is_noticed_set_aside_and_the_rest_kept() {
        let folder = folder();
        let mut opened = Store::open(folder.path(), "j").unwrap();
        for number in 0..10 {
            opened.store.keep(&key(number), &vec![number % 2]).unwrap();
        }
        drop(opened);
        let path = folder.path().join("j-0.jsonl");
        let good = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        // A verdict that was turned round, a line that was cut, noise, and a file that ends in a line.
        let turned = lines[1].replace("\"verdict\":[1]", "\"verdict\":[0]");
        assert_ne!(turned, lines[1]);
        for damage in [turned.as_str(), &lines[1][..40], "\u{0}\u{1}noise", &"x".repeat(100_000)] {
            let text = good.replace(lines[1], damage);
            std::fs::write(&path, &text).unwrap();
            let opened = Store::open(folder.path(), "j").unwrap();
            assert_eq!(opened.records.len(), 9, "{damage:.60}");
            assert!(!opened.records.contains_key(&key(1)));
            assert!(opened.notes[0].contains("set aside"), "{:?}", opened.notes);
            drop(opened);
            let again = Store::open(folder.path(), "j").unwrap();
            assert_eq!((again.records.len(), again.notes.len()), (9, 0), "it was mended");
        }
        let aside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(aside.len(), 5, "every damaged file is still there");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_once() {
        let folder = folder();
        let mut store = Store::open(folder.path(), "j").unwrap().store;
        store.keep(&key(1), &vec![1]).unwrap();
        let mut full = store.writing_to(OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert!(full.keep(&key(2), &vec![1]).unwrap_err().contains("No space left"));
        assert!(full.keep(&key(3), &vec![1]).is_ok());
        drop(full);
        assert_eq!(Store::open(folder.path(), "j").unwrap().records.len(), 1);
    }
}
