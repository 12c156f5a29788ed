//! A file of rollouts: its first line says what it was made with, then come the queries in the order of their source, each
//! with one line for every sample, or one that says why there is none.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sapo_datasets::{Picture, Query, Transcript, hex};
use sapo_rollouts::{Rollout, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Result, RunError};

/// The version of the lines, which is that of a run's rollouts.
const VERSION: u32 = 2;

/// What a file was made with: all that its lines depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The model as it was named; it may have moved since.
    pub model: String,
    /// Digest of its weights.
    pub weights_sha256: String,
    /// The source of the queries.
    pub queries: String,
    /// Digest of that source, where it is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries_sha256: Option<String>,
    /// Its rows.
    pub rows: u64,
    /// Samples of each query.
    pub samples: usize,
    /// What their seeds depend on, beside the query and the number of the sample.
    pub seed: u64,
    /// How they are drawn.
    pub sampling: sapo_rollouts::Sampling,
    /// Tokens of a prompt at most.
    pub max_prompt_tokens: usize,
    /// The format that weights are kept in.
    pub dtype: String,
}

impl Settings {
    /// What differs from what a file was made with, if anything does.
    fn difference(&self, made: &Self) -> Option<String> {
        let value = |settings: &Self| serde_json::to_value(settings).unwrap_or_default();
        let (own, made_with) = (value(self), value(made));
        // Places may change; what lies there must not.
        let is_place = |key: &str| key == "model" || (key == "queries" && self.queries_sha256.is_some());
        let keys = own.as_object().into_iter().flatten().map(|(key, _)| key);
        let mut differing = keys.filter(|key| !is_place(key) && own[key.as_str()] != made_with[key.as_str()]);
        differing.next().map(|key| format!("{key} is {} there and {} now", made_with[key], own[key]))
    }
}

/// Digest of a file; nothing where `path` is none.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let fault = |source| RunError::io(path, source);
    let (mut file, mut hash, mut piece) = (File::open(path).map_err(fault)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(fault)? {
            0 => return Ok(Some(hex(&hash.finalize()))),
            read => hash.update(&piece[..read]),
        }
    }
}

/// What a file has so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Queries that are done.
    pub queries: u64,
    /// Those of them that could not be answered.
    pub failed: u64,
}

/// A file of rollouts that is being written.
#[derive(Debug)]
pub struct RolloutFile {
    path: PathBuf,
    file: File,
}

/// What is looked at of a line.
#[derive(Deserialize)]
struct Seen {
    index: u64,
    #[serde(default)]
    sample: Option<usize>,
}

#[derive(Deserialize)]
struct Head {
    settings: Settings,
}

impl RolloutFile {
    /// Begins a file, or goes on with one when `resume` is set: whatever stands behind its last whole query is cut off.
    ///
    /// # Errors
    /// When there is one and `resume` is not set, it was made with other settings, is no such file, or is being written by
    /// another process; when it cannot be read or written.
    pub fn open(path: &Path, settings: &Settings, resume: bool) -> Result<(Self, Kept)> {
        let fault = |source| RunError::io(path, source);
        let user = |reason: String| RunError::User(format!("{}: {reason}", path.display()));
        if path.exists() && !resume {
            return Err(user("exists already; add --resume to go on with it, or choose another name".to_owned()));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source))?;
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(user("another process writes it; wait for its end".to_owned()));
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(fault(source)),
        }
        let mut lines = Lines { reader: BufReader::new(&file), place: 0 };
        let head = lines.next().map_err(fault)?;
        let kept = match head {
            Some(head) => {
                let head: Head = serde_json::from_slice(&head).map_err(|_| {
                    user("the first line does not say what it was made with, so it is no file of rollouts".to_owned())
                })?;
                if let Some(difference) = settings.difference(&head.settings) {
                    let remedy = "go on with the same, or choose another name";
                    return Err(user(format!("was made with other settings: {difference}; {remedy}")));
                }
                lines.kept(settings.samples).map_err(fault)?
            }
            None => (Kept::default(), 0),
        };
        let (kept, place) = kept;
        file.set_len(place).map_err(fault)?;
        let mut opened = Self { path: path.to_owned(), file };
        opened.file.seek(SeekFrom::End(0)).map_err(fault)?;
        if place == 0 {
            opened.append(&[json!({"v": VERSION, "settings": settings})])?;
        }
        Ok((opened, kept))
    }

    /// Appends the lines of a query, in one piece.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn append(&mut self, lines: &[Value]) -> Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.file.write_all(text.as_bytes()).map_err(|source| RunError::io(&self.path, source))
    }

    /// Waits until the disk has everything.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|source| RunError::io(&self.path, source))
    }
}

/// The whole lines of a file.
struct Lines<'a> {
    reader: BufReader<&'a File>,
    /// Where the next one begins, in bytes.
    place: u64,
}

impl Lines<'_> {
    /// The next line; nothing when no whole one follows.
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let length = self.reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(None);
        }
        self.place += length as u64;
        Ok(Some(line))
    }

    /// The queries that are whole, and where the last of them ends.
    fn kept(&mut self, samples: usize) -> std::io::Result<(Kept, u64)> {
        let (mut kept, mut end, mut sample) = (Kept::default(), self.place, 0);
        while let Some(line) = self.next()? {
            let seen: Option<Seen> = serde_json::from_slice(&line).ok();
            match seen.filter(|seen| seen.index == kept.queries) {
                Some(Seen { sample: None, .. }) if sample == 0 => kept.failed += 1,
                Some(Seen { sample: Some(number), .. }) if number == sample => {
                    sample += 1;
                    if sample < samples {
                        continue;
                    }
                }
                // Anything else was torn, or written by somebody else: it is made again.
                _ => break,
            }
            (kept.queries, end, sample) = (kept.queries + 1, self.place, 0);
        }
        Ok((kept, end))
    }
}

