//! Notation that may mean something else than arithmetic: what holds it is only equal to what is written alike.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    clause::pattern,
    expression::{Bracket, Constant, Expr},
    ordered::multiplies_matrices,
    token::{Lexeme, Token},
};

/// Two sums of money that a dash joins: `$5-$10`.
static MONEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\\?[$\x{20ac}\x{a3}\x{a5}]\s?\d[\d,.]*\s*[-\x{2013}]\s*\\?[$\x{20ac}\x{a3}\x{a5}]\s?\d")
});

/// Whether an answer may be a range of money and no difference; an equation says which.
pub(super) fn is_range_of_money(text: &str) -> bool {
    !text.contains('=') && MONEY.is_match(text)
}

/// Whether what an expression comes to cannot be told.
pub(super) fn is_doubtful(expr: &Expr) -> bool {
    multiplies_matrices(expr) || takes_whole_part(expr)
}

/// Whether square brackets may take a whole part: those around all of an expression, a term, or a letter.
fn takes_whole_part(expr: &Expr) -> bool {
    is_bracketed(expr)
        || expr.any(&|node| match node {
            Expr::Sum(items) => items.iter().any(is_bracketed),
            Expr::Group(Bracket::Square, items, Bracket::Square) => matches!(items.as_slice(), [Expr::Variable(_)]),
            _ => false,
        })
}

fn is_bracketed(expr: &Expr) -> bool {
    match expr {
        Expr::Negative(inner) => is_bracketed(inner),
        Expr::Group(Bracket::Square, items, Bracket::Square) => {
            !matches!(items.as_slice(), [Expr::Number(value)] if value.is_int())
        }
        _ => false,
    }
}

/// Whether numbers stand in a row that is no sum, brackets number the parts of an answer, `(a) x (b) y`, or hold what was chosen and no factors: `(1)(3)`.
pub(super) fn is_numbered(lexemes: &[Lexeme]) -> bool {
    if is_row_of_numbers(lexemes) {
        return true;
    }
    let label = |at: usize| bracketed(lexemes.get(at..at + 3).unwrap_or_default());
    let groups = (0..lexemes.len()).step_by(3).all(|at| matches!(label(at), Some(Token::Number(_, true))));
    let next = match label(0) {
        Some(Token::Number(number, true)) => Token::Number(number + dashu::rational::RBig::ONE, true),
        Some(Token::Letter(letter)) if letter == "a" => Token::Letter("b".to_owned()),
        Some(Token::Letter(letter)) if letter == "A" => Token::Letter("B".to_owned()),
        _ => return false,
    };
    let operated = |at: usize| match &lexemes[at - 1].token {
        Token::Symbol(symbol) => "+-*/^_:([{|".contains(*symbol),
        Token::Relation(_) => true,
        _ => false,
    };
    lexemes.len() > 3 && groups || (3..lexemes.len()).any(|at| label(at) == Some(&next) && !operated(at))
}

/// Whether an answer is whole numbers joined by hyphens, with or without a unit, or by two slashes, or three capital letters or
/// more joined by hyphens: a range, a score, a date, a row of outcomes, `5-10 days`, `1/2/2020`, `W-L-W`.
fn is_row_of_numbers(lexemes: &[Lexeme]) -> bool {
    let lexemes: Vec<&Lexeme> = lexemes.iter().filter(|one| !matches!(one.token, Token::Currency(_))).collect();
    let row = |fits: &dyn Fn(&Token) -> bool, sign: char, least: usize, end: usize| {
        let row = &lexemes[..end];
        row.len() >= least
            && row.len() % 2 == 1
            && row.iter().enumerate().all(|(at, lexeme)| {
                let fits = if at % 2 == 0 { fits(&lexeme.token) } else { lexeme.token == Token::Symbol(sign) };
                fits && (at == 0 || !lexeme.spaced)
            })
    };
    let whole = |token: &Token| matches!(token, Token::Number(_, true));
    let capital = |token: &Token| matches!(token, Token::Letter(name) if name.starts_with(char::is_uppercase));
    let words = lexemes.iter().rev().take_while(|one| matches!(one.token, Token::Word(_) | Token::Symbol('%'))).count();
    let all = lexemes.len();
    row(&whole, '-', 3, all - words) || row(&whole, '/', 5, all) || row(&capital, '-', 5, all)
}

/// Whether tokens end with a number or a letter alone in brackets, which a number behind it is no factor of: "(a) 5".
pub(super) fn ends_label(before: &[Lexeme]) -> bool {
    let roman = |length: usize| {
        let group = before.len().checked_sub(length).map_or(&[][..], |start| &before[start..]);
        matches!(group, [open, inner @ .., close]
            if open.token == Token::Symbol('(')
                && close.token == Token::Symbol(')')
                && inner.iter().all(|one| one.token == Token::Constant(Constant::I)))
    };
    before.len().checked_sub(3).is_some_and(|start| bracketed(&before[start..]).is_some()) || roman(4) || roman(5)
}

/// What stands alone in brackets.
fn bracketed(group: &[Lexeme]) -> Option<&Token> {
    match group {
        [open, inner, close] if open.token == Token::Symbol('(') && close.token == Token::Symbol(')') => {
            Some(&inner.token)
        }
        _ => None,
    }
}
