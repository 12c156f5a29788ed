//! Degrees of likeness of two texts: token F1, ANLS and the edit similarity for text read from a picture.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::final_answer;
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;
use crate::text::{accepted, normalised};

/// Below this similarity, ANLS counts 0.
const ANLS_LEAST: f64 = 0.5;
/// Longest text that is compared, in characters; what is longer is cut, and its length still counts.
const LONGEST: usize = 16_384;

/// How likeness is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Harmonic mean of the precision and the recall of words (characters, in Chinese).
    F1,
    /// 1 less the edit distance over the longer length, 0 below one half.
    Anls,
    /// 1 less the edit distance over the longer length.
    Edit,
}

/// The likeness of the final answer of `text` to the nearest of the accepted texts.
pub fn score(truth: &Value, text: &str, measure: Measure) -> PartScore {
    let wanted = match accepted(truth) {
        Ok(wanted) => wanted,
        Err(fault) => return PartScore::failed(FailureKind::GroundTruth, fault),
    };
    let said = final_answer(text);
    let best = wanted.iter().map(|wanted| likeness(wanted, &said, measure)).fold(0.0, f64::max);
    PartScore::value(best, format!("`{}` is like `{}` by {best:.3}", shortened(&said), shortened(&wanted.join(" or "))))
        .extracted(said)
}

/// The likeness of two texts after normalisation, in 0..=1; symmetric, and 1 for equal texts.
pub fn likeness(one: &str, other: &str, measure: Measure) -> f64 {
    let (one, other) = (normalised(one), normalised(other));
    match measure {
        Measure::F1 => f1(&one, &other),
        Measure::Edit => edit_similarity(&one, &other),
        Measure::Anls => Some(edit_similarity(&one, &other)).filter(|value| *value >= ANLS_LEAST).unwrap_or(0.0),
    }
}

fn f1(one: &str, other: &str) -> f64 {
    let (one, other) = (tokens(one), tokens(other));
    let total: usize = one.values().sum::<usize>() + other.values().sum::<usize>();
    let shared: usize = one.iter().map(|(token, count)| (*count).min(other.get(token).copied().unwrap_or(0))).sum();
    if total == 0 { 1.0 } else { 2.0 * shared as f64 / total as f64 }
}

fn tokens(text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut word = String::new();
    for letter in text.chars().chain([' ']) {
        let alone = matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}');
        if letter.is_alphanumeric() && !alone {
            word.push(letter);
            continue;
        }
        if !word.is_empty() {
            *counts.entry(std::mem::take(&mut word)).or_default() += 1;
        }
        if alone {
            *counts.entry(letter.to_string()).or_default() += 1;
        }
    }
    counts
}

fn edit_similarity(one: &str, other: &str) -> f64 {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let longer = one.len().max(other.len());
    let cut = |text: &[char]| text[..text.len().min(LONGEST)].to_vec();
    // What is cut off counts as wrong.
    let beyond = longer.saturating_sub(LONGEST);
    let distance = edit_distance(&cut(&one), &cut(&other)) + beyond;
    if longer == 0 { 1.0 } else { (1.0 - distance as f64 / longer as f64).max(0.0) }
}

