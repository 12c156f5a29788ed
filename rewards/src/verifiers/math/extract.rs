//! The final answer in a whole reply: only after closed thinking, the last box, the last plain statement.

use std::sync::LazyLock;

use regex::Regex;

use super::{source::matching_brace, words};
use crate::extract::{MOST_ANSWERS, repeats_its_last_line};

/// Only this much of the end of a reply is read, in bytes.
const MAX_REPLY_BYTES: usize = 16 * 1024;

/// A pattern written in this file.
fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the pattern is a constant and is tested")
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
static NEGATION_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\bnot(?:\s+equal\s+to)?|n't|\brather\s+than|\binstead\s+of|\u{4e0d}\u{662f}|\\neq?|\bnever)[\s$:*\\(\[]*$",
    )
});
static INSTEAD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\bbut(?:\s+rather)?(?:\s+(?:it\s+is|is))?\b|\bit\s+is\b|\bit's\b|\brather\b|\binstead\b|\u{800c}\u{662f})[\s,:]*",
    )
});
static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i),?\s(?:because|since|which|therefore|given\s+that|so\s+that|rather\s+than|instead\s+of)\b|,\s*(?:so|not|as|and\s+not|but\s+not)\b",
        r"|\s(?:not|and\s+not)\s"
    ))
});
static SENTENCE_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.!?](?:\s|\*|$)|\u{3002}|\u{ff0c}"));
static ASIDE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s\((?:[A-Za-z]{3,}|i\.e|or)[^()]*\)"));
static STATES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b(?:is|are|equals)\b[:\s]*"));
static BETWEEN_BOXES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)^(?:[\s,;.$&*~()\[\]]|\\[,;!() \[\]]|\\(?:q?quad|text\s*\{\s*(?:and|or)\s*\})|\b(?:and|or)\b)*$")
});

/// The final answer of a reply, where it states one.
pub(super) fn extract(reply: &str) -> Option<String> {
    let visible = tail(visible(reply)?);
    if is_spam(visible) { None } else { answer_in(visible, true) }
}

/// Whether so many answers are given, or the same line so often, that none of them is one.
fn is_spam(text: &str) -> bool {
    let many = |mark: &str| text.matches(mark).nth(MOST_ANSWERS).is_some();
    many("<answer>") || many("\\boxed") || repeats_its_last_line(text)
}

