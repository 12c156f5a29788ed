//! Numerals: grouped digits, decimals, repeating decimals, scientific notation, times and other bases.

use dashu::{
    integer::{IBig, UBig},
    rational::RBig,
};

use super::{
    expression::Clock,
    names,
    source::{Source, matching_brace},
    token::Token,
    words,
};

/// The largest power of ten that is written out as an exact number.
const MAX_EXPONENT: usize = 4_000;

/// Reads the numeral at this place; one after a colon is part of a ratio, and no time.
///
/// # Errors
/// A reason when an exponent is too large.
pub(super) fn number(source: &mut Source, after_colon: bool) -> Result<Token, &'static str> {
    if let Some(token) = prefixed(source) {
        return Ok(token);
    }
    let mut digits = take_digits(source);
    take_groups(source, &mut digits);
    if !after_colon && let Some(token) = clock(source, &digits) {
        return Ok(token);
    }
    let mut decimals = String::new();
    let mut pointed = false;
    if source.peek(0) == Some('.') && source.peek(1) != Some('.') {
        source.at += 1;
        pointed = true;
        decimals = take_digits(source);
    } else if source.looking_at(source.at, "{,}") && source.chars.get(source.at + 3).is_some_and(char::is_ascii_digit) {
        source.at += 3;
        pointed = true;
        decimals = take_digits(source);
    }
    let repeating = if pointed { repetend(source, &mut decimals) } else { None };
    let integer = !pointed && repeating.is_none();
    let mut value = decimal(&digits, &decimals, repeating.as_deref());
    if let Some(exponent) = exponent(source) {
        value *= power_of_ten(exponent?)?;
        return Ok(Token::Number(value, false));
    }
    match suffix(source) {
        // "The 5th prime" is not 5.
        Some(suffix) if names_a_thing(source, suffix.len()) => {
            source.at += suffix.len();
            Ok(Token::Word(format!("{digits}{suffix}")))
        }
        suffix => {
            source.at += suffix.map_or(0, |suffix| suffix.len());
            Ok(Token::Number(value, integer))
        }
    }
}

fn take_digits(source: &mut Source) -> String {
    let start = source.at;
    while source.peek(0).is_some_and(|c| c.is_ascii_digit()) {
        source.at += 1;
    }
    source.chars[start..source.at].iter().collect()
}

/// Hexadecimal, octal and binary literals of program code.
fn prefixed(source: &mut Source) -> Option<Token> {
    let radix = match (source.peek(0)?, source.peek(1)?) {
        ('0', 'x') => 16,
        ('0', 'b') => 2,
        ('0', 'o') => 8,
        _ => return None,
    };
    let digits: String = source.chars[source.at + 2..].iter().take_while(|c| c.is_ascii_alphanumeric()).collect();
    let value = IBig::from_str_radix(&digits, radix).ok().filter(|_| !digits.is_empty())?;
    source.at += 2 + digits.len();
    Some(Token::Number(RBig::from(value), false))
}

/// Takes groups of three digits that a thousands separator joins to the first group.
fn take_groups(source: &mut Source, digits: &mut String) {
    const SEPARATORS: [&str; 11] = ["{,}", "{\\,}", ",\\!", "\\,", "\\ ", "\\;", "\\!", ",", " ", "'", "_"];
    if digits.is_empty() || digits.len() > 3 || digits.starts_with('0') {
        return;
    }
    let Some(separator) = SEPARATORS.into_iter().find(|separator| source.looking_at(source.at, separator)) else {
        return;
    };
    let thin = separator == ",\\!" && source.looking_at(source.at, ",\\! ");
    let separator = if thin { ",\\! " } else { separator };
    let width = separator.len();
    let is_digit = |at: usize| source.chars.get(at).is_some_and(char::is_ascii_digit);
    let mut end = source.at;
    while source.looking_at(end, separator)
        && (width..width + 3).all(|ahead| is_digit(end + ahead))
        && !is_digit(end + width + 3)
    {
        end += width + 3;
    }
    let after = source.chars.get(end).copied();
    let fraction = separator == " " && (after == Some('/') || source.chars.get(end + 1) == Some(&'/'));
    if end == source.at || fraction || (separator == "," && !commas_group(source)) {
        return;
    }
    let taken: String = source.chars[source.at..end].iter().filter(|c| c.is_ascii_digit()).collect();
    digits.push_str(&taken);
    source.at = end;
}

