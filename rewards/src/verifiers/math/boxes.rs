//! The boxes in a reply, and what they give together.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{
    clause::{BETWEEN, pattern},
    lead,
    source::matching_brace,
    surroundings::{self, Place},
};
use crate::closings::Closings;

/// The name of a value right before its box.
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"([A-Za-z](?:_(?:\w|\{\w+\}))?(?:\([a-z]\))?)\s*=\s*\$?\s*$"));
static PERCENT_AFTER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^(?:\s|\\[,;: ])*\$?\s*(?:\\?%|percent(?:age)?\b|pct\b)"));
/// Signs right before a box that say what a value is not, and what asks behind it.
static UNEQUAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\neq?[\s$:*\\(\[]*$"));
static ASKED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[\s$*)]*\?"));
/// What makes a box a part of a formula before it: a sign or a digit, an exponent, a root or a fraction around it.
static BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:[-\u{2212}/0-9]|[^+]\+\s*|\\(?:cdot|times|div|pm|mp|log|ln|sin|cos|tan)\s*\(?|\\(?:[dt]?frac|sqrt)\s*(?:\[[^\]]*\])?\s*(?:\{[^{}]*\}\s*)?\{\s*|\^\s*\{?\s*|_\{\s*)$",
    )
});
/// The same behind it.
static BEHIND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:\^(?:[^{\\\x{b0}]|\{[^\\]|\{?\\[^cd])|_[0-9{]|!\s*(?:\$|\\[)\]])|[ \t]*(?:\+|\\cdot\b|\\times\b|\\pm\b)\s*[0-9A-Za-z\\(]",
        r"|[ \t]*[-/][ \t]*[0-9]|[0-9]|[xyznkiC](?:[^A-Za-z]|$)|[ \t]*\\(?:pi|sqrt|[dt]?frac)\b)"
    ))
});

/// The value of a box once more behind it: "or 0.75", "= 0.75", with what closes the box's formula before.
static AGAIN: LazyLock<Regex> = LazyLock::new(|| {
    const VALUE: &str = r"-?[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?(?:\s*(?:\\?%|percent\b))?";
    pattern(&format!(
        r"^(?<close>\s*(?:\$|\\[)\]])?)\s*,?\s*(?:(?:or|=|i\.e\.,?)\s*(?:\$(?<formula>{VALUE})\$|(?<bare>{VALUE}))|\((?:or|i\.e\.,?)\s*(?:\$(?<aside>{VALUE})\$|(?<plain>{VALUE}))\))(?<next>[\s.,;$]|\\[)\]]|$)"
    ))
});

/// What a box says that cannot be told.
const UNTOLD: &str = "?";

/// A box: where it starts and ends, and its content.
struct Boxed {
    start: usize,
    end: usize,
    content: String,
}

/// What the last box says that is not negated, with the boxes joined to it; `Some(None)` when the last box is not closed.
pub(super) fn boxed(text: &str, closings: &Closings) -> Option<Option<String>> {
    last(text, closings).map(|found| found.map(|(content, _)| content))
}

/// The same, where what stands around a box may change what it says, and where its place ends.
pub(super) fn stated(text: &str, closings: &Closings) -> Option<Option<(String, usize)>> {
    let said = |(content, range): (String, Range<usize>)| {
        let again = again(&text[range.end..]);
        let end = range.end + again.as_ref().map_or(0, |again| again.end);
        // What is said again is one more side of an equation, and stands around no more.
        let (text, content) = match &again {
            Some(Again { value, close, .. }) => {
                let text = format!("{}{close}{}", &text[..range.end], &text[end..]);
                (Cow::Owned(text), format!("{content} = {value}"))
            }
            None => (Cow::Borrowed(text), content),
        };
        let taken_back = lead::denies_box(&text, &range, closings);
        let said = match surroundings::place(&text, range, closings) {
            _ if taken_back => UNTOLD.to_owned(),
            Place::Alone => content,
            // A decimal is often rounded; "about 7" is no 7.
            Place::About if content.contains('.') => content,
            Place::About | Place::Part => UNTOLD.to_owned(),
        };
        (said, end)
    };
    last(text, closings).map(|found| found.map(said))
}

