//! The run directory: files are appended to, or written aside and renamed; a full disk is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sapo_datasets::write_atomically;
use serde::Serialize;

use crate::error::{Result, RunError};
use crate::head::Head;
use crate::progress::Progress;

/// The TensorBoard event file.
pub const EVENTS: &str = "tb/events.out.tfevents.0.sapo";
/// The folder of the policies, as phases began, that a KL is measured from.
pub const REFERENCE: &str = "reference";
/// Rows that could not be used.
pub const REJECTED: &str = "data/rejected.jsonl";
/// Seconds between two tries on a full disk, at most.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// Files that grow without a hash: nothing is made from them.
const UNHASHED: [&str; 2] = ["log.txt", "rollouts/"];

/// A run's folder.
#[derive(Clone)]
pub struct RunDir<'a> {
    path: PathBuf,
    disk_wait: Duration,
    progress: &'a dyn Progress,
    /// What this process has written; clones share it.
    written: Arc<Mutex<Written>>,
}

/// What a process has written into a run's folder.
#[derive(Debug, Default)]
struct Written {
    /// Files that are appended to, as far as they are written, by name.
    heads: BTreeMap<String, Head>,
    /// Files, and folders of files, that may not be on the disk yet.
    unsynced: BTreeSet<PathBuf>,
}

impl<'a> RunDir<'a> {
    /// Creates a run's folder. Writing waits up to `disk_wait_secs` for a full disk and says so to `progress`.
    ///
    /// # Errors
    /// When it exists already: nothing is overwritten.
    pub fn create(path: &Path, disk_wait_secs: u64, progress: &'a dyn Progress) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source))?;
        }
        std::fs::create_dir(path).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => exists(path),
            _ => RunError::io(path, source),
        })?;
        Ok(Self::open(path, disk_wait_secs, progress))
    }

    /// Refuses a folder that exists before anything is done for it.
    ///
    /// # Errors
    /// When it exists.
    pub fn refuse_existing(path: &Path) -> Result<()> {
        if path.exists() { Err(exists(path)) } else { Ok(()) }
    }

    /// A run's folder that exists.
    pub fn open(path: &Path, disk_wait_secs: u64, progress: &'a dyn Progress) -> Self {
        let disk_wait = Duration::from_secs(disk_wait_secs);
        Self { path: path.to_owned(), disk_wait, progress, written: Arc::default() }
    }

    /// The same folder; from now on a full disk is not waited for.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        Self { disk_wait: Duration::ZERO, ..self.clone() }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file within the folder; its parent is created.
    ///
    /// # Errors
    /// When the parent cannot be created.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            self.patiently(|| std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source)))?;
            self.written().unsynced.insert(parent.to_owned());
        }
        Ok(path)
    }

    /// Waits until all that was written so far is on the disk, with the names that it has in its folders: what is written
    /// afterwards may speak of it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sync(&self) -> Result<()> {
        let unsynced = self.written().unsynced.clone();
        // A new folder is on the disk when the one that it lies in is.
        let folders = unsynced.iter().flat_map(|path| path.ancestors().skip(1));
        let folders: BTreeSet<&Path> = folders.filter(|folder| folder.starts_with(&self.path)).collect();
        for path in unsynced.iter().map(PathBuf::as_path).chain(folders) {
            match File::open(path).and_then(|file| file.sync_all()) {
                // What has been moved away since is no part of the run any more.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(RunError::io(path, error)),
                _ => {}
            }
        }
        self.written().unsynced.retain(|path| !unsynced.contains(path));
        Ok(())
    }

    /// How long a file is that is appended to, and the hash over all of it. It is read only where this process has not
    /// written to it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn head(&self, name: &str) -> Result<Head> {
        if let Some(head) = self.written().heads.get(name) {
            return Ok(head.clone());
        }
        let path = self.path.join(name);
        let head = Head::whole(&path).map_err(|source| RunError::io(&path, source))?;
        self.written().heads.insert(name.to_owned(), head.clone());
        Ok(head)
    }

    /// Appends lines of JSON to a file, flushed.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&self, name: &str, lines: &[serde_json::Value]) -> Result<()> {
        let mut text = String::new();
        for line in lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        self.append_bytes(name, text.as_bytes())
    }

    /// Appends bytes to a file: all of them, or none.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append_bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file(name)?;
        if !UNHASHED.iter().any(|unhashed| name.starts_with(unhashed)) {
            self.head(name)?;
        }
        self.patiently(|| append_whole(&path, bytes).map_err(|source| RunError::io(&path, source)))?;
        let mut written = self.written();
        if let Some(head) = written.heads.get_mut(name) {
            head.add(bytes);
        }
        written.unsynced.insert(path);
        Ok(())
    }

    /// Writes a JSON file aside and renames it into place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| RunError::Internal(error.to_string()))?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }

    /// Writes a file aside, synchronises it and renames it into place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.file(name)?;
        self.written().heads.remove(name);
        self.patiently(|| {
            write_atomically(&path, |file| file.write_all(bytes)).map_err(|source| RunError::io(&path, source))
        })
    }

    /// Writes a file aside and renames it into place, for readers beside the run: they see a whole one, old or new. It is not
    /// waited for until it is on the disk, since each step writes it anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (path, aside) = (self.file(name)?, self.path.join(format!("{name}.tmp")));
        self.patiently(|| {
            let written = std::fs::write(&aside, bytes).and_then(|()| std::fs::rename(&aside, &path));
            written.map_err(|source| RunError::io(&path, source))
        })
    }

    /// Writes a file aside and renames it into place; it is waited for with the next [`RunDir::sync`]. For many small files whose names
    /// are their hashes, so that one that a power cut has torn is seen.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_soon(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.replace(name, bytes)?;
        self.written().unsynced.insert(self.path.join(name));
        Ok(())
    }

    /// Does something that needs room on the disk, again and again while there is none.
    ///
    /// # Errors
    /// [`RunError::Stopped`] when the disk stays full, and whatever else `attempt` gives.
    pub fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut since: Option<Instant> = None;
        loop {
            let error = match attempt() {
                Err(error) if error.is_disk_full() => error,
                other => return other,
            };
            let wait_secs = self.disk_wait.as_secs();
            let waited = since.get_or_insert_with(|| {
                self.progress.say(&format!("the disk is full ({error}): waiting up to {wait_secs} s for room"));
                Instant::now()
            });
            let left = self.disk_wait.saturating_sub(waited.elapsed());
            if left.is_zero() {
                return Err(RunError::Stopped(format!(
                    "{error}; the disk stayed full for {wait_secs} s (run.disk_wait_secs). Free some room, then go on \
                     from the last checkpoint with --resume={}",
                    self.path.display()
                )));
            }
            std::thread::sleep(DISK_RETRY.min(self.disk_wait / 20).min(left));
        }
    }
}

