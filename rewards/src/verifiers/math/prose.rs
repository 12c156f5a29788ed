//! The answer in the last sentence of a reply that marks none: its last formula, or its only number.

use std::sync::LazyLock;

use regex::Regex;

use super::clause::{BETWEEN, clause_end, follows, pattern};
use super::{surroundings, units, words};
use crate::closings::Closings;

/// Words that say that what stands in the sentence is no answer, or not exactly that.
static HEDGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b(?:not|never|no|cannot|doubt|unlikely|if|unless|or|either|neither|nor|maybe|perhaps|possibly|probably|about|",
        r"around|approximately|roughly|nearly|almost|less|fewer|more|greater|larger|smaller|than|least|most|between|",
        r"wrong|incorrect|false|except|suppose|assume|too|guess|any|unknown|example|step|",
        r"ungef\u{e4}hr|etwa|environ|oder|ou|aproximadamente|alrededor|unos)\b|n't\b|",
        r"\u{4e0d}\u{662f}|\u{6216}|\u{7ea6}|\u{5927}\u{7ea6}|\u{81f3}\u{5c11}|\u{81f3}\u{591a}|\u{8d85}\u{8fc7}|\u{5de6}\u{53f3}|\u{4e4b}\u{95f4}|\u{5982}\u{679c}"
    ))
});
static WHICH: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bwhich\s+is\s+"));
/// Words right before a value that make it a bound.
static BOUND: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:over|under|above|below|near|past|exceeds|(?:could|might|may|should)\s+(?:well\s+)?be)[\s*]*$")
});
static INSTEAD: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b(?:not|isn't)\s+\S+\s+(?:but|it's|it\s+is)\s+"));
static CONDITION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:for|when|where|at|if|with|in|since|as|because|from)[\s:,]*(?:all|every|any)?\s*$")
});
static FORMULA: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s)\$\$(.+?)\$\$|\$([^$\n]+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|\((\\(?:[dt]?frac|sqrt|pi)\b[^()$]*)\)|\*\*([^*\n]*[0-9][^*\n]*)\*\*",
    )
});
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:\\?[$\u{20ac}\u{a3}\u{a5}\u{20b9}]\s?)?[-\u{2212}]?(?:\d{1,3}(?:,\d{3})+|\d+,\d{1,2}\b|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?",
        r"(?:\s?(?:\\?%|[$\u{20ac}\u{a3}]|percent\b|pct\b))?"
    ))
});
static SENTENCE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[.!?](?:\$+|\\[\])]|\*+)?(?:\s|$)|[\u{3002}\u{ff01}\u{ff1f}\u{0964}]"));
static VERB: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*\**\s*(?:is|are|was|were|has|have|had|will|would|can|does|do|did|must|works|fails|seems|looks|gives|divides)\b",
    )
});
static STATES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b(?:is|are|equals|be)\b\s+"));
static CONCLUDES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*(?:is|are)\s+(?:what|all|(?:the|our)\s+(?:(?:final|only|unique|desired|required|correct)\s+)?(?:answer|solution|result))\b",
    )
});
static CURRENCY: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$(\d[\d,]*(?:\.\d+)?)(?:[\s,.;)*]|$)"));
static PLEASANTRY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:hope\s+(?:this|that|it)|let\s+me\s+know|that\s+is\s+all|that's\s+all|feel\s+free|happy\s+to|q\.?e\.?d)\b",
    )
});
/// A chain of equations in rows at the end of a text.
static ALIGNED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s)\\begin\{(?:align|aligned|gather|equation)\*?\}((?:[^\\]|\\[^be]|\\b[^e]|\\e[^n])*?)\\end\{(?:align|aligned|gather|equation)\*?\}(?:\s*(?:\$\$|\\\]))?$",
    )
});
/// Chinese for what is left and was not done yet.
static LEFT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(\u{5269}[^\u{3002}\u{ff0c},]*?\d[^\u{3002}\u{ff0c},]*?)(?:\u{8fd8}|)(?:\u{6ca1}\u{6709}|\u{6ca1}|\u{672a})\p{Han}{0,2}",
    )
});
/// What stands right before a number that only counts steps, or that was known before.
static KNOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:\b(?:question|problem|exercise|equations?|eqn?\.?|chapter|section|lemma|theorem|formula|step|example|figure|table|part|option|choice|base|see|case|line|min|max|log|ln|sin|cos|tan|exp|sqrt|none|january|february|march|april|may|june|july|august|september|october|november|december)\s*\(?",
        r"|\b(?:the|these|those|each\s+of\s+the)\s+|[\u{7ea6}\u{7d04}]\s*|(?:^|\s)\u{c57d}\s*)$"
    ))
});
/// What makes another number of one in Chinese, Japanese and Korean: 7\u{4e07} is seventy thousand, 7\u{7684}... something of 7.
static CHANGED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[\u{bd}\u{bc}\u{be}\u{2153}\u{2154}\u{2030}\u{2026}]|\.\.\.|(?i:\s*(?:and\s+(?:a\s+|one\s+)?(?:half|third|quarter)|am|pm|(?:\(\s*)?base|(?:january|february|march|april|june|july|august|september|october|november|december))\b))|^[\s$]*[\u{4e07}\u{842c}\u{4ebf}\u{5104}\u{5343}\u{767e}\u{5341}\u{6210}\u{6298}\u{7684}\u{306e}\u{c758}\u{b9cc}\u{c5b5}]",
    )
});
static UNIT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s?([A-Za-z\u{b5}]+)(?:\s?\^\s?\{?([23])\}?|([\u{b2}\u{b3}]))?"));
/// A sentence of more values than this gives no single one.
const MOST_VALUES: usize = 16;
/// What stands for itself in a sentence of words: nothing of it may be there when a bare number is looked for.
const MATHEMATICAL: [char; 9] = ['\\', '^', '_', '{', '}', '|', '<', '>', '!'];

