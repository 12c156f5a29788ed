//! What kind of thing an answer is: the tree sorted into a typed value.

use super::{
    expression::{Bracket, Clock, Expr, Factor, Joint, NamedSet, Relation},
    label::{assignment, is_label, label_of},
    parser::Parsed,
    region::Region,
    scalar::Session,
    units::Unit,
    verdict::Verdict,
    words,
};

/// More plus-or-minus signs than this in one expression are refused.
const MAX_SIGNS: u32 = 3;

/// A typed answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Scalar(Expr),
    Quantity(Expr, Unit),
    Tuple(Bracket, Vec<Self>, Bracket),
    /// Members without order, each as often as it likes: a set.
    Set(Vec<Self>),
    /// Several answers, both signs of a root: without order, but each counts.
    Several(Vec<Self>),
    /// Statements joined by a connective: of a conjunction all hold, else one of them.
    Joined(Joint, Vec<Self>),
    /// Part of the real line, with the variable it bounds where one was named.
    Region(Region, Option<String>),
    Relation(Vec<Expr>, Vec<Relation>),
    Congruence {
        left: Option<Expr>,
        value: Expr,
        modulus: Expr,
    },
    /// A value for each of several variables, as they were written.
    Assignment(Vec<(String, Self)>),
    /// A value with the words before it, or with what it is the value of; the flag says whether a side may leave that out.
    Labelled(String, bool, Box<Self>),
    /// Each case of a function with its condition.
    Pieces(Vec<[Self; 2]>),
    /// A set by a rule: its member, then its conditions.
    Builder(Vec<Expr>),
    /// A set with a name without some members.
    Without(NamedSet, Vec<Self>),
    Matrix(Vec<Vec<Expr>>),
    Named(NamedSet),
    Ratio(Vec<Expr>),
    Clock(Clock),
    Radix(String, u32),
    Text(String),
}

impl Session {
    /// Sorts a tree into a typed value.
    ///
    /// # Errors
    /// A reason in words when the parts do not fit together.
    pub(super) fn settle(&mut self, expr: &Expr) -> Parsed<Value> {
        match expr {
            Expr::Text(text) => Ok(text_value(text)),
            Expr::Named(NamedSet::Empty) => Ok(Value::Set(Vec::new())),
            Expr::Named(NamedSet::Reals) => Ok(Value::Region(Region::line(), None)),
            Expr::Named(set) => Ok(Value::Named(*set)),
            Expr::Clock(clock) => Ok(Value::Clock(*clock)),
            Expr::Radix { digits, base } => Ok(Value::Radix(digits.clone(), *base)),
            Expr::Ratio(items) => Ok(Value::Ratio(items.clone())),
            // `{x = 2, y = 5}` gives values to names.
            Expr::Set(items) if items.len() > 1 && items.iter().all(|item| assignment(item).is_some()) => {
                self.settle_list(items, Joint::Comma)
            }
            Expr::Set(items) => Ok(Value::Set(self.members(items)?)),
            Expr::List(items, joint) => self.settle_list(items, *joint),
            Expr::Group(open, items, close) => self.settle_group(*open, items, *close),
            Expr::Union(_) | Expr::Intersection(_) | Expr::Difference(..) => self.settle_sets(expr),
            Expr::Relation(terms, relations) => self.settle_relation(terms, relations),
            Expr::Modulo(value, modulus) => {
                Ok(Value::Congruence { left: None, value: (**value).clone(), modulus: (**modulus).clone() })
            }
            Expr::Matrix(rows) => Ok(Value::Matrix(rows.clone())),
            Expr::Labelled(label, loose, inner) => {
                Ok(Value::Labelled(label.clone(), *loose, Box::new(self.settle(inner)?)))
            }
            Expr::Builder(parts) => Ok(Value::Builder(parts.clone())),
            Expr::Pieces(rows) => self.pieces(rows),
            _ => self.settle_expression(expr),
        }
    }

