//! Pairs of a reference and an answer, right or nearly right, to train and to calibrate a judge.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::describe::{Part, any_parts, joint, part_words, same_description};
use super::figure::{Colour, Shape};
use super::{Dice, Difficulty, Draft, Frame, Language, logic, pick, shuffled};

/// The prompt that a judge reads. Rewards render the same text.
pub fn judge_prompt(reference: &str, answer: &str) -> String {
    format!("Reference: {reference}\nAnswer: {answer}\nSame?")
}

/// A reference, an answer, and what was done to the reference to get it.
struct Pair {
    reference: String,
    answer: String,
    change: &'static str,
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let (language, difficulty, same) = (frame.language, frame.difficulty, frame.coin);
    // Two thirds are phrases. Numbers have no language, so the other Chinese pairs are all names.
    let kind = match (frame.roll, language) {
        (0..=1, Language::English) => "number",
        (0..=3, _) => "name",
        _ => "phrase",
    };
    let pair = loop {
        let pair = match kind {
            "number" => number_pair(same, difficulty, dice),
            "name" => name_pair(same, language, difficulty, dice),
            _ => phrase_pair(same, language, difficulty, dice),
        };
        // A change can come out as no change (two equal digits swapped): such a pair is drawn again.
        if means_the_same(kind, &pair.reference, &pair.answer) == same {
            break pair;
        }
    };
    let verdict = if same { "yes" } else { "no" };
    let mut columns = Map::new();
    columns.insert("kind".to_owned(), kind.into());
    columns.insert("change".to_owned(), pair.change.into());
    Draft {
        content: format!("judge:{}|{}", pair.reference, pair.answer),
        prompt: judge_prompt(&pair.reference, &pair.answer),
        reward_kind: "verdict",
        ground_truth: verdict.into(),
        working: side_by_side(&pair.reference, &pair.answer, joint(language)),
        answer: json!({"verdict": verdict}).to_string(),
        facts: json!({"reference": pair.reference, "answer": pair.answer, "kind": kind}),
        columns,
        painting: None,
    }
}

/// The worked line: every word of the reference beside the word of the answer that should be the same, and whether it
/// is: `two two= red red= circles circle!, one one= blue blue= square square=`.
///
/// Copying and comparing neighbours is what a small policy learns; comparing over a distance is not.
fn side_by_side(reference: &str, answer: &str, joint: &str) -> String {
    let references: Vec<&str> = reference.split(joint).collect();
    let mut left: Vec<&str> = answer.split(joint).collect();
    // Equal parts belong together; what is left over is compared in order.
    let mut beside: Vec<Option<&str>> = references
        .iter()
        .map(|part| left.iter().position(|other| other == part).map(|place| left.remove(place)))
        .collect();
    for place in beside.iter_mut().filter(|place| place.is_none()) {
        *place = (!left.is_empty()).then(|| left.remove(0));
    }
    let told = references.iter().zip(beside).map(|(part, other)| word_by_word(part, other.unwrap_or_default()));
    let extra = left.iter().map(|other| word_by_word("", other));
    told.chain(extra).collect::<Vec<_>>().join(",")
}

fn word_by_word(one: &str, other: &str) -> String {
    let (one, other) = (words(one), words(other));
    let pairs = (0..one.len().max(other.len())).map(|at| (one.get(at), other.get(at)));
    let told = pairs.map(|(one, other)| {
        let mark = if one == other { '=' } else { '!' };
        let said = [one, other].into_iter().flatten().map(|word| format!(" {word}")).collect::<String>();
        format!("{said}{mark}")
    });
    told.collect()
}

