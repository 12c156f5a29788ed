//! Multiple choice: which option a reply chooses; none when it chooses no option, or several.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::extract::{
    self, LastJson, MOST_ANSWERS, capped, last_answer_tag, last_json, plain, sentence_end, unwrapped,
};
use crate::number::shortened;
use crate::score::{FailureKind, PartScore};
use crate::text::normalised;

/// The options by their letter.
pub type Choices = BTreeMap<char, String>;

/// What a piece of text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    One(char),
    /// Several options, or one that does not exist: a statement that chooses nothing.
    Unclear,
    Nothing,
}

/// Where a piece of text stands, which decides how much like a choice it must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A whole reply, or the whole content of a box or tag.
    Whole,
    /// After words that announce a choice.
    Announced,
    /// After words that may announce one: only a capital letter by itself, or an option's text.
    Hinted,
}

impl Said {
    fn letter(self) -> Option<char> {
        match self {
            Self::One(letter) => Some(letter),
            Self::Unclear | Self::Nothing => None,
        }
    }
}

/// What introduces a choice, in lower case, longest first where one begins another. What follows is read as a choice
/// even in lower case.
const STRONG: [&str; 29] = [
    "answer is:",
    "answer is",
    "answer would be",
    "answer should be",
    "answer must be",
    "answer:",
    "answer -",
    "answer =",
    "answer=",
    "option is",
    "choice is",
    "option:",
    "choice:",
    "而是",
    "答案是：",
    "答案是:",
    "答案应该是",
    "答案应为",
    "答案是",
    "答案为",
    "答案选",
    "答案：",
    "答案:",
    "应该选",
    "选择",
    "选项是",
    "选项为",
    "选",
    "选项",
];

/// What may introduce a choice: a capital letter that stands for itself must follow.
const WEAK: [&str; 21] = [
    "it is",
    "it's",
    "that is",
    "must be",
    "should be",
    "go with",
    "going with",
    "choose",
    "pick",
    "select",
    "option",
    "choice",
    "therefore",
    "hence",
    "thus",
    "clearly",
    "obviously",
    "definitely",
    "so",
    "因此",
    "所以",
];

/// What may stand between a letter and the reasons for it.
const REASONS: [&str; 12] =
    ["because", "since", "as", "for", "due", "which", "given", "based", "with", "rather", "instead", "not"];

/// The last so many statements of a kind are read, so that a long reply costs no more than its length.
const MOST_STATEMENTS: usize = 64;
/// So much of a statement is read.
const LONGEST_STATEMENT_BYTES: usize = 400;

/// The letter that a whole reply chooses: thinking does not count, and the last explicit statement wins.
pub fn chosen(response: &str, choices: &Choices) -> Option<char> {
    choose(extract::after_thinking(response)?, choices)
}

