//! Gold answers as data sets publish them: whole worked solutions, and phrases that stand for sets.

use std::sync::LazyLock;

use regex::Regex;

use super::{boxes, clause::pattern, dates, extract, prose};
use crate::closings::Closings;

static LAST_LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?s)\n\s*(?:####|(?:A|Answer|ANSWER)\s*[:\u{ff1a}])\s*([^\n]+?)\s*$"));
static EXCEPT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^\$?(?:(?:the\s+)?set\s+of\s+)?(?:all\s+)?(?:the\s+)?(real\s+numbers|reals|real\s+values|integers|rational\s+numbers)",
        r"(?:\s+of\s+\$?x\$?|\s+\$?[a-z]\$?)?\s*,?\s*(?:except|excluding|other\s+than|but)(?:\s+for)?\s+",
        r"(?:\$?[a-z]\s*=\s*)?([^a-zA-Z]+?(?:\s(?:and|or)\s[^a-zA-Z]+?)?|\$[^$]+\$(?:\s+and\s+\$[^$]+\$)?)\s*\.?$"
    ))
});
static WHOLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)[,;]?\s*\(?\s*(?:\\text\{\s*)?(?:\bwhere|\bfor(?:\s+(?:any|all|every|each|some))?|\bwith)?\s*(?:\})?\s*",
        r"(?:(?:any|all|every|each)\s+)?\$?\b([a-zA-Z])\$?\s*(?:\\text\{)?\s*(?:is|are|being)\s+(?:an?\s+|any\s+)?(?:arbitrary\s+)?integers?\s*\}?\)?\s*\.?$"
    ))
});
static MEMBERS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[,;\s$]*(?:\\[ ,;]|\\q?quad|~)*\s*(?:(?:\\left)?\(|(?:\\text\{)?\s*\b(?:with|where|for(?:\s+(?:all|any|every|each))?)\b\s*\}?\s*\$?)\s*([a-zA-Z]\s*\\in\s*\\(?:mathbb\s*\{?[ZNRQ]\}?|[ZNRQ]))\s*(?:(?:\\right)?\))?\s*\$?\s*$",
    )
});
static QUADRANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?:the\s+)?(?:quadrant\s+(iv|iii|ii|i|[1-4])|(first|second|third|fourth|1st|2nd|3rd|4th)\s+quadrant)\.?$",
    )
});

/// "Yes, it is": the rest says the same again.
static AFFIRMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^(?:(yes)[,.]?\s+(?:it|they|he|she|this|that|there|we)\s+(?:is|are|does|do|can|will|has|have)",
        r"|(no)[,.]?\s+(?:it|they|he|she|this|that|there|we)\s+(?:(?:is|are|does|do|will|has|have)(?:n't|\s+not)|cannot|can't))\.?$"
    ))
});
/// A free constant that is only introduced: every answer with that letter has it.
static CONSTANT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\$?[,;]?\s*\(?(?:\\text\s*\{\s*|\\quad\s*)*(?:where|for\s+(?:some|any|all|every)|with)\s+",
        r"(?:(?:(?:some|any|an?|real|arbitrary)\s+)*constants?\s*\}?\s*\$?([a-zA-Z](?:_\{?\w\}?)?)\$?",
        r"|\}?\s*\$?([a-zA-Z](?:_\{?\w\}?)?)\$?\s*(?:\\text\s*\{)?\s*is\s+(?:(?:some|any|an?|real|arbitrary|free)\s+)*constant\s*\}?)\)?\s*\.?\$?$"
    ))
});

/// Shorter gold texts than this are answers and no solutions, unless they mark an answer.
const SHORT_BYTES: usize = 150;

/// The answer of a gold text that is a whole worked solution: its last box, what follows `####` or `A:` in its last
/// line, or its last closing statement.
pub(super) fn answer(gold: &str, closings: &Closings) -> Option<String> {
    if gold.contains("\\boxed") || gold.contains("\\fbox") {
        return boxes::boxed(gold, closings).flatten().or_else(|| cut_box(gold));
    }
    if let Some(found) = LAST_LINE.captures(gold) {
        return Some(found[1].to_owned());
    }
    if let Some(rest) = gold.trim().strip_prefix("####") {
        return Some(rest.trim().to_owned());
    }
    if let Some(marked) = extract::marked(gold, closings) {
        return marked.into_iter().next().filter(|answer| answer.trim() != gold.trim());
    }
    prose::conclusion(gold, closings).filter(|_| gold.len() > SHORT_BYTES)
}

/// What the only box of a gold text holds when nothing closes it.
fn cut_box(gold: &str) -> Option<String> {
    let (_, inside) = gold.split_once("\\boxed{")?;
    let balanced = inside.matches('{').count() == inside.matches('}').count();
    (balanced && !inside.contains("boxed") && !inside.trim().is_empty()).then(|| inside.trim().to_owned())
}

/// An answer with the phrases that stand for sets written as sets.
pub(super) fn written(text: &str) -> Option<String> {
    let plain = text.replace("\\text{", "").replace('}', "");
    let source = if text.starts_with("\\text{") { plain.trim() } else { text.trim() };
    if let Some(found) = EXCEPT.captures(source) {
        let set = match found[1].to_lowercase().chars().next() {
            Some('i') => "Z",
            _ if found[1].to_lowercase().starts_with("rational") => "Q",
            _ => "R",
        };
        let taken = found[2].replace('$', "").replace(" and ", ", ");
        return Some(format!("\\mathbb{{{set}}}\\setminus\\{{{}\\}}", taken.trim()));
    }
    if let Some(date) = dates::written(source) {
        return Some(date);
    }
    if let Some(found) = AFFIRMED.captures(source) {
        let word = found.get(1).or_else(|| found.get(2))?.as_str();
        return Some(format!("\\text{{{word}}}"));
    }
    if let Some(found) = CONSTANT.captures(text)
        && let (Some(whole), Some(letter)) = (found.get(0), found.get(1).or_else(|| found.get(2)))
        && text[..whole.start()].contains(letter.as_str())
    {
        return Some(text[..whole.start()].trim_end_matches(['$', ' ', ',']).trim_start_matches('$').to_owned());
    }
    if let Some(found) = QUADRANT.captures(source) {
        let which = found.get(1).or_else(|| found.get(2)).map_or("", |which| which.as_str()).to_lowercase();
        let number = match which.as_str() {
            "i" | "1" | "first" | "1st" => 1,
            "ii" | "2" | "second" | "2nd" => 2,
            "iii" | "3" | "third" | "3rd" => 3,
            _ => 4,
        };
        return Some(format!("\\text{{quadrant}} {number}"));
    }
    if let Some(found) = MEMBERS.captures(text) {
        let start = found.get(0)?.start();
        return (start > 0).then(|| format!("{}, {}", text[..start].trim_end_matches(['$', ' ', ',']), &found[1]));
    }
    let found = WHOLE.captures(text)?;
    let (start, letter) = (found.get(0)?.start(), found.get(1)?.as_str());
    (start > 0).then(|| format!("{}, {letter} \\in \\mathbb{{Z}}", text[..start].trim_end_matches(['$', ' ', ','])))
}
