//! Statements of a reply that announce a choice, judge an option or name one, and what they choose.

use super::content::{Place, Reading, Said, bare};
use crate::closings::Closing;
use crate::extract::MOST_ANSWERS;
use crate::sentence::{commas, first_clause, sentence_end};
use crate::text::normalised;

/// What may introduce a choice: a capital letter that stands for itself must follow.
const WEAK: [&str; 18] = [
    "it is",
    "it's",
    "that is",
    "must be",
    "should be",
    "going with",
    "option",
    "choice",
    "therefore",
    "hence",
    "thus",
    "clearly",
    "obviously",
    "definitely",
    "so",
    "选项",
    "因此",
    "所以",
];

/// The last so many statements of a kind are read, so that a long reply costs no more than its length.
const MOST_STATEMENTS: usize = 64;
/// So much of a statement is read.
const LONGEST_STATEMENT_BYTES: usize = 400;
/// A verdict of an option is said in so many words, or letters where words are not apart.
const LONGEST_VERDICT_WORDS: usize = 5;
const LONGEST_VERDICT_LETTERS: usize = 40;

/// What stands between an option and what is said of it.
const COPULAS: [&str; 26] = [
    "is", "isn't", "was", "wasn't", "are", "aren't", "must", "would", "cannot", "can't", "could", "couldn't", "does",
    "doesn't", "seems", "est", "n'est", "n’est", "ist", "es", "no", "é", "não", "está", "è", "non",
];

/// What a place of a reply says about the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A statement that closes the reply.
    Chosen(Said),
    /// An option is called right.
    Right(char),
    /// An option is called wrong.
    Wrong(char),
}

/// What closing statements and verdicts of options say, the last of them last.
pub(super) fn announced(text: &str, reading: &Reading<'_>) -> Said {
    let closings = reading.closings;
    let mut closed = closings.all(text);
    closed.extend(closings.options(text));
    let mut events: Vec<(usize, Event)> = Vec::new();
    for closing in &closed {
        let phrase = &text[closing.phrase.clone()];
        if closed.iter().filter(|other| text[other.phrase.clone()] == *phrase).count() > MOST_ANSWERS {
            return Said::Unclear;
        }
        events.extend(closes(text, closing, reading).map(|event| (closing.phrase.start, event)));
    }
    events.extend(verdicts(text, reading));
    events.sort_by_key(|(at, _)| *at);
    let (mut found, mut by_verdict) = (Said::Nothing, false);
    for (_, event) in events {
        match event {
            Event::Chosen(said) => (found, by_verdict) = (said, false),
            // Two options that are both called right.
            Event::Right(letter) if by_verdict && found != Said::One(letter) => found = Said::Unclear,
            Event::Right(letter) => (found, by_verdict) = (Said::One(letter), true),
            Event::Wrong(letter) if found == Said::One(letter) => found = Said::Unclear,
            Event::Wrong(_) => {}
        }
    }
    found
}

/// What a closing statement says about the options.
fn closes(text: &str, closing: &Closing, reading: &Reading<'_>) -> Option<Event> {
    let answer = &text[closing.answer.clone()];
    let said = if closing.answer.start >= closing.phrase.end {
        reading.content(answer, Place::Announced)
    } else {
        reading.trailing(answer)
    };
    // "The answer is no": the option itself is a word that denies.
    let is_option = reading.is_option(answer) && !reading.closings.takes_back(&text[..closing.phrase.start]);
    match said {
        Said::One(_) if is_option => Some(Event::Chosen(said)),
        Said::Nothing if closing.denied => {
            // "not B": the letter behind the denial.
            let named = answer.split(|letter: char| letter.is_whitespace() || ",.()*'\"".contains(letter));
            named.filter_map(|word| reading.letter(word)).next().map(Event::Wrong)
        }
        Said::One(letter) if closing.denied => Some(Event::Wrong(letter)),
        said => (said != Said::Nothing && !closing.denied).then_some(Event::Chosen(said)),
    }
}

/// Sentences and lines that begin with an option and call it right or wrong.
fn verdicts(text: &str, reading: &Reading<'_>) -> Vec<(usize, Event)> {
    let mut found = Vec::new();
    for (start, sentence) in sentences(text) {
        if let Some((letter, right)) = verdict(sentence, reading) {
            found.push((start, if right { Event::Right(letter) } else { Event::Wrong(letter) }));
            continue;
        }
        // "No wait, B is wrong."
        for comma in commas(clipped(sentence)) {
            let clause = sentence[comma..].trim_start_matches([',', '，', '、', '،', ' ']);
            if let Some((letter, false)) = verdict(clause, reading) {
                found.push((start + comma, Event::Wrong(letter)));
            }
        }
    }
    let first = found.len().saturating_sub(MOST_STATEMENTS);
    found.split_off(first)
}

