//! Chains of equations: what they state, when everything in them agrees.

use std::cmp::Ordering;

use dashu::rational::RBig;

use super::{
    compare::is_lone,
    expression::{Expr, Relation},
    label::is_label,
    scalar::Session,
    value::Value,
    verdict::Verdict,
};

/// A decimal of so many digits is one that was rounded.
const LONG_DIGITS: usize = 12;

impl Session {
    /// The value that a chain of equations states: its last exact side when the first is a label or all are numbers.
    /// Nothing is ignored: the sides between must be equal, and approximations right to their last digit.
    pub(super) fn asserted(&mut self, terms: &[Expr], relations: &[Relation]) -> Option<Value> {
        let (first, rest) = terms.split_first()?;
        let last = rest.last()?;
        if relations.iter().any(|r| !matches!(r, Relation::Equal | Relation::Approximately)) {
            return None;
        }
        if relations.len() == 1 && is_label(last) && first.is_closed() {
            return self.settle(first).ok();
        }
        let circular = terms.len() == 2 && is_lone(first) && first.variables().is_subset(&last.variables());
        if is_label(first) && !circular {
            return self.agreed(rest, &relations[1..]);
        }
        self.agreed(terms, relations)
    }

    /// The last exact side of a chain whose sides agree.
    fn agreed(&mut self, terms: &[Expr], relations: &[Relation]) -> Option<Value> {
        let exact = relations.iter().position(|r| *r == Relation::Approximately).unwrap_or(relations.len());
        let mut value = self.settle(&terms[0]).ok()?;
        for term in &terms[1..=exact] {
            let next = self.settle(term).ok()?;
            if self.equal(&value, &next) != Verdict::Equal {
                return None;
            }
            value = next;
        }
        terms[exact + 1..].iter().all(|term| self.rounded(&terms[exact], term)).then_some(value)
    }

    /// Whether a finite decimal is a number rounded, or cut, to its last digit.
    fn rounded(&mut self, value: &Expr, decimal: &Expr) -> bool {
        let (sign, Some(number)) = (matches!(decimal, Expr::Negative(_)), plain_number(decimal)) else { return false };
        let Some(places) = (0..30_u32).find(|places| (number.clone() * ten(*places)).denominator().is_one()) else {
            return false;
        };
        let value = if sign { Expr::Negative(Box::new(value.clone())) } else { value.clone() };
        let end = |shift: RBig| Expr::Number(number.clone() + shift / ten(places));
        let half = RBig::from_parts(1.into(), 2_u8.into());
        let mut within = |low: Expr, high: Expr| {
            matches!(self.order(&low, &value), Some(Ordering::Less | Ordering::Equal))
                && matches!(self.order(&value, &high), Some(Ordering::Less | Ordering::Equal))
        };
        within(end(-half.clone()), end(half)) || within(end(RBig::ZERO), end(RBig::ONE))
    }

    /// Whether a gold answer is a long decimal, as machines write what they round, and the answer the number itself.
    pub(super) fn is_rounded_gold(&mut self, gold: &Value, answer: &Value) -> bool {
        let (Value::Scalar(decimal), Value::Scalar(exact)) = (gold, answer) else { return false };
        let Some(number) = plain_number(decimal) else { return false };
        let digits = (number.clone() * ten(30)).to_string().trim_end_matches('0').len();
        let fine = !(number * ten(LONG_DIGITS as u32 / 2)).denominator().is_one();
        (LONG_DIGITS..=30).contains(&digits)
            && fine
            && exact.is_closed()
            && plain_number(exact).is_none()
            && self.rounded(exact, decimal)
    }

    /// `f(x) = ... = last` without the steps between, when they agree.
    pub(super) fn stated(&mut self, terms: &[Expr], relations: &[Relation]) -> (Vec<Expr>, Vec<Relation>) {
        if terms.len() > 2 && is_label(&terms[0]) && relations.iter().all(|r| *r == Relation::Equal) {
            let last = &terms[terms.len() - 1];
            let agree = terms[1..].iter().all(|term| self.scalars(term, last) == Verdict::Equal);
            if agree {
                return (vec![terms[0].clone(), last.clone()], vec![Relation::Equal]);
            }
        }
        (terms.to_vec(), relations.to_vec())
    }

    /// Whether both sides of two equations are equal, each to each or crosswise.
    pub(super) fn side_by_side(&mut self, a: &[Expr], b: &[Expr]) -> bool {
        let mut same = |x: &Expr, y: &Expr| self.scalars(x, y) == Verdict::Equal;
        same(&a[0], &b[0]) && same(&a[1], &b[1]) || same(&a[0], &b[1]) && same(&a[1], &b[0])
    }
}

fn ten(places: u32) -> RBig {
    RBig::from(dashu::integer::UBig::from(10_u8).pow(places as usize))
}

fn plain_number(expr: &Expr) -> Option<RBig> {
    match expr {
        Expr::Number(value) => Some(value.clone()),
        Expr::Negative(inner) => plain_number(inner),
        _ => None,
    }
}
