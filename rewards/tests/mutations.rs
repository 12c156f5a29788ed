//! The law of mathematics: a gold answer with one part changed is no longer equal to it, over all gold rows.
//!
//! A part is a digit, a sign, the name of a function, a kind of bracket, a word, a letter, a unit, a place, or a member of a
//! list. No gold answer is exempt. The few mutants that truly keep the value are told one by one, and each is worked out
//! here without the engine.

use std::collections::BTreeSet;

use sapo_rewards::verifiers::math::{Form, Verdict, equivalent};
use serde_json::Value;

/// The gold answers of all sets.
fn golds() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rewards");
    let mut golds = BTreeSet::new();
    for set in ["", "_more", "_people", "_kinds", "_graders"] {
        let text = std::fs::read_to_string(format!("{folder}/math_equivalence{set}.jsonl")).expect("the rows");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).expect("a row");
            golds.extend(row["gold"].as_str().map(str::to_owned));
        }
    }
    golds
}

/// Names that mean something else each, and what stands for them in a mutation.
const NAMES: [(&str, &str); 24] = [
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
    ("\\le", "<"),
    ("\\leq", "<"),
    ("\\geq", ">"),
    ("\\cup", "\\cap"),
    ("\\cdot", "+"),
    ("\\times", "-"),
    ("\\vec", "\\hat"),
    ("\\mathbb{Z}", "\\mathbb{N}"),
    ("\\mathbb{R}", "\\mathbb{Q}"),
    ("\\angle", "\\triangle"),
    ("\\sum", "\\prod"),
    ("\\in", "\\notin"),
    ("\\pm", "+"),
];

