//! What stands around a box: a box says what it holds only where nothing beside it changes that.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{clause::pattern, units, words};
use crate::closings::Closings;

/// No more than this is looked at on either side, in bytes.
const LONGEST_SIDE_BYTES: usize = 2_000;

/// What neither changes a formula that ends with it nor ends it: spacing and style.
static STYLE_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:\s|&|~|\\[,;:! ]|\\\$|[\u{20ac}\u{a3}\u{a5}]|\\(?:q?quad|displaystyle|textstyle|large|Large|LARGE|huge|Huge|bf|boldsymbol|mathbf|",
        r"mathrm|bold|pmb|underline|text|textbf|hfill|left\.|ensuremath)|\\(?:text)?color\{[^{}]*\}|\\hspace\{[^{}]*\})$"
    ))
});
/// What a conclusion stands behind.
static CONCLUDES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:=|\\(?:implies|Rightarrow|Longrightarrow|iff|Leftrightarrow|Longleftrightarrow|rightarrow|longrightarrow|leadsto|therefore|equiv|colon|in)|",
        r"[;\u{2192}\u{21d2}\u{2234}\u{ff1a}]|[^0-9\s]\s*:|\\\\(?:\[[^\]]*\])?|[A-Za-z)}]\.|\\hline|\\begin\{(?:align|aligned|alignat|gather|gathered|equation|split|eqnarray|multline|array|center)\*?\}(?:\{[^{}]*\}|\[[^\]]*\])?)$"
    ))
});
static NO_EQUATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:[!<>~]|\\not)\s*=$"));
static TEXT_BEFORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\\(?:text|textbf|textit|textrm|mathrm|mbox|mathbf)\s*\{([^{}]*)\}$"));
/// Another answer to the left of the last step.
static ALTERNATIVE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\\(?:lor|vee)\b|\\(?:text|textbf|textrm|mathrm|mbox)\s*\{[^{}]*\bor\b[^{}]*\}"));
static STEP: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\(?:implies|Rightarrow|Longrightarrow|therefore)\b|\\\\"));
/// What may end a formula behind a box, or say of what it is: a unit, a percent sign, the end of a proof, words.
static ENDS_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:[\s&~;]|\.(?:[^0-9]|$)|\\[,;:! ]|\\(?:q?quad|square|blacksquare|qed|Box|checkmark|hfill|notag|nonumber|right\.)\b|\\right\.|",
        r"\\?%|\u{b0}|\^\s*\{?\s*\\circ\s*\}?|\\degree\b|\^\s*\{?\s*\\(?:text|textrm|mathrm)\s*\{(?:st|nd|rd|th)\}\s*\}?|",
        r"\\(?:tag|label|hspace|vspace)\*?\{[^{}]*\}|\\end\{[a-z]+\*?\})"
    ))
});
static TEXT_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^\\(?:text|textbf|textit|textrm|mathrm|mbox|operatorname|rm|,)\s*\{([^{}]*)\}(?:\s*/\s*\\(?:text|mathrm)\s*\{[^{}]*\})?(?:\s*\^\s*(?:\{\s*-?[0-9]\s*\}|[0-9]))?",
    )
});
static UNIT_AFTER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([A-Za-z]+)(?:\s*/\s*([A-Za-z]+))?(?:\s*\^\s*(?:\{\s*-?[0-9]\s*\}|[0-9]))?"));
/// Where what follows is said of the box and no part of it: its size, a reason, a next step.
static TURNS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:\\(?:approx|simeq|doteq|implies|Rightarrow|Longrightarrow|iff|because|since|therefore|longrightarrow|rightarrow|leftarrow|Leftarrow)\b|\u{2248}|\u{21d2}|\(\s*\\text)",
    )
});
/// Words in brackets.
static ASIDE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\(\s*\\(?:text|textrm|mathrm|mbox)\s*\{[^{}]*\}\s*\)"));
static MODULUS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:\\p?mod\b|\\bmod\b|\(\s*(?:\\(?:mathrm|text)\{\s*)?mod)"));
/// A row below that goes on with the formula.
static GOES_ON: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[\s&]*(?:[-+*/<>=]|\\(?:leq?|geq?|lt|gt|neq?|times|cdot|pm|lor|vee|text\{\s*or)\b)"));
/// A number that a dash joins to the value behind it.
static RANGE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:^|[\s.:])\$?[0-9][0-9.]*\$?\s*[-\u{2013}]\s*(?:\$?\s*\b[A-Za-z]\w?\s*=\s*)?$"));
static BETWEEN_BOTH: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bbetween\s*\$?\s*$"));
/// A small letter alone that a congruence is about.
static UNKNOWN_CONGRUENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|[^A-Za-z\\])[a-z]\s*\\equiv$"));
/// Signs that do the same where no formula is marked.
static SIGNS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:[^\n=\-\s>][ \t]*>|<|[\u{2264}\u{2265}\u{2260}\u{d7}\u{f7}\u{b1}^|]|\\(?:leq?|geq?|lt|gt|neq?|times|cdot|pm|to|mid|cup|cap|lor|neg)|\\[{]|(?:[0-9)}\]]|(?:^|[^\w\\])[A-Za-z])[ \t]*[-+*/\u{2212}]|[0-9)][ \t]*:)[ \t]*(?:\\left)?[(\[]?[ \t]*$",
    )
});
/// Digits that a value goes on with, and what strikes it out.
static JOINS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:[0-9][.,]|[0-9][ \t]*|(?:~~|<(?:s|del|strike)>|\\(?:sout|st|x?cancel)\s*\{)\s*)$"));
/// Running text with a sign of arithmetic before a value: behind a word or a factor, "60 miles * ", "20 crates - ". A star that stands
/// free is no emphasis, and a dash is a minus behind a quantity alone.
static TERM_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:[\p{L}0-9)\]}%][ \t]+[*/+][ \t]+|[0-9)\]}][ \t]*\*[ \t]*|(?:^|[^\p{L}*])[A-Za-z]\*|[0-9)][ \t]+x[ \t]+|",
        r"[0-9][0-9.,]*[ \t]*(?:[\p{L}'\u{b0}%/.-]+[ \t]+){1,5}[-\u{2212}\u{2013}x][ \t]+)$"
    ))
});
/// The same behind it, or a sum that its words are said to be: "hours = 180".
static TERM_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^[ \t]*(?:\*(?:[ \t]+(?:[$\u{20ac}\u{a3}\u{a5}]?\.?[0-9]|\(|\w(?:\W|$))|[$\u{20ac}\u{a3}\u{a5}0-9(\\\p{L}])|",
        r"[-+/\u{2212}\u{2013}][ \t]*(?:[\u{20ac}\u{a3}\u{a5}]|[.-][0-9]|[A-Za-z](?:[^\p{L}]|$))|\u{2212}[ \t]*[0-9]|",
        r"%?[ \t]*(?:[\p{L}/'\u{b0}-]+[ \t]+){1,5}[-+*/x\u{d7}\u{f7}\u{2212}][ \t]+[$\u{20ac}\u{a3}\u{a5}]?\.?[0-9]|",
        r"%?[ \t]*(?:[\p{L}/'\u{b0}-]+[ \t]+){0,4}[\p{L}/'\u{b0}-]{2,}[ \t]*=[ \t]*[-$\u{20ac}\u{a3}\u{a5}]*\.?[0-9])"
    ))
});
/// Signs right behind a value that do the same.
static SIGNS_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[.,]\d|[ \t]*(?:[0-9\u{bd}\u{2153}\u{bc}\u{be}\u{2154}\u{2030}]|\^[^\\\u{b0}]|_\{?\w|[+*\u{d7}\u{f7}\u{b1}\u{2264}\u{2265}\u{2260}\u{2026}]|[-/\u{2013}:~][ \t]*[\d$\\]|>|<[^/a-z|]|\\(?:leq?|geq?|lt|gt|neq?|sim|times|cdot|pm|mid|cup|cap|lor|l?dots)\b|\$\s*\\[pm]{2}\b))",
    )
});
/// A remainder: `5 R 3`.
static REMAINDER: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[ \t]*[rR]\s*\d"));
static NUMBER_NEXT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*[-$(\\\[]*(?:\d|boxed\b|[dt]?frac\b|sqrt\b)"));
/// Signs right before a value that say how large something is.
static ABOUT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\\(?:approx|simeq|sim)|[\u{2248}\u{2243}~])[\s*]*$"));

/// How a box stands in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It says what it holds.
    Alone,
    /// It says so roughly.
    About,
    /// It is a part of a formula, a bound, a guess or one answer of several.
    Part,
}

