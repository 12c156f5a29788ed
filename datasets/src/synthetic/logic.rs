//! Ordering three people: two comparisons, in random order and direction, and a question about the order.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::{Dice, Draft, Frame, Language, pick, shuffled};

const ENGLISH: [&str; 8] = ["Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal"];
const CHINESE: [&str; 8] = ["小明", "小红", "小华", "小刚", "小丽", "小强", "小芳", "小军"];

/// The names that occur in a language.
pub(super) fn names(language: Language) -> [&'static str; 8] {
    language.choose(ENGLISH, CHINESE)
}

/// The rank that is asked for, counted from the tallest.
const RANKS: [&str; 3] = ["tallest", "middle", "shortest"];

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let language = frame.language;
    // From tallest to shortest.
    let order = &shuffled(dice, &names(language))[..3];
    let mut comparisons = [(order[0], order[1]), (order[1], order[2])].map(|(tall, short)| {
        let upwards: bool = dice.random();
        if upwards { (tall, true, short) } else { (short, false, tall) }
    });
    if dice.random() {
        comparisons.reverse();
    }
    let asked = pick(dice, &[0_usize, 1, 2]);
    let shown =
        comparisons.map(|(one, taller, other)| format!("{one}{}{other}", if taller { '>' } else { '<' })).join(",");
    Draft {
        content: format!("logic:{shown} {}", RANKS[asked]),
        prompt: prompt(language, comparisons, asked),
        reward_kind: "text",
        ground_truth: order[asked].into(),
        working: order.join(">"),
        answer: order[asked].to_owned(),
        facts: json!({"comparisons": shown, "asked": RANKS[asked]}),
        columns: Map::new(),
        painting: None,
    }
}

fn prompt(language: Language, comparisons: [(&str, bool, &str); 2], asked: usize) -> String {
    match language {
        Language::English => {
            let told = comparisons.map(|(one, taller, other)| {
                format!("{one} is {} than {other}.", if taller { "taller" } else { "shorter" })
            });
            let question = ["Who is tallest?", "Who is in the middle?", "Who is shortest?"][asked];
            format!("{} {question}", told.join(" "))
        }
        Language::Chinese => {
            let told =
                comparisons.map(|(one, taller, other)| format!("{one}比{other}{}", if taller { "高" } else { "矮" }));
            format!("{}。{}", told.join("，"), ["谁最高？", "谁在中间？", "谁最矮？"][asked])
        }
    }
}

/// Works the order out from the comparisons that were shown.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let text = |key: &str| facts.get(key).and_then(Value::as_str);
    let (Some(shown), Some(asked)) = (text("comparisons"), text("asked")) else { return false };
    let Some(rank) = RANKS.iter().position(|name| *name == asked) else { return false };
    // (taller, shorter)
    let pairs: Vec<(&str, &str)> = shown
        .split(',')
        .filter_map(|told| told.split_once('>').or_else(|| told.split_once('<').map(|(low, high)| (high, low))))
        .collect();
    let taller_than_answer = pairs.iter().filter(|pair| pair.1 == answer).count();
    let shorter_than_answer = pairs.iter().filter(|pair| pair.0 == answer).count();
    (taller_than_answer, shorter_than_answer) == [(0, 1), (1, 1), (1, 0)][rank]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_solver_finds_each_rank() {
        let facts = |asked: &str| json!({"comparisons": "Cid<Ann,Bob>Ann", "asked": asked});
        for (asked, right) in [("tallest", "Bob"), ("middle", "Ann"), ("shortest", "Cid")] {
            for name in ["Ann", "Bob", "Cid", "Dan", ""] {
                assert_eq!(is_correct(&facts(asked), name), name == right, "{asked} {name}");
            }
        }
    }

    #[test]
    fn prompts_read_as_told() {
        let told = [("Cid", false, "Ann"), ("Bob", true, "Ann")];
        assert_eq!(
            prompt(Language::English, told, 0),
            "Cid is shorter than Ann. Bob is taller than Ann. Who is tallest?"
        );
        let told = [("小明", true, "小红"), ("小刚", false, "小红")];
        assert_eq!(prompt(Language::Chinese, told, 2), "小明比小红高，小刚比小红矮。谁最矮？");
    }
}
