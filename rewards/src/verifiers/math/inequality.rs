//! Inequalities in one variable that stands linearly.

use std::cmp::Ordering;

use super::{
    expression::{Expr, Relation},
    number::Number,
    real::Reals,
    region::Region,
    scalar::Session,
};

/// The numbers for which `left relation right` holds; nothing when the variable does not stand linearly.
pub(super) fn solve(
    session: &mut Session,
    left: &Expr,
    relation: Relation,
    right: &Expr,
    name: &str,
) -> Option<Region> {
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
    use super::expression::Constant::Infinity;
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
