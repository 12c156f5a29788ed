//! Whether two texts of words are one.

use super::{
    units::is_cased,
    words::{is_style, normal_text, strip_markup},
};

/// What stands between words and counts in a formula.
const MARKS: [char; 8] = ['(', ')', '[', ']', '!', '|', '\'', '-'];

/// Whether two texts are one in their normal form. Of formulas, letters and marks must be the same; beside words of logic,
/// marks must.
pub(super) fn are_one_text(a: &str, b: &str) -> bool {
    if normal_text(a) != normal_text(b) || cased_units(a) != cased_units(b) {
        return false;
    }
    let (own, other) = (letters(a), letters(b));
    if has_command(a) || has_command(b) {
        return own == other;
    }
    let marked = own.contains(MARKS) || other.contains(MARKS);
    !marked || !has_reach(a) && !has_reach(b) || own.to_lowercase() == other.to_lowercase()
}

fn letters(text: &str) -> String {
    strip_markup(text).chars().filter(|c| c.is_alphanumeric() || MARKS.contains(c)).collect()
}

fn cased_units(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| is_cased(word)).collect()
}

/// Whether a command stands in a text that is no matter of style.
fn has_command(text: &str) -> bool {
    let name = |rest: &str| rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>();
    text.split('\\').skip(1).map(name).any(|name| !name.is_empty() && !is_style(&name))
}

/// Whether brackets say how far something reaches: a function, or a word of logic.
fn has_reach(text: &str) -> bool {
    let mut before = text.split('(').rev().skip(1);
    let lower = text.to_lowercase();
    before.any(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '}'))
        || lower.split(|c: char| !c.is_alphanumeric()).any(|word| matches!(word, "and" | "or" | "not" | "nor" | "if"))
}
