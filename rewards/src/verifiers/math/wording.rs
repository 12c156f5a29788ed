//! Whether two texts of words are one.

use super::words::{is_style, normal_text, strip_markup};

/// Whether two texts are one in their normal form; in a formula, or beside words of logic, brackets and marks count as well.
pub(super) fn are_one_text(a: &str, b: &str) -> bool {
    const MARKS: [char; 8] = ['(', ')', '[', ']', '!', '|', '\'', '-'];
    let marked = a.contains(MARKS) || b.contains(MARKS);
    let letters = |text: &str| -> String {
        strip_markup(text).to_lowercase().chars().filter(|c| c.is_alphanumeric() || MARKS.contains(c)).collect()
    };
    normal_text(a) == normal_text(b) && (!marked || !is_formal(a) && !is_formal(b) || letters(a) == letters(b))
}

/// Whether a text is a formula, or has words whose reach brackets say.
fn is_formal(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    let applied = text.split('(').rev().skip(1).any(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '}'));
    let commands =
        text.split('\\').skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default());
    commands.filter(|name| !name.is_empty()).any(|name| !is_style(name))
        || applied
        || words.any(|word| matches!(word, "and" | "or" | "not" | "nor" | "if"))
}
