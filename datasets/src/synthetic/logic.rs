//! Ordering three people (five if hard) by comparisons of neighbours, in random order and direction unless easy, and a
//! question about the order.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::{Dice, Difficulty, Draft, Frame, Language, pick, shuffled};

const ENGLISH: [&str; 8] = ["Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal"];
const CHINESE: [&str; 8] = ["小明", "小红", "小华", "小刚", "小丽", "小强", "小芳", "小军"];

/// The names that occur in a language.
pub(super) fn names(language: Language) -> [&'static str; 8] {
    language.choose(ENGLISH, CHINESE)
}

/// The rank that is asked for, counted from the tallest.
const RANKS: [&str; 3] = ["tallest", "middle", "shortest"];

/// One person, whether that one is taller, and the other person.
type Comparison = (&'static str, bool, &'static str);

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let language = frame.language;
    let people = frame.difficulty.choose(3, 3, 5);
    // From tallest to shortest.
    let order = &shuffled(dice, &names(language))[..people];
    let comparisons = compared(order, frame.difficulty, dice);
    let asked = pick(dice, &[0_usize, 1, 2]);
    let told =
        comparisons.iter().map(|(one, taller, other)| format!("{one}{}{other}", if *taller { '>' } else { '<' }));
    let shown = told.collect::<Vec<_>>().join(",");
    let right = order[asked * (people - 1) / 2];
    Draft {
        content: format!("logic:{shown} {}", RANKS[asked]),
        prompt: prompt(language, &comparisons, asked),
        reward_kind: "text",
        ground_truth: right.into(),
        working: order.join(">"),
        answer: right.to_owned(),
        facts: json!({"comparisons": shown, "asked": RANKS[asked]}),
        columns: Map::new(),
        painting: None,
    }
}

/// Each neighbour in the order compared with the next.
fn compared(order: &[&'static str], difficulty: Difficulty, dice: &mut Dice) -> Vec<Comparison> {
    let downwards = order.windows(2).map(|pair| (pair[0], true, pair[1]));
    if difficulty == Difficulty::Easy {
        return downwards.collect();
    }
    let mut comparisons: Vec<Comparison> = downwards
        .map(|(tall, taller, short)| {
            let upwards: bool = dice.random();
            if upwards { (tall, taller, short) } else { (short, !taller, tall) }
        })
        .collect();
    if difficulty == Difficulty::Hard {
        comparisons = shuffled(dice, &comparisons);
    } else if dice.random() {
        comparisons.reverse();
    }
    comparisons
}

fn prompt(language: Language, comparisons: &[Comparison], asked: usize) -> String {
    let told = comparisons.iter().map(|(one, taller, other)| match language {
        Language::English => format!("{one} is {} than {other}.", if *taller { "taller" } else { "shorter" }),
        Language::Chinese => format!("{one}比{other}{}", if *taller { "高" } else { "矮" }),
    });
    let told: Vec<String> = told.collect();
    match language {
        Language::English => {
            let question = ["Who is tallest?", "Who is in the middle?", "Who is shortest?"][asked];
            format!("{} {question}", told.join(" "))
        }
        Language::Chinese => format!("{}。{}", told.join("，"), ["谁最高？", "谁在中间？", "谁最矮？"][asked]),
    }
}

/// Works the order out from the comparisons that were shown: how many stand above the answer, and how many below.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let text = |key: &str| facts.get(key).and_then(Value::as_str);
    let (Some(shown), Some(asked)) = (text("comparisons"), text("asked")) else { return false };
    let Some(rank) = RANKS.iter().position(|name| *name == asked) else { return false };
    // (taller, shorter)
    let pairs: Vec<(&str, &str)> = shown
        .split(',')
        .filter_map(|told| told.split_once('>').or_else(|| told.split_once('<').map(|(low, high)| (high, low))))
        .collect();
    let above = steps(answer, |name| pairs.iter().find(|pair| pair.1 == name).map(|pair| pair.0), pairs.len());
    let below = steps(answer, |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1), pairs.len());
    above + below == pairs.len() && above == rank * pairs.len() / 2
}

/// How often `next` leads on from a name, `most` times at most.
fn steps<'n>(from: &'n str, next: impl Fn(&str) -> Option<&'n str>, most: usize) -> usize {
    std::iter::successors(Some(from), |name| next(name)).take(most + 1).count() - 1
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
    fn the_solver_follows_a_long_order() {
        let facts = |asked: &str| json!({"comparisons": "Dan<Cid,Ann>Bob,Cid<Bob,Dan>Eve", "asked": asked});
        for (asked, right) in [("tallest", "Ann"), ("middle", "Cid"), ("shortest", "Eve")] {
            for name in ["Ann", "Bob", "Cid", "Dan", "Eve", "Fay"] {
                assert_eq!(is_correct(&facts(asked), name), name == right, "{asked} {name}");
            }
        }
    }

    #[test]
    fn prompts_read_as_told() {
        let told = [("Cid", false, "Ann"), ("Bob", true, "Ann")];
        assert_eq!(
            prompt(Language::English, &told, 0),
            "Cid is shorter than Ann. Bob is taller than Ann. Who is tallest?"
        );
        let told = [("小明", true, "小红"), ("小刚", false, "小红")];
        assert_eq!(prompt(Language::Chinese, &told, 2), "小明比小红高，小刚比小红矮。谁最矮？");
    }
}
