//! Where the answer stands in a response: after the thinking, in the last tag, box, JSON value or statement.
//!
//! Everything here is linear in the length of the text: responses are written by a policy that is free to write anything.

use std::borrow::Cow;
use std::ops::Range;

use sapo_datasets::Transcript;
use serde_json::Value;

use crate::closings::Closings;

/// Longest text that a verifier reads, in bytes; the end of a longer one is kept.
pub const LONGEST_BYTES: usize = 64 * 1024;

/// More answers than this (tags, boxes, JSON values, statements) are spam, and none of them counts.
pub const MOST_ANSWERS: usize = 16;

/// What a transcript answers: the text after the last `</think>`; `None` while thinking is unclosed.
pub fn answer(transcript: &Transcript) -> Option<&str> {
    let answer = transcript.answer()?;
    // Thinking that is opened again and never closed is no answer.
    Some(answer.find("<think>").map_or(answer, |at| &answer[..at]))
}

/// What a whole reply answers: the text after the last `</think>`; `None` while thinking is unclosed.
pub fn after_thinking(response: &str) -> Option<&str> {
    let answer = match response.rfind("</think>") {
        Some(at) => &response[at + "</think>".len()..],
        None if response.contains("<think>") => return None,
        None => response,
    };
    Some(answer.find("<think>").map_or(answer, |at| &answer[..at]))
}

/// The end of a text that is too long to be read whole.
pub fn capped(text: &str) -> &str {
    let mut start = text.len().saturating_sub(LONGEST_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Whether the last line that says something is said so often that it is no answer.
pub(crate) fn repeats_its_last_line(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).rev().filter(|line| line.contains(char::is_alphanumeric));
    let last = lines.next().unwrap_or_default();
    lines.filter(|line| *line == last).nth(MOST_ANSWERS - 1).is_some()
}

/// Full-width forms become ASCII; characters that cannot be seen go.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|letter| !is_invisible(*letter)).map(narrow).collect())
}

/// Characters that cannot be seen.
pub(crate) fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}

fn narrow(letter: char) -> char {
    match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(letter as u32 - 0xfee0).unwrap_or(letter),
        '\u{3000}' | '\u{a0}' => ' ',
        other => other,
    }
}

/// The content of the last closed `<answer>...</answer>`, unless there are too many.
pub fn last_answer_tag(text: &str) -> Option<&str> {
    if text.matches("<answer>").nth(MOST_ANSWERS).is_some() {
        return None;
    }
    let end = text.rfind("</answer>")?;
    let start = text[..end].rfind("<answer>")? + "<answer>".len();
    Some(text[start..end].trim())
}

/// Every closed `\boxed{...}` in order of its end: where it stands, and its content.
pub fn boxes(text: &str) -> Vec<(Range<usize>, &str)> {
    const OPENINGS: [&str; 2] = ["\\boxed{", "\\fbox{"];
    let mut open: Vec<Option<(usize, usize)>> = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => match OPENINGS.iter().find(|opening| bytes[at..].starts_with(opening.as_bytes())) {
                Some(opening) => {
                    open.push(Some((at, at + opening.len())));
                    at += opening.len();
                }
                // An escaped brace is a character of the content.
                None => at += 2,
            },
            b'{' => {
                open.push(None);
                at += 1;
            }
            b'}' => {
                if let Some(Some((start, content))) = open.pop() {
                    found.push((start..at + 1, text[content..at].trim()));
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// The content of the last closed box, unless there are too many.
pub fn last_box(text: &str) -> Option<&str> {
    let mut boxes = boxes(text);
    if boxes.len() > MOST_ANSWERS { None } else { boxes.pop().map(|(_, content)| content) }
}

/// What the search for JSON found.
#[derive(Clone, Debug, PartialEq)]
pub enum LastJson {
    /// No object and no list.
    Nothing,
    /// The last one is not strict JSON, or there are too many.
    Broken,
    /// The last object or list.
    Found(Value),
}

/// Brackets that are opened in prose and never closed: after so many, the search gives up.
const MOST_STRAY: usize = 32;

/// The last object or list of a text, read strictly. What stands inside a broken one is not looked at.
pub fn last_json(text: &str) -> LastJson {
    let mut last = LastJson::Nothing;
    let mut at = 0;
    let (mut stray, mut found) = (0, 0);
    while let Some(offset) = text[at..].find(['{', '[']) {
        let start = at + offset;
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                at = start + values.byte_offset();
                last = LastJson::Found(value);
                found += 1;
                if found > MOST_ANSWERS {
                    return LastJson::Broken;
                }
            }
            _ => {
                let (end, closed) = balanced(&text[start..]);
                let inside = &text[start..start + end];
                let begins = inside[1..].trim_start().starts_with(['"', '\'', '{', '[']);
                if !closed && !begins && stray < MOST_STRAY {
                    // A bracket of prose, as in `[0, 1)`.
                    stray += 1;
                    at = start + 1;
                    continue;
                }
                // Brackets in prose are no JSON; a broken object or list of them is.
                if begins && (!closed || inside.contains(':')) {
                    last = LastJson::Broken;
                }
                at = start + end;
            }
        }
    }
    last
}

/// Where the bracket that `text` starts with is closed (or the end of the text), minding strings.
fn balanced(text: &str) -> (usize, bool) {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return (at + 1, true);
                }
            }
            _ => {}
        }
    }
    (text.len(), false)
}

