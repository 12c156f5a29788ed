//! Questions that provoke mixing languages or repeating words; the truth is that of the question inside.

use serde_json::Value;

use super::arith::Sum;
use super::count::{Asked, Scene as CountScene};
use super::describe::Scene as DescribeScene;
use super::{Dice, Draft, Frame, Language, Task};

/// What a prompt provokes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Provokes {
    Mixing,
    Repetition,
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let provokes = if frame.coin { Provokes::Mixing } else { Provokes::Repetition };
    let wraps = [Task::Count, Task::Arith, Task::Describe][frame.roll % 3];
    let language = frame.language;
    let mut draft = match wraps {
        Task::Count => {
            let scene = CountScene::any(frame.difficulty, dice);
            scene.draft(count_prompt(scene.asked, provokes, language))
        }
        Task::Arith => {
            let sum = Sum::any(frame.difficulty, dice);
            let prompt = arith_prompt(&sum, provokes, language);
            sum.draft(prompt)
        }
        _ => DescribeScene::any(frame.difficulty, dice).draft(language, describe_prompt(provokes, language).to_owned()),
    };
    let name = if provokes == Provokes::Mixing { "mixing" } else { "repetition" };
    draft.columns.insert("provokes".to_owned(), name.into());
    draft.columns.insert("wraps".to_owned(), wraps.name().into());
    draft
}

fn count_prompt(asked: Asked, provokes: Provokes, language: Language) -> String {
    let word = |language| match asked {
        Asked::Colour(colour) => colour.word(language),
        Asked::Shape(shape) => shape.word(language),
    };
    match (provokes, language) {
        (Provokes::Mixing, Language::English) => format!("How many {} shapes?", word(Language::Chinese)),
        (Provokes::Mixing, Language::Chinese) => format!("有几个{}图形？", word(Language::English)),
        (Provokes::Repetition, Language::English) => format!("How many many many many {}?", asked.words(language)),
        (Provokes::Repetition, Language::Chinese) => format!("有几个几个几个几个{}？", asked.words(language)),
    }
}

fn arith_prompt(sum: &Sum, provokes: Provokes, language: Language) -> String {
    let (a, b, sign) = (sum.a, sum.b, sum.sign());
    match (provokes, language) {
        (Provokes::Mixing, Language::English) => format!("What is {a}{}{b}?", if sum.plus { "加" } else { "减" }),
        (Provokes::Mixing, Language::Chinese) => {
            format!("{a} {} {b}等于多少？", if sum.plus { "plus" } else { "minus" })
        }
        (Provokes::Repetition, Language::English) => format!("What is is is is {a}{sign}{b}?"),
        (Provokes::Repetition, Language::Chinese) => format!("{a}{sign}{b}等于等于等于等于多少？"),
    }
}

fn describe_prompt(provokes: Provokes, language: Language) -> &'static str {
    match (provokes, language) {
        (Provokes::Mixing, Language::English) => "Describe the 图片.",
        (Provokes::Mixing, Language::Chinese) => "描述这张picture。",
        (Provokes::Repetition, Language::English) => "Describe describe describe describe the picture.",
        (Provokes::Repetition, Language::Chinese) => "描述描述描述描述这张图。",
    }
}

/// The facts of the question inside tell which it is.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    match facts {
        Value::Object(facts_of) if facts_of.contains_key("op") => super::arith::is_correct(facts, answer),
        Value::Object(facts_of) if facts_of.contains_key("asked") => super::count::is_correct(facts, answer),
        _ => super::describe::is_correct(facts, answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_prompts() {
        let sum = Sum { a: 47, b: 38, plus: true };
        assert_eq!(arith_prompt(&sum, Provokes::Mixing, Language::English), "What is 47加38?");
        assert_eq!(arith_prompt(&sum, Provokes::Repetition, Language::Chinese), "47+38等于等于等于等于多少？");
        let red = Asked::Colour(super::super::figure::Colour::Red);
        assert_eq!(count_prompt(red, Provokes::Mixing, Language::English), "How many 红色 shapes?");
        assert_eq!(count_prompt(red, Provokes::Mixing, Language::Chinese), "有几个red图形？");
    }
}
