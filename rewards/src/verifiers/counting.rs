//! Counting: how many of something an answer states, as digits or in words; the last stated number counts.
//!
//! Ranges, alternatives, estimates and denials state no count. A list that counts up from one states its last number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::{final_answer, repeats_its_last_line};
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::sentence::sentence_end;
use crate::text::shortened;
use crate::verifiers::math;
use crate::verifiers::number::Decimal;

/// 1 when the count that `text` states last is `truth`.
pub fn score(truth: &Value, text: &str) -> PartScore {
    let wanted = match truth {
        Value::Number(number) if number.is_u64() => Decimal::parse(&number.to_string()),
        Value::String(text) if text.trim().bytes().all(|byte| byte.is_ascii_digit()) => Decimal::parse(text),
        _ => None,
    };
    let Some(wanted) = wanted else {
        return PartScore::failed(FailureKind::GroundTruth, format!("the ground truth {truth} is not a count"));
    };
    let shown = truth.as_str().map_or_else(|| truth.to_string(), str::to_owned);
    match stated(text) {
        Err(fault) => PartScore::verdict(false, fault),
        Ok(said) => {
            let right = Decimal::parse(&said).as_ref() == Some(&wanted);
            let relation = if right { "=" } else { "is not" };
            PartScore::verdict(right, format!("{} {relation} {shown}", shortened(&said))).extracted(said)
        }
    }
}

/// A number in a sentence.
#[derive(Clone, Debug, PartialEq)]
struct Stated {
    start: usize,
    end: usize,
    /// As digits.
    digits: String,
}

/// More numbers than this in one sentence are spam.
const MOST_NUMBERS: usize = 256;
/// Words between two numbers that offer both.
const JOINTS: [&str; 17] = [
    "or",
    "or maybe",
    "or perhaps",
    "or even",
    "or possibly",
    "to",
    "through",
    "and/or",
    "-",
    "\u{2013}",
    "\u{2014}",
    "~",
    "/",
    "或",
    "或者",
    "到",
    "至",
];
/// What before a number makes it no statement of a count.
const BEFORE: [&str; 30] = [
    "not",
    "isn't",
    "aren't",
    "never",
    "about",
    "approximately",
    "approx",
    "around",
    "roughly",
    "nearly",
    "almost",
    "least",
    "most",
    "than",
    "over",
    "under",
    "between",
    "from",
    "either",
    "maybe",
    "不是",
    "不到",
    "约",
    "大约",
    "至少",
    "至多",
    "超过",
    "少于",
    "多于",
    "可能",
];
/// What after a number makes it no statement of a count.
const AFTER: [&str; 10] = ["or", "to", "plus", "或", "或者", "到", "至", "左右", "以上", "以下"];

/// The count that a text states last.
///
/// # Errors
/// Why it states none.
pub fn stated(text: &str) -> Result<String, String> {
    let answer = final_answer(text).replace('\u{2212}', "-");
    if answer.trim().is_empty() {
        return Err("there is no answer".to_owned());
    }
    if repeats_its_last_line(&answer) {
        return Err("the same line is said again and again".to_owned());
    }
    let mut last = sentences(&answer).into_iter().rev().map(|sentence| (sentence, numbers(sentence)));
    let found = last.find(|(_, numbers)| !numbers.is_empty());
    let Some((sentence, numbers)) = found else {
        return Err(format!("`{}` states no number", shortened(&answer)));
    };
    choose(sentence, &numbers).map(|number| number.digits.clone())
}

/// Sentences and lines.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = sentence_end(rest);
        found.push(&rest[..end]);
        let after = &rest[end..];
        rest = after.char_indices().nth(1).map_or("", |(at, _)| &after[at..]);
    }
    found
}