/// The answers that the end of a reply may mean, the likeliest first: readings of one place, never of two.
pub(super) fn answers(text: &str, closings: &Closings) -> Vec<String> {
    if let Some(display) = last_display(text) {
        return vec![display];
    }
    let Some(line) = last_line(text) else { return Vec::new() };
    let line = without_currency(line);
    sentence_answers(last_sentence(&line), closings)
}

/// The last line that says something, without the pleasantries at its end.
fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|line| {
        let mut line = line.trim();
        while PLEASANTRY.is_match(last_sentence(line)) {
            let start = last_sentence(line).as_ptr() as usize - line.as_ptr() as usize;
            line = line[..start].trim_end();
        }
        line.contains(char::is_alphanumeric).then_some(line)
    })
}

/// The last sentence of a reply, for an answer in words.
pub(super) fn ending(text: &str) -> Option<String> {
    Some(last_sentence(last_line(text)?).to_owned()).filter(|sentence| !sentence.is_empty())
}

/// A line whose dollar signs are all money, without them: they would delimit formulas.
fn without_currency(line: &str) -> String {
    let amounts = CURRENCY.find_iter(line).count();
    let signs = line.matches('$').count() - line.matches("\\$").count();
    if amounts != signs || amounts == 0 {
        return line.to_owned();
    }
    line.replace("\\$", "").replace('$', "")
}

/// What a text concludes that gives steps: the value in its last sentence, when that says that it follows.
pub(super) fn conclusion(text: &str, closings: &Closings) -> Option<String> {
    let line = without_currency(text.lines().map(str::trim).rfind(|line| line.contains(char::is_alphanumeric))?);
    let sentence = last_sentence(&line);
    let follows = closings.without_lead(sentence).len() < sentence.len();
    if follows { sentence_answers(sentence, closings).into_iter().next() } else { None }
}

