//! Repetition: whether a text says the same over and over, in any unit: a character, a word, a sentence, a template.
//!
//! Four signs, each linear in the text: a stretch that repeats with a period; a template whose numbers only count on;
//! sentences that were said before; a text most of which is copied from itself. Data (JSON, tables) is judged
//! by the first sign alone, since its rows are alike by nature.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::{self, capped};
use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::PartScore;

/// No response is longer.
const MOST_SPAN_BYTES: usize = 1 << 24;

/// A penalty for saying the same over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Repetition {
    /// Bytes that a unit said four times or more must fill. Short responses need a small number.
    pub span_bytes: usize,
}

impl Verifier for Repetition {
    const VERSION: &'static str = "repetition/1";
    const ROLE: Role = Role::Penalty;

    fn check(&self) -> Result<(), String> {
        match self.span_bytes {
            8..=MOST_SPAN_BYTES => Ok(()),
            _ => Err(format!("span_bytes = {}: it must be in 8..{MOST_SPAN_BYTES}", self.span_bytes)),
        }
    }

    /// The thinking and the answer are judged apart: an answer may state again what the thinking found.
    fn score(&self, item: &Item<'_>) -> PartScore {
        let thinking = score(item.transcript.reasoning(), *self);
        match thinking.outcome.value() {
            Some(0.0) => score(extract::answer(item.transcript).unwrap_or_default(), *self),
            _ => thinking,
        }
    }

    fn example() -> Example {
        Example::new(Value::Null, "five", 0.0)
    }
}

impl Default for Repetition {
    fn default() -> Self {
        Self { span_bytes: 64 }
    }
}

/// A unit of this many bytes is a loop when said three times, ...
const LONG_UNIT_BYTES: usize = 40;
/// ... and one of this many when said twice.
const HUGE_UNIT_BYTES: usize = 120;
/// Bytes that are compared at once.
const GRAM: usize = 8;
/// Periods that are tried, the most frequent first.
const MOST_PERIODS: usize = 6;
/// A copy shorter than this is chance.
const COPY_BYTES: usize = 12;
/// Texts shorter than this are not judged by how much of them is copied.
const COPIED_TEXT_BYTES: usize = 320;
/// The share of copied bytes that makes a text repetitive.
const COPIED_SHARE: f64 = 0.82;
/// Copies of this many bytes are paragraphs, ...
const PARAGRAPH_BYTES: usize = 120;
/// ... and a text of which they are this share is copied.
const PARAGRAPH_SHARE: f64 = 0.4;
/// So often a template that only counts on may be said.
const MOST_TEMPLATE: usize = 7;
/// So often one of a single short word may be.
const MOST_SHORT_TEMPLATE: usize = 30;
/// Fewer letters than this are no template.
const SHORT_TEMPLATE_BYTES: usize = 3;

/// Why a text is repetitive; `None` when it is not.
pub fn sign(text: &str, limits: Repetition) -> Option<String> {
    let text = capped(text);
    let copies = Copies::of(text.as_bytes());
    if let Some((period, span)) = copies.longest_loop(text.as_bytes(), limits) {
        return Some(format!("{period} bytes repeat over {span} bytes"));
    }
    if is_data(text) {
        return None;
    }
    if let Some(sign) = repeated_units(text) {
        return Some(sign);
    }
    let share = |bytes: usize| bytes as f64 / text.len().max(1) as f64;
    let copied = text.len() >= COPIED_TEXT_BYTES && share(copies.copied) >= COPIED_SHARE;
    (copied || share(copies.paragraphs) >= PARAGRAPH_SHARE)
        .then(|| format!("{:.0} % of the text is copied from itself", 100.0 * share(copies.copied)))
}

/// 1 when the text is repetitive: a penalty.
pub fn score(text: &str, limits: Repetition) -> PartScore {
    match sign(text, limits) {
        Some(sign) => PartScore::verdict(true, sign),
        None => PartScore::verdict(false, "no loop"),
    }
}

/// What of a text is said before in the same text.
struct Copies {
    /// Distances to the last place of the same bytes, with the number of such places: candidates for a period.
    periods: Vec<(usize, usize)>,
    /// Bytes in copies of [`COPY_BYTES`] or more.
    copied: usize,
    /// Bytes in copies of [`PARAGRAPH_BYTES`] or more.
    paragraphs: usize,
}