/// Whether a comma between digits groups them here: not where the commas around it separate items.
fn commas_group(source: &Source) -> bool {
    let start = source.open.last().copied().unwrap_or(0);
    let region: String = source.chars[start..].iter().take_while(|c| !matches!(c, ')' | ']')).collect();
    let spaced = region.contains(", ") || region.contains(';');
    let uneven = region.split(|c: char| !(c.is_ascii_digit() || c == ',')).any(|run| {
        let mut groups = run.split(',');
        let first = groups.next().unwrap_or("");
        !first.is_empty() && groups.any(|group| !group.is_empty() && group.len() != 3)
    });
    !uneven && (spaced || source.open.is_empty())
}

/// The repeating block after the decimals, in any of its notations.
fn repetend(source: &mut Source, decimals: &mut str) -> Option<String> {
    let rest: String = source.chars[source.at..].iter().take(12).collect();
    for command in ["\\overline", "\\bar", "\\overset", "\\dot"] {
        if let Some(after) = rest.strip_prefix(command).filter(|after| !after.starts_with(|c: char| c.is_alphabetic()))
        {
            let _ = after;
            return if command == "\\dot" { dotted(source) } else { argument(source, command.len()) };
        }
    }
    if rest.starts_with('(') {
        let block: String = source.chars[source.at + 1..].iter().take_while(|c| c.is_ascii_digit()).collect();
        if !block.is_empty() && source.chars.get(source.at + 1 + block.len()) == Some(&')') {
            source.at += block.len() + 2;
            return Some(block);
        }
    }
    for dots in ["...", "\\ldots", "\\dots", "\\cdots", "\\overline"] {
        if rest.starts_with(dots) {
            let block = evident_block(decimals)?;
            source.at += dots.len();
            return Some(block);
        }
    }
    None
}

/// Whether one side is a decimal with a comma and the other the same digits with a point, as `2,74 $` and `2.74`; `1,2` may as
/// well be two numbers, as nothing but a first zero, two decimals or money tell.
pub(super) fn is_same_decimal(a: &str, b: &str) -> bool {
    fn digits(text: &str) -> &str {
        text.trim_matches(|c: char| !(c.is_ascii_digit() || c == '-'))
    }
    let plain = |text: &str, mark: char| {
        text.split(mark).count() == 2
            && text.trim_start_matches('-').chars().all(|c| c.is_ascii_digit() || c == mark)
            && text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit())
    };
    // `1,234` is more than a thousand.
    let grouped = |text: &str| {
        text.trim_start_matches('-')
            .split_once(',')
            .is_some_and(|(whole, rest)| rest.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0'))
    };
    let listed = |text: &str, money: bool| {
        !money
            && text.trim_start_matches('-').split_once(',').is_some_and(|(whole, rest)| rest.len() == 1 && whole != "0")
    };
    // Only money may stand beside the digits.
    let alone = |text: &str| text.chars().all(|c| c.is_ascii_digit() || "-.,$ \\".contains(c));
    let bare = |text: &str| text.replace("\\currency{eur}", "").replace("\\currency{gbp}", "");
    let written = &[a, b];
    let (a, b) = (bare(a), bare(b));
    let (x, y) = (digits(&a), digits(&b));
    let money = x.len() < a.trim().len() || y.len() < b.trim().len() || *written != [a.as_str(), b.as_str()];
    let same = |with_comma: &str, with_point: &str| {
        plain(with_comma, ',')
            && !grouped(with_comma)
            && !listed(with_comma, money)
            && plain(with_point, '.')
            && with_comma.replace(',', ".") == with_point
    };
    alone(&a) && alone(&b) && (same(x, y) || same(y, x))
}

/// The digits in the argument of a command of the given length at this place.
fn argument(source: &mut Source, command: usize) -> Option<String> {
    let mut at = source.at + command;
    while source.chars.get(at) == Some(&' ') {
        at += 1;
    }
    let (block, end) = if source.chars.get(at) == Some(&'{') {
        let close = matching_brace(&source.chars, at)?;
        (source.chars[at + 1..close].iter().collect::<String>(), close + 1)
    } else {
        (source.chars.get(at)?.to_string(), at + 1)
    };
    let block = block.trim().to_owned();
    if block.is_empty() || !block.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    source.at = end;
    Some(block)
}