/// The final answer of a reply without its thinking: the last tag, else the last box, else what the last statement
/// ("the answer is ...") says, else the whole text; trimmed, without emphasis, quotes and the full stop at its end.
pub fn final_answer(text: &str) -> String {
    let text = capped(text);
    let text = last_answer_tag(text).unwrap_or(text);
    let text = last_box(text).or_else(|| last_statement(text)).unwrap_or(text);
    unwrapped(&plain(text)).to_owned()
}

/// Whether an answer is complete although the reply was cut: its tag or its box is closed.
pub fn is_closed(text: &str) -> bool {
    last_answer_tag(text).is_some() || last_box(text).is_some()
}

fn last_statement(text: &str) -> Option<&str> {
    let all = Closings::built_in().all(text);
    let last = all.iter().rfind(|closing| !closing.denied)?;
    let many = all.iter().filter(|closing| text[closing.phrase.clone()] == text[last.phrase.clone()]).count();
    (many <= MOST_ANSWERS).then(|| &text[last.answer.clone()])
}

/// A text without the spaces, emphasis, quotes, dollar signs and full stops around it.
pub fn unwrapped(text: &str) -> &str {
    let wrapper = |letter: char| letter.is_whitespace() || "*`$\"'“”‘’「」_".contains(letter);
    let mut text = text;
    loop {
        let inner = text.trim_matches(wrapper).trim_end_matches(['.', '。', '!', '！']).trim_start_matches("\\(");
        let inner = inner.trim_end_matches("\\)");
        if inner.len() == text.len() {
            return inner;
        }
        text = inner;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_every_form() {
        for (text, wanted) in [
            ("85", "85"),
            (" **85**. ", "85"),
            ("So \\boxed{85} it is", "85"),
            ("\\boxed{1} no, \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
            ("<answer>1</answer> <answer> 85 </answer>", "85"),
            ("<answer>\\boxed{85}</answer>", "85"),
            ("The answer is 12. No: the answer is 85. Done", "85"),
            ("the answer is not 12", "the answer is not 12"),
            ("I don't think the answer is 12", "I don't think the answer is 12"),
            ("정답은 85입니다.", "85"),
            ("Die Antwort lautet also 85.", "85"),
            ("85が正解です。", "85"),
            ("Answer: 3.5", "3.5"),
            ("答案：８５。", "85"),
            ("\\boxed{}", ""),
            ("\\boxed{85", "\\boxed{85"),
        ] {
            assert_eq!(final_answer(text), wanted, "{text}");
        }
    }

    #[test]
    fn thinking_is_no_answer() {
        assert_eq!(after_thinking("<think>85"), None);
        assert_eq!(after_thinking("<think>1</think>85<think>86"), Some("85"));
        assert_eq!(after_thinking("1</think>85"), Some("85"));
        let open = Transcript { thinking_open: true, ..Transcript::of_answer("q", "85") };
        assert_eq!(answer(&open), None);
    }

    #[test]
    fn the_last_json_value_counts() {
        assert_eq!(last_json("see [1] and {\"a\": [2]} or so"), LastJson::Found(json!({"a": [2]})));
        assert_eq!(last_json("[{\"a\": 1},]"), LastJson::Broken);
        assert_eq!(last_json("[{'a': 1}]"), LastJson::Broken);
        assert_eq!(last_json("{\"a\": [1, 2"), LastJson::Broken);
        assert_eq!(last_json("[{\"a\": 1}, {\"a\": [2"), LastJson::Broken);
        assert_eq!(last_json("in [0, 1) lies [2]"), LastJson::Found(json!([2])));
        assert_eq!(last_json("an [aside] only"), LastJson::Nothing);
        assert_eq!(last_json("[{\"a\": 1}] [left]"), LastJson::Found(json!([{"a": 1}])));
    }

    #[test]
    fn spam_is_no_answer() {
        for unit in ["\\boxed{85} ", "<answer>85</answer> ", "The answer is 85. "] {
            assert_eq!(final_answer(unit), "85");
            assert_ne!(final_answer(&unit.repeat(10_000)), "85", "{unit}");
        }
        assert_eq!(last_json(&"{\"a\": 1}".repeat(200)), LastJson::Broken);
    }

    #[test]
    fn hostile_texts_are_read_in_linear_time() {
        for text in [
            "[".repeat(300_000),
            "{\"a\":".repeat(100_000),
            "\\boxed{".repeat(100_000),
            "[\"".repeat(100_000),
            "[a".repeat(100_000),
        ] {
            let _ = last_json(&text);
            assert!(boxes(&text).is_empty());
            let _ = final_answer(&text);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(\\PC|[\\\\{}\\[\\]\"<>/a-z]|</think>|<think>|\\\\boxed\\{|answer is){0,60}") {
            let _ = final_answer(&text);
            let _ = last_json(&text);
            let _ = boxes(&text);
            let _ = after_thinking(&text).map(plain);
        }
    }
}
