//! Multiple choice: which option a reply chooses; none when it chooses no option, or several.

mod content;
mod statement;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::closings::{Closings, FurtherClosings};
use crate::extract::{self, LastJson, MOST_ANSWERS, capped, last_answer_tag, last_json, plain};
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::{normalised, shortened};
pub use content::Choices;
use content::{Place, Reading, Said, bare};
use statement::{announced, hinted, mentioned};

/// The letter that a whole reply chooses: thinking does not count, and the last explicit statement wins.
pub fn chosen(response: &str, choices: &Choices) -> Option<char> {
    choose(extract::after_thinking(response)?, choices)
}

/// The letter that an answer without its thinking chooses.
pub fn choose(answer: &str, choices: &Choices) -> Option<char> {
    choose_in(answer, choices, Closings::built_in())
}

/// The letter that an answer chooses, said in one of these languages.
pub fn choose_in(answer: &str, choices: &Choices, closings: &Closings) -> Option<char> {
    let reading = &Reading { choices, closings };
    let answer = plain(capped(answer));
    let answer = last_answer_tag(&answer).unwrap_or(&answer);
    let boxed = boxed(answer, reading);
    if boxed != Said::Nothing {
        return boxed.letter();
    }
    let json = match last_json(answer) {
        // The quotes of Python's dictionaries.
        LastJson::Broken => last_json(&answer.replace('\'', "\"")),
        other => other,
    };
    if let LastJson::Found(value) = json
        && let Some(said) = keyed(&value)
    {
        return reading.content(&said, Place::Whole).letter();
    }
    [announced, whole, hinted, mentioned]
        .iter()
        .map(|read| read(answer, reading))
        .find(|said| *said != Said::Nothing)
        .and_then(Said::letter)
}

/// The string or number under a key that names an answer.
fn keyed(value: &Value) -> Option<String> {
    let object = value.as_object()?;
    let key = object
        .keys()
        .find(|key| ["answer", "choice", "option"].iter().any(|name| key.to_lowercase().contains(name)))?;
    match &object[key] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What the boxes say: the last one, unless it is offered as an alternative to the one before.
fn boxed(text: &str, reading: &Reading<'_>) -> Said {
    let boxes = extract::boxes(text);
    let Some((last, inside)) = boxes.last() else { return Said::Nothing };
    if boxes.len() > MOST_ANSWERS {
        return Said::Unclear;
    }
    let said = reading.content(inside, Place::Whole);
    if let Some((before, inside)) = boxes.iter().rev().nth(1)
        && reading.content(inside, Place::Whole) != said
        && before.end <= last.start
        && joins(&text[before.end..last.start])
    {
        return Said::Unclear;
    }
    if said == Said::Nothing { Said::Unclear } else { said }
}

/// Whether a text between two options offers both.
fn joins(text: &str) -> bool {
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || "$,*()".contains(letter)).to_lowercase();
    ["", "or", "and", "and/or", "or maybe", "or perhaps", "/", "&", "或", "或者", "和", "、", "and also"]
        .contains(&text.as_str())
}

/// What a reply says that is nothing but a choice: one line, or lines of which exactly one option stands alone.
fn whole(text: &str, reading: &Reading<'_>) -> Said {
    let said = reading.content(text, Place::Whole);
    if said != Said::Nothing && !text.trim().contains('\n') {
        return said;
    }
    let (mut found, mut times) = (Said::Nothing, 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let said = alone(line, reading);
        times += usize::from(said != Said::Nothing);
        if times > MOST_ANSWERS {
            return Said::Unclear;
        }
        match (said, found) {
            (Said::One(letter), Said::One(before)) if letter != before => found = Said::Unclear,
            (Said::One(letter), Said::Nothing) => found = Said::One(letter),
            _ => {}
        }
    }
    found
}

/// A line that is only a letter, or a letter and its option's text, with words of no weight before and behind it.
fn alone(line: &str, reading: &Reading<'_>) -> Said {
    let bare = bare(reading.closings.without_frame(bare(line)));
    let Some((letter, rest)) = reading.leading_letter(bare) else { return Said::Nothing };
    let rest = rest.trim_start_matches([')', ']', '.', ':', ',', '-']).trim();
    let same = reading.choices.get(&letter).is_some_and(|text| normalised(text) == normalised(rest));
    if reading.is_capital(letter) && (rest.is_empty() || same) { Said::One(letter) } else { Said::Nothing }
}

/// Reads the options: an object of letters, or a list whose first option is `A`.
pub fn read_choices(value: &Value) -> Option<Choices> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let choices: Choices = match value {
        Value::Object(object) => {
            let letter = |key: &String| key.trim().chars().next().map(|letter| letter.to_ascii_uppercase());
            object.iter().map(|(key, value)| Some((letter(key)?, text(value)))).collect::<Option<_>>()?
        }
        Value::Array(items) if items.len() <= 26 => ('A'..='Z').zip(items.iter().map(text)).collect(),
        _ => return None,
    };
    (!choices.is_empty()).then_some(choices)
}