fn exists(path: &Path) -> RunError {
    RunError::User(format!(
        "the run directory {} exists already; go on with it by --resume, give another name (`run.name=...`), or move it away",
        path.display()
    ))
}

fn append_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(bytes).and_then(|()| file.flush());
    if written.is_err() {
        // What was written of it is taken back; that cannot fail for want of room.
        drop(file.set_len(before));
    }
    written
}

/// The lines of a JSON-lines file; none when it is not there.
pub(crate) fn read_lines(path: &Path) -> Result<Vec<serde_json::Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RunError::io(path, error)),
    };
    let parse = |(index, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| RunError::User(format!("{} line {}: {error}", path.display(), index + 1)))
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn begin(&self, _: &str, _: u64, _: u64) {}
        fn done(&self, _: u64, _: &str) {}
        fn rollouts(&self, _: usize, _: usize) {}
        fn say(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    #[test]
    fn an_existing_run_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let heard = Heard::default();
        let error = RunDir::create(folder.path(), 0, &heard).err().unwrap().to_string();
        assert!(error.contains("exists already") && error.contains("--resume"), "{error}");
    }

    #[test]
    fn what_is_appended_has_the_hash_of_the_file_and_is_synchronised_once() {
        let folder = tempfile::tempdir().unwrap();
        let heard = Heard::default();
        let path = folder.path().join("ledger.jsonl");
        std::fs::write(&path, "before\n").unwrap();
        let dir = RunDir::open(folder.path(), 0, &heard);
        dir.append_bytes("ledger.jsonl", b"one\n").unwrap();
        dir.append("eval/set-000001/samples.jsonl", &[serde_json::json!({"sample": 0})]).unwrap();
        dir.append_bytes("log.txt", b"said\n").unwrap();
        for name in ["ledger.jsonl", "eval/set-000001/samples.jsonl", "nothing.jsonl"] {
            let whole = Head::whole(&folder.path().join(name)).unwrap();
            let head = dir.without_waiting().head(name).unwrap();
            assert_eq!((head.bytes(), head.sha256()), (whole.bytes(), whole.sha256()), "{name}");
        }
        let unsynced = dir.written().unsynced.clone();
        for name in ["ledger.jsonl", "log.txt", "eval/set-000001", "eval/set-000001/samples.jsonl"] {
            assert!(unsynced.contains(&folder.path().join(name)), "{name}");
        }
        std::fs::remove_file(&path).unwrap();
        dir.sync().unwrap();
        assert!(dir.written().unsynced.is_empty());
        // A file that is written anew is not gone on with.
        dir.write("ledger.jsonl", b"other\n").unwrap();
        assert_eq!(dir.head("ledger.jsonl").unwrap().bytes(), 6);
    }

    /// `/dev/full` takes nothing: every write finds the disk full.
    #[test]
    fn a_full_disk_is_waited_for_and_then_stops_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let heard = Heard::default();
        let dir = RunDir::open(folder.path(), 0, &heard);
        if !Path::new("/dev/full").exists() {
            assert!(std::env::var_os("CI").is_none(), "/dev/full is needed in CI");
            return;
        }
        std::os::unix::fs::symlink("/dev/full", folder.path().join("metrics.jsonl")).unwrap();
        let error = dir.append("metrics.jsonl", &[serde_json::json!({"step": 1})]).unwrap_err();
        assert!(matches!(error, RunError::Stopped(_)), "{error}");
        assert!(error.to_string().contains("--resume"), "{error}");
        assert_eq!(heard.0.lock().unwrap().len(), 1, "it is said once");
        let mut tries = 0;
        let patient = RunDir { disk_wait: Duration::from_millis(40), ..RunDir::open(folder.path(), 0, &heard) };
        let full = || RunError::io("x", std::io::Error::from(ErrorKind::StorageFull));
        let done = patient.patiently(|| {
            tries += 1;
            if tries < 2 { Err(full()) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), 2, "room was made while it waited");
    }
}
