//! Labels: words before a value, and what stands left of an equation and only names what the right side says.

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
        Expr::Ratio(items) | Expr::Union(items) | Expr::Intersection(items) => items.iter().all(is_side),
        Expr::Power(base, exponent) => {
            matches!(&**base, Expr::Variable(name) if matches!(name.as_str(), "f" | "g" | "h"))
                && **exponent == Expr::Negative(Box::new(Expr::integer(1)))
        }
        Expr::Group(Bracket::Round, items, Bracket::Round) => items.iter().all(is_label),
        Expr::Call(Function::Abs, items) => items.iter().all(is_label),
        _ => false,
    }
}

/// A capital letter, as points are named, or a vector.
fn is_point(expr: &Expr) -> bool {
    matches!(expr, Expr::Variable(name)
        if name.starts_with(|letter: char| letter.is_uppercase()) || name.starts_with("accent vec"))
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

/// Words before a value that say nothing but that it is one: either side may leave them out.
const PLAIN_LABELS: &[&str] = &[
    "point",
    "points",
    "value",
    "values",
    "length",
    "width",
    "height",
    "area",
    "volume",
    "perimeter",
    "radius",
    "diameter",
    "angle",
    "sum",
    "product",
    "cost",
    "price",
    "speed",
    "distance",
    "time",
    "age",
    "probability",
    "number",
    "line",
    "plane",
    "vector",
    "segment",
    "triangle",
    "center",
    "centre",
    "vertex",
    "slope",
    "mean",
    "median",
    "mode",
    "ratio",
    "function",
    "interval",
    "set",
    "equation",
    "total",
    "domain",
    "range",
    "of",
];

/// Words before a value that introduce an answer, and are no part of it.
const INTRODUCTIONS: &[&str] = &[
    "answer",
    "final answer",
    "correct answer",
    "result",
    "final result",
    "solution",
    "solutions",
    "solution set",
    "therefore",
    "thus",
    "hence",
    "so",
    "it",
    "we get",
    "we have",
    "we find",
    "that",
    "they",
    "roots",
    "root",
    "integers",
    "numbers",
    "pair",
    "pairs",
    "answers",
];

/// A value with the words before it: those that only introduce it fall away, plain ones may be missing on one side, and
/// all others are part of the answer. `introduced` says that a colon or "is" stands between.
pub(super) fn labelled(label: &[String], introduced: bool, value: Expr) -> Expr {
    let words: Vec<String> = label
        .iter()
        .map(|word| word.to_lowercase())
        .filter(|word| !matches!(word.as_str(), "the" | "a" | "an" | "our" | "all"))
        .skip_while(|word| matches!(word.as_str(), "therefore" | "thus" | "hence" | "so" | "then" | "finally"))
        .collect();
    let name = words.join(" ");
    if name.is_empty()
        || matches!(name.as_str(), "we get" | "we have" | "we find" | "answer")
        || introduced && INTRODUCTIONS.contains(&name.as_str())
    {
        return value;
    }
    // Of all that letters name, a ray alone has a first one.
    if name == "ray" {
        return Expr::Labelled(format!("{name} {value:?}"), false, Box::new(value));
    }
    let loose = introduced || words.iter().all(|word| PLAIN_LABELS.contains(&word.as_str()));
    Expr::Labelled(name, loose, Box::new(value))
}
