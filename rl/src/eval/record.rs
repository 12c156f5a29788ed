//! The record of an evaluation that is under way, `answered.jsonl`: a line for what was said to a query, as soon as it is scored.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::line::Answer;
use crate::error::{Result, RunError};
use crate::run_dir::RunDir;

/// The file's name in an evaluation's folder. It is gone when the evaluation is whole.
pub const FILE: &str = "answered.jsonl";

/// How long answers may be on their way to the disk, where only a power cut could lose them.
const UNSYNCED: Duration = Duration::from_secs(5);

/// Set, query, and whether it is the greedy answer.
type Key = (String, String, bool);

/// What is on record, and where more is put.
pub struct Record<'a> {
    dir: RunDir<'a>,
    set: String,
    known: BTreeMap<Key, Vec<Answer>>,
    synced: Instant,
}

/// A line of the file, as it is written.
#[derive(Serialize)]
struct Line<'a> {
    set: &'a str,
    query_id: &'a str,
    greedy: bool,
    answers: &'a [Answer],
}

/// The same, as it is read.
#[derive(Deserialize)]
struct Read {
    set: String,
    query_id: String,
    greedy: bool,
    answers: Vec<Answer>,
}

impl<'a> Record<'a> {
    /// Reads what a folder has on record; what follows the last whole line is cut off, and asked again.
    ///
    /// # Errors
    /// When the file cannot be read or cut.
    pub fn open(dir: RunDir<'a>) -> Result<Self> {
        let path = dir.path().join(FILE);
        let fault = |source| RunError::io(&path, source);
        let mut known = BTreeMap::new();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { dir, set: String::new(), known, synced: Instant::now() });
            }
            Err(error) => return Err(fault(error)),
        };
        let (mut lines, mut whole) = (BufReader::new(file), 0);
        loop {
            let mut line = Vec::new();
            let length = lines.read_until(b'\n', &mut line).map_err(fault)?;
            let read = serde_json::from_slice::<Read>(&line).ok().filter(|_| line.ends_with(b"\n"));
            let Some(Read { set, query_id, greedy, answers }) = read else { break };
            known.insert((set, query_id, greedy), answers);
            whole += length as u64;
        }
        let cut = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(whole));
        cut.map_err(fault)?;
        Ok(Self { dir, set: String::new(), known, synced: Instant::now() })
    }

    /// From now on queries are those of this set.
    pub fn enter(&mut self, set: &str) {
        set.clone_into(&mut self.set);
    }

    /// Answers of the set that are on record.
    pub fn answers(&self) -> usize {
        self.known.iter().filter(|((set, ..), _)| *set == self.set).map(|(_, answers)| answers.len()).sum()
    }

    /// Takes what was said to a query of the set.
    pub(super) fn take(&mut self, query_id: &str, greedy: bool) -> Option<Vec<Answer>> {
        self.known.remove(&(self.set.clone(), query_id.to_owned(), greedy))
    }

    /// Puts down what was said to a query of the set.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&mut self, query_id: &str, greedy: bool, answers: &[Answer]) -> Result<()> {
        let line = Line { set: &self.set, query_id, greedy, answers };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| RunError::Internal(error.to_string()))?;
        bytes.push(b'\n');
        self.dir.append_bytes(FILE, &bytes)?;
        if self.synced.elapsed() > UNSYNCED { self.sync() } else { Ok(()) }
    }

    /// Waits until the disk has everything.
    ///
    /// # Errors
    /// When it does not take it.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.synced = Instant::now();
        self.dir.sync()
    }

    /// Takes the file away: the evaluation is whole.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish(self) -> Result<()> {
        let path = self.dir.path().join(FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(RunError::io(path, error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sapo_datasets::{Split, Task, Transcript, synthetic};
    use sapo_rewards::{Score, Scored};
    use serde_json::json;

    use super::*;
    use crate::ledger::LedgerEntry;
    use crate::progress::Silent;

    fn answer(index: u64) -> Answer {
        let query = synthetic::query(Task::Logic, Split::Test, 7, index);
        let said = Transcript::of_answer(&query.id, "so</think>7");
        let by = Scored { score: Score { total: None, passed: None, parts: Vec::new() }, calls: Vec::new() };
        let entry = LedgerEntry::of_other(&query, &said, ("response", 0), &by);
        Answer { line: json!({"query_id": query.id, "tokens": 3}), with_working: true, entry }
    }

    /// Cut anywhere, the record has what is whole, and goes on behind it.
    #[test]
    fn what_is_whole_is_known_wherever_the_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let dir = || RunDir::open(folder.path(), 0, &Silent);
        let mut record = Record::open(dir()).unwrap();
        record.enter("eval");
        let mut ends = vec![0];
        for (id, greedy) in [("a", false), ("b", false), ("a", true)] {
            record.keep(id, greedy, &[answer(0), answer(1)]).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        let whole = std::fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut record = Record::open(dir()).unwrap();
            record.enter("other");
            assert!(record.answers() == 0 && record.take("a", false).is_none(), "{end}: another set");
            record.enter("eval");
            let kept = ends.iter().filter(|place| **place <= end as u64).count() - 1;
            assert_eq!((record.answers(), std::fs::metadata(&path).unwrap().len()), (2 * kept, ends[kept]), "{end}");
            assert_eq!(record.take("a", true).map(|answers| answers.len()), (kept == 3).then_some(2), "{end}");
            record.keep("c", true, &[answer(2)]).unwrap();
            assert_eq!(Record::open(dir()).unwrap().known.len(), kept + 1, "{end}");
        }
    }

    #[test]
    fn what_is_read_back_is_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = || RunDir::open(folder.path(), 0, &Silent);
        let mut record = Record::open(dir()).unwrap();
        record.enter("eval");
        record.keep("a", false, &[answer(0)]).unwrap();
        let mut again = Record::open(dir()).unwrap();
        again.enter("eval");
        assert_eq!(json!(again.take("a", false)), json!([answer(0)]));
        assert_eq!(json!(again.take("a", false)), json!(null), "it is taken once");
        again.finish().unwrap();
        assert!(!folder.path().join(FILE).exists());
        Record::open(dir()).unwrap().finish().unwrap();
    }
}