/// The answers that one sentence may mean.
pub(super) fn sentence_answers(sentence: &str, closings: &Closings) -> Vec<String> {
    // The clause that draws the conclusion says it, not the one that leads up to it.
    let sentence = conclusion_in(sentence, closings).unwrap_or(sentence);
    // "which is 1,000" at the end says it all.
    if let Some(which) = WHICH.find_iter(sentence).last()
        && let Some(number) = number_in(&sentence[which.end()..], closings)
        && sentence[which.end()..].split_whitespace().count() <= 2
    {
        return vec![number];
    }
    // What stands behind "not 12 but" counts alone.
    let turned = INSTEAD.find_iter(sentence).last().map_or(0, |turn| turn.end());
    let sentence = &sentence[turned..];
    let clause = &sentence[..clause_end(sentence)];
    // "7, not" and "7 given that $x > 0$" are cut off their end.
    let tail = &sentence[clause.len()..];
    if surroundings::changes_behind(tail, closings) || follows(tail) {
        return Vec::new();
    }
    let holds_value = clause.contains(|letter: char| letter.is_ascii_digit() || letter == '$' || letter == '\\');
    let sentence = if holds_value { clause } else { sentence };
    let formulas: Vec<regex::Captures<'_>> = FORMULA.captures_iter(sentence).collect();
    let bare = FORMULA.replace_all(sentence, " ");
    if sentence.trim_end().ends_with('?')
        || HEDGE.is_match(&bare)
        || closings.hedges(&bare)
        || denies(&bare, closings)
        || closings.around().is_others(sentence)
    {
        return Vec::new();
    }
    if formulas.is_empty() {
        return number_in(sentence, closings).into_iter().collect();
    }
    // "The volume of $ABCD$ is 120": the number behind the last formula says it.
    let rest = &sentence[formulas[formulas.len() - 1].get(0).map_or(0, |last| last.end())..];
    if let Some(states) = STATES.find(rest)
        && let Some(number) = number_in(&rest[states.end()..], closings)
    {
        return vec![number];
    }
    last_formula(sentence, &formulas, closings).into_iter().collect()
}

/// Whether a sentence denies something; that pages are "not yet read" only says which are left.
fn denies(bare: &str, closings: &Closings) -> bool {
    closings.denies(&LEFT.replace_all(bare, "$1"))
}

/// The last formula, with those that "and" or a comma joins to it.
fn last_formula(sentence: &str, formulas: &[regex::Captures<'_>], closings: &Closings) -> Option<String> {
    let place = |at: usize| formulas[at].get(0).map_or(0..0, |whole| whole.range());
    let mut first = formulas.len() - 1;
    while first > 0 && BETWEEN.is_match(&sentence[place(first - 1).end..place(first).start]) {
        first -= 1;
    }
    let before = &sentence[..place(first).start];
    if BOUND.is_match(before) || is_changed(before, &sentence[place(formulas.len() - 1).end..], closings) {
        return None;
    }
    // A condition such as "for $n = 3$" is none, where something else was said before it.
    if first > 0 && CONDITION.is_match(&sentence[..place(first).start]) {
        return None;
    }
    let rest = &sentence[place(formulas.len() - 1).end..];
    if first == 0 && VERB.is_match(rest) && !CONCLUDES.is_match(rest) {
        return None;
    }
    let word: String = rest.trim_start().chars().take_while(|letter| letter.is_alphabetic()).collect();
    if words::scale(&word.to_lowercase()).is_some() {
        return None;
    }
    let texts: Vec<String> = formulas[first..].iter().filter_map(inner).collect();
    let unit = UNIT.captures(rest).map(|unit| unit[1].to_owned());
    let percent = unit.filter(|unit| matches!(unit.as_str(), "percent" | "pct" | "percentage"));
    let joined = texts.join(", ");
    let percent = percent.is_some() || rest.trim_start().starts_with('%');
    Some(if percent { format!("{joined}\\%") } else { joined })
}

fn inner(formula: &regex::Captures<'_>) -> Option<String> {
    formula.iter().skip(1).flatten().next().map(|inner| inner.as_str().trim().trim_end_matches(['.', ',']).to_owned())
}

/// The last clause that begins with "so" or the like and holds a value.
fn conclusion_in<'s>(sentence: &'s str, closings: &Closings) -> Option<&'s str> {
    crate::sentence::commas(sentence).into_iter().rev().find_map(|at| {
        let clause = sentence[at..].trim_start_matches([',', ' ', '\u{ff0c}', '\u{3001}', '\u{60c}']);
        let before = sentence[..at].rsplit(char::is_whitespace).next().unwrap_or_default();
        let leads = !before.is_empty() && closings.without_lead(before).is_empty();
        let follows = leads || closings.without_lead(clause).len() < clause.len();
        (follows && clause.contains(|letter: char| letter.is_ascii_digit() || letter == '$')).then_some(clause)
    })
}

