//! Lettered choices: `B`, `(B)`, `B.`, `\textbf{(B)}\ 12`, "Option B".

/// A letter, how it was written, and what followed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Upper case.
    pub(super) letter: char,
    /// Whether brackets, a point or a word show that it is a choice rather than a variable.
    pub(super) explicit: bool,
    /// The text of the choice, where it was repeated.
    pub(super) content: Option<String>,
}

const BEFORE: [&str; 20] = [
    "$",
    "\\text{",
    "\\textbf{",
    "\\textrm{",
    "\\mathbf{",
    "\\mathrm{",
    "\\textit{",
    "\\mathsf{",
    "\\boxed{",
    "\\left",
    "{",
    "**",
    "\\(",
    "\\[",
    "option ",
    "choice ",
    "answer ",
    "answer: ",
    " ",
    "\\ ",
];
const AFTER: [&str; 9] = ["}", "**", "$", "\\)", "\\right", "\\ ", "\\,", "~", " "];

/// Reads a lettered choice, where the whole answer is one.
pub(super) fn read(answer: &str) -> Option<Choice> {
    let (rest, named) = strip(answer.trim(), &BEFORE);
    let (rest, bracketed) = match rest.strip_prefix('(') {
        Some(inner) => (strip(inner, &BEFORE).0, true),
        None => (rest, false),
    };
    let letter = rest.chars().next().filter(|c| matches!(c.to_ascii_uppercase(), 'A'..='H'))?;
    let rest = &rest[letter.len_utf8()..];
    if rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '^' | '\'')) {
        return None;
    }
    let rest = strip(rest, &AFTER).0;
    let delimiter = rest.chars().next().filter(|c| matches!(c, ')' | '.' | ':'));
    if bracketed && delimiter != Some(')') {
        return None;
    }
    let rest = if delimiter.is_some() { &rest[1..] } else { rest };
    let content = strip(rest, &AFTER).0.trim_end_matches([' ', '.', '$']);
    let content = drop_unopened(content);
    if content.is_empty() {
        return Some(Choice {
            letter: letter.to_ascii_uppercase(),
            explicit: bracketed || delimiter.is_some() || named,
            content: None,
        });
    }
    // A letter with an operator after it is mathematics.
    if delimiter.is_none() || content.starts_with(['+', '-', '*', '/', '^', '=', '!', ',', ')', '\'']) {
        return None;
    }
    Some(Choice { letter: letter.to_ascii_uppercase(), explicit: true, content: Some(content) })
}

/// Takes any of the pieces from the front; says whether one of them was a font or a word.
fn strip<'a>(mut text: &'a str, pieces: &[&str]) -> (&'a str, bool) {
    let mut named = false;
    loop {
        let lower = text.get(..text.len().min(16)).or_else(|| text.get(..0)).unwrap_or("").to_ascii_lowercase();
        let Some(piece) = pieces.iter().find(|piece| text.starts_with(**piece) || lower.starts_with(**piece)) else {
            return (text, named);
        };
        named |= piece.starts_with("\\text")
            || piece.starts_with("\\math")
            || piece.starts_with(|c: char| c.is_ascii_alphabetic());
        text = &text[piece.len()..];
    }
}

/// Drops closing braces that nothing opens.
fn drop_unopened(content: &str) -> String {
    let mut open = 0usize;
    content
        .chars()
        .filter(|c| {
            match c {
                '{' => open += 1,
                '}' if open == 0 => return false,
                '}' => open -= 1,
                _ => {}
            }
            true
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_in_all_its_spellings() {
        for text in ["(B)", "\\text{(B)}", "\\textbf{(B)}", "B.", "Option B", "(b)", "\\textbf{B}", "\\mathrm{(B)}"] {
            let choice = read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((choice.letter, choice.explicit, choice.content), ('B', true, None), "{text}");
        }
        assert_eq!(read("\\textbf{(B)}\\ 12").and_then(|choice| choice.content).as_deref(), Some("12"));
        assert!(!read("B").is_some_and(|choice| choice.explicit));
        for text in ["B + 1", "Bob", "B_1", "b^2", "12", "A, B", "(a+b)", "(A, B)"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