/// Units and what stands for them.
const UNITS: [(&str, &str); 14] = [
    ("cm", "km"),
    ("mm", "cm"),
    ("km", "m"),
    ("kg", "mg"),
    ("ft", "yd"),
    ("mL", "kL"),
    ("ml", "kl"),
    ("mph", "kph"),
    ("hours", "minutes"),
    ("minutes", "hours"),
    ("days", "weeks"),
    ("inches", "feet"),
    ("meters", "miles"),
    ("dollars", "cents"),
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
            '=' if at > 0 && !matches!(letters[at - 1], '<' | '>' | '!' | '=') => Some(" \\ne "),
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

fn names_and_units(gold: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let is_letter = |letter: char| letter.is_ascii_alphabetic();
    for (name, other) in NAMES {
        for (at, _) in gold.match_indices(name) {
            let rest = &gold[at + name.len()..];
            if !rest.starts_with(is_letter) || name.ends_with('}') {
                mutants.push(("name", format!("{}{other}{rest}", &gold[..at])));
            }
        }
    }
    for (unit, other) in UNITS {
        for (at, _) in gold.match_indices(unit) {
            let (before, rest) = (&gold[..at], &gold[at + unit.len()..]);
            if !rest.starts_with(is_letter) && !before.ends_with(is_letter) && !before.ends_with('\\') {
                mutants.push(("unit", format!("{before}{other}{rest}")));
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
        let layout = letters[..start].iter().collect::<String>().ends_with("\\begin{array}{");
        let command = layout || start > 0 && letters[start - 1] == '\\';
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

/// The list without its last part, and with one more; named values with their values exchanged.
fn parts(gold: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let outer = !gold.contains(['(', '[', '{', '\\']) && !gold.contains("and") && !gold.contains('.');
    let parts: Vec<&str> = gold.split(", ").collect();
    if !outer || parts.len() < 2 || gold.trim_matches('$').len() + 2 < gold.len() && gold.contains('$') {
        return mutants;
    }
    mutants.push(("part", parts[..parts.len() - 1].join(", ")));
    mutants.push(("part", parts[1..].join(", ")));
    mutants.push(("part", format!("{gold}, 987654")));
    let named: Option<Vec<(&str, &str)>> = parts.iter().map(|part| part.split_once('=')).collect();
    if let Some(named) = named.filter(|named| named[0].0.trim() != named[1].0.trim() && named[0].1 != named[1].1) {
        mutants.push(("place", format!("{}={}, {}={}", named[0].0, named[1].1, named[1].0, named[0].1)));
    }
    mutants
}

fn choose(of: u64, taken: u64) -> u64 {
    (1..=taken).fold(1, |product, at| product * (of + 1 - at) / at)
}

/// Which of the quarters from 0 to 10 are in a union of closed intervals, as bits.
fn members(intervals: [(u64, u64); 2]) -> u64 {
    let inside = |quarter: u64| intervals.iter().any(|(low, high)| (low * 4..=high * 4).contains(&quarter));
    (0..=40).filter(|quarter| inside(*quarter)).fold(0, |bits, quarter| bits | 1 << quarter)
}

/// Which of the quarters from 0 to 10 are in both of two open intervals, as bits.
fn strictly_inside(intervals: [(u64, u64); 2]) -> u64 {
    let inside = |quarter: u64| intervals.iter().all(|(low, high)| low * 4 < quarter && quarter < high * 4);
    (0..=40).filter(|quarter| inside(*quarter)).fold(0, |bits, quarter| bits | 1 << quarter)
}

/// The mutants that keep the value: a gold answer, the mutant, and what each comes to.
fn kept() -> Vec<(String, String, u64, u64)> {
    let mut kept = Vec::new();
    let mut keep = |gold: &str, mutant: String, values: (u64, u64)| {
        kept.push((gold.to_owned(), mutant, values.0, values.1));
    };
    for (pattern, of, taken, other) in [
        ("C(@,#)", 6, 2, 4),
        ("{}_@C_#", 6, 2, 4),
        ("\\binom{@}{#}", 10, 4, 6),
        ("\\binom{@}{#}", 5, 2, 3),
        ("\\binom{@}{#}", 6, 2, 4),
        ("\\dbinom{@}{#}", 6, 2, 4),
        ("$C_@^#$", 5, 2, 3),
        ("$\\mathrm{C}_{@}^{#}$", 10, 3, 7),
        ("$\\binom{@}{#}\\cdot 3!$", 5, 2, 3),
    ] {
        let written = |taken: u64| pattern.replace('@', &of.to_string()).replace('#', &taken.to_string());
        keep(&written(taken), written(other), (choose(of, taken), choose(of, other)));
    }
    for tenth in 1..=9_u64 {
        keep(
            "\\lceil 3.2\\rceil",
            format!("\\lceil 3.{tenth}\\rceil"),
            (32_u64.div_ceil(10), (30 + tenth).div_ceil(10)),
        );
        keep("\\lfloor 3.7 \\rfloor", format!("\\lfloor 3.{tenth} \\rfloor"), (37 / 10, (30 + tenth) / 10));
    }
    for other in 0..=7_u64 {
        keep("\\max(3,7)", format!("\\max({other},7)"), (7, other.max(7)));
    }
    for other in 3..=9_u64 {
        keep("\\min(3,7)", format!("\\min(3,{other})"), (3, 3.min(other)));
    }
    for other in [3, 5, 7, 9_u64] {
        keep("n\\equiv1\\pmod 2", format!("n\\equiv{other}\\pmod 2"), (1, other % 2));
    }
    kept.extend(kept_sets());
    kept
}

/// The same for lengths, sets and sums.
fn kept_sets() -> Vec<(String, String, u64, u64)> {
    let mut kept = Vec::new();
    let mut keep = |gold: &str, mutant: String, values: (u64, u64)| {
        kept.push((gold.to_owned(), mutant, values.0, values.1));
    };
    keep("i^2", "i^6".to_owned(), (2, 6 % 4));
    keep("|3+4i|", "|3-4i|".to_owned(), (3 * 3 + 4 * 4, 3 * 3 + 4 * 4));
    keep("|{-5}|", "|{+5}|".to_owned(), ((-5_i64).unsigned_abs(), 5_i64.unsigned_abs()));
    let (overlap, wider) = (members([(1, 3), (2, 4)]), members([(1, 4), (2, 4)]));
    keep("[1,3]\\cup[2,4]", "[1,4]\\cup[2,4]".to_owned(), (overlap, wider));
    keep("[1,3]\\cup[2,4]", "[1,3]\\cup[3,4]".to_owned(), (overlap, members([(1, 3), (3, 4)])));
    keep("[1,2]\\cup[2,3]", "[1,3]\\cup[2,3]".to_owned(), (members([(1, 2), (2, 3)]), members([(1, 3), (2, 3)])));
    let apart = strictly_inside([(1, 3), (2, 4)]);
    keep("(1,3)\\cap(2,4)", "(2,3)\\cap(2,4)".to_owned(), (apart, strictly_inside([(2, 3), (2, 4)])));
    for high in [5, 6, 8] {
        keep("(1,3)\\cap(2,4)", format!("(1,3)\\cap(2,{high})"), (apart, strictly_inside([(1, 3), (2, high)])));
    }
    let sine = |degrees: f64| (degrees.to_radians().sin() * 1e9).round() as u64;
    keep("\\sin(90^{\\circ}-x)", "\\sin(90^{\\circ}+x)".to_owned(), (sine(90.0 - 17.0), sine(90.0 + 17.0)));
    keep("sqrt(2)+0.0", "sqrt(2)-0.0".to_owned(), ((2.0_f64 + 0.0).to_bits(), (2.0_f64 - 0.0).to_bits()));
    keep("twenty-five", "twenty+five".to_owned(), (25, 20 + 5));
    // In halves: one and a half, and one times three halves.
    keep("1\\frac12", "1\\frac32".to_owned(), (2 + 1, 3));
    // Roots are numbered in any order: the set of them, ten added to each.
    keep("$x_1=2, x_2=-3$", "$x_1=-3$, x_2=2".to_owned(), (1 << 12 | 1 << 7, 1 << 7 | 1 << 12));
    let set = |members: [u64; 3]| members.into_iter().fold(0, |bits, member| bits | 1 << member);
    keep("{1,1,2}", "{2,1,2}".to_owned(), (set([1, 1, 2]), set([2, 1, 2])));
    keep("{1,1,2}", "{1,2,2}".to_owned(), (set([1, 1, 2]), set([1, 2, 2])));
    keep("{1,2/2,2}", "{2,2/2,2}".to_owned(), (set([1, 1, 2]), set([2, 1, 2])));
    keep("{1,2/2,2}", "{1,4/2,2}".to_owned(), (set([1, 1, 2]), set([1, 2, 2])));
    kept
}

#[test]
fn a_gold_answer_with_one_part_changed_is_no_longer_equal() {
    let kept = kept();
    for (gold, mutant, value, other) in &kept {
        assert_eq!(value, other, "{gold} | {mutant}");
        let verdict = equivalent(gold, mutant, Form::Answer).verdict;
        assert_eq!(verdict, Verdict::Equal, "{gold} | {mutant} need not be told");
    }
    let (mut tried, mut equal) = (0, Vec::new());
    for gold in golds() {
        let letters: Vec<char> = gold.chars().collect();
        let mut mutants = digits_and_signs(&letters);
        mutants.extend(names_and_units(&gold));
        mutants.extend(words_and_letters(&letters));
        mutants.extend(brackets_and_places(&gold));
        mutants.extend(parts(&gold));
        for (kind, mutant) in mutants.into_iter().filter(|(_, mutant)| *mutant != gold) {
            tried += 1;
            let is_kept = || kept.iter().any(|(own, other, ..)| *own == gold && *other == mutant);
            if equivalent(&gold, &mutant, Form::Answer).verdict == Verdict::Equal && !is_kept() {
                equal.push(format!("{kind}: {gold} | {mutant}"));
            }
        }
    }
    assert!(tried >= 10_000, "{tried} mutations are too few");
    assert!(equal.is_empty(), "{tried} mutations, {} equal: {equal:#?}", equal.len());
}
