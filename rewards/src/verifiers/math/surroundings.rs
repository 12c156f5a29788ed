//! What stands around a box: a box says what it holds only where nothing beside it changes that.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{clause::pattern, prose::is_turned, units, words};
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
static MODULUS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:\\p?mod\b|\\bmod\b|\(\s*(?:\\(?:mathrm|text)\{\s*)?mod)"));
/// A row below that goes on with the formula.
static GOES_ON: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[\s&]*(?:[-+*/<>=]|\\(?:leq?|geq?|lt|gt|neq?|times|cdot|pm|lor|vee|text\{\s*or)\b)"));
/// Words and signs right before a value that make another one of it, a bound or a guess.
static CHANGES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:\b(?:at\s+(?:the\s+)?(?:least|most|minimum|maximum)|(?:no|not)\s+(?:more|less|fewer)|than|nearly|almost|over|under|",
        r"above|below|beyond|past|exceeds?|exceeding|up\s+to|close\s+to|near|within|between|neither|nor|not|never|maybe|perhaps|possibly|",
        r"probably|presumably|minus|negative|plus|times|twice|thrice|double|triple|half(?:\s+of)?|(?:square|cube)(?:\s+root)?\s+of|\d\s+(?:in|out\s+of|of|per)|",
        r"(?:negative|opposite|reciprocal|inverse|multiples?|factors?|divisors?|powers?|roots?|third|quarter|none|all|any)\s+of|divisible\s+by|",
        r"(?:cannot|can't|not|never|n't)\s+(?:be|equal(?:\s+to)?|answer|say|exceed)|(?:anything|everything|nothing|all)\s+but|different\s+from|than\s+or\s+equal\s+to|",
        r"(?:like|such\s+as|for\s+(?:example|instance),?|e\.g\.)|guess(?:\s+is)?|not\s+sure,?\s+but|(?:put|write|place|enter|give)\s+[^.\n]{1,30}\s+in(?:side|to)?|",
        r"(?:divided|multiplied)\s+by|(?:could|might|may)\s+(?:well\s+)?be|would\s+have\s+been|allegedly|supposedly|something\s+like|if|unless|",
        r"whether|except|excluding|between\s+[^.;\n]{1,30}\s+and|(?:from|between)\s+[^.;\n]{1,20}\s+(?:to|and)|either\s+[^.;\n]{1,40}\bor)|",
        r"(?:^|\bis|\bare|[.:\n])\s*\$?[0-9.]+\$?\s*(?:to|[-\u{2013}])|",
        r"\d\s*(?:hours?|hrs?|h|minutes?|mins?|days?|weeks?|months?|years?|feet|foot|ft|yards?|pounds?|lbs?|dollars?)\s*(?:and)?|",
        r"(?:[\d$)}\]]|(?:^|[^\w\\'])[A-Za-z])\s*(?:,\s*)?(?:\b(?:or|oder|ou)\b|\u{6216}|\u{307e}\u{305f}\u{306f}|\u{b610}\u{b294}|\u{438}\u{43b}\u{438}))",
        r"\s*(?:(?:the|a|an|exactly|of)\s+)?(?:\$?\s*\b[A-Za-z]\w?\s*=\s*)?$"
    ))
});
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
/// Signs and words right behind a value that do the same.
static CHANGES_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^[ \t]*(?:,?[ \t]*\b(?:or|and)\b\s+(?:more|less|fewer|so\b|above|below|up\b|over|under|higher|lower|greater|maybe|perhaps|possibly|beyond)|at\s+(?:least|most)\b|",
        r",?\s*\bor\b\s+(?:\$?\s*\b[A-Za-z]\w?\s*=\s*)?[-$(\\\[]*(?:\d|boxed|frac|sqrt)|,?\s*\bor\b\s+\$|",
        r"to\s+[$\\]*\d|(?:plus|minus|times|modulo?|divided\s+by)\s+[-$\\(]*\d|squared\b|cubed\b|factorial\b|-?ish\b|",
        r"(?:plus|minus|unless)\b|(?:is|was)\s+(?:wrong|incorrect|false|not)\b|and\s+(?:a\s+|one\s+)?(?:half|third|quarter)\b|(?:out\s+of|of|in|per)\s+[$\\(]*\d|",
        r"(?:millionen|millones|milliers|milh\u{f5}es|tausend|\u{43c}\u{438}\u{43b}\u{43b}\u{438}\u{43e}\u{43d}\w*|\u{442}\u{44b}\u{441}\u{44f}\u{447}\w*)\b|",
        r"[\u{4e07}\u{842c}\u{4ebf}\u{5104}\u{5343}\u{767e}\u{5341}\u{500d}\u{b9cc}\u{c5b5}]|\u{5206}\u{4e4b}|",
        r",?\s*(?:with\s+(?:a\s+)?)?remainder\b|[rR]\s*\d|",
        r"(?:hours?|hrs?|h|minutes?|mins?|days?|weeks?|months?|years?|feet|foot|ft|yards?|pounds?|lbs?|dollars?),?\s*(?:and\s+)?\$?\d|",
        r"[^.\n]{0,80}\b(?:otherwise|else)\b|(?:for|when|if)\b[^.\n]{1,60}?[\s$]\d+\$?\s+(?:for|when|if)\b)",
    ))
});
static SIGNS_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:[.,]\d|[ \t]*(?:[0-9\u{bd}\u{2153}\u{bc}\u{be}\u{2154}\u{2030}]|\^[^\\\u{b0}]|_\{?\w|[+*\u{d7}\u{f7}\u{b1}\u{2264}\u{2265}\u{2260}\u{2026}]|[-/\u{2013}:~][ \t]*[\d$\\]|>|<[^/a-z|]|\\(?:leq?|geq?|lt|gt|neq?|sim|times|cdot|pm|mid|cup|cap|lor|l?dots)\b))",
    )
});
static NUMBER_NEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\s*[-$(\\\[]*(?:(?:mehr|weniger|plus|moins|m\u{e1}s|mais|menos|pi\u{f9}|meno|\u{431}\u{43e}\u{43b}\u{435}\u{435}|\u{43c}\u{435}\u{43d}\u{435}\u{435})\b|\d|boxed\b|[dt]?frac\b|sqrt\b)",
    )
});

