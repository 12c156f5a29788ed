//! The law of mathematics: a gold answer with one part changed is no longer equal to it, over all gold rows.
//!
//! A part is a digit, a sign, the name of a function, a kind of bracket, a word, a letter or a place. Few answers keep their
//! value; those are told here by what they are made of, without the engine.

use std::collections::BTreeSet;

use sapo_rewards::verifiers::math::{Form, Verdict, equivalent};
use serde_json::Value;

/// The gold answers of all sets.
fn golds() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rewards");
    let mut golds = BTreeSet::new();
    for set in ["", "_more", "_people", "_kinds"] {
        let text = std::fs::read_to_string(format!("{folder}/math_equivalence{set}.jsonl")).expect("the rows");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("a row");
            golds.extend(row["gold"].as_str().map(str::to_owned));
        }
    }
    golds
}

/// Names that mean something else each, and what stands for them in a mutation.
const NAMES: [(&str, &str); 20] = [
    ("\\sin", "\\cos"),
    ("\\cos", "\\sin"),
    ("\\tan", "\\sin"),
    ("\\ln", "\\sin"),
    ("\\log", "\\tan"),
    ("\\sqrt", "\\ln"),
    ("\\arctan", "\\arcsin"),
    ("\\le", "\\ge"),
    ("\\leq", "\\geq"),
    ("\\ge", "\\le"),
    ("\\geq", "\\leq"),
    ("\\cup", "\\cap"),
    ("\\cdot", "+"),
    ("\\times", "-"),
    ("\\vec", "\\hat"),
    ("\\mathbb{Z}", "\\mathbb{N}"),
    ("\\mathbb{R}", "\\mathbb{Q}"),
    ("\\angle", "\\triangle"),
    ("\\sum", "\\prod"),
    ("\\in", "\\notin"),
];

/// One mutation: its kind and what came out.
type Mutant = (&'static str, String);

fn replaced(letters: &[char], at: std::ops::Range<usize>, by: &str) -> String {
    letters[..at.start].iter().collect::<String>() + by + &letters[at.end..].iter().collect::<String>()
}

fn digits_and_signs(letters: &[char]) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (at, letter) in letters.iter().enumerate() {
        let swapped = match letter {
            '+' => Some("-"),
            '-' => Some("+"),
            '<' => Some(">"),
            '>' => Some("<"),
            _ => None,
        };
        mutants.extend(swapped.map(|sign| ("sign", replaced(letters, at..at + 1, sign))));
        if let Some(digit) = letter.to_digit(10) {
            let other = |step: u32| replaced(letters, at..at + 1, &((digit + step) % 10).to_string());
            mutants.extend([1, 2, 4, 7, 8].map(|step| ("digit", other(step))));
        }
    }
    mutants
}

fn names(gold: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (name, other) in NAMES {
        for (at, _) in gold.match_indices(name) {
            let rest = &gold[at + name.len()..];
            if !rest.starts_with(|letter: char| letter.is_ascii_alphabetic()) || name.ends_with('}') {
                mutants.push(("name", format!("{}{other}{rest}", &gold[..at])));
            }
        }
    }
    if gold.matches("\\lfloor").count() == 1 {
        mutants.push(("bracket", gold.replace("\\lfloor", "\\lceil").replace("\\rfloor", "\\rceil")));
    }
    mutants
}

fn words_and_letters(letters: &[char]) -> Vec<Mutant> {
    // These only introduce an answer.
    const INTRODUCE: [&str; 8] = ["answer", "solution", "the", "units", "therefore", "hence", "total", "all"];
    let mut mutants = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let start = at;
        while at < letters.len() && letters[at].is_alphabetic() {
            at += 1;
        }
        let run: String = letters[start..at].iter().collect();
        let command = start > 0 && letters[start - 1] == '\\';
        if command || run.is_empty() || INTRODUCE.contains(&run.to_lowercase().as_str()) {
            at += usize::from(run.is_empty());
            continue;
        }
        if run.chars().count() >= 3 {
            mutants.extend(["zebra", "seven", "left"].map(|word| ("word", replaced(letters, start..at, word))));
        } else if run.len() == 1 && run.is_ascii() {
            mutants.extend(["q", "w"].map(|letter| ("letter", replaced(letters, start..at, letter))));
        }
    }
    mutants
}

fn brackets_and_places(gold: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let text = gold.trim_matches('$').trim();
    let interval = text.starts_with(['[', '(']) && text.ends_with([']', ')']) && text.matches(',').count() == 1;
    if interval && text.matches(['(', '[', '{']).count() == 1 && !text.contains("inf") {
        let open = if text.starts_with('[') { "(" } else { "[" };
        let close = if text.ends_with(']') { ")" } else { "]" };
        mutants.push(("bracket", format!("{open}{}", &text[1..])));
        mutants.push(("bracket", format!("{}{close}", &text[..text.len() - 1])));
    }
    if let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'))
        && !inner.contains('(')
    {
        let mut parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        if parts.len() > 1 && parts[0] != parts[1] {
            parts.swap(0, 1);
            mutants.push(("place", format!("({})", parts.join(", "))));
        }
    }
    mutants
}

/// Whether an answer may keep its value when one part of it changes, by what it is made of.
fn may_keep(gold: &str) -> bool {
    const MAY: [&str; 18] = [
        "\\lfloor", "\\lceil", "\\max", "\\min", "binom", "choose", "\\cup", "\\cap", "|", "45^", "mod", "i^", "C(",
        "tan", "boxed", "####", "_2", "^{-1} 1",
    ];
    MAY.iter().any(|part| gold.contains(part)) || gold.len() > 120
}

#[test]
fn a_gold_answer_with_one_part_changed_is_no_longer_equal() {
    let (mut tried, mut equal) = (0, Vec::new());
    for gold in golds() {
        let letters: Vec<char> = gold.chars().collect();
        let mut mutants = digits_and_signs(&letters);
        mutants.extend(names(&gold));
        mutants.extend(words_and_letters(&letters));
        mutants.extend(brackets_and_places(&gold));
        for (kind, mutant) in mutants.into_iter().filter(|(_, mutant)| *mutant != gold) {
            tried += 1;
            if equivalent(&gold, &mutant, Form::Answer).verdict == Verdict::Equal && !may_keep(&gold) {
                equal.push(format!("{kind}: {gold} | {mutant}"));
            }
        }
    }
    assert!(tried >= 10_000, "{tried} mutations are too few");
    assert!(equal.is_empty(), "{tried} mutations, {} equal: {equal:#?}", equal.len());
}
