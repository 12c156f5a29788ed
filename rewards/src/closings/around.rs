//! Words around a value that make another one of it, a bound or a guess, or that say who else said it: for mathematics.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    language::{Language, collect, sources},
    phrase::{self, Words},
};
use crate::sentence::{first_clause, last_clause, last_sentence, sentence_end};

/// No more than this is looked at on either side of a value, in bytes.
const LONGEST_SIDE_BYTES: usize = 200;
/// Nor this of a sentence.
const LONGEST_SENTENCE_BYTES: usize = 400;
/// A condition is looked for in so much behind its word, in bytes, and so is the name behind "according to".
const LONGEST_CLAUSE_BYTES: usize = 60;

/// What may stand right before a value: its name, emphasis, signs of formulas and of money.
const VALUE: &str = r"[\s*_]*(?:\$?\s*\b[A-Za-z]\w?\s*=\s*)?[\s*_$\\(\[\x{20ac}\x{a3}\x{a5}]*$";
/// The same right behind it.
const BEHIND: &str = r"^(?:[\s*_$)\]}\x{b0},;\u{ff0c}]|\\[)\]]|[(\u{ff08}])*";
/// What stands before a word between two values.
const FIRST: &str = r"(?:[\d$)}\]]|(?:^|[^\w\\'])[A-Za-z])\s*(?:,\s*)?";
/// What stands behind one.
const SECOND: &str = r"\s*(?:(?:\$?\s*\b[A-Za-z]\w?\s*=\s*)?[-$(\\\[]*(?:\d|(?:boxed|[dt]?frac|sqrt)\b)|\$)";

/// A sign that bounds a letter.
static BOUNDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:^|[^<])<(?:[^<a-zA-Z/]|$)|[^->=]>(?:[^>]|$)|[\x{2264}\x{2265}\x{2260}\x{2208}]|\\(?:leq?|geq?|leqslant|geqslant|lt|gt|neq?|in|notin)\b",
    )
});
/// An equation of a letter.
static EQUATES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|[\s$(])[A-Za-z]\s*="));
/// A letter of which something is said: no article and no other word of one letter.
static SAYS_OF: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[\s$(]*[b-df-hj-np-zB-HJ-Z]\$?\s+\p{L}{2}"));
/// A bound in brackets right behind a value.
static BOUND_ASIDE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^[\s$*_]*(?:\\[)\]])?\s*[(\x{ff08},;][\s$]*[A-Za-z](?:_\w)?\s*(?:[<>\x{2264}\x{2265}\x{2260}\x{2208}]|\\(?:leq?|geq?|lt|gt|neq?|in)\b)",
    )
});
/// What is written of limits.
static OF_LIMITS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\\(?:to|rightarrow|infty|lim)\b|[\x{2192}\x{221e}]|\blim"));

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the pattern is a constant and is tested")
}

/// Words around a value.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    changes: Words,
    changes_behind: Words,
    about: Words,
    remark: Words,
    nears: Words,
    either: Words,
    either_behind: Words,
    more: Words,
    condition: Words,
    condition_behind: Words,
    suppose_behind: Words,
    denied: Words,
    mistake: Words,
    turn: Words,
    whose: Words,
    source: Words,
    source_behind: Words,
    grounds: Words,
    loaded: Words,
}