/// Compiles all patterns, which takes some milliseconds: the first row does it, whatever it says.
pub(super) fn ready() {
    Closings::built_in();
    let all: [&LazyLock<Regex>; 24] = [
        &ASIDE,
        &TERM_BEFORE,
        &TERM_AFTER,
        &STYLE_BEFORE,
        &CONCLUDES,
        &NO_EQUATION,
        &TEXT_BEFORE,
        &ALTERNATIVE,
        &STEP,
        &ENDS_AFTER,
        &TEXT_AFTER,
        &UNIT_AFTER,
        &TURNS,
        &MODULUS,
        &GOES_ON,
        &RANGE,
        &BETWEEN_BOTH,
        &UNKNOWN_CONGRUENT,
        &SIGNS,
        &JOINS,
        &REMAINDER,
        &SIGNS_AFTER,
        &NUMBER_NEXT,
        &ABOUT,
    ];
    for pattern in all {
        LazyLock::force(pattern);
    }
}

/// How what stands at a place of a text stands in it.
pub(super) fn place(text: &str, range: Range<usize>, closings: &Closings) -> Place {
    let (mut before, after) = sides(text, &range);
    // "Between \boxed{12 and 13}" is a whole.
    if text[range].contains("and") {
        before = BETWEEN_BOTH.find(before).map_or(before, |between| &before[..between.start()]);
    }
    let formula = formula(before, after);
    let (outer, inner) = match &formula {
        Some((start, end)) => {
            let inner = in_formula(&before[start.end..], &after[..end.start], closings);
            ((&before[..start.start], &after[end.end..]), inner)
        }
        None => ((without_money(before), after), Place::Alone),
    };
    let term = formula.is_none() && (TERM_BEFORE.is_match(outer.0) || TERM_AFTER.is_match(outer.1));
    if inner == Place::Part
        || term
        || JOINS.is_match(outer.0)
        || is_changed(outer.0, outer.1, formula.is_none(), closings)
    {
        return Place::Part;
    }
    if inner == Place::About || is_about(outer.0, closings) { Place::About } else { Place::Alone }
}

