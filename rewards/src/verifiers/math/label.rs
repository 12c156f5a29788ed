//! What stands left of an equation and only names what the right side says: letters, segments, functions.

use super::expression::{Bracket, Expr, Function, Relation};

/// The variable and the value of `x = 5` or `5 = x`.
pub(super) fn assignment(item: &Expr) -> Option<(String, &Expr)> {
    match item {
        Expr::Relation(terms, relations) if relations[..] == [Relation::Equal] => match terms.as_slice() {
            [Expr::Variable(name), value] if !value.variables().contains(name) => Some((name.clone(), value)),
            [value, Expr::Variable(name)] if value.is_closed() => Some((name.clone(), value)),
            _ => None,
        },
        _ => None,
    }
}

/// What a value is the value of, in words that are the same for the same thing.
pub(super) fn label_of(head: &Expr) -> String {
    match head {
        Expr::Variable(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

/// Whether the left side of an equation only names what the right side says: `x`, `f(x)`, `AB`, `|AB|`, `S_1 : S_2`.
pub(super) fn is_label(expr: &Expr) -> bool {
    match expr {
        Expr::Variable(_) | Expr::Text(_) | Expr::Apply(..) | Expr::Bound(..) => true,
        Expr::Labelled(_, loose, inner) => *loose && is_label(inner),
        Expr::Product(factors) => factors.iter().all(|factor| !factor.inverse && is_point(&factor.expr)),
        Expr::Quotient(above, below) => {
            is_differential(above) && is_differential(below) || is_side(above) && is_side(below)
        }
        Expr::Ratio(items) => items.iter().all(is_side),
        Expr::Power(base, exponent) => {
            matches!(&**base, Expr::Variable(name) if matches!(name.as_str(), "f" | "g" | "h"))
                && **exponent == Expr::Negative(Box::new(Expr::integer(1)))
        }
        Expr::Group(Bracket::Round, items, Bracket::Round) => items.iter().all(is_label),
        Expr::Call(Function::Abs, items) => items.iter().all(is_label),
        _ => false,
    }
}

/// A capital letter, as points are named.
fn is_point(expr: &Expr) -> bool {
    matches!(expr, Expr::Variable(name) if name.starts_with(|letter: char| letter.is_uppercase()))
}

/// A segment, an area, a count: capital letters, or a letter with an index.
fn is_side(expr: &Expr) -> bool {
    match expr {
        Expr::Product(factors) => factors.iter().all(|factor| !factor.inverse && is_point(&factor.expr)),
        Expr::Variable(name) => is_point(expr) || name.contains('_'),
        Expr::Apply(..) => true,
        _ => false,
    }
}

/// `dy`, `d^2 y`, `dx^2`.
fn is_differential(expr: &Expr) -> bool {
    let is_d = |expr: &Expr| match expr {
        Expr::Variable(name) => name == "d" || name == "partial",
        Expr::Power(base, _) => matches!(&**base, Expr::Variable(name) if name == "d" || name == "partial"),
        _ => false,
    };
    matches!(expr, Expr::Product(factors) if factors.len() == 2 && is_d(&factors[0].expr)) || is_d(expr)
}