impl Around {
    /// # Errors
    /// Which phrase cannot be read, and why.
    pub(super) fn new(languages: &[Language]) -> Result<Self, String> {
        let words = |part: fn(&Language) -> &Vec<String>, before: &str, behind: &str| {
            Words::new(&sources(languages, part)?, before, behind)
        };
        let filler = sources(languages, |language| &language.filler)?.join("|");
        let value = format!(r"(?:[\s*_]*(?:{filler}))*{VALUE}");
        let conditions = |language: &Language| [language.condition.as_slice(), &language.suppose].concat();
        let conditions =
            collect(languages, |language| conditions(language).iter().map(|word| phrase::source(word)).collect())?;
        let loaded = collect(languages, |language| {
            let words =
                [&language.changes, &language.changes_behind, &language.about, &language.remark, &language.denied];
            words.into_iter().flatten().map(|word| phrase::source(word)).collect()
        })?;
        Ok(Self {
            changes: words(|language| &language.changes, "", &value)?,
            changes_behind: words(|language| &language.changes_behind, BEHIND, "")?,
            about: words(|language| &language.about, "", &value)?,
            remark: words(|language| &language.remark, BEHIND, r"[\s*_]*(?:[)\]\x{ff09}.,;:\x{3002}\x{ff0c}]|$)")?,
            nears: words(|language| &language.nears, "", &value)?,
            either: words(|language| &language.either, FIRST, &value)?,
            either_behind: words(|language| &language.either, r"^[\s$)\]}]*,?\s*", SECOND)?,
            more: words(|language| &language.more, r"^[\s*_]*", "")?,
            condition: Words::new(&conditions, "", "")?,
            condition_behind: Words::new(&conditions, BEHIND, "")?,
            suppose_behind: words(|language| &language.suppose, BEHIND, "")?,
            denied: words(|language| &language.denied, r"^[\s$*_)\]},.:]*(?:\\[)\]]\s*)?", "")?,
            mistake: words(|language| &language.mistake, "", "")?,
            turn: words(|language| &language.turn, "", "")?,
            whose: words(|language| &language.whose, "", r"[\s*_]*$")?,
            source: words(|language| &language.source, "", "")?,
            source_behind: words(|language| &language.source_behind, "", "")?,
            grounds: words(|language| &language.grounds, "", "")?,
            loaded: Words::new(&loaded, "", "")?,
        })
    }

    /// Whether the words right before a value make another one of it, a bound or a guess.
    pub(crate) fn changes(&self, before: &str) -> bool {
        let near = end_of(before, LONGEST_SIDE_BYTES);
        self.changes.any(near) || self.either.any(near) || self.nears.any(near) && !OF_LIMITS.is_match(before)
    }

    /// Whether the words right behind a value do the same, or bring a condition.
    pub(crate) fn changes_behind(&self, after: &str) -> bool {
        let near = start_of(after, LONGEST_SIDE_BYTES);
        self.changes_behind.any(near)
            || self.either_behind.any(near)
            || self.remark.any(near)
            || self
                .condition_behind
                .first(near)
                .is_some_and(|word| self.is_bound(&near[word.clone()], clause(&near[word.end..])))
            || self.suppose_behind.first(near).is_some_and(|word| EQUATES.is_match(clause(&near[word.end..])))
            || BOUND_ASIDE.is_match(near)
    }

    /// Whether a word makes another value of one beside it.
    pub(crate) fn is_loaded(&self, word: &str) -> bool {
        let whole = |found: &std::ops::Range<usize>| *found == (0..word.len());
        self.loaded.all(word).any(|found| whole(&found) || !word.is_ascii() && word[found].chars().nth(1).is_some())
    }

    /// Whether the words right before a value only say how large it is.
    pub(crate) fn is_about(&self, before: &str) -> bool {
        self.about.any(end_of(before, LONGEST_SIDE_BYTES))
    }

    /// Whether a text, behind a word that joins two answers, makes a bound of the one before: "more".
    pub(crate) fn is_more(&self, text: &str) -> bool {
        self.more.any(start_of(text, LONGEST_SIDE_BYTES))
    }

    /// Whether a text takes back the value in front of it.
    pub(crate) fn denies_behind(&self, after: &str) -> bool {
        self.denied.any(start_of(after, LONGEST_SIDE_BYTES))
    }

