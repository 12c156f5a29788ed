//! Statements that close a reply ("the answer is ...", `정답은 ... 입니다`), found by a table of phrases in many languages.
//!
//! The table is data (`closings.toml`), and a reward's option `closings` adds languages to it. What is found is a place:
//! where the answer stands, and whether the statement denies it. What the answer says is for others to read.

mod around;
mod language;
mod phrase;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::sentence::{first_clause, last_clause, last_list, last_sentence, sentence_end};
pub(crate) use around::Around;
pub use language::Language;
use language::{TABLE, collect, sources};
use phrase::Words;

/// Languages that an option adds to the table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Language>", into = "Vec<Language>")]
pub struct FurtherClosings {
    languages: Vec<Language>,
    /// The table and these; nothing where the table is all.
    all: Option<Arc<Closings>>,
}

impl FurtherClosings {
    /// All closings that are looked for.
    pub fn closings(&self) -> &Closings {
        self.all.as_deref().unwrap_or_else(|| Closings::built_in())
    }
}

impl TryFrom<Vec<Language>> for FurtherClosings {
    type Error = String;

    fn try_from(languages: Vec<Language>) -> Result<Self, String> {
        let all = if languages.is_empty() { None } else { Some(compiled(&languages)?) };
        Ok(Self { languages, all })
    }
}

/// Compiled closings by what was added to the table, those of the last few: a configuration is read several times, and
/// compiling takes most of a second.
static COMPILED: Mutex<Vec<(Vec<Language>, Arc<Closings>)>> = Mutex::new(Vec::new());
/// So many are kept.
const MOST_COMPILED: usize = 4;

fn compiled(further: &[Language]) -> Result<Arc<Closings>, String> {
    let mut kept = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = kept.iter().find(|(languages, _)| languages == further) {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(Closings::with(further)?);
    if kept.len() == MOST_COMPILED {
        kept.remove(0);
    }
    kept.push((further.to_vec(), Arc::clone(&made)));
    Ok(made)
}

impl From<FurtherClosings> for Vec<Language> {
    fn from(further: FurtherClosings) -> Self {
        further.languages
    }
}

impl PartialEq for FurtherClosings {
    fn eq(&self, other: &Self) -> bool {
        self.languages == other.languages
    }
}

impl JsonSchema for FurtherClosings {
    fn schema_name() -> Cow<'static, str> {
        <Vec<Language>>::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <Vec<Language>>::json_schema(generator)
    }
}

static BUILT_IN: LazyLock<Closings> =
    LazyLock::new(|| Closings::new(&TABLE).expect("the table is part of the program and is tested"));

/// The last so many statements of a kind are read, so that a long reply costs no more than its length.
const MOST_STATEMENTS: usize = 64;

/// Longer sentences than this are cut, in bytes.
const LONGEST_SENTENCE_BYTES: usize = 400;

/// A statement that closes a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The words that announce the answer; a reader with rules of its own goes on from their end (or back from their
    /// start, where `answer` lies before them).
    pub phrase: Range<usize>,
    /// Where the answer stands: in its sentence, without the verb behind it and the words of no weight before it; after
    /// "not A but" it is what follows.
    pub answer: Range<usize>,
    /// Whether the statement says that this is not the answer, only supposes it, or asks for it.
    pub denied: bool,
}

/// Phrases that announce answers, ready to be looked for.
#[derive(Clone, Debug)]
pub struct Closings {
    before: Words,
    behind: Words,
    options: Words,
    option_at_start: Words,
    not: Words,
    not_at_start: Words,
    not_at_end: Words,
    suppose: Words,
    report: Words,
    not_ends: Words,
    not_ends_at_start: Words,
    but: Words,
    instead: Words,
    so: Words,
    ends: Words,
    or: Words,
    hedge: Words,
    verdicts: [Words; 2],
    around: Around,
}