/// The paragraph before and behind a place, cut.
fn sides<'t>(text: &'t str, range: &Range<usize>) -> (&'t str, &'t str) {
    let mut start = range.start.saturating_sub(LONGEST_SIDE_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let mut end = text.len().min(range.end + LONGEST_SIDE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (mut before, after) = (&text[start..range.start], &text[range.end..end]);
    // `\\boxed` of an escaped text.
    if !(before.len() - before.trim_end_matches('\\').len()).is_multiple_of(2) {
        before = &before[..before.len() - 1];
    }
    let before = before.rfind("\n\n").map_or(before, |at| &before[at + 2..]);
    (before, after.find("\n\n").map_or(after, |at| &after[..at]))
}

/// The signs that open and close the formula between two sides: where the opening one is in the first, the closing one in the
/// second.
fn formula(before: &str, after: &str) -> Option<(Range<usize>, Range<usize>)> {
    let mut open: Option<(&str, Range<usize>)> = None;
    for (at, sign) in delimiters(before) {
        let range = at..at + sign.len();
        open = match (&open, sign) {
            (None, "$" | "$$" | "\\(" | "\\[") => Some((closing(sign), range)),
            (Some((close, _)), sign) if *close == sign => None,
            (None, _) => None,
            (Some(_), _) => open,
        };
    }
    let (close, start) = open?;
    let end = match delimiters(after).find(|(_, sign)| *sign == close) {
        Some((at, sign)) => at..at + sign.len(),
        // A sign that nothing closes is one of money.
        None if close == "$" => return None,
        None => after.len()..after.len(),
    };
    // Between signs of money stand words.
    let is_prose = |text: &str| {
        let bare = text.split('\\').next().unwrap_or_default();
        bare.split_whitespace().filter(|word| word.len() > 2 && word.chars().all(char::is_alphabetic)).count() > 1
    };
    let prose = close == "$" && (is_prose(&before[start.end..]) || is_prose(&after[..end.start]));
    (!prose).then_some((start, end))
}

/// Running text before a value without the sign of money at its end.
fn without_money(before: &str) -> &str {
    let bare = before.trim_end_matches([' ', '\t', '*']);
    match bare.strip_suffix(['$', '\u{20ac}', '\u{a3}', '\u{a5}']) {
        Some(bare) => bare.strip_suffix('\\').unwrap_or(bare),
        None => before,
    }
}

fn closing(open: &str) -> &'static str {
    match open {
        "$$" => "$$",
        "\\(" => "\\)",
        "\\[" => "\\]",
        _ => "$",
    }
}

/// The signs around formulas, and where they stand.
fn delimiters(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let rest = &text[at..];
            let sign = ["$$", "$", "\\(", "\\)", "\\[", "\\]"].into_iter().find(|sign| rest.starts_with(sign));
            let start = at;
            at += match sign {
                Some(sign) => sign.len(),
                None => {
                    let escaped = usize::from(rest.starts_with('\\'));
                    rest.chars().take(1 + escaped).map(char::len_utf8).sum()
                }
            };
            if let Some(sign) = sign {
                return Some((start, sign));
            }
        }
        None
    })
}