/// The only number of a clause; what stands left of an equals sign led to it.
fn number_in(clause: &str, closings: &Closings) -> Option<String> {
    let (left, said) = clause.rsplit_once('=').unwrap_or(("", clause));
    if left.ends_with(['<', '>', '!']) {
        return None;
    }
    if said.contains(MATHEMATICAL) && !said.contains("\\$") && !said.contains("\\%") {
        return None;
    }
    let mut numbers = NUMBER.find_iter(said);
    let (number, None) = (numbers.next()?, numbers.next()) else { return None };
    let (before, after) = (&said[..number.start()], &said[number.end()..]);
    let open = before.trim_end_matches([' ', '*', '(']);
    if before.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '.')
        || open.ends_with(['+', '*', '/', '-', '\u{d7}', ':']) && !open.ends_with(": ") && !before.ends_with(": ")
        || after.starts_with(|letter: char| {
            letter == ':' || letter == '(' || letter == '+' || letter == '*' || letter == '/'
        })
        || before.trim().is_empty() && said.len() == clause.len() && VERB.is_match(after)
        || BOUND.is_match(before)
        || KNOWN.is_match(before)
        || is_changed(before, after, closings)
        || is_scaled(after)
        || open.ends_with(['\u{2248}', '~', '<', '>', '\u{2264}', '\u{2265}', '\u{b1}', '\u{2260}'])
        || before.ends_with(['\u{2013}', '\u{221a}', '\u{221b}'])
        || after.starts_with(['-', '\'', '^', '~', '\u{2013}', '\u{3c0}', '\u{b2}', '\u{b3}', '\u{2074}'])
        || CHANGED.is_match(after)
        || after.trim_start().starts_with(['+', '*', '\u{d7}', '\u{f7}', '\u{b1}'])
        || has_variables(before)
        || has_variables(after)
    {
        return None;
    }
    let text = number.as_str().replace("\\$", "$");
    match UNIT.captures(after) {
        Some(unit) if units::is_unit(&unit[1]) || after.starts_with(&unit[1]) && unit[1].len() <= 3 => {
            if !(units::is_unit(&unit[1]) || units::is_single_letter(&unit[1])) {
                return None;
            }
            let power = unit.get(2).or_else(|| unit.get(3)).map_or("", |power| power.as_str());
            let power = match power {
                "2" | "\u{b2}" => "^2",
                "3" | "\u{b3}" => "^3",
                _ => "",
            };
            Some(format!("{text} \\text{{{}}}{power}", &unit[1]))
        }
        _ => Some(text),
    }
}

/// Whether words right before or behind a value make another one of it.
fn is_changed(before: &str, after: &str, closings: &Closings) -> bool {
    let around = closings.around();
    around.changes(before) || surroundings::changes_behind(after, closings) || closings.reports(before)
}