/// `\dot{1}4285\dot{7}`: the block runs from the first dotted digit to the second.
fn dotted(source: &mut Source) -> Option<String> {
    let mut block = argument(source, 4)?;
    let start = source.at;
    let between = take_digits(source);
    if source.looking_at(source.at, "\\dot")
        && let Some(last) = argument(source, 4)
    {
        block.push_str(&between);
        block.push_str(&last);
    } else {
        source.at = start;
    }
    Some(block)
}

/// The block that decimals before an ellipsis evidently repeat: three times one digit, or twice a longer block.
fn evident_block(decimals: &str) -> Option<String> {
    (1..=decimals.len() / 2).find_map(|width| {
        let block = &decimals[decimals.len() - width..];
        let repeats = if width == 1 { 3 } else { 2 };
        decimals.ends_with(&block.repeat(repeats)).then(|| block.to_owned())
    })
}

fn whole(digits: &str) -> UBig {
    UBig::from_str_radix(if digits.is_empty() { "0" } else { digits }, 10).unwrap_or(UBig::ZERO)
}

fn decimal(digits: &str, decimals: &str, repeating: Option<&str>) -> RBig {
    let ten = UBig::from(10u8);
    let shift = ten.pow(decimals.len());
    let mut value = RBig::from_parts(whole(&format!("{digits}{decimals}")).into(), shift.clone());
    if let Some(block) = repeating {
        let nines = ten.pow(block.len()) - UBig::ONE;
        value += RBig::from_parts(whole(block).into(), nines * shift);
    }
    value
}

/// The exponent of `3.2e5`, when one follows.
fn exponent(source: &mut Source) -> Option<Result<i64, &'static str>> {
    if !matches!(source.peek(0), Some('e' | 'E')) {
        return None;
    }
    let signed = matches!(source.peek(1), Some('+' | '-'));
    let digits: String =
        source.chars[source.at + 1 + usize::from(signed)..].iter().take_while(|c| c.is_ascii_digit()).collect();
    if digits.is_empty() {
        return None;
    }
    let negative = source.peek(1) == Some('-');
    source.at += 1 + usize::from(signed) + digits.len();
    let magnitude = digits.parse::<i64>().ok().filter(|value| *value <= MAX_EXPONENT as i64);
    Some(magnitude.map(|value| if negative { -value } else { value }).ok_or("an exponent is too large"))
}

fn power_of_ten(exponent: i64) -> Result<RBig, &'static str> {
    let size = usize::try_from(exponent.unsigned_abs()).map_err(|_| "an exponent is too large")?;
    let power = UBig::from(10u8).pow(size);
    Ok(if exponent < 0 { RBig::from_parts(IBig::ONE, power) } else { RBig::from(power) })
}