/// Whether what stands right before a value only says how large it is.
fn is_about(before: &str, closings: &Closings) -> bool {
    ABOUT.is_match(before) || closings.around().is_about(before)
}

/// How a box stands in a formula with these sides.
fn in_formula(before: &str, after: &str, closings: &Closings) -> Place {
    let (before, after) = peeled(before, after);
    let listed = before.trim_end_matches([' ', '&', '~']).ends_with(',');
    let left = bare_end(before);
    let said = TEXT_BEFORE.captures(left);
    let about = ABOUT.is_match(left) || said.as_ref().is_some_and(|said| closings.around().is_about(&said[1]));
    let concludes = left.is_empty()
        || about
        || left.ends_with(',') && !listed
        || CONCLUDES.is_match(left) && !NO_EQUATION.is_match(left)
        || said.as_ref().is_some_and(|said| !closings.around().changes(&said[1]));
    let step = STEP.find_iter(left).last().map_or(0, |step| step.end());
    if !concludes || depth(left) > 0 || ALTERNATIVE.is_match(&left[step..]) {
        return Place::Part;
    }
    let congruent = left.ends_with("\\equiv") && !UNKNOWN_CONGRUENT.is_match(left);
    match (ends_behind(after, congruent, closings), about) {
        (false, _) => Place::Part,
        (true, true) => Place::About,
        (true, false) => Place::Alone,
    }
}

/// Two sides without the brackets that stand around nothing but the box.
fn peeled<'t>(mut before: &'t str, mut after: &'t str) -> (&'t str, &'t str) {
    const PAIRS: [(&str, &str); 6] =
        [("\\left(", "\\right)"), ("\\left[", "\\right]"), ("\\bigl(", "\\bigr)"), ("(", ")"), ("[", "]"), ("{", "}")];
    loop {
        let (left, right) = (bare_end(before), after.trim_start());
        let inner = PAIRS.into_iter().find_map(|(open, close)| {
            let left = left.strip_suffix(open).filter(|left| open != "{" || !left.ends_with('\\'))?;
            Some((left, right.strip_prefix(close)?))
        });
        match inner {
            Some((left, right)) => (before, after) = (left, right),
            None => return (before, after),
        }
    }
}

/// The end of a formula without the spacing and style at it.
fn bare_end(text: &str) -> &str {
    let mut text = text;
    while let Some(style) = STYLE_BEFORE.find(text) {
        // A row's end is no spacing.
        if text.ends_with("\\\\") || style.start() > 0 && text[..style.start()].ends_with('\\') {
            break;
        }
        text = &text[..style.start()];
    }
    text
}

/// How many brackets and matrices a text leaves open; those of intervals are counted as one kind.
fn depth(text: &str) -> i32 {
    let rows = ["\\begin{cases", "\\end{cases"].map(|sign| text.matches(sign).count());
    let matrices =
        text.split("\\begin{").skip(1).filter(|rest| rest.split('}').next().unwrap_or_default().ends_with("matrix"));
    let open = rows[0] + matrices.count() > rows[1] + text.matches("matrix}").count() / 2;
    i32::from(open)
        + text.chars().fold(0, |depth, letter| match letter {
            '(' | '[' | '{' => depth + 1,
            ')' | ']' | '}' => depth - 1,
            _ => depth,
        })
}

