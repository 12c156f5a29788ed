//! Phrases of the table of closings as patterns.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

/// Spacing and emphasis between two words.
const SPACING: &str = r"[ \t\u{a0}*_]";
/// A few words, none of which ends the clause.
const FEW_WORDS: &str = r"[^.:=\n]{1,40}?";
/// A number, or what one begins with in a formula.
const NUMBER: &str = r"[-$(\\\[]*(?:[0-9][0-9.,/]*[$)]*|(?:boxed|[dt]?frac|sqrt)\b)";
/// A compiled table larger than this is refused, in bytes.
const MOST_BYTES: usize = 32 << 20;

/// Many phrases as one pattern; no phrase matches nothing.
///
/// Where a word ends that is written in letters beyond ASCII is costly to find out: such phrases are looked for by
/// themselves, and only where their letters are.
#[derive(Clone, Debug)]
pub(super) struct Words {
    plain: Option<Regex>,
    /// Phrases of words beyond ASCII, and the same wherever they stand.
    bounded: Option<(Regex, Regex)>,
}

impl Words {
    /// # Errors
    /// When the phrases make no pattern.
    pub(super) fn new(sources: &[String], before: &str, behind: &str) -> Result<Self, String> {
        let compiled = |sources: &[&str]| {
            let source = format!("(?i){before}(?:{}){behind}", sources.join("|"));
            let pattern = RegexBuilder::new(&source).size_limit(MOST_BYTES).dfa_size_limit(MOST_BYTES).build();
            pattern.map_err(|error| format!("the phrases make no pattern: {error}"))
        };
        let is_bounded = |source: &&str| {
            let rest = source.replace(&format!("(?-u:{STARTS})"), "").replace(&format!("(?-u:{ENDS})"), "");
            rest.contains(STARTS) || rest.contains(ENDS)
        };
        let (bounded, plain): (Vec<&str>, Vec<&str>) = sources.iter().map(String::as_str).partition(is_bounded);
        let loose: Vec<String> = bounded.iter().map(|source| source.replace(STARTS, "").replace(ENDS, "")).collect();
        let loose: Vec<&str> = loose.iter().map(String::as_str).collect();
        Ok(Self {
            plain: if plain.is_empty() { None } else { Some(compiled(&plain)?) },
            bounded: if bounded.is_empty() { None } else { Some((compiled(&bounded)?, compiled(&loose)?)) },
        })
    }

    /// Every place of a phrase in a text, from its start on.
    pub(super) fn all<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let (mut plain, mut bounded) = (self.plain_from(text, 0), self.bounded_from(text, 0));
        std::iter::from_fn(move || {
            let next = first_of(plain.clone(), bounded.clone())?;
            // A pattern is asked again only where what it found has been passed.
            let from = next.end.max(next.start + 1);
            let passed = |found: &Option<Range<usize>>| found.as_ref().is_some_and(|found| found.start < from);
            if passed(&plain) {
                plain = self.plain_from(text, next.end);
            }
            if passed(&bounded) {
                bounded = self.bounded_from(text, next.end);
            }
            Some(next)
        })
    }

    /// The first place of a phrase.
    pub(super) fn first(&self, text: &str) -> Option<Range<usize>> {
        first_of(self.plain_from(text, 0), self.bounded_from(text, 0))
    }

    /// Whether any phrase is in a text.
    pub(super) fn any(&self, text: &str) -> bool {
        self.plain.as_ref().is_some_and(|pattern| pattern.is_match(text)) || self.bounded_from(text, 0).is_some()
    }

    fn plain_from(&self, text: &str, from: usize) -> Option<Range<usize>> {
        self.plain.as_ref()?.find_at(text, from).map(|found| found.range())
    }

    fn bounded_from(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let (pattern, loose) = self.bounded.as_ref()?;
        let from = loose.find_at(text, from)?.start();
        pattern.find_at(text, from).map(|found| found.range())
    }
}

/// The one that begins first, the longer of two that begin together.
fn first_of(a: Option<Range<usize>>, b: Option<Range<usize>>) -> Option<Range<usize>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if (b.start, a.end) < (a.start, b.end) { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Where a word of letters beyond ASCII begins and ends.
const STARTS: &str = r"\b{start-half}";
const ENDS: &str = r"\b{end-half}";

/// Whether words of a letter's script are written without spaces, or with particles grown together with them.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{3005}')
}

