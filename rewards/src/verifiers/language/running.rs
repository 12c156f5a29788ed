//! Running text: what of a response is language at all. Code, formulas, quotes, addresses and JSON are not.

use crate::extract::{capped, plain};

/// Quotation marks: what stands between is somebody else's text.
const QUOTES: [(char, char); 8] = [
    ('"', '"'),
    ('\u{201c}', '\u{201d}'),
    ('\u{2018}', '\u{2019}'),
    ('\u{ab}', '\u{bb}'),
    ('\u{300c}', '\u{300d}'),
    ('\u{300e}', '\u{300f}'),
    ('\u{300a}', '\u{300b}'),
    ('\u{201e}', '\u{201c}'),
];

/// A longer quote is a closing mark that was forgotten.
const LONGEST_QUOTE_CHARS: usize = 200;

/// The text with everything that is no running text replaced by a mark that no word crosses.
pub(super) fn running(text: &str) -> String {
    let text = plain(capped(text));
    let parts: Vec<String> = text.split("</think>").map(|part| part.replace("<think>", " ")).collect();
    parts
        .iter()
        .map(|part| if is_json(part) { String::new() } else { without_code(part) })
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_json(text: &str) -> bool {
    let inner = text.trim().trim_start_matches("```json").trim_matches('`').trim();
    inner.starts_with(['[', '{']) && serde_json::from_str::<serde::de::IgnoredAny>(inner).is_ok()
}

/// Without pairs of marks and what stands between them, one kind after the other.
fn without_code(text: &str) -> String {
    let mut text = text.to_owned();
    for (open, close) in
        [("```", "```"), ("`", "`"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("<", ">")]
    {
        if text.contains(open) {
            text = without(&text, open, close);
        }
    }
    if text.contains('\'') {
        text = without_single_quotes(&text);
    }
    if text.contains(QUOTES.map(|(open, _)| open)) {
        text = without_quotes(&text);
    }
    if text.contains('\\') {
        text = without_commands(&text);
    }
    let is_address = |text: &str| text.contains("://") || text.contains("www.") || text.contains('@');
    if is_address(&text) {
        let words = text.split(' ').map(|word| if is_address(word) { "\u{fffc}" } else { word });
        text = words.collect::<Vec<_>>().join(" ");
    }
    text
}

fn without(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        let inside = &rest[start + open.len()..];
        // A dollar or a smaller-than sign alone opens nothing that spans lines.
        let end = inside.find(close).filter(|end| open.len() > 1 || !inside[..*end].contains('\n'));
        let Some(end) = end else {
            if inside.find(close).is_none() {
                break;
            }
            kept.push_str(&rest[..start + open.len()]);
            rest = inside;
            continue;
        };
        kept.push_str(&rest[..start]);
        kept.push('\u{fffc}');
        rest = &inside[end + close.len()..];
    }
    kept.push_str(rest);
    kept
}

fn without_quotes(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let quote = QUOTES.iter().find(|(open, _)| *open == letters[at]);
        let end = quote.and_then(|(_, close)| {
            let window = &letters[at + 1..letters.len().min(at + 1 + LONGEST_QUOTE_CHARS)];
            window.iter().position(|letter| letter == close)
        });
        match end {
            Some(length) => {
                kept.push('\u{fffc}');
                at += length + 2;
            }
            None => {
                kept.push(letters[at]);
                at += 1;
            }
        }
    }
    kept
}

/// Without what stands between single straight quotes, which are told from apostrophes by what is around them.
fn without_single_quotes(text: &str) -> String {
    const LONGEST: usize = 80;
    let letters: Vec<char> = text.chars().collect();
    let word = |at: usize| letters.get(at).is_some_and(|letter| letter.is_alphanumeric());
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let opens = letters[at] == '\''
            && (at == 0 || !word(at - 1))
            && letters.get(at + 1).is_some_and(|c| !c.is_whitespace());
        let end = if opens {
            let window = at + 1..letters.len().min(at + 1 + LONGEST);
            window
                .clone()
                .find(|end| letters[*end] == '\'' && !word(end + 1))
                .filter(|end| !letters[at..*end].contains(&'\n'))
        } else {
            None
        };
        match end {
            Some(end) => {
                kept.push('\u{fffc}');
                at = end + 1;
            }
            None => {
                kept.push(letters[at]);
                at += 1;
            }
        }
    }
    kept
}

/// Without the names of LaTeX commands, whose braces stay.
fn without_commands(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut command = false;
    for letter in text.chars() {
        command = letter == '\\' || command && letter.is_ascii_alphabetic();
        kept.push(if command { '\u{fffc}' } else { letter });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_running_text_is_left() {
        let words =
            |text: &str| running(text).replace('\u{fffc}', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words("so `x = 1` and $y$ are \"deux\"."), "so and are .");
        assert_eq!(words("a\n```python\nfor i in x\n```\nb"), "a b");
        assert_eq!(words("see https://x.org/a now"), "see now");
        assert_eq!(words("\\frac{a}{b}"), "{a}{b}");
        assert_eq!(words("x < 3 and\ny > 4"), "x < 3 and y > 4");
        assert_eq!(words("<think>one</think>two"), "one two");
        assert_eq!(words("think</think>[{\"label\": \"cat\"}]"), "think");
        assert_eq!(words("costs $5 only"), "costs $5 only");
    }
}
