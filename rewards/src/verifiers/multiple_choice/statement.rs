//! Statements of a reply that announce a choice, and what they choose.

use super::content::{Choices, Place, Said, content};
use crate::extract::MOST_ANSWERS;
use crate::sentence::sentence_end;

/// What introduces a choice, in lower case, longest first where one begins another. What follows is read as a choice
/// even in lower case.
pub(super) const STRONG: [&str; 29] = [
    "answer is:",
    "answer is",
    "answer would be",
    "answer should be",
    "answer must be",
    "answer:",
    "answer -",
    "answer =",
    "answer=",
    "option is",
    "choice is",
    "option:",
    "choice:",
    "而是",
    "答案是：",
    "答案是:",
    "答案应该是",
    "答案应为",
    "答案是",
    "答案为",
    "答案选",
    "答案：",
    "答案:",
    "应该选",
    "选择",
    "选项是",
    "选项为",
    "选",
    "选项",
];

/// What may introduce a choice: a capital letter that stands for itself must follow.
pub(super) const WEAK: [&str; 21] = [
    "it is",
    "it's",
    "that is",
    "must be",
    "should be",
    "go with",
    "going with",
    "choose",
    "pick",
    "select",
    "option",
    "choice",
    "therefore",
    "hence",
    "thus",
    "clearly",
    "obviously",
    "definitely",
    "so",
    "因此",
    "所以",
];

/// The last so many statements of a kind are read, so that a long reply costs no more than its length.
const MOST_STATEMENTS: usize = 64;

/// So much of a statement is read.
const LONGEST_STATEMENT_BYTES: usize = 400;

/// What the last of the statements says that says anything.
pub(super) fn stated(text: &str, choices: &Choices, marks: &[&str], place: Place) -> Said {
    // ASCII lower case keeps every byte where it is.
    let lower = text.to_ascii_lowercase();
    let mut found: Option<(usize, Said)> = None;
    let mut note = |at: usize, said: Said| {
        if said != Said::Nothing && found.is_none_or(|(before, _)| at >= before) {
            found = Some((at, said));
        }
    };
    let ascii = lower.is_ascii();
    for mark in marks.iter().filter(|mark| !ascii || mark.is_ascii()) {
        let places: Vec<usize> = lower.rmatch_indices(*mark).take(MOST_STATEMENTS).map(|(at, _)| at).collect();
        if place == Place::Announced && places.len() > MOST_ANSWERS {
            return Said::Unclear;
        }
        for at in places {
            let end = at + mark.len();
            if !stands_alone(&lower, at, end) || is_negated(&lower[..at]) {
                continue;
            }
            let said = clipped(
                text[end..].trim_start_matches(|letter: char| letter.is_whitespace() || ":：,，".contains(letter)),
            );
            note(end, content(&said[..sentence_end(said)], choices, place));
        }
    }
    if place == Place::Announced {
        for (at, letter) in postfixed(text, &lower, choices) {
            note(at, Said::One(letter));
        }
    }
    found.map_or(Said::Nothing, |(_, said)| said)
}

/// The first bytes of a text, enough for a statement.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_STATEMENT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `C is correct`, `(B) is the right option`.
fn postfixed(text: &str, lower: &str, choices: &Choices) -> Vec<(usize, char)> {
    const ENDINGS: [&str; 10] = [
        " is correct",
        " is right",
        " is the correct",
        " is the right",
        " is the best",
        " is the answer",
        " is my answer",
        "是正确",
        "正确",
        "是对的",
    ];
    let mut found = Vec::new();
    for (at, _) in ENDINGS.iter().flat_map(|ending| lower.rmatch_indices(ending).take(MOST_STATEMENTS)) {
        let before = text[..at].trim_end_matches(['*', ')', ' ', '"', '`']);
        let mut letters = before.chars().rev();
        let Some(letter) = letters.next().filter(|letter| choices.contains_key(letter)) else { continue };
        let start = before.len() - letter.len_utf8();
        // What stands before must not be a list of options.
        let list = text[..start].trim_end_matches(['(', '*', ' ']).to_lowercase();
        let listed = [" and", " or", ",", "/", "和", "或", "、"].iter().any(|mark| list.ends_with(mark));
        if !letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric())
            && !listed
            && !is_negated(&lower[..start])
        {
            found.push((at, letter));
        }
    }
    found
}

/// Whether the words at a place are not part of longer ones.
fn stands_alone(lower: &str, start: usize, end: usize) -> bool {
    let ascii = |letter: char| letter.is_ascii_alphanumeric();
    let first = lower[start..].chars().next().is_some_and(ascii);
    let last = lower[..end].chars().next_back().is_some_and(ascii);
    !(first && lower[..start].chars().next_back().is_some_and(ascii)
        || last && lower[end..].chars().next().is_some_and(ascii))
}

/// Whether the clause that leads up to a place denies what follows.
fn is_negated(before: &str) -> bool {
    let mut start = before.len().saturating_sub(LONGEST_STATEMENT_BYTES);
    while !before.is_char_boundary(start) {
        start += 1;
    }
    let clause = before[start..].rsplit([',', '.', ';', '!', '?', '\n', '，', '。', '；']).next().unwrap_or_default();
    clause.contains("n't ")
        || clause.contains('不')
        || clause.split_whitespace().any(|word| ["not", "never", "no", "neither"].contains(&word))
}
