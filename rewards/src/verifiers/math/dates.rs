//! Days of the year in one spelling: `May 4`, `4 May`, `May 4th, 2020`, `2020-05-04`.

use std::sync::LazyLock;

use regex::Regex;

use super::clause::pattern;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
static SPOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^(?:([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?|(?:the\s+)?(\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?([a-z]{3,9})\.?)",
        r"(?:,?\s+(\d{4}))?\.?$"
    ))
});
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d{4})-(\d{2})-(\d{2})$"));

/// A date in its one spelling, as text; nothing for what is no date.
pub(super) fn written(text: &str) -> Option<String> {
    let text = text.trim_matches('$').trim();
    let (month, day, year) = match NUMBERED.captures(text) {
        Some(found) => (found[2].parse::<usize>().ok()?, found[3].parse::<u32>().ok()?, found[1].to_owned()),
        None => {
            let found = SPOKEN.captures(text)?;
            let name = found.get(1).or_else(|| found.get(4))?.as_str();
            let day = found.get(2).or_else(|| found.get(3))?.as_str();
            let year = found.get(5).map_or(String::new(), |year| year.as_str().to_owned());
            (month(name)?, day.parse().ok()?, year)
        }
    };
    let name = MONTHS.get(month.checked_sub(1)?).filter(|_| (1..=31).contains(&day))?;
    Some(format!("\\text{{{name}}} {day} \\text{{{year}}}"))
}

/// The number of a month by its name, or its first three letters.
fn month(name: &str) -> Option<usize> {
    let lower = name.to_lowercase();
    let short = lower.trim_end_matches('t');
    let is_short = |month: &str| (3..=4).contains(&lower.len()) && month.starts_with(short);
    MONTHS.iter().position(|month| *month == lower || is_short(month)).map(|at| at + 1)
}
