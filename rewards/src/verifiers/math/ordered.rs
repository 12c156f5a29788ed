//! The order of terms and factors: expressions that differ in nothing else, and products in which it counts.

use super::expression::{Bracket, Constant, Expr, Factor, Function};

/// Larger expressions are not put in order, in parts.
const MOST_PARTS: usize = 256;

/// Whether two expressions are one up to the order of sums and products, brackets around one part, and `exp` for a power
/// of e.
pub(super) fn is_reordered(a: &Expr, b: &Expr) -> bool {
    let (mut budget, mut other) = (MOST_PARTS, MOST_PARTS);
    matches!((ordered(a, &mut budget), ordered(b, &mut other)), (Some(a), Some(b)) if a == b)
}

/// An expression with its sums and products in a fixed order; nothing when it is too large.
fn ordered(expr: &Expr, budget: &mut usize) -> Option<Expr> {
    *budget = budget.checked_sub(1)?;
    let mut all = true;
    let inner = expr.map(&mut |part| {
        ordered(part, budget).unwrap_or_else(|| {
            all = false;
            part.clone()
        })
    });
    all.then(|| match inner {
        Expr::Sum(mut items) => {
            items.sort_by_key(|item| format!("{item:?}"));
            Expr::Sum(items)
        }
        Expr::Product(mut factors) => {
            factors.sort_by_key(|factor| format!("{factor:?}"));
            Expr::Product(factors)
        }
        Expr::Group(Bracket::Round, mut items, Bracket::Round) if items.len() == 1 => {
            items.pop().unwrap_or(Expr::integer(0))
        }
        Expr::Call(Function::Exp, mut items) if items.len() == 1 => {
            let exponent = items.pop().unwrap_or(Expr::integer(0));
            Expr::Power(Box::new(Expr::Constant(Constant::E)), Box::new(exponent))
        }
        other => other,
    })
}

/// Whether an answer is two letters or more whose order may count: capital letters, which name places, outcomes, matrices or
/// Roman numerals (`BCA`, `HT`, `AB`, `IX`, `A^2B`), permutations (`\sigma\tau`), or a relation between two small ones, `xRy`.
pub(super) fn is_row_of_names(expr: &Expr) -> bool {
    let Expr::Product(factors) = expr else { return false };
    if is_current(factors) {
        return false;
    }
    // `T/F/T` is no quotient.
    let listed = factors.len() > 2 && factors[1..].iter().all(|factor| factor.inverse);
    let letters = factors.iter().all(|factor| is_letter(base_of(&factor.expr)) && (listed || !factor.inverse));
    let named = |named: &dyn Fn(&Expr) -> bool| factors.iter().all(|factor| named(base_of(&factor.expr)));
    let permutation = |expr: &Expr| matches!(expr, Expr::Variable(name) if matches!(name.as_str(), "sigma" | "tau"));
    // The two forms of a gene, `Aa`.
    let twins = factors.windows(2).any(|pair| are_twins(&pair[0].expr, &pair[1].expr));
    let capitals: Vec<bool> = factors.iter().map(|factor| is_capital(&factor.expr)).collect();
    letters && (twins || named(&is_capital) || named(&permutation) || capitals == [false, true, false])
}

/// Whether a power of `I` stands beside one letter: that of a current and that of the unit matrix commute.
fn is_current(factors: &[Factor]) -> bool {
    let power = |expr: &Expr| {
        matches!(expr, Expr::Power(base, exponent)
        if matches!(&**base, Expr::Variable(name) if name == "I") && matches!(&**exponent, Expr::Number(_)))
    };
    factors.len() == 2 && factors.iter().any(|factor| power(&factor.expr))
}

/// Whether two letters are one in different cases.
fn are_twins(a: &Expr, b: &Expr) -> bool {
    matches!((a, b), (Expr::Variable(a), Expr::Variable(b)) if a != b && a.eq_ignore_ascii_case(b))
}