/// The likeliest tokens in the place of each of an answer's, with their log-probs.
pub type TopLogProbs = Vec<Vec<(u32, f32)>>;

/// The line of a rollout; `top` where the likeliest tokens were asked for.
pub fn rollout_line(
    index: u64,
    query: &Query,
    rollout: &Rollout,
    transcript: &Transcript,
    top: Option<&TopLogProbs>,
) -> Value {
    let turn = |(turn, text): (&Turn, &sapo_datasets::Turn)| json!({"role": text.role, "text": text.text, "sampled": turn.is_sampled(), "tokens": turn.ids().len()});
    let stop_text = rollout.turns.iter().rev().find_map(|turn| match turn {
        Turn::Sampled { stop_text, .. } => Some(stop_text.as_deref()),
        Turn::Injected { .. } => None,
    });
    let mut line = json!({
        "v": VERSION,
        "index": index,
        "query_id": query.id,
        "task": query.task,
        "sample": rollout.sample,
        "seed": rollout.seed,
        "policy_version": rollout.policy_version,
        "turns": rollout.turns.iter().zip(&transcript.turns).map(turn).collect::<Vec<_>>(),
        "tokens": rollout.ids().collect::<Vec<u32>>(),
        "log_probs": rollout.log_probs(),
        "token_limit": transcript.token_limit,
        "thinking_open": transcript.thinking_open,
        "stop": rollout.stop,
        "images": query.images.iter().map(Picture::sha256).collect::<Vec<_>>(),
    });
    if let Some(text) = stop_text.flatten() {
        line["stop_text"] = json!(text);
    }
    if let Some(top) = top {
        line["top_log_probs"] = json!(top);
    }
    line
}

/// The line of a query that cannot be answered.
pub fn failure_line(index: u64, query_id: Option<&str>, reason: &str) -> Value {
    json!({"v": VERSION, "index": index, "query_id": query_id, "failed": reason})
}

#[cfg(test)]
mod tests {
    use sapo_rollouts::Sampling;

    use super::*;

    fn settings(samples: usize) -> Settings {
        Settings {
            model: "tiny".to_owned(),
            weights_sha256: "w".to_owned(),
            queries: "q.jsonl".to_owned(),
            queries_sha256: Some("q".to_owned()),
            rows: 3,
            samples,
            seed: 1,
            sampling: Sampling::at(1.0, 8),
            max_prompt_tokens: 64,
            dtype: "f32".to_owned(),
        }
    }

    fn sample(index: u64, sample: usize) -> Value {
        json!({"v": 2, "index": index, "sample": sample, "tokens": [1, 2]})
    }

    /// Cut anywhere, a file goes on behind its last whole query, and holds nothing else.
    #[test]
    fn what_is_kept_is_whole_wherever_the_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollouts.jsonl");
        let queries =
            [vec![sample(0, 0), sample(0, 1)], vec![failure_line(1, None, "no")], vec![sample(2, 0), sample(2, 1)]];
        let (mut file, kept) = RolloutFile::open(&path, &settings(2), false).unwrap();
        assert_eq!(kept, Kept::default());
        let mut ends = vec![std::fs::metadata(&path).unwrap().len() as usize];
        for lines in &queries {
            file.append(lines).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len() as usize);
        }
        drop(file);
        let whole = std::fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let (file, kept) = RolloutFile::open(&path, &settings(2), true).unwrap();
            drop(file);
            let done = ends.iter().filter(|place| **place <= end).count().saturating_sub(1);
            assert_eq!(kept, Kept { queries: done as u64, failed: u64::from(done > 1) }, "{end}");
            assert_eq!(std::fs::read(&path).unwrap(), whole[..ends[done]], "{end}");
        }
    }

    #[test]
    fn other_settings_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/rollouts.jsonl");
        let refused = |settings: &Settings, resume: bool| {
            RolloutFile::open(&path, settings, resume).map(drop).unwrap_err().to_string()
        };
        let first = RolloutFile::open(&path, &settings(2), true).unwrap();
        assert!(refused(&settings(2), true).contains("another process writes it"));
        drop(first);
        assert!(refused(&settings(2), false).contains("add --resume"));
        assert!(refused(&settings(3), true).contains("samples is 2 there and 3 now"));
        let other = Settings { weights_sha256: "x".to_owned(), ..settings(2) };
        assert!(refused(&other, true).contains("weights_sha256"));
        let other = Settings { sampling: Sampling::at(0.5, 8), ..settings(2) };
        assert!(refused(&other, true).contains("sampling"));
        let moved = Settings { model: "./tiny".to_owned(), queries: "../q.jsonl".to_owned(), ..settings(2) };
        assert!(RolloutFile::open(&path, &moved, true).is_ok(), "the same, elsewhere");
        std::fs::write(&path, "{\"query_id\": \"q\"}\n").unwrap();
        assert!(refused(&settings(2), true).contains("no file of rollouts"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"query_id\": \"q\"}\n", "it is left alone");
    }
}