/// 1 when the answer chooses the letter `truth` among `choices`.
pub fn score(truth: &Value, choices: Option<&Value>, text: &str) -> PartScore {
    score_in(truth, choices, text, Closings::built_in())
}

fn score_in(truth: &Value, choices: Option<&Value>, text: &str, closings: &Closings) -> PartScore {
    let Some(choices) = choices.and_then(read_choices) else {
        let fault = "the query has no column `choices` with the options, as {\"A\": \"red\", \"B\": \"blue\"}";
        return PartScore::failed(FailureKind::GroundTruth, fault);
    };
    let gold = truth.as_str().and_then(|text| text.trim().chars().next()).map(|letter| letter.to_ascii_uppercase());
    let Some(gold) = gold.filter(|letter| choices.contains_key(letter)) else {
        return PartScore::failed(
            FailureKind::GroundTruth,
            format!("the ground truth {truth} is not one of the options"),
        );
    };
    match choose_in(text, &choices, closings) {
        None => PartScore::verdict(false, format!("`{}` chooses no single option", shortened(text.trim()))),
        Some(letter) => {
            let relation = if letter == gold { "=" } else { "is not" };
            PartScore::verdict(letter == gold, format!("{letter} {relation} {gold}")).extracted(letter)
        }
    }
}

/// The letter of an option; the column `choices` holds the options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultipleChoice {
    /// Further languages in which an answer may be announced.
    pub closings: FurtherClosings,
}

impl Verifier for MultipleChoice {
    const VERSION: &'static str = "multiple_choice/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        let closings = self.closings.closings();
        answered(item, |truth, text| score_in(truth, item.query.columns.get("choices"), text, closings))
    }

    fn example() -> Example {
        Example::new("B", "The correct answer is (B).", 1.0)
            .columns(json!({"choices": {"A": "a dog", "B": "a red bus"}}))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> Choices {
        read_choices(&json!(["3", "5", "7", "9"])).unwrap()
    }

    #[test]
    fn one_option_in_many_words() {
        for text in [
            "B",
            "(B)",
            "[B]",
            "b",
            "b)",
            "B.",
            "B:",
            "B!",
            "**B**",
            "`B`",
            "\"B\"",
            "B) 5",
            "B. 5",
            "B: 5",
            "Option B",
            "option b",
            "The answer is (b).",
            "The correct option is B",
            "The answer is option B.",
            "Final answer: B",
            "Answer - B",
            "I'd go with B.",
            "I choose B",
            "B is correct.",
            "B is the right answer.",
            "So it must be B.",
            "Therefore, B.",
            "It's B",
            "The answer is 5",
            "5",
            "Answer:\nB",
            "The answer is not A. The answer is B.",
            "Not A, so B.",
            "\\boxed{B}",
            "$\\boxed{\\textbf{(B)}}$",
            "\\boxed{A}... no, wait: \\boxed{B}",
            "\\boxed{5}",
            "<answer>(B) 5</answer>",
            "{\"choice\": \"B\"}",
            "正确答案是 B",
            "答案：Ｂ",
            "选项B",
            "所以选B",
            "B是正确的",
            "The answer is B, not A.",
            "B\n\nBecause two and three make five.",
            "Two and three make five.\n\nB",
            "The answer is B since A is too small.",
            "B because A is too small.",
            "B) it is prime",
            "A) is wrong. The answer is B.",
        ] {
            assert_eq!(choose(text, &numbers()), Some('B'), "{text}");
        }
    }

    #[test]
    fn no_option_or_several() {
        for text in [
            "",
            "A or B",
            "B and C",
            "A, B",
            "A/B",
            "B or maybe C",
            "ABCD",
            "E",
            "Option F",
            "not B",
            "It is not B.",
            "The answer is not B.",
            "I don't think the answer is B.",
            "Both B and C are correct.",
            "Either A or B.",
            "\\boxed{}",
            "\\boxed{A, B}",
            "\\boxed{B} or \\boxed{C}",
            "\\boxed{ABCD}",
            "Vitamin B is healthy.",
            "A man walks by.",
            "Point B lies on the line.",
            "Plan B failed.",
            "The answer is a tall man.",
            "None of the above",
            "A\nB",
            "B is not correct.",
            "A) is wrong",
            "A is too small and B is too large.",
            "3 or 5",
            "The answer is unclear.",
            "B不正确",
            "<think>B</think>",
            "It is a dog.",
        ] {
            assert_eq!(chosen(text, &numbers()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(\\PC|[ABCDEabc ]|answer is|or|,|\\\\boxed\\{|\\}|选){0,40}") {
            let _ = chosen(&text, &numbers());
        }

        #[test]
        fn every_letter_is_read(at in 0_usize..4) {
            let letter = ['A', 'B', 'C', 'D'][at];
            for text in [format!("{letter}"), format!("The answer is {letter}."), format!("\\boxed{{{letter}}}")] {
                prop_assert_eq!(choose(&text, &numbers()), Some(letter));
            }
        }
    }
}