/// Whether what follows a box in a formula leaves it alone; a modulus may follow a congruence.
fn ends_behind(after: &str, congruent: bool, closings: &Closings) -> bool {
    let mut rest = after;
    loop {
        if let Some(below) = rest.strip_prefix("\\\\") {
            return !GOES_ON.is_match(below);
        }
        if let Some(end) = ENDS_AFTER.find(rest) {
            // A full stop takes the letter behind it no further.
            let taken = if rest.starts_with('.') { 1 } else { end.end() };
            rest = &rest[taken..];
        } else if let Some(said) = TEXT_AFTER.captures(rest) {
            if changes_behind(said[1].trim_start(), closings) {
                return false;
            }
            rest = &rest[said[0].len()..];
        } else if let Some(aside) = ASIDE.find(rest) {
            rest = &rest[aside.end()..];
        } else if let Some(list) = rest.strip_prefix(',') {
            let next = list.trim_start_matches([' ', '~', '\n']);
            if !(next.is_empty() || next.starts_with("\\text") || next.starts_with("\\q") || next.starts_with("\\end"))
            {
                return false;
            }
            rest = next;
        } else if let Some(unit) = UNIT_AFTER.captures(rest) {
            let known = |word: &str| units::is_unit(word) || units::is_single_letter(word);
            if !known(&unit[1]) || !unit.get(2).is_none_or(|below| known(below.as_str())) {
                return false;
            }
            rest = &rest[unit[0].len()..];
        } else {
            let foreign = rest.starts_with(|letter: char| !letter.is_ascii() && letter.is_alphabetic());
            return rest.is_empty()
                || TURNS.is_match(rest)
                || congruent && MODULUS.is_match(rest)
                || foreign && !closings.hedges(rest);
        }
    }
}

/// Whether what stands right behind a value, or behind its unit, makes another one of it.
pub(super) fn changes_behind(text: &str, closings: &Closings) -> bool {
    let text = text.trim_start();
    let word: String = text.chars().take_while(|letter| letter.is_alphabetic()).collect();
    let around = closings.around();
    // "7 miles in 2 hours" says 7 miles.
    let after_unit = || {
        let rest = &text[word.len()..];
        &rest[..rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len())]
    };
    let joined = || closings.joint(text).is_some_and(|end| around.is_more(&text[end..]));
    around.changes_behind(text)
        || joined()
        || units::is_unit(&word) && around.changes_behind(after_unit())
        || REMAINDER.is_match(text)
        || words::scale(&word.to_lowercase()).is_some()
}

/// Whether running text around a box changes what it says.
fn is_changed(before: &str, after: &str, bare: bool, closings: &Closings) -> bool {
    let (mut before, mut after) =
        (before.trim_end_matches([' ', '\t', '*', '\n']), after.trim_start_matches([' ', '\t', '*']));
    if bare {
        let outer = before.len();
        let (left, right) = peeled(before, after);
        (before, after) = (left.trim_end_matches([' ', '\t', '*']), right.trim_start_matches([' ', '\t', '*']));
        let tag = before.ends_with('>') && before.rfind('<').is_some_and(|at| !before[at..].contains(' '));
        let negated = left.len() < outer && before.ends_with(['-', '\u{2212}']);
        let listed = before.ends_with(['(', '[', '{']) && after.starts_with(',');
        if negated || listed || SIGNS.is_match(before) && !tag || SIGNS_AFTER.is_match(after) {
            return true;
        }
    }
    let near = before
        .rfind([',', '.', ':', ';', '$', '=', '\n', '，', '。', '：'])
        .map_or(before, |at| &before[at + before[at..].chars().next().map_or(1, char::len_utf8)..]);
    let words: Vec<&str> = near.split_whitespace().collect();
    let last = words[words.len().saturating_sub(3)..].join(" ");
    let hedged = !last.is_empty() && !last.contains(|letter: char| letter.is_ascii_digit()) && closings.hedges(&last);
    let around = closings.around();
    let next = |end: usize| NUMBER_NEXT.is_match(&after[end..]);
    let joined = !after.starts_with(',') && closings.joint(after).is_some_and(next);
    let end = after.find(|letter: char| !(letter.is_alphabetic() || letter == ' ')).unwrap_or(after.len());
    let behind: String = after[..end].split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let denied = closings.denies_next(before) || closings.denies_last(after) || closings.hedges(&behind);
    hedged || denied || joined || around.changes(before) || RANGE.is_match(before) || changes_behind(after, closings)
}
