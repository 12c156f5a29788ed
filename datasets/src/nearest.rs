//! The known name that is nearest to one that nobody knows.

/// A hint for a name that is not known: "did you mean `x`?", or the list of all that are known.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match closest(name, known.clone()) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("known: {}", list(known)),
    }
}

/// The known name within a third of its length in edits (insert, remove, replace, swap), if there is one.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.chars().count() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Names in backquotes, with commas between them.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_named_or_all_are() {
        let known = ["train", "validation", "test"];
        for (name, says) in [
            ("trian", "did you mean `train`?"),
            ("valdation", "did you mean `validation`?"),
            ("tets", "did you mean `test`?"),
            ("holdout", "known: `train`, `validation`, `test`"),
        ] {
            assert_eq!(nearest(name, known.into_iter()), says);
        }
        assert_eq!(closest("红色", ["绿色"].into_iter()), Some("绿色"), "characters count, not bytes");
    }
}
