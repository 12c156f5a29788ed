//! Curations and a resume: the records that they need from elsewhere, and what is kept of one that was under way.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use super::record::curation_file;
use crate::config::{AnsweredBy, Config};
use crate::curation::Curation;
use crate::error::{Result, RunError};
use crate::ledger;
use crate::records::read_records;

/// What is kept of curations that were under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The phases whose records are kept.
    pub(super) phases: Vec<String>,
    /// Where the ledger ends with the scores of the last record, in bytes.
    pub(super) ledger: u64,
}

/// Reads the records of earlier runs that curations need, so that a wrong path is told before anything else is done.
///
/// # Errors
/// When one cannot be read, or a model is not there.
pub(super) fn check_inputs(config: &Config) -> Result<()> {
    for name in &config.run.phases {
        let Some(phase) = config.phases[name].as_curate() else { continue };
        phase.records().try_for_each(|path| read_records(path).map(drop))?;
        let blind = phase.without_pictures.as_ref().map(|blind| &blind.by);
        for by in [Some(&phase.by), blind].into_iter().flatten() {
            if let AnsweredBy::Model(model) = by
                && model.components().count() > 1
                && !model.exists()
            {
                return Err(RunError::User(format!("phases.{name}: there is no model {}", model.display())));
            }
        }
    }
    Ok(())
}

/// Keeps whole records of curations, one phase after the other, as far as the ledger has their scores: from `ledger` on, in
/// bytes, it holds those of these phases. A torn line, and a record whose scores were lost, are taken away.
///
/// # Errors
/// When a file cannot be read or cut.
pub(super) fn keep(run: &Path, phases: &[String], ledger: u64) -> Result<Recorded> {
    let mut kept = Recorded { phases: Vec::new(), ledger };
    let mut scores = Scores::open(run, ledger)?;
    for phase in phases {
        let path = run.join(curation_file(phase));
        let Ok(file) = File::open(&path) else { break };
        let (mut lines, mut whole) = (BufReader::new(file), 0);
        let mut is_whole = true;
        loop {
            let mut line = Vec::new();
            let length = lines.read_until(b'\n', &mut line).map_err(|error| RunError::io(&path, error))?;
            if length == 0 {
                break;
            }
            let record: Option<Curation> = serde_json::from_slice(&line).ok().filter(|_| line.ends_with(b"\n"));
            match record {
                Some(record) if scores.pass(record.ledger_lines)? => whole += length as u64,
                _ => {
                    is_whole = false;
                    break;
                }
            }
        }
        if !is_whole {
            let cut = OpenOptions::new().write(true).open(&path).and_then(|file| {
                file.set_len(whole)?;
                file.sync_all()
            });
            cut.map_err(|error| RunError::io(&path, error))?;
        }
        kept.phases.push(phase.clone());
        kept.ledger = scores.place;
        if !is_whole {
            break;
        }
    }
    Ok(kept)
}

/// The ledger's scores, from a place on.
struct Scores {
    lines: Option<BufReader<File>>,
    place: u64,
}

impl Scores {
    fn open(run: &Path, place: u64) -> Result<Self> {
        let path = run.join(ledger::FILE);
        let Ok(mut file) = File::open(&path) else { return Ok(Self { lines: None, place }) };
        file.seek(SeekFrom::Start(place)).map_err(|error| RunError::io(&path, error))?;
        Ok(Self { lines: Some(BufReader::new(file)), place })
    }

    /// Goes on behind so many scores; false when there are fewer, and the place stays.
    fn pass(&mut self, mut count: usize) -> Result<bool> {
        let mut place = self.place;
        while count > 0 {
            let mut line = Vec::new();
            let Some(lines) = &mut self.lines else { return Ok(false) };
            let length = lines.read_until(b'\n', &mut line).map_err(|error| RunError::io(ledger::FILE, error))?;
            if !line.ends_with(b"\n") {
                return Ok(false);
            }
            place += length as u64;
            // What describes a reward stands before its first score.
            let is_score = std::str::from_utf8(&line).is_ok_and(|line| !ledger::is_reward(line));
            count -= usize::from(is_score);
        }
        self.place = place;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: usize, ledger_lines: usize) -> String {
        let record = Curation { query_id: format!("q{at}"), ledger_lines, ..Curation::default() };
        format!("{}\n", serde_json::to_string(&record).unwrap())
    }

    /// Cuts the record and the ledger anywhere: what is kept is whole, as much as can be, and the same when it is kept again.
    #[test]
    fn what_is_kept_is_whole_wherever_the_files_end() {
        let reward = "{\"v\":1,\"reward\":\"r\"}\n";
        let score = "{\"v\":1,\"query_id\":\"q\"}\n";
        let before = format!("{reward}{score}");
        let ledger = format!("{before}{score}{score}{reward}{score}{score}");
        let records = [record(0, 2), record(1, 0), record(2, 2)];
        let whole = records.concat();
        let phases = ["curate".to_owned()];
        let any_end = (0..=whole.len()).map(|end| (end, ledger.len()));
        let any_ledger = (before.len()..=ledger.len()).map(|ledger_end| (whole.len(), ledger_end));
        let torn = (before.len()..=ledger.len()).map(|ledger_end| (whole.len() / 2, ledger_end));
        for (end, ledger_end) in any_end.chain(any_ledger).chain(torn) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("curation/curate.jsonl");
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &whole[..end]).unwrap();
            std::fs::write(folder.path().join(ledger::FILE), &ledger[..ledger_end]).unwrap();
            let kept = keep(folder.path(), &phases, before.len() as u64).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let first = ledger_end - before.len() >= 2 * score.len();
            let third = ledger_end == ledger.len();
            let mut wanted = String::new();
            for (record, has_scores) in records.iter().zip([first, first, first && third]) {
                if !has_scores || wanted.len() + record.len() > end {
                    break;
                }
                wanted.push_str(record);
            }
            assert_eq!(text, wanted, "{end} {ledger_end}");
            let scores = [0, 2, 2, 4][text.lines().count()];
            let length = [0, 2 * score.len(), 4 * score.len() + reward.len()][scores / 2];
            assert_eq!(kept.ledger, (before.len() + length) as u64, "{end} {ledger_end}");
            assert_eq!(keep(folder.path(), &phases, before.len() as u64).unwrap(), kept);
        }
    }

    #[test]
    fn a_phase_behind_one_that_was_torn_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("curation")).unwrap();
        for (phase, text) in [("one", format!("{}{{\"query", record(0, 0))), ("two", record(0, 0))] {
            std::fs::write(folder.path().join(curation_file(phase)), text).unwrap();
        }
        let phases = ["one", "two"].map(str::to_owned);
        assert_eq!(keep(folder.path(), &phases, 0).unwrap().phases, ["one"]);
        assert_eq!(keep(folder.path(), &phases, 0).unwrap().phases, phases, "whole now");
        assert_eq!(keep(folder.path(), &["none".to_owned()], 7).unwrap(), Recorded { phases: Vec::new(), ledger: 7 });
    }
}