    /// What a sentence says behind its last "so" or "but".
    pub(crate) fn own<'t>(&self, sentence: &'t str) -> &'t str {
        let turn = self.turn.all(sentence).last().map_or(0, |turn| turn.end);
        let colon = sentence
            .rfind([':', '\u{ff1a}'])
            .map_or(0, |at| at + sentence[at..].chars().next().map_or(1, char::len_utf8));
        &sentence[turn.max(colon)..]
    }

    /// Whether the words that lead up to a value or an announcement show a mistake, or say who else says it.
    pub(crate) fn is_others(&self, before: &str) -> bool {
        let sentence = &before[last_sentence(before, LONGEST_SENTENCE_BYTES)..];
        self.mistake.any(self.own(sentence)) || self.names_source(&before[titled(before)..])
    }

    /// Whether the words behind a value say who else says it.
    pub(crate) fn is_others_behind(&self, after: &str) -> bool {
        let near = start_of(after, LONGEST_SENTENCE_BYTES);
        self.names_source(&near[..sentence_end(near)])
    }

    /// Whether the words right before an announcement say whose answer it is, or that it is wrong.
    pub(crate) fn is_whose(&self, before: &str) -> bool {
        let near = end_of(before, LONGEST_SIDE_BYTES);
        let own = |whose: &str| whose.rsplit(char::is_whitespace).take(2).any(|word| self.grounds.any(word));
        self.whose.first(near).is_some_and(|whose| !own(&near[whose]))
    }

    /// Whether the clause before an announcement makes it depend on a bound.
    pub(crate) fn is_conditional(&self, lead: &str) -> bool {
        BOUNDS.is_match(lead) && self.condition.any(lead)
    }

    /// Whether what follows a word of condition bounds a letter, says something of it or gives the value of another case.
    fn is_bound(&self, word: &str, clause: &str) -> bool {
        let valued = |text: &str| text.trim_end_matches(['$', ' ']).ends_with(|letter: char| letter.is_ascii_digit());
        BOUNDS.is_match(clause)
            || SAYS_OF.is_match(clause)
            || self
                .condition
                .all(clause)
                .any(|next| word.ends_with(&clause[next.clone()]) && valued(&clause[..next.start]))
    }

    /// Whether a sentence names somebody who says what it says: no formula and no problem.
    fn names_source(&self, sentence: &str) -> bool {
        // ", so" leads to what the sentence says of its own.
        let turned = |end: usize| {
            let rest = &sentence[end..];
            self.turn
                .all(rest)
                .any(|turn| rest[..turn.start].trim_end().ends_with([',', '\u{ff0c}', '\u{3001}', '\u{60c}']))
        };
        let named = |words: &str| words.contains(char::is_alphabetic) && !self.grounds.any(words);
        let behind = self.source.all(sentence).last().is_some_and(|source| {
            let name = clause(&sentence[source.end..]);
            // "As Bob puts it" holds the name.
            let name = if name.contains(char::is_alphabetic) { name } else { &sentence[source.clone()] };
            !turned(source.end) && named(name)
        });
        let before = || {
            self.source_behind.all(sentence).last().is_some_and(|source| {
                let head = &sentence[..source.start];
                let head = &head[last_clause(head)..];
                !turned(source.end) && named(end_of(head, LONGEST_CLAUSE_BYTES))
            })
        };
        behind || before()
    }
}

/// Where the last sentence of a text begins, with a title in it: "Dr. Smith".
fn titled(text: &str) -> usize {
    let start = last_sentence(text, LONGEST_SENTENCE_BYTES);
    let before = text[..start].trim_end();
    let word = before.trim_end_matches('.').rsplit(|letter: char| !letter.is_alphabetic()).next().unwrap_or_default();
    let title = before.ends_with('.') && word.len() <= 4 && word.starts_with(char::is_uppercase);
    if title { last_sentence(&before[..before.len() - 1], LONGEST_SENTENCE_BYTES) } else { start }
}

/// The beginning of a text up to its first comma or the end of its sentence, cut.
fn clause(text: &str) -> &str {
    let text = start_of(text, LONGEST_CLAUSE_BYTES);
    let text = &text[..sentence_end(text)];
    &text[..first_clause(text)]
}

fn start_of(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn end_of(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}