impl Closings {
    /// Those of the table.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Those of the table and of further languages.
    ///
    /// # Errors
    /// Which phrase cannot be read, and why.
    pub fn with(further: &[Language]) -> Result<Self, String> {
        Self::new(&TABLE.iter().chain(further).cloned().collect::<Vec<_>>())
    }

    fn new(languages: &[Language]) -> Result<Self, String> {
        let words = |part: fn(&Language) -> &Vec<String>, before: &str, behind: &str| {
            Words::new(&sources(languages, part)?, before, behind)
        };
        let not_ends = |language: &Language| [language.not_ends.as_slice(), &language.instead].concat();
        let denials =
            collect(languages, |language| not_ends(language).iter().map(|word| phrase::source(word)).collect())?;
        Ok(Self {
            before: Words::new(&collect(languages, announcements)?, "", "")?,
            behind: words(|language| &language.behind, "", "")?,
            options: Words::new(&collect(languages, choosing)?, "", "")?,
            option_at_start: words(|language| &language.option, r"^[\s*_(]*", r"[\s*_:]*")?,
            not: words(|language| &language.not, "", "")?,
            not_at_start: words(|language| &language.not, r"^[\s*_$]*", "")?,
            not_at_end: Words::new(&collect(languages, denials_next)?, "", r"[\s*_]*$")?,
            suppose: words(|language| &language.suppose, "", r"(?:[\s*_]+[^\s]+){0,3}[\s*_]*$")?,
            report: words(|language| &language.report, "", r"(?:[\s*_]+[^\s,，]+){0,3}[\s*_]*$")?,
            not_ends: Words::new(&denials, "", "")?,
            not_ends_at_start: Words::new(&denials, r"^[\s*_]*\p{Hangul}?[\s*_]*", "")?,
            but: words(|language| &language.but, "", "")?,
            instead: words(|language| &language.instead, "", "")?,
            so: words(|language| &language.so, r"^[\s*_]*", r"[\s*_,，、،:：]*")?,
            ends: words(|language| &language.ends, r"[\s*_]*", r"[\s*_]*$")?,
            or: words(|language| &language.or, r"^[\s*_,，、،]*", "")?,
            hedge: words(|language| &language.hedge, "", "")?,
            verdicts: [words(|language| &language.right, "", "")?, words(|language| &language.wrong, "", "")?],
            around: Around::new(languages)?,
        })
    }

    /// The words around a value, for mathematics.
    pub(crate) fn around(&self) -> &Around {
        &self.around
    }

    /// The last closing statements of a text, up to 64 of a kind, in the order in which they stand.
    pub fn all(&self, text: &str) -> Vec<Closing> {
        let mut found = self.announced(&self.before, text);
        found.extend(last_of(&self.behind, text).filter_map(|phrase| self.answered_before(text, phrase)));
        found.sort_by_key(|closing| closing.phrase.start);
        found
    }

    /// The last closing statement of a text that denies nothing.
    pub fn last(&self, text: &str) -> Option<Closing> {
        self.all(text).into_iter().rfind(|closing| !closing.denied)
    }

    /// The last statements that bring or pick an option: "the option is B", "choose B". For choices.
    pub(crate) fn options(&self, text: &str) -> Vec<Closing> {
        self.announced(&self.options, text)
    }

    /// The byte at which another answer begins, when a text begins with a word that joins two answers.
    pub(crate) fn joint(&self, text: &str) -> Option<usize> {
        self.or.first(text).map(|found| found.end)
    }

    /// Whether a text says that something is right, or that it is wrong; `None` when it says neither.
    pub(crate) fn verdict(&self, text: &str) -> Option<bool> {
        let [right, wrong] = &self.verdicts;
        match (right.any(text), wrong.any(text)) {
            (_, true) => Some(false),
            (true, false) => Some(true),
            (false, false) => None,
        }
    }

    /// Whether a text begins with words that call something wrong.
    pub(crate) fn begins_wrong(&self, text: &str) -> bool {
        self.verdicts[1].first(text).is_some_and(|found| found.start == 0)
    }

