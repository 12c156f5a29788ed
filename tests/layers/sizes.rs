//! No file is too long to read in one go. Functions are measured by clippy (`clippy.toml`).

use std::collections::BTreeMap;
use std::path::Path;

/// The most lines of a file, its tests included.
const LONGEST: usize = 500;
/// The most lines of the file in the middle.
const MEDIAN: usize = 180;

/// What is wrong with these files, by path and lines; `known` are too long and must become shorter.
pub(crate) fn faults(lines: &BTreeMap<String, usize>, known: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, lines) in lines.iter().filter(|(file, lines)| **lines > LONGEST && !known.contains(&file.as_str())) {
        faults.push(format!("{file} has {lines} lines, more than {LONGEST}: split it"));
    }
    for file in known.iter().filter(|file| lines.get(**file).is_none_or(|lines| *lines <= LONGEST)) {
        faults.push(format!("{file} is no longer too long: take it off the list"));
    }
    let mut sorted: Vec<usize> = lines.values().copied().collect();
    sorted.sort_unstable();
    if let Some(median) = sorted.get(sorted.len() / 2).filter(|median| **median > MEDIAN) {
        faults.push(format!("the file in the middle has {median} lines, more than {MEDIAN}"));
    }
    faults
}

/// The lines of every Rust file in these folders of `root`, by its path from there.
pub(crate) fn lines_of_files(root: &Path, folders: &[&str]) -> BTreeMap<String, usize> {
    let files = folders.iter().flat_map(|folder| crate::source::rust_files(&root.join(folder)));
    files
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("a file of text");
            let path = file.strip_prefix(root).expect("a file of the house").display().to_string();
            (path, text.lines().count())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_named() {
        let files = |sizes: &[(&str, usize)]| sizes.iter().map(|(file, lines)| ((*file).to_owned(), *lines)).collect();
        assert_eq!(faults(&files(&[("a.rs", 500), ("b.rs", 20), ("c.rs", 180)]), &[]), Vec::<String>::new());
        assert_eq!(faults(&files(&[("a.rs", 501), ("b.rs", 20), ("c.rs", 180)]), &["a.rs"]), Vec::<String>::new());
        let found = faults(&files(&[("a.rs", 501), ("b.rs", 20), ("c.rs", 181)]), &["b.rs", "gone.rs"]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("a.rs has 501 lines"), "{found:?}");
    }
}
