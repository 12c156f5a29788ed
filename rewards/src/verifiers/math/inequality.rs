//! Inequalities in one variable that stands linearly, or under an absolute value.

use std::cmp::Ordering;

use super::{
    expression::{Constant, Expr, Function, Relation},
    label::label_of,
    number::Number,
    real::Reals,
    region::Region,
    scalar::Session,
    value::Value,
};

impl Session {
    /// Bounds on the absolute value of a variable.
    fn both_sides_of_zero(&mut self, terms: &[Expr], relations: &[Relation]) -> Option<Value> {
        let of_letter = |term: &Expr| match term {
            Expr::Call(Function::Abs, items) => match items.as_slice() {
                [letter @ Expr::Variable(_)] => Some(letter.clone()),
                _ => None,
            },
            _ => None,
        };
        let letter = terms.iter().find_map(of_letter)?;
        let freed: Vec<Expr> = terms.iter().map(|term| of_letter(term).unwrap_or_else(|| term.clone())).collect();
        let Value::Region(sizes, name) = self.solved(&freed, relations)? else { return None };
        let rest = freed.iter().filter(|term| **term != letter).all(Expr::is_closed);
        let from_zero = Region::interval(&Expr::integer(0), true, &Expr::Constant(Constant::Infinity), false, self)?;
        let sizes = sizes.intersection(&from_zero, self)?;
        let both = sizes.union(&sizes.mirrored(), self)?;
        rest.then_some(Value::Region(both, name))
    }

    /// An inequality, or a chain of them, in one variable that stands linearly.
    pub(super) fn solved(&mut self, terms: &[Expr], relations: &[Relation]) -> Option<Value> {
        // `0 < f(x) < 4` bounds the function as it would bound a letter.
        if let Some(call) = terms.iter().find(|term| matches!(term, Expr::Apply(..))) {
            let named = Expr::Variable(label_of(call));
            let terms: Vec<Expr> =
                terms.iter().map(|term| if term == call { named.clone() } else { term.clone() }).collect();
            let left = terms.iter().any(|term| term.any(&|node| matches!(node, Expr::Apply(..))));
            return if left { None } else { self.solved(&terms, relations) };
        }
        if let Some(region) = self.both_sides_of_zero(terms, relations) {
            return Some(region);
        }
        let names: Vec<String> = terms.iter().flat_map(Expr::variables).collect();
        let name = names.first()?;
        if names.iter().any(|other| other != name) {
            return None;
        }
        let mut all = Region::line();
        for (index, relation) in relations.iter().enumerate() {
            let region = solve(self, &terms[index], *relation, &terms[index + 1], name)?;
            all = all.intersection(&region, self)?;
        }
        Some(Value::Region(all, Some(name.clone())))
    }
}

/// The numbers for which `left relation right` holds; nothing when the variable does not stand linearly.
fn solve(session: &mut Session, left: &Expr, relation: Relation, right: &Expr, name: &str) -> Option<Region> {
    let is_variable = |side: &Expr| matches!(side, Expr::Variable(own) if own == name);
    if is_variable(left) && right.is_closed() && right.is_scalar() {
        return ray(session, relation, right);
    }
    if is_variable(right) && left.is_closed() && left.is_scalar() {
        return ray(session, relation.reversed(), left);
    }
    if !left.is_scalar() || !right.is_scalar() {
        return None;
    }
    let gap = Expr::difference(left.clone(), right.clone());
    let at = |place: i64| gap.substitute(name, &Expr::integer(place));
    let slope = Expr::difference(at(1), at(0));
    for (from, to) in [(2, 1), (3, 2), (-4, -5)] {
        if session.order(&Expr::difference(at(from), at(to)), &slope)? != Ordering::Equal {
            return None;
        }
    }
    let direction = session.order(&slope, &Expr::integer(0))?;
    let root = Expr::Quotient(Box::new(Expr::Negative(Box::new(at(0)))), Box::new(slope));
    match direction {
        Ordering::Greater => ray(session, relation, &root),
        Ordering::Less => ray(session, relation.reversed(), &root),
        Ordering::Equal => None,
    }
}

/// The numbers on one side of an end.
fn ray(session: &mut Session, relation: Relation, end: &Expr) -> Option<Region> {
    use Constant::Infinity;
    let up = Expr::Constant(Infinity);
    let down = Expr::Negative(Box::new(Expr::Constant(Infinity)));
    // An end with no real value bounds nothing; an infinite one bounds nothing on its own side.
    match end.infinity() {
        Some(positive) => {
            let outward = matches!(relation, Relation::Less | Relation::LessEqual) == positive;
            return (relation != Relation::NotEqual && outward).then(Region::line);
        }
        None => match session.quick(end).ok()? {
            Number::Exact(_) => {}
            value => {
                value.real(&Reals::new(256)).ok()?;
            }
        },
    }
    match relation {
        Relation::Less => Region::interval(&down, false, end, false, session),
        Relation::LessEqual => Region::interval(&down, false, end, true, session),
        Relation::Greater => Region::interval(end, false, &up, false, session),
        Relation::GreaterEqual => Region::interval(end, true, &up, false, session),
        Relation::NotEqual => Some(Region::point(end).complement()),
        _ => None,
    }
}
