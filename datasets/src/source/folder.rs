//! Folders: shards in the Hugging Face layout, JSONL files by split, or `metadata.jsonl` beside its pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{OpenOptions, jsonl, of_split, read_file};
use crate::columns::nearest;
use crate::error::{DatasetError, Result};
use crate::query::Query;

/// The file that lists the pictures of an image folder.
const METADATA: &str = "metadata.jsonl";

/// Reads a folder: `metadata.jsonl` (rows with `file_name`) in it or in `SPLIT/`, else `SPLIT*.parquet` and
/// `SPLIT*.jsonl` in it or in `data/`, in the order of their names. Without a split there must be only one.
///
/// # Errors
/// When nothing fits, when a split must be named, or for a row that cannot be used.
pub fn read(folder: &Path, split: Option<&str>, options: &OpenOptions) -> Result<Vec<Query>> {
    if let Some(split) = split {
        let own = folder.join(split).join(METADATA);
        if own.is_file() {
            return read_metadata(&own, options);
        }
    }
    let metadata = folder.join(METADATA);
    if metadata.is_file() {
        let queries = read_metadata(&metadata, options)?;
        return split.map_or(Ok(queries.clone()), |split| of_split(queries, split, &metadata));
    }
    let mut queries = Vec::new();
    for file in shards(folder, split)? {
        queries.extend(read_file(&file, options)?);
    }
    Ok(queries)
}

/// An image folder's rows name their picture in `file_name`.
fn read_metadata(path: &Path, options: &OpenOptions) -> Result<Vec<Query>> {
    let mut options = options.clone();
    let text = std::fs::read_to_string(path).map_err(|error| DatasetError::io(path, error))?;
    if options.columns.image_key.is_none() && text.lines().any(|line| line.contains("\"file_name\"")) {
        options.columns.image_key = Some("file_name".to_owned());
    }
    jsonl::read(path, &options)
}

fn shards(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>> {
    let mut found: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for place in [folder.to_owned(), folder.join("data")] {
        let Ok(entries) = std::fs::read_dir(&place) else { continue };
        for entry in entries {
            let path = entry.map_err(|error| DatasetError::io(&place, error))?.path();
            let known = path.extension().is_some_and(|extension| extension == "parquet" || extension == "jsonl");
            if let (true, Some(stem)) = (known, path.file_stem().and_then(|stem| stem.to_str())) {
                found.entry(split_of(stem).to_owned()).or_default().insert(path);
            }
        }
    }
    let place = folder.display().to_string();
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let chosen = match (split, names.as_slice()) {
        (_, []) => return Err(DatasetError::row(place, "holds no .parquet, .jsonl or metadata.jsonl file")),
        (Some(split), _) => split,
        (None, [only]) => only,
        (None, _) => {
            let reason = format!(
                "holds several splits; name one: {}",
                names.iter().map(|name| format!("@{name}")).collect::<Vec<_>>().join(", ")
            );
            return Err(DatasetError::row(place, reason));
        }
    };
    match found.get(chosen) {
        Some(files) => Ok(files.iter().cloned().collect()),
        None => {
            Err(DatasetError::row(place, format!("no split `{chosen}`; {}", nearest(chosen, names.iter().copied()))))
        }
    }
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
    use std::fs;

    use super::*;
    use crate::source::{open, parquet};
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    #[test]
    fn shards_are_read_in_order_by_split() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let queries: Vec<Query> = (0..6).map(|index| query(Task::Digits, Split::Train, 1, index)).collect();
        let shard = |name: &str| folder.path().join("data").join(name);
        parquet::write(&shard("train-00001-of-00002.parquet"), &queries[3..]).unwrap();
        parquet::write(&shard("train-00000-of-00002.parquet"), &queries[..3]).unwrap();
        let address = folder.path().to_str().unwrap();
        let all: Vec<Query> = open(address, 0).unwrap().iter().map(Result::unwrap).collect();
        assert_eq!(all, queries);
        parquet::write(&shard("test.parquet"), &queries[..1]).unwrap();
        assert!(open(address, 0).unwrap_err().to_string().contains("@test, @train"));
        assert_eq!(open(&format!("{address}@test"), 0).unwrap().len(), Some(1));
        assert_eq!(open(&format!("{address}@train[1:4]"), 0).unwrap().get(0).unwrap(), queries[1]);
        let message = open(&format!("{address}@trian"), 0).unwrap_err().to_string();
        assert!(message.contains("did you mean `train`?"), "{message}");
    }

    #[test]
    fn an_image_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let asked = query(Task::Clock, Split::Train, 1, 0);
        fs::write(folder.path().join("one.png"), asked.images[0].bytes()).unwrap();
        let row = r#"{"file_name":"one.png","prompt":"What time is it?","answer":"3:00","split":"val"}"#;
        fs::write(folder.path().join(METADATA), row).unwrap();
        let address = folder.path().to_str().unwrap();
        let read = open(&format!("{address}@val"), 0).unwrap().get(0).unwrap();
        assert_eq!((read.images, read.messages), (asked.images, asked.messages));
        assert!(open(&format!("{address}@test"), 0).unwrap_err().to_string().contains("column `split`"));
    }

    #[test]
    fn an_empty_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path().to_str().unwrap(), 0).unwrap_err().to_string().contains("holds no .parquet"));
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