/// The last sentences of a text with the marks at their ends, and where they begin.
pub(super) fn sentences(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let mut end = start + sentence_end(&text[start..]);
        // `B. Paris` is one, and so is `A) no`.
        if text[start..end].trim().trim_start_matches(['(', '*', '-', '|', ' ']).chars().count() == 1
            && text[end..].starts_with('.')
        {
            end += 1 + sentence_end(&text[end + 1..]);
        }
        end += text[end..].chars().next().map_or(0, char::len_utf8);
        found.push((start, &text[start..end]));
        start = end;
    }
    let first = found.len().saturating_sub(4 * MOST_STATEMENTS);
    found.split_off(first)
}

/// The option that a sentence begins with, and whether it is called right.
fn verdict(sentence: &str, reading: &Reading<'_>) -> Option<(char, bool)> {
    let sentence = clipped(sentence).trim_start_matches([' ', '|', '*', '-', '•', '#', '>']);
    let sentence = reading.closings.without_lead(sentence);
    let sentence = reading.closings.without_option(bare(sentence));
    let (letter, rest) = reading.leading_letter(sentence)?;
    if !reading.is_capital(letter) {
        return None;
    }
    // Without a mark between them, the rest must say what the letter is: "A man" and "A resposta" are no options.
    let spoken = rest.trim_start_matches(['*', ' ']).split([' ', ',']).next().unwrap_or_default().to_lowercase();
    if rest.trim_start_matches('*').starts_with(' ')
        && spoken.starts_with(|letter: char| letter.is_alphabetic() && letter < '\u{250}')
        && !COPULAS.contains(&spoken.as_str())
    {
        return None;
    }
    let rest = rest.trim_start_matches([' ', ')', ']', '.', ':', '*', '|', '(', '-', '–', '—']);
    let own = reading.choices.get(&letter).map(|option| option.trim()).filter(|option| !option.is_empty())?;
    if normalised(rest) == normalised(own) {
        return None;
    }
    let rest = rest.strip_prefix(own).unwrap_or(rest).trim_start_matches([' ', ')', ':', '*', '|', '-', '–', '—', ',']);
    let clause = &rest[..first_clause(rest)];
    let right = reading.closings.verdict(clause)?;
    let brief = clause.split_whitespace().nth(LONGEST_VERDICT_WORDS).is_none()
        && clause.chars().nth(LONGEST_VERDICT_LETTERS).is_none();
    // Another option in the same breath makes it no verdict of this one.
    let alone = reading.closings.joint(clause).is_none();
    (alone && (brief || !right)).then_some((letter, right))
}

/// What the last of the weak statements says that says anything.
pub(super) fn hinted(text: &str, reading: &Reading<'_>) -> Said {
    // ASCII lower case keeps every byte where it is.
    let lower = text.to_ascii_lowercase();
    let mut found: Option<(usize, Said)> = None;
    let ascii = lower.is_ascii();
    for mark in WEAK.iter().filter(|mark| !ascii || mark.is_ascii()) {
        for (at, _) in lower.rmatch_indices(*mark).take(MOST_STATEMENTS) {
            let end = at + mark.len();
            if !stands_alone(&lower, at, end) || reading.closings.denies(clause_before(&lower[..at])) {
                continue;
            }
            let said = clipped(
                text[end..].trim_start_matches(|letter: char| letter.is_whitespace() || ":：,，".contains(letter)),
            );
            let said = reading.content(&said[..sentence_end(said)], Place::Hinted);
            if said != Said::Nothing && found.is_none_or(|(before, _)| end >= before) {
                found = Some((end, said));
            }
        }
    }
    found.map_or(Said::Nothing, |(_, said)| said)
}

/// The option whose text is in the reply, when it is the only one there, or the only one in its last sentence.
pub(super) fn mentioned(text: &str, reading: &Reading<'_>) -> Said {
    let all: Vec<_> = sentences(text).into_iter().filter(|(_, said)| said.contains(char::is_alphanumeric)).collect();
    let Some((_, last)) = all.last() else { return Said::Nothing };
    match reading.mentions(last) {
        Said::Nothing => {}
        said => return said,
    }
    let mut found = Said::Nothing;
    for (_, sentence) in all {
        match (reading.mentions(sentence), found) {
            (Said::Nothing, _) => {}
            (said, Said::Nothing) => found = said,
            (said, before) if said == before => {}
            _ => return Said::Unclear,
        }
    }
    found
}

/// The first bytes of a text, enough for a statement.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_STATEMENT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether the words at a place are not part of longer ones.
fn stands_alone(lower: &str, start: usize, end: usize) -> bool {
    let ascii = |letter: char| letter.is_ascii_alphanumeric();
    let first = lower[start..].chars().next().is_some_and(ascii);
    let last = lower[..end].chars().next_back().is_some_and(ascii);
    !(first && lower[..start].chars().next_back().is_some_and(ascii)
        || last && lower[end..].chars().next().is_some_and(ascii))
}

/// The clause that leads up to a place.
fn clause_before(before: &str) -> &str {
    let mut start = before.len().saturating_sub(LONGEST_STATEMENT_BYTES);
    while !before.is_char_boundary(start) {
        start += 1;
    }
    before[start..].rsplit([',', '.', ';', '!', '?', '\n', '，', '。', '；']).next().unwrap_or_default()
}