/// Levenshtein distance, 64 rows at a time (Myers' bit vectors, block by block).
///
/// Its own, since it is one function whose law below compares it with the textbook's: a package for it would bring a
/// dozen measures that nobody asks for.
fn edit_distance(one: &[char], other: &[char]) -> usize {
    if one.is_empty() || other.is_empty() {
        return one.len().max(other.len());
    }
    let blocks = one.len().div_ceil(64);
    let mut places: BTreeMap<char, Vec<u64>> = BTreeMap::new();
    for (at, letter) in one.iter().enumerate() {
        places.entry(*letter).or_insert_with(|| vec![0; blocks])[at / 64] |= 1 << (at % 64);
    }
    let nowhere = vec![0; blocks];
    // Vertical differences of the current column: bits set where the cell is one more, or one less, than that above.
    let mut more = vec![u64::MAX; blocks];
    let mut less = vec![0_u64; blocks];
    let last = 1_u64 << ((one.len() - 1) % 64);
    let mut distance = one.len();
    for letter in other {
        let equal = places.get(letter).unwrap_or(&nowhere);
        let (mut carry_more, mut carry_less) = (1_u64, 0_u64);
        for block in 0..blocks {
            let (up, down) = (more[block], less[block]);
            let hits = equal[block] | carry_less;
            let diagonal = (((hits & up).wrapping_add(up)) ^ up) | hits | down;
            let across_more = down | !(diagonal | up);
            let across_less = up & diagonal;
            if block + 1 == blocks {
                distance += usize::from(across_more & last != 0);
                distance -= usize::from(across_less & last != 0);
            }
            let shifted_more = (across_more << 1) | carry_more;
            let shifted_less = (across_less << 1) | carry_less;
            (carry_more, carry_less) = (across_more >> 63, across_less >> 63);
            let touched = equal[block] | down;
            more[block] = shifted_less | !(touched | shifted_more);
            less[block] = shifted_more & touched;
        }
    }
    distance
}

/// Word F1 with the nearest accepted text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct F1 {}

impl Verifier for F1 {
    const VERSION: &'static str = "f1/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, |truth, text| score(truth, text, Measure::F1))
    }

    fn example() -> Example {
        Example::new("the red bus", "red car", 0.4)
    }
}

/// ANLS with the nearest accepted text: 0 below a likeness of one half.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Anls {}

impl Verifier for Anls {
    const VERSION: &'static str = "anls/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, |truth, text| score(truth, text, Measure::Anls))
    }

    fn example() -> Example {
        Example::new("abcd", "abcx", 0.75)
    }
}

/// Edit similarity with the nearest accepted text, for text read from a picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Edit {}

impl Verifier for Edit {
    const VERSION: &'static str = "edit/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, |truth, text| score(truth, text, Measure::Edit))
    }

    fn example() -> Example {
        Example::new("abcd", "axyz", 0.25)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn slow(one: &[char], other: &[char]) -> usize {
        let mut row: Vec<usize> = (0..=other.len()).collect();
        for (at, letter) in one.iter().enumerate() {
            let mut before = row[0];
            row[0] = at + 1;
            for (column, against) in other.iter().enumerate() {
                let through = before + usize::from(letter != against);
                before = row[column + 1];
                row[column + 1] = through.min(before + 1).min(row[column] + 1);
            }
        }
        row[other.len()]
    }

    #[test]
    fn measures() {
        let value = |truth: &str, text: &str, measure| score(&json!(truth), text, measure).outcome.value().unwrap();
        assert_eq!(value("hello world", "Hello, World", Measure::F1), 1.0);
        assert_eq!(value("the red bus", "red car", Measure::F1), 0.4);
        assert_eq!(value("红色汽车", "红色", Measure::F1), 2.0 / 3.0);
        assert_eq!(value("abcd", "abcx", Measure::Anls), 0.75);
        assert_eq!(value("abcd", "axyz", Measure::Anls), 0.0);
        assert_eq!(value("abcd", "axyz", Measure::Edit), 0.25);
        let long = "a".repeat(100_000);
        assert!(value("ab", &long, Measure::Edit) < 1e-4, "a long answer does not pay");
        assert_eq!(score(&json!(""), "", Measure::Anls).outcome.value(), None);
    }

    proptest! {
        #[test]
        fn distance_equals_the_textbook(one in "[abc]{0,150}", other in "[abc]{0,150}") {
            let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
            prop_assert_eq!(edit_distance(&one, &other), slow(&one, &other));
        }

        #[test]
        fn likeness_is_symmetric(one in "\\PC{0,40}", other in "\\PC{0,40}") {
            for measure in [Measure::F1, Measure::Anls, Measure::Edit] {
                let value = likeness(&one, &other, measure);
                prop_assert!((0.0..=1.0).contains(&value));
                prop_assert_eq!(value, likeness(&other, &one, measure));
                prop_assert_eq!(likeness(&one, &one, measure), 1.0);
            }
        }
    }
}