impl Copies {
    fn of(bytes: &[u8]) -> Self {
        let mut table = vec![u32::MAX; (bytes.len() * 2).next_power_of_two().max(16)];
        let shift = 64 - table.len().trailing_zeros();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut copied, mut paragraphs, mut covered, mut run) = (0, 0, 0, (0, 0));
        for at in 0..bytes.len().saturating_sub(GRAM - 1) {
            let gram = gram(bytes, at);
            let slot = (gram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize;
            let before = std::mem::replace(&mut table[slot], at as u32) as usize;
            if before >= at || bytes[before..before + GRAM] != bytes[at..at + GRAM] {
                continue;
            }
            // Distances come in runs: counting a run at its end spares the map.
            let distance = at - before;
            if run.0 != distance {
                if run.1 > 0 {
                    *counts.entry(run.0).or_default() += run.1;
                }
                run = (distance, 0);
            }
            run.1 += 1;
            if at >= covered {
                let length = common(&bytes[before..], &bytes[at..]);
                if length >= COPY_BYTES {
                    copied += length;
                    paragraphs += if length >= PARAGRAPH_BYTES { length } else { 0 };
                    covered = at + length;
                }
            }
        }
        if run.1 > 0 {
            *counts.entry(run.0).or_default() += run.1;
        }
        let often = counts.into_iter().filter(|(_, count)| *count >= GRAM).map(|(distance, count)| (count, distance));
        let mut periods: Vec<(usize, usize)> = often.collect();
        periods.sort_unstable_by(|one, other| other.cmp(one));
        Self {
            periods: periods.into_iter().take(MOST_PERIODS).map(|(count, distance)| (distance, count)).collect(),
            copied,
            paragraphs,
        }
    }

    /// The period and the length of a stretch that is a loop.
    fn longest_loop(&self, bytes: &[u8], limits: Repetition) -> Option<(usize, usize)> {
        // A loop has nearly as many places as it repeats bytes; a unit that repeats parts of itself has fewer.
        let worth = |(period, count): &&(usize, usize)| 2 * (count + GRAM) >= least_repeated(*period, limits);
        let loops = self.periods.iter().filter(worth);
        let loops = loops.filter_map(|(period, _)| Some((stretch(bytes, *period, limits)?, *period)));
        let longest = loops.max();
        longest.map(|(span, period)| (period, span))
    }
}

fn gram(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; GRAM];
    eight.copy_from_slice(&bytes[at..at + GRAM]);
    u64::from_le_bytes(eight)
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// The fewest bytes that equal those one period before, in a loop.
fn least_repeated(period: usize, limits: Repetition) -> usize {
    let often = (3 * period).max(limits.span_bytes.saturating_sub(period));
    match period {
        HUGE_UNIT_BYTES.. => period,
        LONG_UNIT_BYTES.. => 2 * period,
        _ => often,
    }
}

/// The longest stretch in which every byte equals that one period before, if it is a loop.
fn stretch(bytes: &[u8], period: usize, limits: Repetition) -> Option<usize> {
    let (mut longest, mut same) = (0, 0);
    let mut end = 0;
    for at in period..bytes.len() {
        same = if bytes[at] == bytes[at - period] { same + 1 } else { 0 };
        if same > longest {
            (longest, end) = (same, at + 1);
        }
    }
    let span = longest + period;
    let is_loop = span >= 4 * period && span >= limits.span_bytes
        || span >= 3 * period && period >= LONG_UNIT_BYTES
        || span >= 2 * period && period >= HUGE_UNIT_BYTES;
    (longest > 0 && is_loop && !is_ruling(&bytes[end - span..end])).then_some(span)
}

/// The line under a table's head, or zeros and ones of a matrix, repeat by nature.
fn is_ruling(stretch: &[u8]) -> bool {
    let ruling = stretch.iter().all(|byte| b"|-+: \n".contains(byte)) && stretch.contains(&b'|');
    let matrix = stretch.iter().any(|byte| b"&,[".contains(byte));
    let zeros = matrix && stretch.iter().all(|byte| b"01 &\\,;\n[]".contains(byte));
    (ruling || zeros) && stretch.len() < 256
}

