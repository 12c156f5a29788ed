//! Reads the records of curations, those of this run and of earlier ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::curation::{Curation, Decision};
use crate::error::{Result, RunError};

/// Hands over the records of a curation's file in order, one at a time; none where there is no file.
///
/// # Errors
/// When the file cannot be read, a line is no record, or what `take` gives.
pub fn each_record(path: &Path, take: &mut dyn FnMut(Curation) -> Result<()>) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(RunError::io(path, error)),
    };
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| RunError::io(path, error))?;
        let record = serde_json::from_str(&line).map_err(|error| {
            RunError::User(format!("{} line {}: not the record of a curation: {error}", path.display(), index + 1))
        })?;
        take(record)?;
    }
    Ok(())
}

/// The record of an earlier curation, by query.
pub type Records = BTreeMap<String, Curation>;

/// Reads the record of an earlier curation, by query; rows that could not be used are left out.
///
/// # Errors
/// When there is no such file, a line is no record, or a query comes twice.
pub fn read_records(path: &Path) -> Result<Records> {
    if !path.is_file() {
        let reason = "there is no such record; give the curation/NAME.jsonl of a run";
        return Err(RunError::User(format!("{}: {reason}", path.display())));
    }
    let mut records = Records::new();
    each_record(path, &mut |record| {
        let id = record.query_id.clone();
        if record.decision != Decision::Unusable && records.insert(id.clone(), record).is_some() {
            let reason = format!("the query `{id}` comes twice; give the record of one curation");
            return Err(RunError::User(format!("{}: {reason}", path.display())));
        }
        Ok(())
    })?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_version_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curate.jsonl");
        let line = r#"{"query_id":"q1","task":"count","outcomes":[1,0,null],"passed":1,"scored":2,"decision":"kept"}"#;
        std::fs::write(&path, format!("{line}\n")).unwrap();
        let records = read_records(&path).unwrap();
        assert_eq!((records["q1"].passed, records["q1"].scored, records["q1"].ledger_lines), (1, 2, 0));
        std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
        assert!(read_records(&path).unwrap_err().to_string().contains("`q1` comes twice"));
        std::fs::write(&path, "{\"query\": 3}\n").unwrap();
        assert!(read_records(&path).unwrap_err().to_string().contains("line 1"));
        assert!(read_records(&folder.path().join("none.jsonl")).unwrap_err().to_string().contains("no such record"));
    }
}