/// Whether letters are multiplied as matrices are: beside an inverse or a transpose of one, or under one exponent of them.
pub(super) fn multiplies_matrices(expr: &Expr) -> bool {
    expr.any(&|node| match node {
        Expr::Product(factors) => {
            let letters: Vec<&Expr> =
                factors.iter().filter(|factor| !factor.inverse).map(|factor| base_of(&factor.expr)).collect();
            // Nobody writes a number beside its inverse.
            let conjugated = factors.iter().any(|factor| match &factor.expr {
                Expr::Power(base, exponent) => {
                    is_minus_one(exponent) && factors.iter().any(|other| other.expr == **base)
                }
                _ => false,
            });
            let count = |named: &dyn Fn(&Expr) -> bool| letters.iter().filter(|letter| named(letter)).count();
            conjugated
                || factors.iter().any(|factor| matches!(&factor.expr, Expr::Variable(name) if name == "nabla"))
                || multiplies_operators(factors)
                || factors.windows(2).any(|pair| {
                    let pair = [&pair[0].expr, &pair[1].expr];
                    pair.iter().any(|one| is_vector(one)) && pair.iter().any(|one| is_capital(one))
                })
                || factors.iter().any(|factor| is_transposed(&factor.expr)) && count(&is_letter) > 1
                || factors.iter().any(|factor| is_inverted(&factor.expr)) && count(&is_capital) > 1
        }
        Expr::Sum(items) => items
            .iter()
            .enumerate()
            .any(|(at, item)| items[..at].iter().any(|before| are_turned(before, item) || are_turned(item, before))),
        Expr::Power(base, exponent) => match &**base {
            Expr::Product(factors) => {
                let letters = |named: fn(&Expr) -> bool| factors.iter().filter(|one| named(&one.expr)).count() > 1;
                is_minus_one(exponent) && letters(is_capital) || is_transpose(exponent) && letters(is_letter)
            }
            _ => false,
        },
        _ => false,
    })
}

/// `AB` and `-BA`: numbers would not be written so.
fn are_turned(product: &Expr, negative: &Expr) -> bool {
    let Expr::Negative(other) = negative else { return false };
    let letters =
        |expr: &Expr| matches!(expr, Expr::Product(factors) if factors.iter().all(|one| is_letter(&one.expr)));
    letters(product) && letters(other) && *product != **other && is_reordered(product, other)
}

fn base_of(expr: &Expr) -> &Expr {
    match expr {
        Expr::Power(base, _) => base,
        other => other,
    }
}

fn is_letter(expr: &Expr) -> bool {
    matches!(expr, Expr::Variable(_))
}

fn is_capital(expr: &Expr) -> bool {
    matches!(expr, Expr::Variable(name) if name.starts_with(char::is_uppercase))
}

/// Whether letters under hats stand side by side, or a capital under one beside another letter: operators.
fn multiplies_operators(factors: &[Factor]) -> bool {
    let hats = factors.iter().filter_map(|factor| match &factor.expr {
        Expr::Variable(name) => name.strip_prefix("accent hat "),
        _ => None,
    });
    let hats: Vec<&str> = hats.collect();
    let letters = factors.iter().filter(|factor| is_letter(&factor.expr)).count();
    hats.len() > 1 || letters > 1 && hats.iter().any(|hat| hat.starts_with(char::is_uppercase))
}

/// A small letter under an arrow.
fn is_vector(expr: &Expr) -> bool {
    matches!(expr, Expr::Variable(name)
        if name.strip_prefix("accent vec ").is_some_and(|letter| letter.starts_with(char::is_lowercase)))
}

fn is_minus_one(exponent: &Expr) -> bool {
    *exponent == Expr::Negative(Box::new(Expr::integer(1)))
}

fn is_transpose(exponent: &Expr) -> bool {
    matches!(exponent, Expr::Variable(name) if name == "T")
}

fn is_transposed(expr: &Expr) -> bool {
    matches!(expr, Expr::Power(base, exponent) if is_transpose(exponent) && is_letter(base))
}

fn is_inverted(expr: &Expr) -> bool {
    matches!(expr, Expr::Power(base, exponent) if is_minus_one(exponent) && is_capital(base))
}
