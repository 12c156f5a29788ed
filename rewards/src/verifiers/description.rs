//! Descriptions: phrases of counted coloured shapes in English or Chinese, compared as what they count.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::final_answer;
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;

/// A kind of figure: indices of its colour and its shape.
type Figure = (usize, usize);

const COUNTS: [(&str, &str); 10] = [
    ("one", "一"),
    ("two", "两"),
    ("three", "三"),
    ("four", "四"),
    ("five", "五"),
    ("six", "六"),
    ("seven", "七"),
    ("eight", "八"),
    ("nine", "九"),
    ("ten", "十"),
];

const COLOURS: [(&str, &str); 10] = [
    ("red", "红色"),
    ("green", "绿色"),
    ("blue", "蓝色"),
    ("yellow", "黄色"),
    ("black", "黑色"),
    ("white", "白色"),
    ("orange", "橙色"),
    ("purple", "紫色"),
    ("pink", "粉色"),
    ("grey", "灰色"),
];

const SHAPES: [(&str, &str); 8] = [
    ("circle", "圆形"),
    ("square", "方形"),
    ("triangle", "三角形"),
    ("star", "星形"),
    ("rectangle", "长方形"),
    ("cross", "十字"),
    ("heart", "心形"),
    ("diamond", "菱形"),
];

/// What a phrase counts, in the order of colours and shapes; `None` when it is no phrase of this grammar. A wrong
/// plural and a kind that is named twice are enough.
pub fn parse(text: &str) -> Option<Vec<(Figure, usize)>> {
    let text = text.trim();
    let parts: Option<Vec<(Figure, usize)>> = if text.is_ascii() {
        let text = text.to_ascii_lowercase().replace(", and ", ", ").replace(" and ", ", ");
        text.split(", ").map(english).collect()
    } else {
        text.split(['和', '、']).map(chinese).collect()
    };
    let mut parts = parts?;
    parts.sort_unstable();
    parts.windows(2).all(|pair| pair[0].0 != pair[1].0).then_some(parts)
}

fn english(part: &str) -> Option<(Figure, usize)> {
    let mut words = part.split(' ');
    let (number, colour, shape) = (words.next()?, words.next()?, words.next()?);
    let count = COUNTS.iter().position(|(word, _)| *word == number)? + 1;
    let colour = COLOURS.iter().position(|(word, _)| *word == colour)?;
    let shape = SHAPES.iter().position(|(word, _)| {
        if count == 1 {
            return *word == shape;
        }
        let ending = if word.ends_with('s') { "es" } else { "s" };
        shape.strip_suffix(ending) == Some(word)
    })?;
    words.next().is_none().then_some(((colour, shape), count))
}

fn chinese(part: &str) -> Option<(Figure, usize)> {
    let (count, rest) =
        COUNTS.iter().enumerate().find_map(|(at, (_, word))| Some((at + 1, part.strip_prefix(word)?)))?;
    let rest = rest.strip_prefix('个')?;
    let (colour, rest) = COLOURS.iter().enumerate().find_map(|(at, (_, word))| Some((at, rest.strip_prefix(word)?)))?;
    let shape = SHAPES.iter().position(|(_, word)| *word == rest)?;
    Some(((colour, shape), count))
}

/// 1 when the final answer of `text` counts the same figures as `truth`, whatever their order and the language.
pub fn score(truth: &Value, text: &str) -> PartScore {
    let Some((shown, wanted)) = truth.as_str().and_then(|text| Some((text, parse(text)?))) else {
        return PartScore::failed(
            FailureKind::GroundTruth,
            format!("the ground truth {truth} is not a phrase of figures"),
        );
    };
    let said = final_answer(text);
    let evidence = match parse(&said) {
        None => format!("`{}` is not a phrase of counted figures", shortened(&said)),
        Some(parts) if parts == wanted => {
            return PartScore::verdict(true, format!("same as `{shown}`")).extracted(said);
        }
        Some(_) => format!("`{}` is not `{shown}`", shortened(&said)),
    };
    PartScore::verdict(false, evidence).extracted(said)
}

/// A phrase of counted coloured shapes in English or Chinese.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Description {}

impl Verifier for Description {
    const VERSION: &'static str = "description/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, score)
    }

    fn example() -> Example {
        Example::new("two red circles and one blue square", "one blue square and two red circles", 1.0)
    }
}

#[cfg(test)]
mod tests {
    use sapo_datasets::synthetic::{self, Task};
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_language_are_free_and_grammar_is_not() {
        let right = |text: &str| score(&json!("two red circles and one blue square"), text).outcome.value();
        for text in [
            "two red circles and one blue square",
            "one blue square and two red circles",
            "Two red circles, and one blue square.",
            "两个红色圆形和一个蓝色方形",
            "一个蓝色方形和两个红色圆形",
        ] {
            assert_eq!(right(text), Some(1.0), "{text}");
        }
        for text in [
            "",
            "two red circle and one blue square",
            "two red circles",
            "two red circles and",
            "one red circle and one red circle and one blue square",
            "two red circles and one blue square and one blue square",
            "two blue circles and one red square",
            "two red circles one blue square",
            "many red circles and one blue square",
            "两红色圆形和一个蓝色方形",
        ] {
            assert_eq!(right(text), Some(0.0), "{text}");
        }
        assert_eq!(score(&json!("a picture"), "").outcome.value(), None);
    }

    #[test]
    fn it_agrees_with_the_solver_of_the_task() {
        for index in 0..2_000 {
            let query = synthetic::query(Task::Judge, sapo_datasets::Split::Train, 3, index);
            if query.columns["kind"] != "phrase" {
                continue;
            }
            let text = |key: &str| query.columns["facts"][key].as_str().expect("a phrase").to_owned();
            let (reference, answer) = (text("reference"), text("answer"));
            let same = score(&json!(reference), &answer).outcome.value() == Some(1.0);
            assert_eq!(same, query.ground_truth == Some(json!("yes")), "{reference} | {answer}");
        }
    }
}