fn choose<'n>(sentence: &str, numbers: &'n [Stated]) -> Result<&'n Stated, String> {
    let Some((last, before)) = numbers.split_last() else { return Err("there is no number".to_owned()) };
    if numbers.len() > MOST_NUMBERS {
        return Err("there are too many numbers".to_owned());
    }
    let shown = || format!("`{}` states no single count", shortened(sentence.trim()));
    if let Some(previous) = before.last() {
        let between = sentence[previous.end..last.start].trim().to_lowercase();
        let counts_up = numbers.iter().enumerate().all(|(at, number)| number.digits == (at + 1).to_string());
        let listed =
            ["", ",", "and", ", and", "、", "和", "，", "+", "*", "&", "x", "\u{d7}"].contains(&between.as_str());
        if JOINTS.contains(&between.as_str()) || listed && !counts_up {
            return Err(shown());
        }
        // "from 3 up to 4", "between three and five"
        let ranged = [("between", "and"), ("from", "to"), ("从", "到"), ("either", "or")];
        let lead = last_word(&sentence[..previous.start]);
        if ranged.iter().any(|(opens, joins)| lead == *opens && between.contains(joins)) {
            return Err(shown());
        }
    }
    let lead = sentence[..last.start].to_lowercase();
    let mut words = lead
        .split(|letter: char| letter.is_whitespace() || ",:;(".contains(letter))
        .filter(|word| !word.is_empty())
        .rev();
    let doubtful =
        |word: &str| BEFORE.contains(&word) || BEFORE.iter().any(|mark| !mark.is_ascii() && word.ends_with(mark));
    // A word in between is an article or an adverb: "not exactly 5", "up to the 5".
    if words.by_ref().take(2).any(doubtful) {
        return Err(shown());
    }
    let after = sentence[last.end..].trim_start().to_lowercase();
    let next = after.split(|letter: char| letter.is_whitespace() || ",.;".contains(letter)).next().unwrap_or_default();
    let word_after = AFTER.contains(&next) || AFTER.iter().any(|mark| !mark.is_ascii() && after.starts_with(mark));
    if word_after || after.starts_with(['+', '?', '%', '-', '/']) {
        return Err(shown());
    }
    Ok(last)
}

fn last_word(text: &str) -> String {
    text.split_whitespace().next_back().unwrap_or_default().to_lowercase()
}

/// The numbers of a sentence, as digits or in words.
fn numbers(sentence: &str) -> Vec<Stated> {
    let mut found = Vec::new();
    let letters: Vec<(usize, char)> = sentence.char_indices().collect();
    let place = |at: usize| letters.get(at).map_or(sentence.len(), |(place, _)| *place);
    let letter = |at: usize| letters.get(at).map(|(_, letter)| *letter);
    let mut at = 0;
    while let Some(here) = letter(at) {
        let start = at;
        if here.is_ascii_digit() || here == '.' && letter(at + 1).is_some_and(|next| next.is_ascii_digit()) {
            while letter(at).is_some_and(|c| c.is_ascii_digit())
                || letter(at).is_some_and(|c| ",.".contains(c)) && letter(at + 1).is_some_and(|c| c.is_ascii_digit())
            {
                at += 1;
            }
            let mut signs = usize::from(letter(at).is_some_and(|c| "eE".contains(c)));
            signs += usize::from(signs == 1 && letter(at + 1).is_some_and(|c| "+-".contains(c)));
            if signs > 0 && letter(at + signs).is_some_and(|c| c.is_ascii_digit()) {
                at += signs;
                while letter(at).is_some_and(|c| c.is_ascii_digit()) {
                    at += 1;
                }
            }
            let before = start.checked_sub(1).and_then(letter);
            let negative = before == Some('-') && start.checked_sub(2).and_then(letter).is_none_or(char::is_whitespace);
            let named = before.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '#');
            let ordinal = ["st", "nd", "rd", "th"].iter().any(|end| sentence[place(at)..].starts_with(end));
            if !named && !ordinal {
                let sign = if negative { "-" } else { "" };
                let digits = format!("{sign}{}", &sentence[place(start)..place(at)]);
                found.push(Stated { start: place(start - usize::from(negative)), end: place(at), digits });
            }
        } else if here.is_ascii_alphabetic() {
            let (end, digits) = in_words(&sentence[place(at)..]);
            let next = place(at) + end;
            if let Some(digits) = digits {
                found.push(Stated { start: place(at), end: next, digits });
            }
            while place(at) < next {
                at += 1;
            }
        } else if let Some((digits, length)) = chinese(&letters[at..]) {
            at += length;
            found.push(Stated { start: place(start), end: place(at), digits });
        } else {
            at += 1;
        }
    }
    // "The right one is 5": beside digits, "one" is a pronoun.
    if found.len() > 1 && found.iter().any(|number| sentence[number.start..].starts_with(|c: char| c.is_ascii_digit()))
    {
        found.retain(|number| !sentence[number.start..number.end].eq_ignore_ascii_case("one"));
    }
    found
}

/// A run of words from the start of `text`: the length of the first word, or of the number that they spell.
fn in_words(text: &str) -> (usize, Option<String>) {
    let word_end = |from: usize| {
        let end = text[from..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '\''));
        end.map_or(text.len(), |end| from + end)
    };
    let first = word_end(0);
    if text[..first].eq_ignore_ascii_case("none") {
        return (first, Some("0".to_owned()));
    }
    let mut words = vec![text[..first].to_owned()];
    let mut ends = vec![first];
    while words.len() < 8 {
        let Some(&end) = ends.last() else { break };
        let next = end + text[end..].len() - text[end..].trim_start_matches(' ').len();
        let stop = word_end(next);
        if stop == next || next == end {
            break;
        }
        words.push(text[next..stop].to_owned());
        ends.push(stop);
    }
    match math::number_in_words(&words) {
        Some((value, used)) => (ends[used - 1], Some(value)),
        None => (first, None),
    }
}

