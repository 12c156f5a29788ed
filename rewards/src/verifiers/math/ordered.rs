//! Expressions that differ only in the order of their terms and factors.

use super::expression::{Bracket, Constant, Expr, Function};

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