    fn settle_expression(&mut self, expr: &Expr) -> Parsed<Value> {
        if signs(expr) > 0 {
            return self.both_signs(expr);
        }
        if let Some(rows) = super::matrix::evaluate(expr) {
            return Ok(Value::Matrix(rows));
        }
        let (stripped, unit) = strip_units(expr)?;
        if !unit.is_empty() {
            return match self.settle(&stripped)? {
                Value::Scalar(inner) => Ok(Value::Quantity(inner, unit)),
                Value::Several(items) => {
                    Ok(Value::Several(items.into_iter().map(|item| measured(item, &unit)).collect()))
                }
                _ => Err("a unit stands on something else than a number"),
            };
        }
        if expr.is_scalar() {
            return Ok(Value::Scalar(expr.clone()));
        }
        if let Expr::Sum(items) = expr
            && let Some((first, rest)) = items.split_first()
            && !rest.is_empty()
            && rest.iter().all(|item| matches!(item, Expr::Negative(_)))
        {
            if let (Expr::Named(set), [Expr::Negative(taken)]) = (first, rest)
                && *set != NamedSet::Reals
                && let Value::Set(taken) = self.settle(taken)?
            {
                return Ok(Value::Without(*set, taken));
            }
            return self.set_difference(first, rest);
        }
        Err("the parts do not make one value")
    }

    /// `\mathbb{R} - \{2\}`: the minus sign between sets.
    fn set_difference(&mut self, first: &Expr, rest: &[Expr]) -> Parsed<Value> {
        let mut region = self.region(first).ok_or("the parts do not make one value")?;
        for item in rest {
            if let Expr::Negative(taken) = item {
                let taken = self.region(taken).ok_or("the parts do not make one value")?;
                region =
                    region.intersection(&taken.complement(), self).ok_or("the ends of an interval have no order")?;
            }
        }
        Ok(Value::Region(region, None))
    }

    fn both_signs(&mut self, expr: &Expr) -> Parsed<Value> {
        let count = signs(expr);
        if count > MAX_SIGNS {
            return Err("there are too many plus-or-minus signs");
        }
        // A minus-or-plus sign means that all signs go together.
        let together = expr.any(&|node| matches!(node, Expr::MinusPlus(_)));
        let choices: Vec<u32> = if together { vec![0, (1 << count) - 1] } else { (0..1 << count).collect() };
        let mut items = Vec::new();
        for choice in choices {
            let mut index = 0;
            let chosen = choose_signs(expr, choice, &mut index);
            match self.settle(&chosen)? {
                Value::Several(more) => items.extend(more),
                one => items.push(one),
            }
        }
        Ok(Value::Several(items))
    }

    fn pieces(&mut self, rows: &[Vec<Expr>]) -> Parsed<Value> {
        let mut pieces = Vec::new();
        for row in rows {
            let [value, condition] = row.as_slice() else { return Err("a case has no condition") };
            pieces.push([self.settle(value)?, self.settle(condition)?]);
        }
        Ok(Value::Pieces(pieces))
    }

    /// The members of a set; both signs of one member are two.
    fn members(&mut self, items: &[Expr]) -> Parsed<Vec<Value>> {
        let mut members = Vec::new();
        for item in items {
            match self.settle(item)? {
                Value::Several(more) => members.extend(more),
                one => members.push(one),
            }
        }
        Ok(members)
    }

    fn settle_group(&mut self, open: Bracket, items: &[Expr], close: Bracket) -> Parsed<Value> {
        let square = (open, close) == (Bracket::Square, Bracket::Square);
        let rows: Option<Vec<Vec<Expr>>> = items
            .iter()
            .map(|item| match item {
                Expr::Group(Bracket::Square, row, Bracket::Square) if square => Some(row.clone()),
                _ => None,
            })
            .collect();
        if let Some(rows) = rows.filter(|rows| rows.iter().all(|row| row.len() == rows[0].len())) {
            return Ok(Value::Matrix(rows));
        }
        if let [only] = items {
            if open != close {
                return Err("a bracket is closed by another kind");
            }
            // `[n/2]` may be a whole part.
            if square && only.is_scalar() && !matches!(only, Expr::Number(value) if value.is_int()) {
                return Ok(Value::Scalar(Expr::Group(open, items.to_vec(), close)));
            }
            return self.settle(only);
        }
        if items.iter().all(|item| assignment(item).is_some()) {
            return self.settle_list(items, Joint::Comma);
        }
        if let [low, high] = items
            && open != Bracket::Angle
            && (open != close || low.infinity().is_some() || high.infinity().is_some())
            && let Some(region) = Region::interval(low, open == Bracket::Square, high, close == Bracket::Square, self)
            && !region.is_empty()
        {
            return Ok(Value::Region(region, None));
        }
        let items = items.iter().map(|item| self.settle(item)).collect::<Parsed<Vec<_>>>()?;
        Ok(Value::Tuple(open, items, close))
    }