/// Whether words beside one of the values in the first bytes of a text make another one of it.
pub(super) fn is_reworded(text: &str, first: usize, closings: &Closings) -> bool {
    let formulas: Vec<std::ops::Range<usize>> = FORMULA.find_iter(text).map(|found| found.range()).collect();
    let inside = |at: usize| formulas.iter().any(|formula| formula.contains(&at));
    let numbers = NUMBER.find_iter(text).map(|found| found.range()).filter(|number| !inside(number.start));
    let first = first.min(clause_end(text));
    let values = numbers.chain(formulas.iter().cloned()).filter(|value| value.start < first);
    let values: Vec<std::ops::Range<usize>> = values.take(MOST_VALUES + 1).collect();
    values.len() > MOST_VALUES
        || values.into_iter().any(|value| is_changed(&text[..value.start], &text[value.end..], closings))
}

/// Whether a number goes on in words: "5 dozen", "5 times".
fn is_scaled(after: &str) -> bool {
    let word: String = after.trim_start().chars().take_while(|letter| letter.is_alphabetic()).collect();
    let word = word.to_lowercase();
    words::scale(&word).is_some()
        || matches!(
            word.as_str(),
            "tens"
                | "tenths"
                | "halves"
                | "thirds"
                | "fifths"
                | "hundredths"
                | "below"
                | "above"
                | "short"
                | "times"
                | "plus"
                | "minus"
                | "squared"
                | "cubed"
                | "factorial"
        )
}

/// Whether a lone letter stands in running text that is no word of it.
fn has_variables(text: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric()).any(|word| {
        word.len() == 1
            && word.chars().all(|letter| letter.is_ascii_alphabetic())
            && !matches!(word, "a" | "A" | "I" | "s" | "m" | "g" | "h" | "L" | "l" | "y" | "o" | "e")
    })
}

/// The last sentence of a line; formulas are not cut.
fn last_sentence(line: &str) -> &str {
    let bare = line.trim_end_matches(['.', '!', '\u{3002}', '\u{0964}', '*', ' ']);
    // Right behind a number, an exclamation mark may be a factorial.
    let factorial = bare.ends_with(|letter: char| letter.is_ascii_digit()) && line[bare.len()..].starts_with('!');
    let line = if factorial { line.trim_end_matches(['.', ' ', '*']) } else { bare };
    let covered: Vec<std::ops::Range<usize>> = FORMULA.find_iter(line).map(|formula| formula.range()).collect();
    let start = SENTENCE
        .find_iter(line)
        .filter(|end| {
            let inside = |range: &std::ops::Range<usize>| range.contains(&end.start()) && end.end() <= range.end;
            !covered.iter().any(inside)
        })
        .last()
        .map_or(0, |end| end.end());
    line[start..].trim()
}

/// What the last row of a chain of equations ends with; nothing for rows that say something each.
fn last_row(rows: &str) -> Option<String> {
    let rows = rows.split("\\\\").map(|row| row.replace('&', " ").trim().to_owned());
    let rows: Vec<String> = rows.filter(|row| !row.is_empty()).collect();
    let last = rows.last()?;
    if rows.len() == 1 {
        return Some(last.clone());
    }
    last.strip_prefix('=').map(|last| last.rsplit('=').next().unwrap_or(last).trim().to_owned())
}

/// The display at the very end of a text.
fn last_display(text: &str) -> Option<String> {
    let text = text.trim_end().trim_end_matches('.');
    if let Some(rows) = ALIGNED.captures(text) {
        return last_row(&rows[1]);
    }
    let (rest, open) = match text.strip_suffix("$$") {
        Some(rest) => (rest, "$$"),
        None => (text.strip_suffix("\\]")?, "\\["),
    };
    let start = rest.rfind(open)? + open.len();
    let inner = rest[start..].trim();
    (!inner.is_empty()).then(|| inner.to_owned())
}
