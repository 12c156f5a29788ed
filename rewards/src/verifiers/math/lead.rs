//! The words that lead up to an answer that a reply announces, where they take it back.

use std::sync::LazyLock;

use regex::Regex;

use super::clause::pattern;
use crate::closings::Closings;
use crate::sentence::last_sentence;

/// Longer leads to an announcement are cut, in bytes.
const LONGEST_LEAD_BYTES: usize = 400;

/// Where the clause begins that announces an answer.
static LEAD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)[:\u{ff1a}]|\b(?:so|hence|thus|therefore|then|and|but|because|since|means|meaning)\b")
});
/// What calls an answer wrong, or somebody else's.
static DISOWNS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:wrong|incorrect|false|worst|mistaken|his|her|their|(?:student|friend|teacher|textbook|book)['\u{2019}]s)\s+(?:final\s+)?$",
    )
});

/// Whether the words that lead up to an announcement deny it, make a guess of it or say who else said it: those behind the
/// last "so" or "and".
pub(super) fn takes_back(before: &str, closings: &Closings) -> bool {
    let sentence = &before[last_sentence(before, LONGEST_LEAD_BYTES)..];
    let lead = LEAD.find_iter(sentence).last().map_or(sentence, |lead| &sentence[lead.end()..]);
    !lead.trim().is_empty() && (closings.takes_back(lead) || closings.hedges(lead) || DISOWNS.is_match(lead))
}

/// Whether the sentence that ends with a box announces its answer and takes it back.
pub(super) fn denies_box(before: &str, end: &str, closings: &Closings) -> bool {
    let from = last_sentence(before, LONGEST_LEAD_BYTES);
    let sentence = format!("{}{end}", &before[from..]);
    closings.all(&sentence).pop().is_some_and(|last| last.denied && last.phrase.end <= before.len() - from)
}