    /// Whether a text denies something.
    pub(crate) fn denies(&self, text: &str) -> bool {
        self.not.any(text) || self.not_ends.any(text)
    }

    /// Whether a text says that what stands in it is a bound, an estimate or a guess.
    pub(crate) fn hedges(&self, text: &str) -> bool {
        self.hedge.any(self.without_lead(text))
    }

    /// Whether a text ends with words that put what follows into somebody else's mouth.
    pub(crate) fn reports(&self, text: &str) -> bool {
        let sentence = &text[last_sentence(text, LONGEST_SENTENCE_BYTES)..];
        let report = self.report.first(sentence);
        report.is_some_and(|report| !sentence[report].contains(|letter: char| letter.is_ascii_digit()))
    }

    /// Whether a text ends with words that take back what follows.
    pub(crate) fn denies_next(&self, text: &str) -> bool {
        self.not_at_end.any(text)
    }

    /// Whether a text begins with words that take back what stands in front of them.
    pub(crate) fn denies_last(&self, text: &str) -> bool {
        self.not_ends_at_start.any(text)
    }

    /// A text without the words of no weight that it begins with.
    pub(crate) fn without_lead<'t>(&self, text: &'t str) -> &'t str {
        let mut text = text;
        while let Some(found) = self.so.first(text).filter(|found| found.end > 0) {
            text = &text[found.end..];
        }
        text
    }

    /// A text without the noun for an option that it begins with.
    pub(crate) fn without_option<'t>(&self, text: &'t str) -> &'t str {
        self.option_at_start.first(text).map_or(text, |found| &text[found.end..])
    }

    /// Whether a text is nothing but a verb that a sentence ends with behind an answer.
    pub(crate) fn is_verb_at_end(&self, text: &str) -> bool {
        self.ends.first(text).is_some_and(|verb| verb.start == 0)
    }

    /// A text without the words of no weight before an answer and the verb behind it.
    pub(crate) fn without_frame<'t>(&self, text: &'t str) -> &'t str {
        let text = self.without_lead(text).trim_end_matches(['.', '。', '।', '!', '！', ' ']);
        match self.ends.first(text) {
            Some(verb) if verb.start > 0 => &text[..verb.start],
            _ => text,
        }
    }

    fn announced(&self, words: &Words, text: &str) -> Vec<Closing> {
        last_of(words, text).filter_map(|phrase| self.answered_behind(text, phrase)).collect()
    }

    /// A statement whose answer follows its phrase.
    fn answered_behind(&self, text: &str, phrase: Range<usize>) -> Option<Closing> {
        const BETWEEN: &[char] = &['*', '_', ':', '：', ',', '，', '、', ' ', '\t', '\n', '\r', '\u{a0}', '\u{3000}'];
        let rest = &text[phrase.end..];
        let start = phrase.end + rest.len() - rest.trim_start_matches(BETWEEN).len();
        let said = clipped(&text[start..]);
        let said = &said[..sentence_end(said)];
        let asked = text[start + said.len()..].starts_with(['?', '？', '؟']);
        let (range, denied) = self.answer_within(said, self.not.any(&text[phrase.clone()]));
        let answer = start + range.start..start + range.end;
        let denied = denied || asked || self.takes_back(&text[..phrase.start]);
        (!text[answer.clone()].trim().is_empty()).then_some(Closing { phrase, answer, denied })
    }

    /// Where the answer is in what follows a phrase, which may deny it itself, and whether it is denied.
    fn answer_within(&self, said: &str, denies: bool) -> (Range<usize>, bool) {
        let mut start = said.len() - self.without_lead(said).len();
        let denial = self.not_at_start.first(&said[start..]);
        let mut denied = denies || denial.is_some();
        // The "but" of "anything but B" is part of the denial.
        let from = start + denial.map_or(0, |denial| denial.end);
        if denied && let Some(turn) = self.but.first(&said[from..]) {
            start = from + turn.end;
            start = said.len() - self.without_lead(said[start..].trim_start()).len();
            denied = self.not_at_start.any(&said[start..]);
        }
        if let Some(turn) = self.instead.all(&said[start..]).last()
            && said[start + turn.end..].contains(char::is_alphanumeric)
        {
            start += turn.end;
            start = said.len() - self.without_lead(said[start..].trim_start_matches([' ', ',', '、', '，'])).len();
        }
        let clause = &said[start..start + first_clause(&said[start..])];
        denied |= self.not_ends.any(clause);
        let verb = self.ends.first(clause).or_else(|| self.ends.first(&said[start..]));
        let end = verb.filter(|verb| verb.start > 0).map_or(said.len(), |verb| start + verb.start);
        (start..end, denied)
    }

    /// A statement whose answer stands in front of its phrase.
    fn answered_before(&self, text: &str, phrase: Range<usize>) -> Option<Closing> {
        let head = &text[..phrase.start];
        let sentence = last_sentence(head, LONGEST_SENTENCE_BYTES);
        let mut clause = sentence + last_list(&head[sentence..]);
        // "Not A but B is the answer."
        if let Some(denial) = self.not.first(&head[clause..])
            && let Some(turn) = self.but.first(&head[clause + denial.end..])
        {
            clause += denial.end + turn.end;
        }
        let start = text.len() - self.without_lead(&text[clause..]).len();
        let answer = start.min(phrase.start)..phrase.start;
        let said = text[answer.clone()].trim();
        let rest = clipped(&text[phrase.end..]);
        let ended = sentence_end(rest);
        let denied = self.not.any(&head[clause..])
            || self.not_at_end.any(said)
            || self.suppose.any(&head[clause..answer.start])
            || self.report.any(&head[sentence..answer.start])
            || self.not_ends_at_start.any(rest)
            || self.not_at_start.any(rest)
            || rest[ended..].starts_with(['?', '？', '؟']);
        said.contains(char::is_alphanumeric).then_some(Closing { phrase, answer, denied })
    }

    /// Whether the words that lead up to an announcement take it back: its clause, or who else said it.
    pub(crate) fn takes_back(&self, before: &str) -> bool {
        let sentence = &before[last_sentence(before, LONGEST_SENTENCE_BYTES)..];
        let clause = sentence[last_clause(sentence)..].rsplit([':', '：']).next().unwrap_or_default();
        self.not.any(clause) || self.suppose.any(clause) || self.report.any(sentence)
    }
}