    /// A union, intersection or difference: of finite sets a set, else a region.
    fn settle_sets(&mut self, expr: &Expr) -> Parsed<Value> {
        if let Expr::Union(items) = expr {
            let settled = items.iter().map(|item| self.settle(item)).collect::<Parsed<Vec<_>>>()?;
            if settled.iter().all(|value| matches!(value, Value::Set(_))) {
                return Ok(Value::Set(
                    settled
                        .into_iter()
                        .flat_map(|value| if let Value::Set(items) = value { items } else { Vec::new() })
                        .collect(),
                ));
            }
        }
        if let Expr::Difference(from, taken) = expr
            && let (Expr::Named(set), Value::Set(taken)) = (&**from, self.settle(taken)?)
            && *set != NamedSet::Reals
        {
            return Ok(Value::Without(*set, taken));
        }
        let name = self.bounded_variable(expr);
        let region = self.region(expr).ok_or("the ends of an interval have no order")?;
        Ok(Value::Region(region, name))
    }

    fn bounded_variable(&mut self, expr: &Expr) -> Option<String> {
        expr.parts().into_iter().find_map(|part| match self.settle(part) {
            Ok(Value::Region(_, name)) => name,
            _ => None,
        })
    }

    /// The part of the real line that a set expression means, where it means one.
    pub(super) fn region(&mut self, expr: &Expr) -> Option<Region> {
        match expr {
            Expr::Union(items) => items.iter().try_fold(Region::empty(), |all, item| {
                let region = self.region(item)?;
                all.union(&region, self)
            }),
            Expr::Intersection(items) => items.iter().try_fold(Region::line(), |all, item| {
                let region = self.region(item)?;
                all.intersection(&region, self)
            }),
            Expr::Difference(from, taken) => {
                let (from, taken) = (self.region(from)?, self.region(taken)?);
                from.intersection(&taken.complement(), self)
            }
            other => {
                let value = self.settle(other).ok()?;
                self.as_region(&value)
            }
        }
    }

    /// A value read as part of the real line: a region, a pair of ends, a finite set.
    pub(super) fn as_region(&mut self, value: &Value) -> Option<Region> {
        match value {
            Value::Region(region, _) => Some(region.clone()),
            Value::Tuple(open, items, close) if *open != Bracket::Angle => match items.as_slice() {
                [Value::Scalar(low), Value::Scalar(high)] => {
                    Region::interval(low, *open == Bracket::Square, high, *close == Bracket::Square, self)
                }
                _ => None,
            },
            Value::Set(items) | Value::Several(items) => {
                items.iter().try_fold(Region::empty(), |all, item| match item {
                    Value::Scalar(at) if at.is_closed() => all.union(&Region::point(at), self),
                    _ => None,
                })
            }
            _ => None,
        }
    }

    fn settle_relation(&mut self, terms: &[Expr], relations: &[Relation]) -> Parsed<Value> {
        if let ([head, set], [Relation::Member]) = (terms, relations) {
            let name = if let Expr::Variable(name) = head { Some(name.clone()) } else { None };
            let value = self.settle(set)?;
            return Ok(match (&value, self.as_region(&value)) {
                (Value::Region(..) | Value::Tuple(..), Some(region)) => Value::Region(region, name),
                _ => Value::Labelled(label_of(head), is_label(head), Box::new(value)),
            });
        }
        if let ([left, Expr::Modulo(value, modulus)], [Relation::Congruent]) = (terms, relations) {
            let left = Some(left.clone());
            return Ok(Value::Congruence { left, value: (**value).clone(), modulus: (**modulus).clone() });
        }
        let equal = relations.iter().all(|relation| matches!(relation, Relation::Equal | Relation::Approximately));
        if equal
            && let Some((last, before)) = terms.split_last()
            && (is_label(&terms[0]) || matches!(terms[0], Expr::Group(..)))
            && !last.is_scalar()
        {
            let value = self.settle(last)?;
            // What stands between must be the same value: nothing is ignored.
            for middle in before.iter().skip(1) {
                let middle = self.settle(middle)?;
                if self.equal(&middle, &value) != Verdict::Equal {
                    return Ok(Value::Relation(terms.to_vec(), relations.to_vec()));
                }
            }
            return Ok(Value::Labelled(label_of(&terms[0]), true, Box::new(value)));
        }
        if !relations.is_empty()
            && relations.iter().all(|relation| relation.bounds())
            && let Some(value) = self.solved(terms, relations)
        {
            return Ok(value);
        }
        Ok(Value::Relation(terms.to_vec(), relations.to_vec()))
    }
}