/// What stands before the first letter of a phrase, so that it is no part of a longer word.
fn start_of(phrase: &str) -> &'static str {
    match phrase.chars().find(|letter| !"(|".contains(*letter)) {
        Some(letter) if letter.is_ascii_alphanumeric() => r"(?-u:\b{start-half})",
        // Arabic joins its conjunctions to the word.
        Some('\u{600}'..='\u{6ff}') | None => "",
        Some(letter) if letter.is_alphanumeric() && !is_unspaced(letter) => STARTS,
        Some(_) => "",
    }
}

/// What stands behind the last letter of a phrase.
fn end_of(phrase: &str) -> &'static str {
    match phrase.chars().rev().find(|letter| !"()|".contains(*letter)) {
        Some(letter) if letter.is_ascii_alphanumeric() => r"(?-u:\b{end-half})",
        Some(letter) if letter.is_alphanumeric() && !is_unspaced(letter) => ENDS,
        _ => "",
    }
}

/// A phrase as the source of a pattern.
///
/// # Errors
/// When its brackets do not match, or it says nothing.
pub(super) fn source(phrase: &str) -> Result<String, String> {
    body(phrase).map(|body| format!("{}{body}{}", start_of(phrase), end_of(phrase)))
}

/// The pattern of a noun and what joins it to its answer.
///
/// # Errors
/// When one of them is no phrase.
pub(super) fn joined(noun: &str, link: &str) -> Result<String, String> {
    let close = noun.chars().rev().chain(link.chars()).filter(|letter| letter.is_alphanumeric()).any(is_unspaced);
    let spacing = if close { format!("{SPACING}*") } else { format!("{SPACING}+") };
    Ok(format!("{}{}{spacing}{}{}", start_of(noun), body(noun)?, body(link)?, end_of(link)))
}

/// The patterns of a noun that announces an answer by itself: `NOUN:`, `[NOUN]`, and a heading.
///
/// # Errors
/// When it is no phrase.
pub(super) fn announcing(noun: &str) -> Result<[String; 3], String> {
    let (start, words) = (start_of(noun), body(noun)?);
    let short = words.replace(FEW_WORDS, "");
    let aside = r"(?:[ \t]*\([^()\n]{0,40}\))?";
    Ok([
        format!(r"{start}{words}{aside}{SPACING}*(?:[:\u{{ff1a}}=]|[ \t]+[-\u{{2013}}\u{{2014}}][ \t])"),
        format!(r"[【\[(\u{{ff08}}《「]{SPACING}*{start}{short}{SPACING}*[】\])\u{{ff09}}》」]"),
        format!(r"(?:^|\n)[#*_> \t]*(?:\p{{L}}+[ \t]+){{0,2}}{start}{short}[*_ \t]*\n"),
    ])
}

fn body(phrase: &str) -> Result<String, String> {
    let mut source = String::new();
    let mut depth = 0_usize;
    let mut rest = phrase;
    if phrase.chars().all(|letter| letter.is_whitespace() || "(|)".contains(letter)) {
        return Err(format!("the phrase `{phrase}` has no word"));
    }
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        match letter {
            _ if rest.starts_with("...") => source.push_str(FEW_WORDS),
            '#' => source.push_str(NUMBER),
            '(' => source.push_str("(?:"),
            '|' | ')' => source.push(letter),
            ' ' => {
                let near = |letter: Option<char>| letter.is_some_and(is_unspaced);
                let before = phrase[..phrase.len() - rest.len()].chars().rev().find(|letter| letter.is_alphanumeric());
                let close = near(before) || near(after.chars().find(|letter| letter.is_alphanumeric()));
                source.push_str(SPACING);
                source.push(if close { '*' } else { '+' });
            }
            ':' => source.push_str(r"[:\u{ff1a}]"),
            '\'' => source.push_str("['’]"),
            other => source.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        depth = match letter {
            '(' => depth + 1,
            ')' => depth.checked_sub(1).ok_or_else(|| format!("the phrase `{phrase}` closes a bracket too many"))?,
            _ => depth,
        };
        rest = rest.strip_prefix("...").unwrap_or(after);
    }
    if depth > 0 {
        return Err(format!("the phrase `{phrase}` leaves a bracket open"));
    }
    // Alternatives of the whole phrase stay inside it.
    Ok(format!("(?:{source})"))
}