/// The letter that an answer without its thinking chooses.
pub fn choose(answer: &str, choices: &Choices) -> Option<char> {
    let answer = plain(capped(answer));
    let answer = last_answer_tag(&answer).unwrap_or(&answer);
    let boxed = boxed(answer, choices);
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
        return content(&said, choices, Place::Whole).letter();
    }
    let announced = stated(answer, choices, &STRONG, Place::Announced);
    if announced != Said::Nothing {
        return announced.letter();
    }
    let whole = whole(answer, choices);
    if whole != Said::Nothing {
        return whole.letter();
    }
    stated(answer, choices, &WEAK, Place::Hinted).letter()
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
fn boxed(text: &str, choices: &Choices) -> Said {
    let boxes = extract::boxes(text);
    let Some((last, inside)) = boxes.last() else { return Said::Nothing };
    if boxes.len() > MOST_ANSWERS {
        return Said::Unclear;
    }
    let said = content(inside, choices, Place::Whole);
    if let Some((before, inside)) = boxes.iter().rev().nth(1)
        && content(inside, choices, Place::Whole) != said
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
fn whole(text: &str, choices: &Choices) -> Said {
    let said = content(text, choices, Place::Whole);
    if said != Said::Nothing && !text.trim().contains('\n') {
        return said;
    }
    let (mut found, mut times) = (Said::Nothing, 0);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let said = alone(line, choices);
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

/// A line that is only a letter, or a letter and its option's text.
fn alone(line: &str, choices: &Choices) -> Said {
    let bare = bare(line);
    let Some((letter, rest)) = leading_letter(bare, choices) else { return Said::Nothing };
    let rest = rest.trim_start_matches([')', ']', '.', ':', ',', '-']).trim();
    let same = choices.get(&letter).is_some_and(|text| normalised(text) == normalised(rest));
    if letter.is_ascii_uppercase() && (rest.is_empty() || same) { Said::One(letter) } else { Said::Nothing }
}

/// What the last of the statements says that says anything.
fn stated(text: &str, choices: &Choices, marks: &[&str], place: Place) -> Said {
    // ASCII lower case keeps every byte where it is.
    let lower = text.to_ascii_lowercase();
    let mut found: Option<(usize, Said)> = None;
    let mut note = |at: usize, said: Said| {
        if said != Said::Nothing && found.is_none_or(|(before, _)| at >= before) {
            found = Some((at, said));
        }
    };
    let ascii = lower.is_ascii();
    for mark in marks.iter().filter(|mark| !ascii || mark.is_ascii()) {
        let places: Vec<usize> = lower.rmatch_indices(*mark).take(MOST_STATEMENTS).map(|(at, _)| at).collect();
        if place == Place::Announced && places.len() > MOST_ANSWERS {
            return Said::Unclear;
        }
        for at in places {
            let end = at + mark.len();
            if !stands_alone(&lower, at, end) || is_negated(&lower[..at]) {
                continue;
            }
            let said = clipped(
                text[end..].trim_start_matches(|letter: char| letter.is_whitespace() || ":：,，".contains(letter)),
            );
            note(end, content(&said[..sentence_end(said)], choices, place));
        }
    }
    if place == Place::Announced {
        for (at, letter) in postfixed(text, &lower, choices) {
            note(at, Said::One(letter));
        }
    }
    found.map_or(Said::Nothing, |(_, said)| said)
}

/// The first bytes of a text, enough for a statement.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_STATEMENT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `C is correct`, `(B) is the right option`.
fn postfixed(text: &str, lower: &str, choices: &Choices) -> Vec<(usize, char)> {
    const ENDINGS: [&str; 10] = [
        " is correct",
        " is right",
        " is the correct",
        " is the right",
        " is the best",
        " is the answer",
        " is my answer",
        "是正确",
        "正确",
        "是对的",
    ];
    let mut found = Vec::new();
    for (at, _) in ENDINGS.iter().flat_map(|ending| lower.rmatch_indices(ending).take(MOST_STATEMENTS)) {
        let before = text[..at].trim_end_matches(['*', ')', ' ', '"', '`']);
        let mut letters = before.chars().rev();
        let Some(letter) = letters.next().filter(|letter| choices.contains_key(letter)) else { continue };
        let start = before.len() - letter.len_utf8();
        // What stands before must not be a list of options.
        let list = text[..start].trim_end_matches(['(', '*', ' ']).to_lowercase();
        let listed = [" and", " or", ",", "/", "和", "或", "、"].iter().any(|mark| list.ends_with(mark));
        if !letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric())
            && !listed
            && !is_negated(&lower[..start])
        {
            found.push((at, letter));
        }
    }
    found
}

/// Whether the words at a place are not part of longer ones.
fn stands_alone(lower: &str, start: usize, end: usize) -> bool {
    let ascii = |letter: char| letter.is_ascii_alphanumeric();
    let first = lower[start..].chars().next().is_some_and(ascii);
    let last = lower[..end].chars().next_back().is_some_and(ascii);
    !(first && lower[..start].chars().next_back().is_some_and(ascii)
        || last && lower[end..].chars().next().is_some_and(ascii))
}

/// Whether the clause that leads up to a place denies what follows.
fn is_negated(before: &str) -> bool {
    let mut start = before.len().saturating_sub(LONGEST_STATEMENT_BYTES);
    while !before.is_char_boundary(start) {
        start += 1;
    }
    let clause = before[start..].rsplit([',', '.', ';', '!', '?', '\n', '，', '。', '；']).next().unwrap_or_default();
    clause.contains("n't ")
        || clause.contains('不')
        || clause.split_whitespace().any(|word| ["not", "never", "no", "neither"].contains(&word))
}

/// A text without what is put around a letter: emphasis, brackets, LaTeX, and the word `option`.
fn bare(text: &str) -> &str {
    const AROUND: [&str; 10] =
        ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\boxed{", "option ", "choice ", "letter ", "选项", "the "];
    // Marks of lists and headings, and ticks.
    const BEFORE: [&str; 14] = ["- ", "* ", "• ", "> ", "# ", "## ", "### ", "=> ", "-> ", "→", "✅", "☑", "✔", "✓"];
    let mut text = unwrapped(text);
    loop {
        while let Some(rest) = BEFORE.iter().find_map(|mark| text.strip_prefix(mark)) {
            text = unwrapped(rest);
        }
        text = text.trim_end_matches(['✅', '☑', '✔', '✓', '\u{fe0f}']).trim_end();
        text = text.strip_prefix('【').and_then(|inner| inner.strip_suffix('】')).unwrap_or(text);
        let start = AROUND.iter().find(|prefix| {
            let begin = text.get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        });
        let Some(prefix) = start else { return text };
        text = unwrapped(text[prefix.len()..].trim_end_matches('}'));
    }
}

/// The letter that a text begins with, standing for itself, and what follows.
fn leading_letter<'t>(text: &'t str, choices: &Choices) -> Option<(char, &'t str)> {
    let inner = text.trim_start_matches(['(', '[', '{']);
    let letter = inner.chars().next()?;
    let rest = &inner[letter.len_utf8()..];
    let known = choices.contains_key(&letter) || choices.contains_key(&letter.to_ascii_uppercase());
    let mut next = rest.chars();
    let alone = match (next.next(), next.next(), next.next()) {
        // A word, C++, C#.
        (Some(first), ..) if first.is_ascii_alphanumeric() || "'+#".contains(first) => false,
        // D-Day, but not `D - Day`.
        (Some('-'), Some(second), _) => !second.is_alphanumeric(),
        // A.M.
        (Some('.'), Some(second), None | Some('.')) if second.is_ascii_uppercase() => false,
        _ => true,
    };
    (alone && (known || letter.is_ascii_alphabetic())).then_some((letter, rest))
}

/// What a piece of text chooses when it begins with a choice, or is the text of one.
fn content(text: &str, choices: &Choices, place: Place) -> Said {
    let named = option_text(text, choices);
    if named != Said::Nothing {
        return named;
    }
    let text = bare(text);
    let Some((letter, rest)) = leading_letter(text, choices) else { return Said::Nothing };
    let capital = letter.to_ascii_uppercase();
    let after = rest.trim_start_matches([')', ']', '.', ':', '}', '*', '"', '`']).trim();
    if !choices.contains_key(&capital) {
        // A letter outside the list, alone, is a choice of nothing.
        return if after.is_empty() { Said::Unclear } else { Said::Nothing };
    }
    if offers_another(after, choices) {
        return Said::Unclear;
    }
    let own = choices.get(&capital).is_some_and(|option| normalised(option) == normalised(after));
    let upper = letter.is_ascii_uppercase();
    let accepted = if after.is_empty() || own {
        upper || place != Place::Hinted
    } else {
        place != Place::Hinted && is_explained(letter, rest, after, place)
    };
    if accepted { Said::One(capital) } else { Said::Nothing }
}

/// The option whose text this is: as it stands, without what is put around it, without its article, or with reasons
/// after it.
fn option_text(text: &str, choices: &Choices) -> Said {
    let only = |same: &dyn Fn(&str) -> bool| {
        let mut found = choices.iter().filter(|(_, option)| same(option));
        match (found.next(), found.next()) {
            (Some((letter, _)), None) => Said::One(*letter),
            (Some(_), Some(_)) => Said::Unclear,
            (None, _) => Said::Nothing,
        }
    };
    for key in [normalised(text), normalised(bare(text))] {
        let said = only(&|option| normalised(option) == key);
        if said != Said::Nothing {
            return said;
        }
    }
    let key = normalised(text);
    let said = only(&|option| without_article(&normalised(option)) == without_article(&key));
    if said != Said::Nothing {
        return said;
    }
    with_reasons(&key, choices)
}

fn without_article(text: &str) -> &str {
    ["a ", "an ", "the "].iter().find_map(|article| text.strip_prefix(article)).unwrap_or(text)
}

/// An option's text at the beginning of a sentence that goes on with reasons, and names no other option.
fn with_reasons(key: &str, choices: &Choices) -> Said {
    const PAUSES: [&str; 8] = [", ", "; ", ". ", " because ", " since ", " as ", " (", "，"];
    // Numbers go on as numbers.
    let worded = |option: &str| option.chars().filter(|letter| letter.is_alphabetic()).count() > 1;
    for (letter, option) in choices {
        let option = normalised(option);
        let Some(rest) = key.strip_prefix(option.as_str()).filter(|_| worded(&option)) else { continue };
        if !PAUSES.iter().any(|pause| rest.starts_with(pause)) {
            continue;
        }
        let words: Vec<&str> = rest.split(|letter: char| !letter.is_alphanumeric()).collect();
        let other = choices.iter().filter(|(other, _)| *other != letter).any(|(other, text)| {
            let text = normalised(text);
            worded(&text) && format!(" {} ", words.join(" ")).contains(&format!(" {text} "))
                || rest.contains(&format!("({})", other.to_ascii_lowercase()))
        });
        let doubts = words.iter().any(|word| ["or", "maybe", "perhaps", "either", "possibly"].contains(word));
        return if other || doubts { Said::Unclear } else { Said::One(*letter) };
    }
    Said::Nothing
}

/// Whether what follows a letter is an explanation of the choice, and not the rest of a sentence that begins with it.
fn is_explained(letter: char, rest: &str, after: &str, place: Place) -> bool {
    let first_word = after.split([' ', ',', ';']).next().unwrap_or_default().to_lowercase();
    let verb =
        ["is", "was", "isn't", "are", "cannot", "can't", "does", "doesn't", "has"].contains(&first_word.as_str());
    if rest.starts_with([')', ']', '.', ':', '}']) {
        return !verb;
    }
    let paused = after.starts_with([',', ';', '-', '，', '；', '(', '（']) || after.starts_with("因为");
    let verb_allowed = verb && place == Place::Announced && letter != 'I';
    letter.is_ascii_uppercase() && (paused || verb_allowed || REASONS.contains(&first_word.as_str()))
}

/// Whether what follows a letter names a second option beside it.
fn offers_another(after: &str, choices: &Choices) -> bool {
    const JOINTS: [&str; 14] = [
        "or maybe ",
        "or perhaps ",
        "or possibly ",
        "and/or ",
        "or ",
        "and ",
        "/",
        ",",
        "&",
        "或者",
        "或",
        "和",
        "、",
        "以及",
    ];
    let lower = after.to_lowercase();
    // A row of letters, as in `(A) (B)`.
    let letter = |token: &str| {
        let mut inner = token.trim_matches(|letter: char| !letter.is_alphanumeric()).chars();
        matches!((inner.next(), inner.next()), (Some(letter), None) if choices.contains_key(&letter))
    };
    if !after.is_empty() && after.split_whitespace().take(MOST_ANSWERS).all(letter) {
        return true;
    }
    let Some(joint) = JOINTS.iter().find(|joint| lower.starts_with(**joint)) else { return false };
    let next = bare(after[joint.len()..].trim_start());
    let next = JOINTS.iter().find_map(|joint| next.strip_prefix(joint)).unwrap_or(next).trim_start();
    leading_letter(next, choices).is_some_and(|(letter, rest)| {
        let alone = rest.trim_start().is_empty() || !rest.starts_with(' ');
        choices.contains_key(&letter.to_ascii_uppercase()) && (letter.is_ascii_uppercase() && letter != 'I' || alone)
    })
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
    let Some(choices) = choices.and_then(read_choices) else {
        let fault = "the query has no column `choices` with the options, as {\"A\": \"red\", \"B\": \"blue\"}";
        return PartScore::failed(FailureKind::GroundTruth, fault);
    };
    let gold = truth.as_str().and_then(|text| text.trim().chars().next()).map(|letter| letter.to_ascii_uppercase());
    let Some(gold) = gold.filter(|letter| choices.contains_key(letter)) else {
        return PartScore::failed(FailureKind::GroundTruth, format!("the ground truth {truth} is none of the options"));
    };
    match choose(text, &choices) {
        None => PartScore::verdict(false, format!("`{}` chooses no single option", shortened(text.trim()))),
        Some(letter) => {
            let relation = if letter == gold { "=" } else { "is not" };
            PartScore::verdict(letter == gold, format!("{letter} {relation} {gold}")).extracted(letter)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

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
