//! Fractions, percentages and minus signs in Chinese words: `七分之二` is 2/7, `百分之二十五` is 25%, `负5` is -5.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

use super::clause::pattern;

static FRACTION: LazyLock<Regex> = LazyLock::new(|| {
    const NUMERAL: &str = "\\d+|[\u{96f6}\u{4e00}\u{4e8c}\u{4e24}\u{4e09}\u{56db}\u{4e94}\u{516d}\u{4e03}\u{516b}\u{4e5d}\u{5341}\u{767e}]+";
    pattern(&format!("({NUMERAL})\u{5206}\u{4e4b}(\\d+(?:\\.\\d+)?|\u{221a}\\d+|{NUMERAL})"))
});

static MINUS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(^|[^\p{L}\d])[\u{8d1f}\u{8ca0}]\s*([\d\\\u{221a}])"));

/// A text with its fractions and minus signs in words written in signs.
pub(super) fn written(text: &str) -> Cow<'_, str> {
    let fractions = fractions(text);
    if !MINUS.is_match(&fractions) {
        return fractions;
    }
    Cow::Owned(MINUS.replace_all(&fractions, "$1-$2").into_owned())
}

fn fractions(text: &str) -> Cow<'_, str> {
    if !text.contains("\u{5206}\u{4e4b}") {
        return Cow::Borrowed(text);
    }
    FRACTION.replace_all(text, |found: &Captures<'_>| {
        let above = number(&found[2]).map_or_else(|| found[2].to_owned(), |value| value.to_string());
        match (&found[1], number(&found[1])) {
            ("\u{767e}", _) => format!("{above}\\%"),
            (_, Some(below)) => format!("\\frac{{{above}}}{{{below}}}"),
            _ => found[0].to_owned(),
        }
    })
}

/// The value of a numeral below a thousand in Chinese characters.
fn number(numeral: &str) -> Option<u32> {
    const DIGITS: &str = "\u{96f6}\u{4e00}\u{4e8c}\u{4e09}\u{56db}\u{4e94}\u{516d}\u{4e03}\u{516b}\u{4e5d}";
    if numeral.chars().all(|letter| letter.is_ascii_digit()) {
        return numeral.parse().ok();
    }
    let (mut total, mut digit) = (0, None);
    for letter in numeral.chars() {
        let letter = if letter == '\u{4e24}' { '\u{4e8c}' } else { letter };
        match (letter, DIGITS.chars().position(|own| own == letter)) {
            ('\u{5341}', _) => total += 10 * digit.take().unwrap_or(1),
            ('\u{767e}', _) => total += 100 * digit.take().unwrap_or(1),
            (_, Some(value)) => digit = Some(u32::try_from(value).ok()?),
            _ => return None,
        }
    }
    Some(total + digit.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_in_words_are_fractions() {
        assert_eq!(fractions("七分之二"), "\\frac{2}{7}");
        assert_eq!(fractions("百分之二十五"), "25\\%");
        assert_eq!(fractions("二十四分之十一"), "\\frac{11}{24}");
        assert_eq!(fractions("2分之√2"), "\\frac{√2}{2}");
        assert_eq!(fractions("12"), "12");
        assert_eq!(written("负5"), "-5");
        assert_eq!(written("正负5"), "正负5");
    }
}
