//! An answer as the constraints read it: its visible text, words, sentences and lines, each found once.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::visible::visible;
use crate::verifiers::repetition::{self, Repetition};

/// An answer.
pub(super) struct Reading {
    /// The answer as it was written, trimmed.
    pub(super) raw: String,
    /// What a reader sees, trimmed.
    pub(super) seen: String,
    /// What a reader sees, in lower case.
    pub(super) lower: String,
    repetitive: OnceLock<bool>,
}

/// A word that is said so often is not padding yet.
const OFTEN: usize = 12;

impl Reading {
    pub(super) fn new(answer: &str) -> Self {
        let seen = visible(answer).trim().to_owned();
        Self { raw: answer.trim().to_owned(), lower: seen.to_lowercase(), seen, repetitive: OnceLock::new() }
    }

    /// Whether there is nothing that a reader could read.
    pub(super) fn is_empty(&self) -> bool {
        !self.raw.chars().any(char::is_alphanumeric)
    }

    /// Words; each Chinese or Japanese letter is one.
    pub(super) fn words(&self) -> Vec<&str> {
        words(&self.seen)
    }

    /// How many words there are without padding: a word that follows itself, or makes up more than a sixth of the text,
    /// or a text that repeats itself, is no way to reach a length.
    pub(super) fn honest_words(&self) -> usize {
        if self.is_repetitive() {
            return 0;
        }
        let words: Vec<String> = self.words().iter().map(|word| word.to_lowercase()).collect();
        let most = OFTEN.max(words.len() / 6);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, word) in words.iter().enumerate() {
            if at == 0 || words[at - 1] != *word {
                *counts.entry(word).or_default() += 1;
            }
        }
        counts.values().map(|count| (*count).min(most)).sum()
    }

    pub(super) fn is_repetitive(&self) -> bool {
        *self.repetitive.get_or_init(|| repetition::sign(&self.seen, Repetition::default()).is_some())
    }

    /// Sentences that hold a letter or digit.
    pub(super) fn sentences(&self) -> Vec<&str> {
        let mut found = Vec::new();
        let mut start = 0;
        let mut letters = self.seen.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            let next = letters.peek().map(|(_, letter)| *letter);
            let ends = match letter {
                '。' | '！' | '？' | '\n' => true,
                '.' | '!' | '?' => next.is_none_or(|next| next.is_whitespace() || "\"')”’".contains(next)),
                _ => false,
            };
            if ends {
                found.push(&self.seen[start..at + letter.len_utf8()]);
                start = at + letter.len_utf8();
            }
        }
        found.push(&self.seen[start..]);
        found.into_iter().map(str::trim).filter(|sentence| sentence.chars().any(char::is_alphanumeric)).collect()
    }

    /// Lines that are not blank.
    pub(super) fn lines(&self) -> Vec<&str> {
        self.seen.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    }

    /// How often a word or phrase stands in the visible text, as whole words, whatever its case.
    pub(super) fn occurrences(&self, phrase: &str) -> usize {
        let phrase = phrase.trim().to_lowercase();
        let edge = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric() || is_ideograph(letter));
        let starts = phrase.chars().next().is_some_and(char::is_alphanumeric);
        let ends = phrase.chars().next_back().is_some_and(char::is_alphanumeric);
        self.lower
            .match_indices(&phrase)
            .filter(|(at, _)| {
                let (before, after) = (&self.lower[..*at], &self.lower[at + phrase.len()..]);
                let ideograph = phrase.chars().next().is_some_and(is_ideograph);
                ideograph || (!starts || edge(before.chars().next_back())) && (!ends || edge(after.chars().next()))
            })
            .count()
    }
}

pub(super) fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Words of a text; each Chinese or Japanese letter is one.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, letter) in text.char_indices() {
        let alone = is_ideograph(letter);
        let inside = letter.is_alphanumeric() || "'’-".contains(letter) && start.is_some();
        if (alone || !inside)
            && let Some(from) = start.take()
        {
            found.push(&text[from..at]);
        }
        if alone {
            found.push(&text[at..at + letter.len_utf8()]);
        } else if inside && start.is_none() {
            start = Some(at);
        }
    }
    found.extend(start.map(|from| &text[from..]));
    found
}
