//! Languages of the Latin script, told apart by their small words.

use super::finding::Finding;
use super::lexicon::{Known, LATIN, bit};
use super::script::Script;
use super::words::Word;

/// A text that should be in a language of the Latin script.
pub(super) fn in_latin(words: &[Word<'_>], foreign: &[&Word<'_>], expected: &str) -> Finding {
    let latin: Vec<&Word<'_>> = words.iter().filter(|word| word.script == Script::Latin).collect();
    if let Some(first) = foreign.first() {
        let own_word = |word: &&Word<'_>| word.lower && word.letters() > 1 || word.known.small & bit(expected) != 0;
        let own = latin.iter().any(own_word);
        return if own { Finding::mixed(first.text) } else { Finding::wrong(first.text) };
    }
    let own_bit = bit(expected);
    if own_bit == 0 {
        return Finding::default();
    }
    let clauses = latin.chunk_by(|one, other| one.clause == other.clause);
    let tallies: Vec<Tally> = clauses.map(|sentence| Tally::of(sentence, own_bit)).collect();
    let own: usize = tallies.iter().map(|tally| tally.own).sum();
    let hits: usize = tallies.iter().map(|tally| tally.other).sum();
    let strange = tallies.iter().zip(latin.chunk_by(|one, other| one.clause == other.clause)).find(|(tally, words)| {
        tally.own == 0
            && tally.other >= 2
            && 4 * tally.other >= words.len()
            && words.iter().filter(|word| word.lower).count() >= 3
    });
    let strange = strange.map(|(tally, _)| tally.language);
    let lower: Vec<&Word<'_>> = latin.into_iter().filter(|word| word.lower).collect();
    if let Some(tally) = tallies.iter().max_by_key(|tally| tally.other).filter(|tally| tally.other >= 2)
        && tallies.iter().all(|tally| tally.own <= tally.other)
        && 4 * own < hits
        && 5 * hits >= lower.len()
    {
        return Finding::wrong(format!("{hits} small words of `{}`", tally.language));
    }
    match strange {
        Some(language) if own > 0 => Finding::mixed(format!("a clause of `{language}`")),
        _ => switched(&lower, own_bit),
    }
}

/// Small words of a clause.
struct Tally {
    /// Those of the expected language that the other one lacks.
    own: usize,
    /// Those of the other language that the expected one lacks.
    other: usize,
    /// The other language with the most small words.
    language: &'static str,
}

impl Tally {
    fn of(sentence: &[&Word<'_>], own_bit: u8) -> Self {
        let only = |wanted: u8, lacked: u8| {
            let has = |word: &&&Word<'_>| word.known.small & wanted != 0 && word.known.small & lacked == 0;
            sentence.iter().filter(has).count()
        };
        let mut others = LATIN.iter().filter(|language| bit(language) != own_bit);
        // Most clauses have no word of another language: one comparison is enough for them.
        if sentence.iter().all(|word| word.known.small & !own_bit == 0) {
            let language = others.next_back().copied().unwrap_or_default();
            return Self { own: only(own_bit, bit(language)), other: 0, language };
        }
        let tallies = others.map(|language| {
            let other_bit = bit(language);
            Self { own: only(own_bit, other_bit), other: only(other_bit, own_bit), language }
        });
        tallies.max_by_key(|tally| tally.other).unwrap_or(Self { own: 0, other: 0, language: "" })
    }
}

/// A stretch of words with small words of another language and none of its own, or a connective of another language.
fn switched(lower: &[&Word<'_>], own_bit: u8) -> Finding {
    const WINDOW: usize = 6;
    const HITS: usize = 3;
    let stray = lower.iter().find(|word| {
        let Known { small, joins, .. } = word.known;
        joins != 0 && (small | joins) & own_bit == 0
    });
    if let Some(word) = stray {
        return Finding::mixed(format!("`{}` is of another language", word.text));
    }
    for language in LATIN.iter().filter(|language| bit(language) != own_bit) {
        let other_bit = bit(language);
        let strange = |word: &&&Word<'_>| word.known.small & other_bit != 0 && word.known.small & own_bit == 0;
        if lower.iter().filter(strange).take(HITS).count() < HITS {
            continue;
        }
        let found = lower.windows(WINDOW).find(|window| {
            let count = |wanted: u8, lacked: u8| {
                window.iter().filter(|word| word.known.small & wanted != 0 && word.known.small & lacked == 0).count()
            };
            count(other_bit, own_bit) >= HITS && count(own_bit, other_bit) == 0
        });
        if let Some(window) = found {
            let words: Vec<&str> = window.iter().map(|word| word.text).collect();
            return Finding::mixed(format!("`{}` of `{language}`", words.join(" ")));
        }
    }
    Finding::default()
}