/// Whether a text is JSON, or mostly a table.
fn is_data(text: &str) -> bool {
    let inner = text.trim().trim_start_matches("```json").trim_matches('`').trim();
    if inner.starts_with(['[', '{']) && serde_json::from_str::<serde::de::IgnoredAny>(inner).is_ok() {
        return true;
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let (rows, all) =
        lines.fold((0, 0), |(rows, all), line| (rows + usize::from(line.trim().starts_with('|')), all + 1));
    2 * rows > all
}

/// The sentences and lines of one template: how many, and what its numbers were.
#[derive(Default)]
struct Template {
    said: usize,
    /// How often the same numbers came again.
    same: usize,
    /// How often every number stayed, or went on by the same step as before.
    counting: usize,
    bytes: usize,
    /// Its words are shorter than [`COPY_BYTES`].
    short: bool,
    numbers: Vec<i64>,
    steps: Vec<i64>,
}

/// Whether sentences or lines are said again and again, with equal numbers or with numbers that only count on.
fn repeated_units(text: &str) -> Option<String> {
    let mut templates: BTreeMap<String, Template> = BTreeMap::new();
    let mut total = 0;
    for unit in units(text) {
        total += unit.len();
        let (key, numbers) = masked(unit);
        let mut letters = 0;
        for letter in key.chars().filter(|letter| letter.is_alphabetic()) {
            letters += letter.len_utf8();
            if letters >= COPY_BYTES {
                break;
            }
        }
        // Numbers alone may count on; a short word with them is a loop only when it is said very often.
        if letters < SHORT_TEMPLATE_BYTES {
            continue;
        }
        templates.entry(key).or_default().note(unit.len(), numbers, letters < COPY_BYTES);
    }
    let again: usize = templates
        .values()
        .filter(|template| template.same >= 3 && !template.short)
        .map(|template| template.bytes)
        .sum();
    if again >= COPY_BYTES * 8 && 2 * again >= total {
        return Some(format!("sentences that are said again and again fill {again} of {total} bytes"));
    }
    let counts_on =
        |template: &&Template| template.counting >= if template.short { MOST_SHORT_TEMPLATE } else { MOST_TEMPLATE };
    let worst = templates.values().filter(counts_on).max_by_key(|template| template.bytes)?;
    (2 * worst.bytes >= total)
        .then(|| format!("one template is said {} times, and its numbers only count on", worst.said))
}

impl Template {
    fn note(&mut self, bytes: usize, numbers: Vec<i64>, short: bool) {
        self.short = short;
        if self.said > 0 && !numbers.is_empty() && numbers != self.numbers {
            let steps: Vec<i64> =
                numbers.iter().zip(&self.numbers).map(|(new, old)| new.saturating_sub(*old)).collect();
            let even = steps.iter().all(|step| *step == 0 || *step == steps.iter().copied().max().unwrap_or(0));
            self.counting += usize::from(even && (self.steps.is_empty() || steps == self.steps));
            self.steps = steps;
        } else if self.said > 0 {
            self.same += 1;
        }
        self.said += 1;
        self.bytes += bytes;
        self.numbers = numbers;
    }
}

/// Sentences and lines.
fn units(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(['\n', '。', '！', '？', ';', '；'])
        .flat_map(|line| line.split_inclusive(". "))
        .map(str::trim)
        .filter(|unit| !unit.is_empty())
}

/// A unit with its numbers masked, and the numbers.
fn masked(unit: &str) -> (String, Vec<i64>) {
    let (mut key, mut numbers) = (String::with_capacity(unit.len()), Vec::new());
    let mut rest = unit;
    while let Some(at) = rest.bytes().position(|byte| byte.is_ascii_digit()) {
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        key.push_str(&rest[..at]);
        key.push('#');
        numbers.push(rest[at..at + digits].parse().unwrap_or(i64::MAX));
        rest = &rest[at + digits..];
    }
    key.push_str(rest);
    (key, numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repeats(text: &str) -> bool {
        sign(text, Repetition::default()).is_some()
    }

    #[test]
    fn loops_of_every_unit() {
        let changing: String = (0..20).map(|n| format!("Then I look at cell {n} and it is empty. ")).collect();
        let words = ["so", "thus", "hence", "then", "now", "and", "but"];
        let between: String = (0..40).map(|n| format!("{} the box is red; ", words[n * n % 7])).collect();
        let cases = [
            "a".repeat(100),
            "\u{597d}".repeat(40),
            "very ".repeat(20),
            "I need to look at the picture again. ".repeat(4),
            "one circle and ".repeat(8),
            format!("The sum of both numbers is five.{}", " ".repeat(100)),
            "Wait, no. ".repeat(12),
            changing,
            between,
            (0..30).map(|n| format!("Row {n}: the same five marks in row {n}.\n")).collect(),
        ];
        for text in cases {
            assert!(repeats(&text), "{text}");
        }
    }

    #[test]
    fn what_is_alike_by_nature_is_no_loop() {
        let table: String = (1..40).map(|n| format!("| {n} | {} | {} |\n", n * n, n * n * n)).collect();
        let rows: String = (0..12).map(|n| format!("Row {n} holds {} marks.\n", n * 7 % 5)).collect();
        let numbers: Vec<String> = (1..300).map(|n| n.to_string()).collect();
        let cases = [
            "no no no".to_owned(),
            "It is a very, very, very old clock.".to_owned(),
            format!("| n | square | cube |\n|---|---|---|\n{table}"),
            rows,
            numbers.join(", "),
            "1000000000000000000000000000000".to_owned(),
            "yes\nno\nyes\nyes\nno\nno\nyes\nyes\n".to_owned(),
            "\\begin{pmatrix}1&0&0&0&0\\\\0&1&0&0&0\\\\0&0&1&0&0\\\\0&0&0&1&0\\\\0&0&0&0&1\\end{pmatrix}".to_owned(),
            "two red circles and one blue square".to_owned(),
        ];
        for text in cases {
            assert!(!repeats(&text), "{text}: {:?}", sign(&text, Repetition::default()));
        }
    }

    #[test]
    fn short_responses_take_a_small_span() {
        let tight = Repetition { span_bytes: 24 };
        assert!(sign("one circle and one circle and one circle and one circle and ", tight).is_some());
        assert!(sign("111111111111111111111111111", tight).is_some());
        assert!(sign("two red circles and two blue circles", tight).is_none());
    }

    proptest! {
        #[test]
        fn any_unit_said_often_enough_is_a_loop(unit in "[a-z ]{3,30}", times in 30_usize..60) {
            prop_assert!(repeats(&unit.repeat(times)));
        }

        #[test]
        fn nothing_panics(text in "(\\PC|[a-c0-9 .\n|]){0,200}") {
            let _ = repeats(&text);
        }
    }
}