/// Text that names a set or a number is that; other text is its normal form.
fn text_value(text: &str) -> Value {
    let normal = words::normal_text(text);
    match normal.as_str() {
        "allrealnumbers"
        | "allreals"
        | "realnumbers"
        | "setofallrealnumbers"
        | "setofrealnumbers"
        | "allrealvalues"
        | "reals" => Value::Region(Region::line(), None),
        "emptyset" | "nullset" | "none" | "nosolution" => Value::Set(Vec::new()),
        "allintegers" | "integers" => Value::Named(NamedSet::Integers),
        _ => Value::Text(normal),
    }
}

fn measured(value: Value, unit: &Unit) -> Value {
    match value {
        Value::Scalar(inner) => Value::Quantity(inner, unit.clone()),
        other => other,
    }
}

/// How many plus-or-minus signs are in an expression.
pub(super) fn signs(expr: &Expr) -> u32 {
    let own = u32::from(matches!(expr, Expr::PlusMinus(_) | Expr::MinusPlus(_)));
    // Inside a set, list or relation the signs belong to one item each.
    let below = match expr {
        Expr::Set(_) | Expr::List(..) | Expr::Relation(..) => 0,
        _ => expr.parts().into_iter().map(signs).sum(),
    };
    own + below
}

/// An expression with the signs that the bits of `choice` say, from the sign `index` on.
pub(super) fn choose_signs(expr: &Expr, choice: u32, index: &mut u32) -> Expr {
    let flipped = match expr {
        Expr::PlusMinus(_) => false,
        Expr::MinusPlus(_) => true,
        other => return other.map(&mut |part| choose_signs(part, choice, index)),
    };
    let negative = (choice >> *index) & 1 == 1;
    *index += 1;
    let inner = expr.parts().first().map(|inner| choose_signs(inner, choice, index)).unwrap_or(Expr::integer(0));
    if negative != flipped { Expr::Negative(Box::new(inner)) } else { inner }
}

/// The expression without its unit, and the unit: that of the whole, or the degree signs outside functions.
fn strip_units(expr: &Expr) -> Parsed<(Expr, Unit)> {
    Ok(match expr {
        Expr::Quantity(inner, unit) => {
            let (inner, own) = strip_units(inner)?;
            if !own.is_empty() && own != *unit {
                return Err("two units stand on one number");
            }
            (inner, unit.clone())
        }
        Expr::Degree(inner) => ((**inner).clone(), Unit::one("degree")),
        Expr::Negative(inner) => {
            let (inner, unit) = strip_units(inner)?;
            (Expr::Negative(Box::new(inner)), unit)
        }
        Expr::Group(_, items, _) if items.len() == 1 => strip_units(&items[0])?,
        Expr::Sum(items) if items.iter().any(|item| !matches!(strip_units(item), Ok((_, unit)) if unit.is_empty())) => {
            let parts = items.iter().map(strip_units).collect::<Parsed<Vec<_>>>()?;
            let unit = parts[0].1.clone();
            if parts.iter().any(|(_, other)| *other != unit) {
                return Err("a sum mixes units");
            }
            (Expr::Sum(parts.into_iter().map(|(part, _)| part).collect()), unit)
        }
        Expr::Product(factors) => strip_product(factors)?,
        other => (other.clone(), Unit::default()),
    })
}

fn strip_product(factors: &[Factor]) -> Parsed<(Expr, Unit)> {
    let mut unit = Unit::default();
    let mut stripped = Vec::new();
    for factor in factors {
        let (inner, own) = strip_units(&factor.expr)?;
        if !own.is_empty() && (!unit.is_empty() || factor.inverse) {
            return Err("a product mixes units");
        }
        if !own.is_empty() {
            unit = own;
        }
        stripped.push(Factor { expr: inner, inverse: factor.inverse });
    }
    Ok((Expr::Product(stripped), unit))
}
