//! Words that are mathematics after all: number words, "percent", "degrees", "is", times of day.

use dashu::rational::RBig;

use super::{
    expression::{Clock, Constant, Relation},
    token::{Lexeme, Style, Token},
    words,
};

/// Rewrites the words of a token stream that stand for symbols.
pub(super) fn merge(input: Vec<Lexeme>) -> Vec<Lexeme> {
    let mut out: Vec<Lexeme> = Vec::with_capacity(input.len());
    let mut at = 0;
    while at < input.len() {
        let (token, used) = rewrite(&input, at, &mut out);
        // Bold letters side by side are matrices or vectors, as a capital beside a bold small letter is.
        if out.last().is_some_and(|last| {
            let (own, before) = (input[at].style == Style::Bold, last.style == Style::Bold);
            own && before
                || own && is_letter(&input[at], false) && is_letter(last, true)
                || before && is_letter(last, false) && is_letter(&input[at], true)
        }) {
            out.push(Lexeme {
                token: Token::Command("product of matrices".to_owned()),
                style: Style::Plain,
                ..input[at].clone()
            });
        }
        if let Some(token) = token {
            out.push(Lexeme { token, ..input[at].clone() });
        }
        at += used.max(1);
    }
    while matches!(out.last().map(|last| &last.token), Some(Token::Symbol(',' | ';' | ':' | '.') | Token::Row)) {
        out.pop();
    }
    out
}

fn word(input: &[Lexeme], at: usize) -> Option<String> {
    match &input.get(at)?.token {
        Token::Word(word) => Some(word.to_lowercase()),
        Token::Letter(letter) if matches!(letter.as_str(), "C" | "F") => Some(letter.to_lowercase()),
        _ => None,
    }
}

/// The token at `at` after rewriting (none: dropped), and how many it took.
fn rewrite(input: &[Lexeme], at: usize, out: &mut [Lexeme]) -> (Option<Token>, usize) {
    match &input[at].token {
        Token::Word(text) => rewrite_word(input, at, text, out),
        Token::Symbol('.') => (None, 1),
        Token::Symbol('*') => (Some(product_sign(input, at, out)), 1),
        // `f \circ g` is no degree: it is equal to what is written alike.
        Token::Symbol('\u{b0}') if is_composed(input, at) => (Some(Token::Command("composed".to_owned())), 1),
        Token::Symbol('\u{b0}') => match word(input, at + 1).as_deref() {
            Some("c" | "celsius") => (Some(Token::Word("degC".to_owned())), 2),
            Some("f" | "fahrenheit") => (Some(Token::Word("degF".to_owned())), 2),
            _ => (Some(input[at].token.clone()), 1),
        },
        Token::Letter(letter) if letter == "x" && is_ten_power(input, at) => (Some(Token::Symbol('*')), 1),
        Token::Letter(letter) if letter == "U" && between_brackets(input, at) => {
            (Some(Token::Command("cup".to_owned())), 1)
        }
        Token::Command(name) if name == "not" => match input.get(at + 1).map(|next| &next.token) {
            Some(Token::Relation(Relation::Equal)) => (Some(Token::Relation(Relation::NotEqual)), 2),
            Some(Token::Relation(Relation::Member)) => (Some(Token::Relation(Relation::Other("notin"))), 2),
            _ => (Some(input[at].token.clone()), 1),
        },
        token => (Some(token.clone()), 1),
    }
}

/// A product's sign. Between vectors the order counts, and which product it is: such a sign stands for itself, and is equal
/// to what is written alike. The dot of two vectors alone is a product like others.
fn product_sign(input: &[Lexeme], at: usize, out: &[Lexeme]) -> Token {
    let cross = input[at].style == Style::Cross;
    let vectors = input.iter().filter(|lexeme| is_vector(lexeme)).count();
    let follows = input[at + 1..].iter().find(|lexeme| lexeme.token != Token::Symbol('('));
    let operator = matches!(out.last().map(|last| &last.token), Some(Token::Letter(name)) if name == "nabla");
    let between = operator || follows.is_some_and(is_vector) && in_term(out).any(is_vector);
    match (between, cross) {
        (true, true) => Token::Command("cross product".to_owned()),
        (true, false) if vectors > 2 || operator => Token::Command("dot product".to_owned()),
        _ if cross && is_product_of_sets(input) => Token::Command("product of sets".to_owned()),
        _ => Token::Symbol('*'),
    }
}

/// A capital or a small letter.
fn is_letter(lexeme: &Lexeme, capital: bool) -> bool {
    matches!(&lexeme.token, Token::Letter(name)
        if name.chars().count() == 1 && name.chars().all(|letter| letter.is_uppercase() == capital))
}

/// An arrow, a hat or bold print.
fn is_vector(lexeme: &Lexeme) -> bool {
    lexeme.style == Style::Bold
        || matches!(&lexeme.token, Token::Letter(name) if name == "nabla")
        || matches!(&lexeme.token, Token::Command(name) if matches!(name.as_str(), "accent vec" | "accent hat"))
}

/// Nothing but capital letters and crosses between them, which may be sets: `A \times B` is not `B \times A`.
fn is_product_of_sets(input: &[Lexeme]) -> bool {
    input.iter().all(|lexeme| match &lexeme.token {
        Token::Letter(name) => name.starts_with(char::is_uppercase),
        Token::Symbol('*') => lexeme.style == Style::Cross,
        Token::Symbol('(' | ')') => true,
        _ => false,
    })
}

/// Whether a ring stands between the names of two functions.
fn is_composed(input: &[Lexeme], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| input.get(before)).map(|lexeme| &lexeme.token);
    let after = input.get(at + 1).map(|lexeme| &lexeme.token);
    matches!(before, Some(Token::Letter(_) | Token::Function(_)))
        && match after {
            Some(Token::Letter(name)) => !matches!(name.as_str(), "C" | "F") || input.len() == 3,
            Some(Token::Function(_) | Token::Symbol('(')) => true,
            _ => false,
        }
}