/// A value that stands behind a box.
struct Again<'t> {
    value: &'t str,
    /// What closes the box's formula before it.
    close: &'t str,
    /// Where it ends.
    end: usize,
}

/// The value that a text behind a box gives once more.
fn again(behind: &str) -> Option<Again<'_>> {
    let found = AGAIN.captures(behind)?;
    let value = ["formula", "bare", "aside", "plain"].into_iter().find_map(|name| found.name(name))?.as_str();
    let [close, next] = ["close", "next"].map(|name| found.name(name));
    Some(Again { value, close: close.map_or("", |close| close.as_str()), end: next?.start() })
}

/// The last box that is not negated with those joined to it, and where they stand.
fn last(text: &str, closings: &Closings) -> Option<Option<(String, Range<usize>)>> {
    let boxes = match boxes(text)? {
        Some(boxes) => boxes,
        None => return Some(None),
    };
    let mut end = boxes.len();
    // The last box may only say how large the one before is.
    if let [.., exact, last] = boxes.as_slice()
        && is_size(last)
        && !is_size(exact)
    {
        end -= 1;
    }
    while end > 0 {
        let mut start = end - 1;
        while start > 0 && BETWEEN.is_match(&text[boxes[start - 1].end..boxes[start].start]) {
            start -= 1;
        }
        let (before, after) = (&text[..boxes[start].start], &text[boxes[end - 1].end..]);
        let bare = before.trim_end_matches([' ', '\t', '\n', '$', ':', '*', '\\', '(', '[']);
        let denied = UNEQUAL.is_match(before) || closings.denies_next(bare);
        if !denied && !ASKED.is_match(after) && !closings.around().denies_behind(after) {
            let range = boxes[start].start..boxes[end - 1].end;
            return Some(Some((together(text, &boxes[start..end]), range)));
        }
        end = start;
    }
    None
}

/// Whether a box only says how large something is.
fn is_size(one: &Boxed) -> bool {
    one.content.trim_start().starts_with("\\approx")
}

/// The contents of boxes that are given together, with their names where each has one.
fn together(text: &str, boxes: &[Boxed]) -> String {
    let names: Vec<Option<String>> =
        boxes.iter().map(|one| Some(NAME.captures(&text[..one.start])?[1].to_owned())).collect();
    let named = boxes.len() > 1 && names.iter().all(Option::is_some);
    let contents: Vec<String> = boxes
        .iter()
        .zip(names)
        .map(|(one, name)| match name.filter(|_| named) {
            Some(name) => format!("{name} = {}", one.content),
            None => one.content.clone(),
        })
        .collect();
    let percent = boxes.last().is_some_and(|last| PERCENT_AFTER.is_match(&text[last.end..]));
    let percent = percent && !contents[0].contains('%');
    if percent && boxes.len() == 1 { format!("{}\\%", contents[0]) } else { contents.join(", ") }
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
            let mut content: String = chars[1..close].iter().collect();
            let end = at + name + open + content.len() + 2;
            from = end;
            // `\boxed{5}{6}`, `-\boxed{5}`: a box has one group and is no part of a formula; what this says cannot be told.
            if chars.get(close + 1) == Some(&'{') || BEFORE.is_match(&text[..at]) || BEHIND.is_match(&text[end..]) {
                UNTOLD.clone_into(&mut content);
            }
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

/// What stands behind the last box.
pub(super) fn behind_last(text: &str) -> Option<&str> {
    boxes(text)??.pop().map(|last| &text[last.end..])
}

pub(super) fn next_box(text: &str, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    [rest.find("\\boxed"), rest.find("\\fbox")].into_iter().flatten().min().map(|at| from + at)
}