/// What stands after the thinking; nothing when the thinking is not closed.
fn visible(reply: &str) -> Option<&str> {
    let after = reply.rfind("</think>").map_or(reply, |at| &reply[at + "</think>".len()..]);
    if after.contains("<think>") {
        return None;
    }
    let end = ["<|im_end|>", "<|endoftext|>", "</s>"].iter().filter_map(|mark| after.find(mark)).min();
    Some(end.map_or(after, |end| &after[..end]))
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(MAX_REPLY_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn answer_in(text: &str, tags: bool) -> Option<String> {
    if tags && let Some(inner) = last_tag(text) {
        return answer_in(inner, false).or_else(|| nonempty(inner));
    }
    if let Some(boxed) = boxed(text) {
        return boxed;
    }
    stated(text).or_else(|| whole(text))
}

fn nonempty(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The content of the last `<answer>` block.
fn last_tag(text: &str) -> Option<&str> {
    let end = text.rfind("</answer>")?;
    let start = text[..end].rfind("<answer>")?;
    Some(&text[start + "<answer>".len()..end])
}

/// A box: where it starts and ends, and its content.
struct Boxed {
    start: usize,
    end: usize,
    content: String,
}

/// The last box that is not negated, with the boxes joined to it; `Some(None)` when the last box is not closed.
fn boxed(text: &str) -> Option<Option<String>> {
    let boxes = match boxes(text)? {
        Some(boxes) => boxes,
        None => return Some(None),
    };
    let mut end = boxes.len();
    while end > 0 {
        let mut start = end - 1;
        while start > 0 && BETWEEN_BOXES.is_match(&text[boxes[start - 1].end..boxes[start].start]) {
            start -= 1;
        }
        if !NEGATION_BEFORE.is_match(&text[..boxes[start].start]) {
            let contents: Vec<&str> = boxes[start..end].iter().map(|one| one.content.as_str()).collect();
            return Some(Some(contents.join(", ")));
        }
        end = start;
    }
    None
}

/// All boxes in order, nothing when there is none, `Some(None)` when the last is cut off.
fn boxes(text: &str) -> Option<Option<Vec<Boxed>>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = next_box(text, from) {
        let after = &text[at..];
        let name = if after.starts_with("\\boxed") { 6 } else { 5 };
        let rest = &after[name..];
        let open = rest.len() - rest.trim_start_matches(' ').len();
        if rest[open..].starts_with('{') {
            let chars: Vec<char> = rest[open..].chars().collect();
            let Some(close) = matching_brace(&chars, 0) else { return Some(None) };
            let content: String = chars[1..close].iter().collect();
            let end = at + name + open + content.len() + 2;
            from = end;
            found.push(Boxed { start: at, end, content });
        } else {
            let content: String =
                rest[open..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-')).collect();
            let end = at + name + open + content.len();
            from = end;
            if !content.is_empty() {
                found.push(Boxed { start: at, end, content });
            }
        }
    }
    (!found.is_empty()).then_some(Some(found))
}

fn next_box(text: &str, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    [rest.find("\\boxed"), rest.find("\\fbox")].into_iter().flatten().min().map(|at| from + at)
}

/// The last statement of an answer in running text.
fn stated(text: &str) -> Option<String> {
    let mut last = None;
    for found in STATEMENT.find_iter(text) {
        let rest = text[found.end()..].trim_start_matches([' ', '\t', '*']);
        let line =
            rest.lines().map(str::trim).find(|line| !line.is_empty() && *line != "$$" && *line != "\\[").unwrap_or("");
        if !line.is_empty() {
            last = Some(line);
        }
    }
    clean(last?)
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
    if let Some(end) = sentence_end(text) {
        text = &text[..end];
    }
    if let Some(clause) = CLAUSE.find(text).filter(|clause| clause.start() > 0) {
        text = &text[..clause.start()];
    }
    let text = ASIDE.replace_all(text, "");
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

/// A reply that is itself the answer, or whose last line states it in so many words.
fn whole(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let count = line
        .split_whitespace()
        .filter(|word| word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || matches!(c, '.' | ',')))
        .count();
    if let Some(number) = chinese_count(line) {
        return number;
    }
    let named = STATES.find(line).is_some_and(|states| {
        let before = &line[..states.start()];
        !before.contains(|letter: char| letter.is_ascii_digit() || "\\$".contains(letter))
    });
    if count <= 4 && !named {
        return nonempty(line.trim_start_matches('=').trim_start());
    }
    if let Some(span) = only_span(line) {
        return span;
    }
    let found = STATES.find_iter(line).last()?;
    let loaded = line[..found.start()]
        .split_whitespace()
        .any(|word| matches!(word.to_lowercase().as_str(), "not" | "never" | "if" | "doubt" | "unlikely" | "cannot"));
    if loaded {
        None
    } else {
        clean(&line[found.end()..]).filter(|rest| !rest.split_whitespace().any(words::is_loaded))
    }
}

/// The only number of a sentence in Chinese, as in `共有12个。`; `Some(None)` when the sentence denies it.
fn chinese_count(line: &str) -> Option<Option<String>> {
    let han = |letter: char| ('\u{4e00}'..='\u{9fff}').contains(&letter);
    let line = line.trim_end_matches(['。', '！', '.']);
    let number = line.find(|letter: char| letter.is_ascii_digit())?;
    let end = line[number..]
        .find(|letter: char| !(letter.is_ascii_digit() || letter == '.'))
        .map_or(line.len(), |at| number + at);
    let plain =
        |side: &str| side.chars().all(|letter| han(letter) || letter.is_whitespace() || "，：、“”".contains(letter));
    if !line.contains(han) || !plain(&line[..number]) || !plain(&line[end..]) {
        return None;
    }
    Some(if words::is_loaded(line) { None } else { nonempty(&line[number..end]) })
}

/// The only `$...$` of a line; `Some(None)` when the line negates it.
fn only_span(line: &str) -> Option<Option<String>> {
    let parts: Vec<&str> = line.split('$').collect();
    match parts.as_slice() {
        [before, span, _] if !span.trim().is_empty() => {
            Some(if before.split_whitespace().any(words::is_loaded) { None } else { nonempty(span) })
        }
        _ => None,
    }
}