/// Words, names, digits, or pairs of Chinese characters.
fn words(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    if text.contains([' ', '>']) || text.chars().all(|letter| letter.is_ascii_alphabetic()) {
        text.split([' ', '>']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    } else {
        let width = if text.is_ascii() { 1 } else { 2 };
        letters.chunks(width).map(|word| word.iter().collect()).collect()
    }
}

fn means_the_same(kind: &str, reference: &str, answer: &str) -> bool {
    match kind {
        "number" => matches!((reference.parse::<u64>(), answer.parse::<u64>()), (Ok(one), Ok(other)) if one == other),
        "phrase" => same_description(reference, answer),
        _ => reference == answer,
    }
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let text = |key: &str| facts.get(key).and_then(Value::as_str);
    let (Some(reference), Some(judged), Some(kind)) = (text("reference"), text("answer"), text("kind")) else {
        return false;
    };
    let Ok(said) = serde_json::from_str::<Value>(answer) else { return false };
    let verdict = if means_the_same(kind, reference, judged) { "yes" } else { "no" };
    said.get("verdict").and_then(Value::as_str) == Some(verdict)
}

fn number_pair(same: bool, difficulty: Difficulty, dice: &mut Dice) -> Pair {
    let digits: usize = pick(dice, &difficulty.choose([1, 1, 2, 2], [1, 2, 2, 3], [3, 4, 4, 5]));
    let least = if digits == 1 { 0 } else { 10_u32.pow(digits as u32 - 1) };
    let number = dice.random_range(least..10_u32.pow(digits as u32));
    let reference = number.to_string();
    if same {
        return Pair { answer: reference.clone(), reference, change: "none" };
    }
    let mut written: Vec<char> = reference.chars().collect();
    let place = dice.random_range(0..written.len());
    let (answer, change) = match pick(dice, &["digit", "digit", "near", "ten", "swapped", "dropped", "added", "other"])
    {
        "digit" => {
            written[place] = char::from(b'0' + dice.random_range(0..10_u8));
            (written.iter().collect(), "digit")
        }
        "near" => ((if dice.random() { number + 1 } else { number.saturating_sub(1) }).to_string(), "near"),
        "ten" => ((if dice.random() { number + 10 } else { number.saturating_sub(10) }).to_string(), "ten"),
        "swapped" => {
            written.rotate_left(1);
            (written.iter().collect(), "swapped")
        }
        "dropped" => {
            written.remove(place);
            (written.iter().collect(), "dropped")
        }
        "added" => {
            written.insert(place, char::from(b'1' + dice.random_range(0..9_u8)));
            (written.iter().collect(), "added")
        }
        _ => (dice.random_range(0..200_u32).to_string(), "other"),
    };
    // An emptied or zero-led number is no near miss; the same text makes the caller draw again.
    let unusable = answer.is_empty() || (answer.len() > 1 && answer.starts_with('0'));
    Pair { answer: if unusable { reference.clone() } else { answer }, reference, change }
}

/// Names in a row, as `logic` writes an order.
fn name_pair(same: bool, language: Language, difficulty: Difficulty, dice: &mut Dice) -> Pair {
    let count: usize = pick(dice, &difficulty.choose([1, 1, 1, 2], [1, 1, 2, 3], [3, 3, 4, 5]));
    let mixed = shuffled(dice, &logic::names(language));
    let reference = mixed[..count].join(">");
    if same {
        return Pair { answer: reference.clone(), reference, change: "none" };
    }
    let mut names = mixed[..count].to_vec();
    let place = dice.random_range(0..count);
    let change = pick(dice, &["name", "name", "swapped", "missing", "extra"]);
    match change {
        "swapped" => names.swap(place, (place + 1) % count),
        "missing" if count > 1 => {
            names.remove(place);
        }
        "extra" => names.push(mixed[count]),
        _ => names[place] = mixed[count],
    }
    Pair { reference, answer: names.join(">"), change }
}

/// What is done to a phrase to make it wrong: near misses, and what a weak policy writes.
const PHRASE_CHANGES: [&str; 13] = [
    "count",
    "count",
    "colour",
    "colour",
    "shape",
    "shape",
    "counts swapped",
    "colours swapped",
    "missing",
    "extra",
    "plural",
    "unfinished",
    "other",
];

fn phrase_pair(same: bool, language: Language, difficulty: Difficulty, dice: &mut Dice) -> Pair {
    let parts = any_parts(difficulty, dice);
    let words = |parts: &[Part]| parts.iter().map(|&part| part_words(part, language)).collect::<Vec<_>>();
    let reference = words(&parts).join(joint(language));
    let change = if same { "none" } else { pick(dice, &PHRASE_CHANGES) };
    let mut changed = change_parts(change, parts, difficulty, dice);
    // Parts change places among right and wrong answers alike, or the order would give the verdict away.
    if changed.len() > 1 && dice.random() {
        changed.reverse();
    }
    let mut written = words(&changed);
    let place = dice.random_range(0..written.len());
    if change == "plural" {
        written[place] = wrong_number(&written[place], language);
    }
    let mut answer = written.join(joint(language));
    if change == "unfinished" {
        answer.push_str(joint(language).trim_end());
    }
    Pair { reference, answer, change }
}

fn change_parts(change: &str, mut parts: Vec<Part>, difficulty: Difficulty, dice: &mut Dice) -> Vec<Part> {
    let place = dice.random_range(0..parts.len());
    let two = parts.len() == 2;
    match change {
        "count" => parts[place].0 = dice.random_range(1..=3),
        "colour" => parts[place].1.colour = pick(dice, &Colour::ALL),
        "shape" => parts[place].1.shape = pick(dice, &Shape::ALL),
        "counts swapped" if two => (parts[0].0, parts[1].0) = (parts[1].0, parts[0].0),
        "colours swapped" if two => (parts[0].1.colour, parts[1].1.colour) = (parts[1].1.colour, parts[0].1.colour),
        "missing" if two => drop(parts.remove(place)),
        // Half of the extra parts repeat what was said.
        "extra" => {
            let part = if dice.random() { parts[place] } else { any_parts(difficulty, dice)[0] };
            parts.push(part);
        }
        "other" => parts = any_parts(difficulty, dice),
        _ => {}
    }
    parts
}

/// A part with the wrong plural; in Chinese, without its measure word.
fn wrong_number(part: &str, language: Language) -> String {
    match language {
        Language::English => part.strip_suffix('s').map_or_else(|| format!("{part}s"), str::to_owned),
        Language::Chinese => part.replacen('个', "", 1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::split::Split;
    use crate::synthetic::{Task, query};

    #[test]
    fn every_change_occurs_and_parts_are_swapped_on_both_sides() {
        let mut changes = BTreeSet::new();
        let mut reordered = [0; 2];
        for index in 0..4_000 {
            let query = query(Task::Judge, Split::Train, 5, index);
            let text = |key: &str| query.columns[key].as_str().unwrap();
            changes.insert(format!("{} {}", text("kind"), text("change")));
            let facts = &query.columns["facts"];
            let (reference, answer) = (facts["reference"].as_str().unwrap(), facts["answer"].as_str().unwrap());
            let second = |text: &str| text.split(" and ").nth(1).map(str::to_owned);
            if text("kind") == "phrase" && second(reference).is_some_and(|part| answer.starts_with(&part)) {
                reordered[usize::from(query.ground_truth.as_ref().unwrap() == "yes")] += 1;
            }
        }
        for change in [
            "phrase plural",
            "phrase counts swapped",
            "phrase missing",
            "phrase unfinished",
            "number swapped",
            "name extra",
        ] {
            assert!(changes.contains(change), "{change} in {changes:?}");
        }
        assert!(reordered.iter().all(|&count| count > 100), "{reordered:?}");
    }

    #[test]
    fn verdicts_are_balanced_in_every_split_and_kind() {
        for split in Split::ALL {
            for kind in ["number", "name", "phrase"] {
                let drawn = (0..3_000).map(|index| query(Task::Judge, split, 1, index));
                let verdicts: Vec<bool> = drawn
                    .filter(|query| query.columns["kind"] == kind)
                    .map(|query| query.ground_truth.as_ref().unwrap() == "yes")
                    .collect();
                let yes = verdicts.iter().filter(|&&yes| yes).count() as f64 / verdicts.len() as f64;
                assert!((0.4..0.6).contains(&yes), "{split} {kind}: {yes}");
            }
        }
    }

    #[test]
    fn the_worked_line_finds_what_differs() {
        let lines = [
            ("85", "58", " 8 5! 5 8!"),
            ("Ann>Bob", "Ann", " Ann Ann= Bob!"),
            (
                "two red circles and one blue square",
                "one blue square and two red circle",
                " two two= red red= circles circle!, one one= blue blue= square square=",
            ),
            (
                "one red circle",
                "one red circle and two blue stars",
                " one one= red red= circle circle=, two! blue! stars!",
            ),
            ("两个红色圆形", "两个蓝色圆形", " 两个 两个= 红色 蓝色! 圆形 圆形="),
        ];
        for (reference, answer, line) in lines {
            assert_eq!(super::side_by_side(reference, answer, " and "), line);
        }
    }

    #[test]
    fn the_prompt_is_fixed() {
        assert_eq!(super::judge_prompt("85", "58"), "Reference: 85\nAnswer: 58\nSame?");
    }
}
