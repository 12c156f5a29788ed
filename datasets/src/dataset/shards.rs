//! The files of a source: one, those that a glob matches, or those of a split in a folder; in the order of their names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{DatasetError, Result};
use crate::layout::METADATA;
use crate::nearest::nearest;
use crate::table::ENDINGS;

/// The files that were found, and the split whose rows are still to be told apart by their column `split`.
#[derive(Debug, PartialEq)]
pub(super) struct Shards {
    pub(super) files: Vec<PathBuf>,
    pub(super) split: Option<String>,
}

impl Shards {
    /// Looks at a path. In a folder that is `metadata.jsonl` in it or in `SPLIT/`, else the `.parquet` and `.jsonl`
    /// files of `SPLIT/`, else those whose names start with the split, in it or in `data/`.
    ///
    /// # Errors
    /// When nothing lies there or fits, or when a folder has several splits and none is named.
    pub(super) fn find(path: &Path, split: Option<&str>) -> Result<Self> {
        let by_column = |files| Ok(Self { files, split: split.map(str::to_owned) });
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => folder(path, split),
            Ok(_) => by_column(vec![path.to_owned()]),
            Err(error) => match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
                Some(pattern) => by_column(matches(pattern)?),
                None => Err(DatasetError::io(path, error)),
            },
        }
    }
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern)
        .map_err(|error| DatasetError::row(pattern, format!("is not a pattern of file names: {error}")))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| DatasetError::io(error.path().to_owned(), error.into()))?;
        let ending = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
            files.push(path);
        }
    }
    match files.is_empty() {
        true => Err(DatasetError::row(pattern, "matches no .parquet, .jsonl or .json file")),
        false => Ok(files),
    }
}

fn folder(folder: &Path, split: Option<&str>) -> Result<Shards> {
    let whole = |files| Ok(Shards { files, split: None });
    if let Some(split) = split {
        let own = folder.join(split);
        if own.join(METADATA).is_file() {
            return whole(vec![own.join(METADATA)]);
        }
        let inside: Vec<PathBuf> = by_split(&own)?.into_values().flatten().collect();
        if !inside.is_empty() {
            return whole(inside);
        }
    }
    let metadata = folder.join(METADATA);
    if metadata.is_file() {
        return Ok(Shards { files: vec![metadata], split: split.map(str::to_owned) });
    }
    let mut found = by_split(folder)?;
    for (split, files) in by_split(&folder.join("data"))? {
        found.entry(split).or_default().extend(files);
    }
    whole(chosen(found, split, &folder.display().to_string())?)
}

/// The files of a split; without a name there must be only one split.
fn chosen(mut found: BTreeMap<String, BTreeSet<PathBuf>>, split: Option<&str>, place: &str) -> Result<Vec<PathBuf>> {
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let wanted = match (split, names.as_slice()) {
        (_, []) => return Err(DatasetError::row(place, "holds no .parquet, .jsonl or metadata.jsonl file")),
        (Some(split), _) => split.to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, _) => {
            let splits = names.iter().map(|name| format!("@{name}")).collect::<Vec<_>>().join(", ");
            return Err(DatasetError::row(place, format!("holds several splits; name one: {splits}")));
        }
    };
    let guess = nearest(&wanted, names.into_iter());
    let files = found.remove(&wanted);
    files
        .map(|files| files.into_iter().collect())
        .ok_or_else(|| DatasetError::row(place, format!("no split `{wanted}`; {guess}")))
}

/// The files of a folder by the split that their names start with; none where there is no such folder.
fn by_split(folder: &Path) -> Result<BTreeMap<String, BTreeSet<PathBuf>>> {
    let mut found: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(found) };
    for entry in entries {
        let path = entry.map_err(|error| DatasetError::io(folder, error))?.path();
        let known = path.extension().is_some_and(|extension| extension == "parquet" || extension == "jsonl");
        if let (true, Some(stem)) = (known, path.file_stem().and_then(|stem| stem.to_str())) {
            found.entry(split_of(stem).to_owned()).or_default().insert(path);
        }
    }
    Ok(found)
}

/// `train` of `train-00000-of-00002`.
fn split_of(stem: &str) -> &str {
    match stem.find("-0") {
        Some(at) if stem[at..].bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || b"of".contains(&byte)) => {
            &stem[..at]
        }
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(
        folder: &Path,
        names: &[&str],
        asked: &str,
        split: Option<&str>,
    ) -> std::result::Result<Vec<String>, String> {
        for name in names {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = Shards::find(&folder.join(asked), split).map_err(|error| error.to_string())?;
        let short = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        Ok(found.files.iter().map(short).collect())
    }

    #[test]
    fn a_folder_gives_the_files_of_a_split_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "readme.md"];
        let two = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
        assert_eq!(find(folder.path(), &names, "", None).unwrap(), two);
        let names = ["test.jsonl", "val/a.jsonl", "val/b.parquet"];
        assert!(find(folder.path(), &names, "", None).unwrap_err().contains("@test, @train"));
        assert_eq!(find(folder.path(), &[], "", Some("train")).unwrap(), two);
        assert_eq!(find(folder.path(), &[], "", Some("val")).unwrap(), ["val/a.jsonl", "val/b.parquet"]);
        assert!(find(folder.path(), &[], "", Some("trian")).unwrap_err().contains("did you mean `train`?"));
    }

    #[test]
    fn a_glob_gives_data_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["b-2.parquet", "b-1.parquet", "b-3.txt", "c.jsonl"];
        assert_eq!(find(folder.path(), &names, "b-*", None).unwrap(), ["b-1.parquet", "b-2.parquet"]);
        assert_eq!(find(folder.path(), &[], "?.jsonl", None).unwrap(), ["c.jsonl"]);
        assert!(find(folder.path(), &[], "x*.parquet", None).unwrap_err().contains("matches no .parquet"));
        assert!(find(folder.path(), &[], "x.parquet", None).unwrap_err().contains("x.parquet"));
        assert!(find(folder.path(), &["empty/x.txt"], "empty", None).unwrap_err().contains("holds no .parquet"));
    }

    #[test]
    fn golden_split_names() {
        for (stem, split) in
            [("train-00000-of-00002", "train"), ("test", "test"), ("my-0set", "my-0set"), ("val-0", "val")]
        {
            assert_eq!(split_of(stem), split);
        }
    }
}