/// A number in Chinese, up to 9999, and its length in letters; words as 一起 are none.
fn chinese(letters: &[(usize, char)]) -> Option<(String, usize)> {
    const DIGITS: &str = "零一二三四五六七八九";
    let digit = |letter: char| match letter {
        '两' => Some(2),
        '〇' => Some(0),
        other => DIGITS.chars().position(|digit| digit == other),
    };
    let unit = |letter: char| match letter {
        '十' => Some(10),
        '百' => Some(100),
        '千' => Some(1000),
        _ => None,
    };
    let run: Vec<char> =
        letters.iter().map(|(_, letter)| *letter).take_while(|c| digit(*c).is_some() || unit(*c).is_some()).collect();
    let next = letters.get(run.len()).map(|(_, letter)| *letter);
    if run.is_empty() || run == ['一'] && next.is_some_and(|c| "起共些样下定直般边旁会".contains(c)) || run.len() > 8
    {
        return None;
    }
    let (mut total, mut held) = (0_usize, None);
    for letter in &run {
        match unit(*letter) {
            Some(unit) => total += held.take().unwrap_or(1) * unit,
            None if held.is_some_and(|held| held > 0) => return None,
            None => held = digit(*letter),
        }
    }
    Some(((total + held.unwrap_or(0)).to_string(), run.len()))
}

/// A count as digits or in words; the last stated one, and no range, estimate or alternative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Counting {}

impl Verifier for Counting {
    const VERSION: &'static str = "counting/3";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, score)
    }

    fn example() -> Example {
        Example::new(5, "I see three red and two blue birds, five in all.", 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn right(count: u64, text: &str) -> bool {
        score(&json!(count), text).outcome.value() == Some(1.0)
    }

    #[test]
    fn counts_in_many_words() {
        for text in [
            "5",
            "five",
            "Five.",
            "There are 5 birds.",
            "There are five birds",
            "\\boxed{5}",
            "<answer>five</answer>",
            "The answer is 5.",
            "5 birds",
            "I see 3 red and 2 blue birds. In total 5.",
            "3 + 2 = 5",
            "1, 2, 3, 4, 5",
            "1. gull\n2. gull\n3. gull\n4. gull\n5. gull",
            "one, two, three, four, five",
            "一共五个。",
            "共有5只鸟。",
            "５",
            "The one on the left counts too, so 5.",
            "5.0",
            "Not 4. There are 5.",
            "The row has 3 birds and the tree has 5",
        ] {
            assert!(right(5, text), "{text}: {:?}", stated(text));
        }
        assert!(right(21, "twenty-one") && right(0, "none") && right(12, "十二") && right(1200, "1,200 ants"));
        assert!(right(1, "There is one dog."));
    }

    #[test]
    fn what_states_no_count() {
        for text in [
            "",
            "4 or 5",
            "5 or 6",
            "3-5",
            "3 to 5",
            "between 3 and 5",
            "between three and five",
            "about 5",
            "around five",
            "not 5",
            "There aren't 5 birds",
            "at least 5",
            "more than 5",
            "up to 5 or 6",
            "5 or more",
            "5+",
            "1e309",
            "5e1",
            "5.5",
            "-5",
            "55",
            "4, 5",
            "4 and 5",
            "B5",
            "the 5th",
            "\\boxed{}",
            "\\boxed{4, 5}",
            "a few",
            "四到五个",
            "大约五个",
            "不是五个",
            "5%",
            "3/5",
            "5 x 5",
            "NaN",
            "inf",
            "The answer is not 5.",
        ] {
            assert!(!right(5, text), "{text}: {:?}", stated(text));
        }
        assert!(score(&json!(-1), "1").outcome.value().is_none() && score(&json!("x"), "1").outcome.value().is_none());
    }

    proptest! {
        #[test]
        fn a_count_equals_itself_alone(a in 0_u64..3000, b in 0_u64..3000, text in "\\PC{0,60}") {
            prop_assert!(right(a, &a.to_string()));
            let said = format!("There are {b}.");
            prop_assert_eq!(right(a, &said), a == b);
            let offered = format!("{a} or {b}");
            prop_assert!(!right(a, &offered));
            let _ = right(a, &text);
        }

        #[test]
        fn nothing_panics(text in "([0-9]|[ ,.-]|e|one|twenty|或|五|十|or|to|not|\n){0,40}") {
            prop_assert!(stated(&text).map_or(true, |said| !said.is_empty()));
        }
    }
}