/// The last places of phrases, as many as are read.
fn last_of(words: &Words, text: &str) -> impl Iterator<Item = Range<usize>> {
    let places: Vec<_> = words.all(text).collect();
    let first = places.len().saturating_sub(MOST_STATEMENTS);
    places.into_iter().skip(first)
}

/// The first bytes of a text, enough for a statement.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_SENTENCE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The patterns of phrases that an answer follows.
fn announcements(language: &Language) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    for noun in &language.answer {
        for link in &language.is {
            patterns.push(phrase::joined(noun, link)?);
        }
        patterns.extend(phrase::announcing(noun)?);
    }
    // Longer ones first: what stands first in a pattern is found first.
    for phrase in &language.before {
        patterns.push(phrase::source(phrase)?);
    }
    Ok(patterns)
}

/// The patterns of words that take back what follows, and the same with a verb behind them: "no es".
fn denials_next(language: &Language) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    for word in &language.not {
        for link in &language.is {
            patterns.push(phrase::joined(word, link)?);
        }
        patterns.push(phrase::source(word)?);
    }
    Ok(patterns)
}

/// The patterns of phrases that an option follows.
fn choosing(language: &Language) -> Result<Vec<String>, String> {
    let mut patterns = Vec::new();
    for noun in &language.option {
        for link in &language.is {
            patterns.push(phrase::joined(noun, link)?);
        }
        patterns.extend(phrase::announcing(noun)?);
    }
    for verb in &language.pick {
        for noun in &language.option {
            patterns.push(phrase::joined(verb, noun)?);
        }
        patterns.push(phrase::source(verb)?);
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests;