/// The last tokens that were read, back to a sum's or a relation's sign.
fn in_term(out: &[Lexeme]) -> impl Iterator<Item = &Lexeme> {
    let ends = |lexeme: &Lexeme| matches!(lexeme.token, Token::Symbol('+' | '-' | ',' | ';') | Token::Relation(_));
    out.iter().rev().take_while(move |lexeme| !ends(lexeme))
}

fn is_ten_power(input: &[Lexeme], at: usize) -> bool {
    let token = |index: usize| input.get(index).map(|lexeme| &lexeme.token);
    at > 0
        && matches!(token(at - 1), Some(Token::Number(..)))
        && matches!(token(at + 1), Some(Token::Number(ten, true)) if *ten == RBig::from(10))
        && matches!(token(at + 2), Some(Token::Symbol('^')))
}

fn between_brackets(input: &[Lexeme], at: usize) -> bool {
    at > 0
        && matches!(input[at - 1].token, Token::Symbol(')' | ']') | Token::SetClose)
        && matches!(input.get(at + 1).map(|next| &next.token), Some(Token::Symbol('(' | '[') | Token::SetOpen))
}

fn rewrite_word(input: &[Lexeme], at: usize, text: &str, out: &mut [Lexeme]) -> (Option<Token>, usize) {
    let lower = text.to_lowercase();
    let next = word(input, at + 1);
    let after_number = matches!(out.last().map(|last| &last.token), Some(Token::Number(..)));
    if after_number && let Some(factor) = words::scale(&lower) {
        if let Some(Lexeme { token: Token::Number(value, _), .. }) = out.last_mut() {
            *value *= RBig::from(factor);
        }
        return (None, 1);
    }
    if let Some(half) = half_of_day(&lower)
        && let Some(used) = set_half(out, half)
    {
        return (None, used);
    }
    if words::starts_number(&lower) {
        let run: Vec<String> = (at..input.len()).map_while(|index| word(input, index)).collect();
        if let Some((value, used)) = words::read_number(&run) {
            return (Some(Token::Number(value, true)), used);
        }
    }
    let token = match (lower.as_str(), next.as_deref()) {
        ("per", Some("cent")) => return (Some(Token::Symbol('%')), 2),
        ("degree" | "degrees" | "deg", Some("c" | "celsius")) => return (Some(Token::Word("degC".to_owned())), 2),
        ("degree" | "degrees" | "deg", Some("f" | "fahrenheit")) => return (Some(Token::Word("degF".to_owned())), 2),
        ("out", Some("of")) if after_number && is_number(input, at + 2) => return (Some(Token::Symbol('/')), 2),
        ("equal", Some("to")) => return (Some(Token::Relation(Relation::Equal)), 2),
        ("empty", Some("set")) => return (Some(Token::Command("emptyset".to_owned())), 2),
        ("percent" | "pct" | "percents", _) => Token::Symbol('%'),
        ("percentage", _) if after_number => Token::Symbol('%'),
        ("degree" | "degrees" | "deg", _) if at > 0 => Token::Symbol('\u{b0}'),
        ("is" | "are" | "equals", _) => Token::Relation(Relation::Equal),
        ("mod" | "modulo", _) => Token::Command("mod".to_owned()),
        ("choose", _) => Token::Command("choose".to_owned()),
        ("union", _) => Token::Command("cup".to_owned()),
        ("times", _) if after_number => Token::Symbol('*'),
        ("infinity", _) => Token::Constant(Constant::Infinity),
        ("pi", _) => Token::Constant(Constant::Pi),
        ("negative" | "minus", _) if precedes_value(input, at + 1) => Token::Symbol('-'),
        ("positive" | "plus", _) if precedes_value(input, at + 1) => Token::Symbol('+'),
        ("to", _) if after_number && is_number(input, at + 1) => Token::Symbol(':'),
        ("noon", _) => Token::Clock(Clock { hour: 12, minute: 0, second: 0, afternoon: Some(true) }),
        ("midnight", _) => Token::Clock(Clock { hour: 12, minute: 0, second: 0, afternoon: Some(false) }),
        _ => Token::Word(text.to_owned()),
    };
    (Some(token), 1)
}

fn is_number(input: &[Lexeme], at: usize) -> bool {
    matches!(input.get(at).map(|lexeme| &lexeme.token), Some(Token::Number(..)))
}

fn precedes_value(input: &[Lexeme], at: usize) -> bool {
    match input.get(at).map(|lexeme| &lexeme.token) {
        Some(Token::Number(..) | Token::Constant(_)) => true,
        Some(Token::Word(word)) => words::starts_number(word) || word.eq_ignore_ascii_case("infinity"),
        _ => false,
    }
}

fn half_of_day(lower: &str) -> Option<Option<bool>> {
    match lower {
        "am" => Some(Some(false)),
        "pm" => Some(Some(true)),
        "o'clock" | "oclock" => Some(None),
        _ => None,
    }
}

/// Marks the time or whole hour before this word; gives how many tokens that took.
fn set_half(out: &mut [Lexeme], half: Option<bool>) -> Option<usize> {
    let last = out.last_mut()?;
    let clock = match &last.token {
        Token::Clock(clock) => Clock { afternoon: half.or(clock.afternoon), ..*clock },
        Token::Number(value, true) => {
            let hour = u32::try_from(value.numerator().clone()).ok().filter(|hour| *hour <= 24)?;
            Clock { hour, minute: 0, second: 0, afternoon: half }
        }
        _ => return None,
    };
    last.token = Token::Clock(clock);
    Some(1)
}
