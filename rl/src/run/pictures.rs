//! The pictures of a run on disk: each is named by its hash, so that one that was lost or changed is seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Result, RunError};
use crate::head::Head;

/// Pictures that a message names at most.
const TOLD: usize = 3;

/// The hashes of the pictures that `queries` speak of and that are not there. One that is not what its name says is removed.
///
/// # Errors
/// When one cannot be read or removed.
pub(super) fn lost(run: &Path, queries: &[Value]) -> Result<BTreeSet<String>> {
    let folder = run.join("images");
    let mut there = BTreeSet::new();
    for path in files(&folder) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((hash, _)) = name.split_once('.').filter(|(hash, _)| hash.len() == 64) else { continue };
        let io = |source| RunError::io(&path, source);
        if Head::whole(&path).map_err(io)?.sha256() == hash {
            there.insert(hash.to_owned());
        } else {
            std::fs::remove_file(&path).map_err(io)?;
        }
    }
    let named = queries.iter().filter_map(|line| line["images"].as_array()).flatten().filter_map(Value::as_str);
    Ok(named.filter(|hash| !there.contains(*hash)).map(str::to_owned).collect())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    // A run without pictures has no such folder.
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// What is to be said of them.
pub(super) fn said(lost: &BTreeSet<String>) -> Option<String> {
    let named: Vec<&str> = lost.iter().take(TOLD).map(String::as_str).collect();
    let more = match lost.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!lost.is_empty()).then(|| {
        format!(
            "warning: of the run's pictures {} are missing or were changed (images/{}{more}); each is written again when its \
             query is next asked, and until then `data show` and the report have none",
            lost.len(),
            named.join(", images/")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sha256;

    #[test]
    fn a_picture_that_was_removed_or_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("images");
        std::fs::create_dir(&images).unwrap();
        let pictures: Vec<String> = ["one", "two", "three"].iter().map(|text| sha256(text.as_bytes())).collect();
        std::fs::write(images.join(format!("{}.png", pictures[0])), "one").unwrap();
        std::fs::write(images.join(format!("{}.png", pictures[1])), "too").unwrap();
        std::fs::write(images.join("mine.png"), "mine").unwrap();
        let queries = [serde_json::json!({"images": pictures}), serde_json::json!({"images": []})];
        let lost = lost(folder.path(), &queries).unwrap();
        assert_eq!(lost, pictures[1..].iter().cloned().collect());
        let said = said(&lost).unwrap();
        assert!(said.contains("pictures 2 are missing") && said.contains(&pictures[2]), "{said}");
        assert_eq!(super::said(&BTreeSet::new()), None);
        assert_eq!(files(&images).len(), 2, "what is no picture of the run is left alone");
    }
}
