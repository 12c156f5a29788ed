//! The final answer in a whole reply: only after closed thinking, the last box, the last plain statement.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    boxes::{self, next_box, stated},
    clause::{clause_end, pattern},
    lead, loaded, prose, struck, surroundings,
};
use crate::closings::Closings;
use crate::extract::{MOST_ANSWERS, repeats_its_last_line};

/// Where a chat template ends a turn: what follows is not the reply.
const ENDS: [&str; 12] = [
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "</s>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|start_header_id|>",
    "<|end_of_text|>",
    "[/INST]",
    "\nHuman:",
    "\nUser:",
];

/// Only this much of the end of a reply is read, in bytes.
const MAX_REPLY_BYTES: usize = 16 * 1024;

/// Where an answer is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Only in the last `\\boxed{}` or `\\fbox{}`.
    Boxed,
    /// There, in the last `<answer>` tag, behind `####`, or where the reply announces its answer ("the answer is ...").
    Marked,
    /// There, and else in what the reply ends with: itself, its last formula, or the only number of its last sentence.
    #[default]
    Last,
}

static STATEMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:\b(?:final\s+)?(?:answer|result)\b\**(?:\s*\([^)\n]{0,40}\))?(?:\s+(?:to|for|of|in)\s[^.\n:=]{1,60}?)?",
        r"\s*\**\s*(?:(?:is|are|was|equals|(?:would|should|must|will|has\s+to)\s+be|=)(?:\b|\s)|:|\u{ff1a})\**[:\u{ff1a}]?|",
        r"(?:\u{7b54}\u{6848}|\u{7ed3}\u{679c}|\u{7b54})\**\s*(?:\u{662f}|\u{4e3a}|\u{7b49}\u{4e8e}|[:\u{ff1a}])\**[:\u{ff1a}]?|####)[ \t]*"
    ))
});
static NEGATED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[\s$*]*(?:(?:certainly|definitely|clearly|obviously|of course)\s+)?(?:not\b|\\neq?\b|\u{4e0d}\u{662f}|never\b)",
    )
});
static INSTEAD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\bbut(?:\s+rather)?(?:\s+(?:it\s+is|is))?\b|\bit\s+is\b|\bit's\b|\brather\b|\binstead\b|\u{800c}\u{662f})[\s,:]*",
    )
});
/// The line that the Minerva prompt closes a reply with: it marks the answer as a box does, and may follow one.
static MINERVA: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?s).*\bThe final answer is \$([^$\n]+)\$\. I hope it is correct\."));
static DENIES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:not|no|never|wrong|incorrect|false|or|but|and)\b|n't\b|[=+*/<>]"));
/// Words behind an answer that take it back.
static RETRACTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:\bno,\s+(?:it|that|the|wait)\b|\bwait\b[,.!]|\(\?\)|\bmade\s+an?\s+(?:mistake|error)\b|\bmy\s+mistake\b|",
        r"[.!?]\**\s+(?:(?:but\s+)?actually|sorry|hmm+|edit|correction|hold\s+on|just\s+kidding|wrong|incorrect|no,|",
        r"(?:that|this|it|which)(?:'s|\s+is|\s+was)\s+(?:wrong|incorrect|false|mistaken|a\s+mistake|not\s+(?:right|correct|true)))\b|",
        r"[.!?,]\s*(?:no|non|nein|moment|warte|espera|attends|aspetta|\u{43d}\u{435}\u{442})\s*,|",
        r"[.!?,\u{3002}\u{ff0c}]\s*(?:\u{4e0d}\u{5bf9}|\u{4e0d}\u{5c0d}|\u{4e0d}[,\u{ff0c}]|\u{7b49}\u{7b49}|\u{3044}\u{3084}|\u{5f85}\u{3063}\u{3066}|\u{c544}\u{b2c8}|\u{c7a0}\u{ae50})|",
        r",\s+(?:says|said)\s+[A-Z]|,\s+(?:they|people|some|he|she)\s+(?:say|says|said|think|thinks)\b|",
        r"\bscratch\s+that\b|\bon\s+second\s+thoughts?\b|\boops\b)"
    ))
});
static SENTENCE_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.!?](?:\s|\*|$)|\u{3002}|\u{ff0c}"));
static ASIDE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s\((?:[A-Za-z]{3,}|i\.e)[^()]*\)"));
static STATES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b(?:is|are|equals)\b[:\s]*"));
static SURELY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:for\s+sure|certainly|definitely|clearly|obviously|surely|of\s+course|simply|exactly|precisely)\s*[,:]?\s+",
    )
});
static STEP: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d{1,2}[.)]\s+[A-Z][a-z]+\s"));

