//! What somebody may have meant by a name that nobody knows.

/// The known name that is most like `name`, as the end of a sentence.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    best.map(|best| format!("; did you mean `{best}`?")).unwrap_or_default()
}