/// Words and signs right before a value that say how large something is.
static ABOUT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\b(?:about|around|approximately|approx\.?|roughly|circa)|\\(?:approx|simeq|sim)|[\u{2248}\u{2243}~]|[\u{7ea6}\u{7d04}])[\s*]*(?:(?:the|a|an)\s+)?$",
    )
});

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
    let all: [&LazyLock<Regex>; 21] = [
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
        &CHANGES,
        &BETWEEN_BOTH,
        &UNKNOWN_CONGRUENT,
        &SIGNS,
        &JOINS,
        &CHANGES_AFTER,
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
            let inner = in_formula(&before[start.end..], &after[..end.start]);
            ((&before[..start.start], &after[end.end..]), inner)
        }
        None => ((before, after), Place::Alone),
    };
    if inner == Place::Part || JOINS.is_match(outer.0) || is_changed(outer.0, outer.1, formula.is_none(), closings) {
        return Place::Part;
    }
    if inner == Place::About || ABOUT.is_match(outer.0) { Place::About } else { Place::Alone }
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
    let end = delimiters(after).find(|(_, sign)| *sign == close);
    let end = end.map_or(after.len()..after.len(), |(at, sign)| at..at + sign.len());
    // Between signs of money stand words.
    let is_prose = |text: &str| {
        let bare = text.split('\\').next().unwrap_or_default();
        bare.split_whitespace().filter(|word| word.len() > 2 && word.chars().all(char::is_alphabetic)).count() > 1
    };
    let prose = close == "$" && (is_prose(&before[start.end..]) || is_prose(&after[..end.start]));
    (!prose).then_some((start, end))
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

/// How a box stands in a formula with these sides.
fn in_formula(before: &str, after: &str) -> Place {
    let (before, after) = peeled(before, after);
    let listed = before.trim_end_matches([' ', '&', '~']).ends_with(',');
    let left = bare_end(before);
    let said = TEXT_BEFORE.captures(left);
    let about = ABOUT.is_match(left);
    let concludes = left.is_empty()
        || about
        || left.ends_with(',') && !listed
        || CONCLUDES.is_match(left) && !NO_EQUATION.is_match(left)
        || said.as_ref().is_some_and(|said| !CHANGES.is_match(&said[1]));
    let step = STEP.find_iter(left).last().map_or(0, |step| step.end());
    if !concludes || depth(left) > 0 || ALTERNATIVE.is_match(&left[step..]) {
        return Place::Part;
    }
    match (ends_behind(after, left.ends_with("\\equiv") && !UNKNOWN_CONGRUENT.is_match(left)), about) {
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
fn ends_behind(after: &str, congruent: bool) -> bool {
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
            if changes_behind(said[1].trim_start()) {
                return false;
            }
            rest = &rest[said[0].len()..];
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
                || foreign && !Closings::built_in().hedges(rest);
        }
    }
}

fn changes_behind(text: &str) -> bool {
    let word: String = text.trim_start().chars().take_while(|letter| letter.is_alphabetic()).collect();
    CHANGES_AFTER.is_match(text) || words::scale(&word.to_lowercase()).is_some()
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
    let joined =
        !after.starts_with(',') && closings.joint(after).is_some_and(|end| NUMBER_NEXT.is_match(&after[end..]));
    let end = after.find(|letter: char| !(letter.is_alphabetic() || letter == ' ')).unwrap_or(after.len());
    let behind: String = after[..end].split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let denied = closings.denies_next(before) || closings.denies_last(after) || closings.hedges(&behind);
    hedged || denied || joined || is_turned(&format!("{before} ")) || CHANGES.is_match(before) || changes_behind(after)
}