/// The letters of "1st", "2nd", "3rd", "5th".
fn suffix(source: &Source) -> Option<String> {
    let suffix: String = source.chars[source.at..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
    matches!(suffix.as_str(), "st" | "nd" | "rd" | "th").then_some(suffix)
}

/// Whether a word follows behind so many letters.
fn names_a_thing(source: &Source, ahead: usize) -> bool {
    source.chars[source.at + ahead..].iter().find(|c| **c != ' ').is_some_and(|c| c.is_alphabetic())
}

/// A time of day: hour and two digits of minutes, and seconds or not.
fn clock(source: &mut Source, digits: &str) -> Option<Token> {
    let pair = |at: usize| -> Option<u32> {
        let text: String = source.chars.get(at..at + 3).filter(|c| c[0] == ':')?[1..].iter().collect();
        let longer = source.chars.get(at + 3).is_some_and(char::is_ascii_digit);
        text.parse().ok().filter(|value| *value < 60 && !longer && text.chars().all(|c| c.is_ascii_digit()))
    };
    let hour: u32 = digits.parse().ok().filter(|hour| *hour < 24 && !digits.is_empty() && digits.len() <= 2)?;
    let minute = pair(source.at)?;
    let second = pair(source.at + 3);
    let end = source.at + if second.is_some() { 6 } else { 3 };
    if source.chars.get(end) == Some(&':')
        || source.chars.get(end) == Some(&'.') && source.chars.get(end + 1).is_some_and(char::is_ascii_digit)
    {
        return None;
    }
    source.at = end;
    Some(Token::Clock(Clock { hour, minute, second: second.unwrap_or(0), afternoon: None }))
}

/// A numeral with its base as an index, such as `1011_2`, `2A_{16}` or `(101)_2`; gives the end as well.
pub(super) fn radix(source: &Source) -> Option<(Token, usize)> {
    let boundary =
        source.at == 0 || !(source.chars[source.at - 1].is_ascii_alphanumeric() || source.chars[source.at - 1] == '.');
    if !boundary {
        return None;
    }
    let (digits, after) = radix_digits(source)?;
    let mut at = after;
    while source.chars.get(at) == Some(&' ') {
        at += 1;
    }
    if source.chars.get(at) != Some(&'_') {
        return None;
    }
    let (base, end) = radix_base(source, at + 1)?;
    let starts = digits.starts_with(|c: char| c.is_ascii_digit());
    let upper = digits.len() >= 2 && digits.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
    let valid = digits.chars().all(|c| c == ' ' || c.is_digit(base));
    if !valid || !(starts || upper) {
        return None;
    }
    let digits: String = digits.to_uppercase().chars().filter(|c| *c != ' ').collect();
    let digits = digits.trim_start_matches('0').to_owned();
    Some((Token::Radix { digits, base }, end))
}

/// The digits, bare, in round brackets or in a roman command, and where they end.
fn radix_digits(source: &Source) -> Option<(String, usize)> {
    let run = |at: usize| -> String {
        source.chars[at.min(source.chars.len())..].iter().take_while(|c| c.is_ascii_alphanumeric()).collect()
    };
    for (open, close) in [("(", ')'), ("\\text{", '}'), ("\\mathrm{", '}'), ("{", '}'), ("", ' ')] {
        if !source.looking_at(source.at, open) {
            continue;
        }
        let start = source.at + open.len();
        let digits = run(start);
        let end = start + digits.len();
        if digits.is_empty() || digits.len() > 512 {
            continue;
        }
        if open.is_empty() {
            return Some((digits, end));
        }
        if source.chars.get(end) == Some(&close) {
            return Some((digits, end + 1));
        }
    }
    None
}

fn radix_base(source: &Source, at: usize) -> Option<(u32, usize)> {
    let (inner, end) = match source.chars.get(at)? {
        '{' => {
            let close = matching_brace(&source.chars, at)?;
            (source.chars[at + 1..close].iter().collect::<String>(), close + 1)
        }
        '(' => {
            let inner: String = source.chars[at + 1..].iter().take_while(|c| **c != ')').collect();
            let end = at + 2 + inner.chars().count();
            (inner, end)
        }
        _ => {
            let digits: String = source.chars[at..].iter().take_while(|c| c.is_ascii_digit()).take(2).collect();
            let end = at + digits.len();
            (digits, end)
        }
    };
    let plain = inner.replace("\\text", " ").replace("\\mathrm", " ").replace(['{', '}', '(', ')'], " ").to_lowercase();
    let words: Vec<&str> = plain.split_whitespace().filter(|word| *word != "base").collect();
    let [word] = words.as_slice() else { return None };
    let base = word.parse::<u32>().ok().or_else(|| {
        let (value, used) = words::read_number(&[(*word).to_owned()])?;
        (used == 1).then(|| u32::try_from(value.numerator().clone()).ok()).flatten()
    })?;
    (2..=36).contains(&base).then_some((base, end))
}

/// Whether the hyphen at this place joins two words, as in "twenty-one", rather than subtracts.
pub(super) fn is_hyphenated(chars: &[char], at: usize) -> bool {
    let before: String =
        chars[..at].iter().rev().take_while(|c| c.is_alphabetic()).collect::<Vec<_>>().into_iter().rev().collect();
    let after: String = chars[at + 1..].iter().take_while(|c| c.is_alphabetic()).collect();
    let word = |run: &str| run.chars().count() >= 3 && names::plain(run).is_none() && names::split(run).is_none();
    word(&before) && word(&after)
}