/// The readings of the final answer of a reply, the likeliest first: all of one place, so that no two answers are tried.
/// Nothing at all where the thinking is not closed, where answers are given by the dozen, or where it says nothing.
pub(super) fn extract(reply: &str, place: Place, closings: &Closings) -> Option<Vec<String>> {
    let visible = visible(reply)?;
    let visible = tail(&visible);
    let silent = !visible.contains(char::is_alphanumeric);
    if silent || is_spam(visible) { None } else { Some(answers_in(visible, true, place, closings)) }
}

/// Whether so many answers are given, or the same line so often, that none of them is one.
fn is_spam(text: &str) -> bool {
    let many = |mark: &str| text.matches(mark).nth(MOST_ANSWERS).is_some();
    many("<answer>") || many("\\boxed") || repeats_its_last_line(text)
}

/// What stands after the thinking, without what is struck out; nothing when the thinking is not closed.
fn visible(reply: &str) -> Option<Cow<'_, str>> {
    let after = reply.rfind("</think>").map_or(reply, |at| &reply[at + "</think>".len()..]);
    if after.contains("<think>") {
        return None;
    }
    let kept = struck::kept(after);
    let end = ENDS.iter().filter_map(|mark| kept.find(mark)).min();
    Some(match (end, kept) {
        (None, kept) => kept,
        (Some(end), Cow::Borrowed(text)) => Cow::Borrowed(&text[..end]),
        (Some(end), Cow::Owned(text)) => Cow::Owned(text[..end].to_owned()),
    })
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(MAX_REPLY_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn answers_in(text: &str, tags: bool, place: Place, closings: &Closings) -> Vec<String> {
    if tags
        && place != Place::Boxed
        && let Some(inner) = last_tag(text)
    {
        let found = answers_in(inner, false, Place::Last, closings);
        return if found.is_empty() { nonempty(inner).into_iter().collect() } else { found };
    }
    if place != Place::Boxed
        && let Some(line) = MINERVA.captures(text)
        && next_box(text, line.get(1).map_or(0, |answer| answer.start())).is_none()
    {
        return vec![line[1].to_owned()];
    }
    if let Some(boxed) = stated(text, closings) {
        let kept = |(said, end): &(String, usize)| place == Place::Boxed || !says_other(&text[*end..], said, closings);
        return boxed.filter(kept).map(|(said, _)| said).into_iter().collect();
    }
    if place == Place::Boxed {
        return Vec::new();
    }
    // Where every box is denied, what stands behind the last says the answer, if anything does.
    if let Some(rest) = boxes::behind_last(text) {
        let found = answers_in(rest, false, place, closings);
        let valued = |said: &String| said.contains(|letter: char| letter.is_ascii_digit());
        return if found.iter().any(valued) { found } else { Vec::new() };
    }
    match marked(text, closings) {
        Some(found) => found,
        None if place == Place::Marked => Vec::new(),
        None => unmarked(text, closings),
    }
}

fn nonempty(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The content of the last `<answer>` block, or of the box of GLM.
fn last_tag(text: &str) -> Option<&str> {
    let inside = |open: &str, close: &str| {
        let end = text.rfind(close)?;
        let start = text[..end].rfind(open)?;
        Some(&text[start + open.len()..end])
    };
    inside("<answer>", "</answer>").or_else(|| inside("<|begin_of_box|>", "<|end_of_box|>"))
}

/// The answer that a reply marks in running text: `####`, "the answer is ...", and the same in other languages. Nothing
/// when it marks none, and no reading when what it marks is denied.
pub(super) fn marked(text: &str, closings: &Closings) -> Option<Vec<String>> {
    let mut own = None;
    let mut start = 0;
    for found in STATEMENT.find_iter(text) {
        let rest = text[found.end()..].trim_start_matches([' ', '\t', '*']);
        let line =
            rest.lines().map(str::trim).find(|line| !line.is_empty() && *line != "$$" && *line != "\\[").unwrap_or("");
        if !line.is_empty() {
            own = Some((found.end(), line));
            start = found.start();
        }
    }
    let closing = closings.all(text).pop();
    let last = closing.as_ref().map_or(start, |closing| closing.phrase.start.max(start));
    if lead::takes_back(&text[..last], closings)
        || (own.is_some() || closing.is_some()) && RETRACTS.is_match(&text[last..])
    {
        return Some(Vec::new());
    }
    match (own, closing) {
        (None, None) => None,
        (Some((end, line)), closing) if closing.as_ref().is_none_or(|closing| closing.phrase.start <= end) => {
            let denied = closing.is_some_and(|closing| closing.denied && closing.phrase.end + 1 >= end);
            let said = readings(line, denied, closings);
            let other = said.first().is_some_and(|first| concludes_other(&text[end..], first, closings));
            Some(if other { Vec::new() } else { said })
        }
        (_, Some(closing)) if closing.denied => Some(Vec::new()),
        (_, Some(closing)) => {
            let said = text[closing.answer].trim().trim_matches('*').trim();
            Some(readings(said, false, closings))
        }
        (Some((_, line)), None) => Some(readings(line, false, closings)),
    }
}

/// Whether what follows an answer takes it back, or announces or concludes another number.
fn says_other(rest: &str, said: &str, closings: &Closings) -> bool {
    let announced = || {
        let found = marked(rest, closings)?.into_iter().next()?;
        let value =
            found.trim_start_matches(['$', '\\', '(', '-', ' ']).starts_with(|letter: char| letter.is_ascii_digit());
        value.then_some(found)
    };
    let retracted = said.contains(|letter: char| letter.is_ascii_digit()) && RETRACTS.is_match(&format!(".{rest}"));
    retracted || announced().is_some_and(|other| differ(said, &other)) || concludes_other(rest, said, closings)
}

/// Whether a text concludes another number than what was said before it.
fn concludes_other(rest: &str, said: &str, closings: &Closings) -> bool {
    prose::conclusion(rest, closings).is_some_and(|last| differ(said, &last))
}

/// Whether two texts hold other digits.
fn differ(a: &str, b: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (a, b) = (digits(a), digits(b));
    !a.is_empty() && !b.is_empty() && a != b
}

/// What a statement may say, the likeliest first: its clause, all of it, and the one value in it.
fn readings(said: &str, denied: bool, closings: &Closings) -> Vec<String> {
    let mut readings = Vec::new();
    // An emphasised beginning is the answer, what follows says of what.
    if let Some((bold, rest)) = said.split_once("**")
        && bold.contains(|letter: char| letter.is_ascii_digit())
        && !rest.contains("**")
        && !DENIES.is_match(rest)
        && !surroundings::changes_behind(rest, closings)
        && !closings.around().is_others_behind(rest)
        && !denied
    {
        return nonempty(bold).into_iter().collect();
    }
    // "Not a function" may be the answer; "not 12" is none.
    let valued = said.contains(|letter: char| letter.is_ascii_digit() || matches!(letter, '$' | '\\'));
    if closings.hedges(said) || denied && valued && !INSTEAD.is_match(said) {
        return readings;
    }
    let first = sentence_end(said).unwrap_or(said.len());
    let sentence = &said[..first];
    if closings.around().is_others_behind(said) {
        return readings;
    }
    // Where words change the value, only all of the sentence says what is meant.
    let turned = INSTEAD.find_iter(sentence).last().map_or(0, |turn| turn.end());
    if prose::is_reworded(&said[turned..], first - turned, closings) {
        let whole = |text: &str| nonempty(text.trim_matches('*').trim_end_matches(['.', '\u{3002}', ' ']));
        let cut = said[first..].starts_with('\u{ff0c}');
        readings.extend([sentence, said].into_iter().skip(usize::from(cut)).filter_map(whole));
        return readings;
    }
    let clause = clean(said).filter(|_| !denied || INSTEAD.is_match(said));
    let value = clause.as_ref().map_or(Vec::new(), |clause| prose::sentence_answers(clause, closings));
    readings.extend(clause);
    readings.extend(nonempty(said.trim_matches('*').trim_end_matches(['.', '\u{3002}', ' '])));
    readings.extend(value);
    readings
}

/// A statement without the sentence around it; nothing when it only says what the answer is not.
fn clean(statement: &str) -> Option<String> {
    let mut text = statement;
    if NEGATED.is_match(text) {
        let turn = INSTEAD.find(text)?;
        text = &text[turn.end()..];
        if NEGATED.is_match(text) {
            return None;
        }
    }
    text = SURELY.find(text).map_or(text, |surely| &text[surely.end()..]);
    if let Some(end) = sentence_end(text) {
        text = &text[..end];
    }
    text = &text[..clause_end(text)];
    let text = ASIDE.replace_all(text, |aside: &regex::Captures<'_>| {
        let words = aside[0].split(|letter: char| !letter.is_alphabetic());
        if aside[0].contains("base") || words.into_iter().any(|word| loaded::is_loaded(word) && DENIES.is_match(word)) {
            aside[0].to_owned()
        } else {
            String::new()
        }
    });
    let text = text.trim().trim_matches('*').trim_end_matches(['.', ',', ';']).trim();
    nonempty(text)
}

/// Where the first sentence ends, outside dollar signs.
fn sentence_end(text: &str) -> Option<usize> {
    SENTENCE_END.find_iter(text).map(|found| found.start()).find(|at| {
        let before = &text[..*at];
        let abbreviation =
            before.ends_with(['p', 'P', 'a', 'A', 'm', 'M']) && text[*at..].starts_with('.') && is_half_day(text, *at);
        let choice = before.trim_start_matches(['*', ' ', '(']).chars().count() == 1
            && before.trim().ends_with(char::is_alphabetic);
        let factorial = text[*at..].starts_with('!') && before.ends_with(|c: char| c.is_ascii_digit());
        let in_math = !before.matches('$').count().is_multiple_of(2);
        !(in_math || abbreviation || choice || factorial)
    })
}

fn is_half_day(text: &str, at: usize) -> bool {
    let around: String = text[..at].chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    let lower = around.to_lowercase();
    lower.ends_with("a.m") || lower.ends_with("p.m")
}

/// What a reply says that marks no answer: itself, when it is nothing else, or the value in its last sentence.
fn unmarked(text: &str, closings: &Closings) -> Vec<String> {
    let Some(line) = text.lines().map(str::trim).rfind(|line| !line.is_empty()) else { return Vec::new() };
    // A question answers nothing, nor does the first step of a list.
    let asked = line.trim_end_matches(['*', ' ']).ends_with(['?', '\u{ff1f}', '\u{61f}']);
    if asked || STEP.is_match(line) || closings.around().is_others(line.trim_end_matches('.')) {
        return Vec::new();
    }
    let count = line
        .split_whitespace()
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || matches!(c, '.' | ',')))
        .count();
    let named = STATES.find_iter(line).last().filter(|states| {
        let before = &line[..states.start()];
        !before.contains(|letter: char| letter.is_ascii_digit() || "\\$".contains(letter))
    });
    let mut found = Vec::new();
    if count <= 4 && named.is_none() {
        found.extend(nonempty(line.trim_start_matches('=').trim_start()));
    }
    let values = prose::answers(text, closings);
    let valueless = values.is_empty();
    found.extend(values);
    if let (true, true, Some(states)) = (valueless, found.is_empty(), named) {
        let before = &line[..states.start()];
        let loaded = ["not", "never", "if", "doubt", "unlikely", "cannot"];
        let is_loaded = |word: &str| loaded.contains(&word.to_lowercase().as_str());
        if !before.split_whitespace().any(is_loaded) {
            let said = clean(&line[states.end()..]);
            found.extend(said.filter(|rest| !rest.split_whitespace().any(loaded::is_loaded)));
        }
    }
    // An answer in words is the sentence itself.
    found.extend(prose::ending(text));
    found
}
