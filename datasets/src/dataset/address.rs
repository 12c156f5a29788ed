//! The text that names a source: a task or a path, then `@split`, then `[from:to]`.

use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};
use crate::synthetic::Task;

/// What comes before `@split` and the slice.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    Task(Task),
    Path(PathBuf),
}

/// A parsed address.
#[derive(Debug, PartialEq)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) split: Option<String>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
}

impl Address {
    /// Reads an address; a relative path starts at `base`.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self> {
        // A path that exists as it is written is taken so, whatever its name holds.
        if !text.is_empty() && std::fs::exists(base.join(text)).unwrap_or(false) {
            return Ok(Self { place: Place::Path(base.join(text)), split: None, from: None, to: None });
        }
        let (rest, slice) = match text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
            Some((rest, slice)) => (rest, Some(slice)),
            None => (text, None),
        };
        let (from, to) = slice.map_or(Ok((None, None)), |slice| bounds(text, slice))?;
        let (place, split) = match rest.rsplit_once('@') {
            Some((place, split)) if !split.contains('/') => (place, Some(split)),
            _ => (rest, None),
        };
        let mistake = |reason: &str| DatasetError::Request(format!("data source `{text}`: {reason}"));
        if split == Some("") {
            return Err(mistake("no split after `@`"));
        }
        let place = match place.strip_prefix("synthetic:") {
            Some(name) => Place::Task(Task::parse(name).map_err(|error| mistake(&error.to_string()))?),
            None if place.is_empty() => {
                let forms = "write FILE.parquet, FILE.jsonl, FILE.json, a folder, a glob or synthetic:TASK";
                return Err(mistake(forms));
            }
            None => Place::Path(base.join(place)),
        };
        Ok(Self { place, split: split.map(str::to_owned), from, to })
    }
}

fn bounds(text: &str, slice: &str) -> Result<(Option<u64>, Option<u64>)> {
    let mistake = || DatasetError::Request(format!("data source `{text}`: [{slice}] is not a slice; write [from:to]"));
    let (from, to) = slice.split_once(':').ok_or_else(mistake)?;
    let bound = |text: &str| match text.trim() {
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| mistake()),
    };
    Ok((bound(from)?, bound(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(place: Place, split: Option<&str>, from: Option<u64>, to: Option<u64>) -> Address {
        Address { place, split: split.map(str::to_owned), from, to }
    }

    fn parse(text: &str) -> Result<Address> {
        Address::parse(text, Path::new("base"))
    }

    #[test]
    fn golden_addresses() {
        let path = |text: &str| Place::Path(Path::new("base").join(text));
        assert_eq!(
            parse("synthetic:clock@test[0:200]").unwrap(),
            spec(Place::Task(Task::Clock), Some("test"), Some(0), Some(200))
        );
        assert_eq!(parse("a/b.jsonl").unwrap(), spec(path("a/b.jsonl"), None, None, None));
        assert_eq!(parse("a@b/c.parquet[:9]").unwrap(), spec(path("a@b/c.parquet"), None, None, Some(9)));
        assert_eq!(parse("owner/name@val[3:]").unwrap(), spec(path("owner/name"), Some("val"), Some(3), None));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "@test", "x.jsonl@", "x.jsonl[3]", "x.jsonl[-1:2]", "synthetic:"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
