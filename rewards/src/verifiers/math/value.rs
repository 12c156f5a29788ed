//! What kind of thing an answer is: the tree sorted into a typed value.

use super::{
    expression::{Bracket, Clock, Constant, Expr, Factor, Function, Joint, NamedSet, Relation},
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
            return self.settle(only);
        }
        if items.iter().all(|item| assignment(item).is_some()) {
            return self.settle_list(items, Joint::Comma);
        }
        if let [low, high] = items
            && open != Bracket::Angle
            && (open != close || low.infinity().is_some() || high.infinity().is_some())
            && let Some(region) = Region::interval(low, open == Bracket::Square, high, close == Bracket::Square, self)
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
            Value::Set(items) | Value::Several(items) => items.iter().try_fold(Region::empty(), |all, item| match item {
                Value::Scalar(at) if at.is_closed() => all.union(&Region::point(at), self),
                _ => None,
            }),
            _ => None,
        }
    }

    fn settle_list(&mut self, items: &[Expr], joint: Joint) -> Parsed<Value> {
        if let Some(family) = family(items) {
            return Ok(Value::Builder(family));
        }
        let items = carry_variable(items);
        if let Some(value) = self.assignments(&items)? {
            return Ok(value);
        }
        let settled = items.iter().map(|item| self.settle(item)).collect::<Parsed<Vec<_>>>()?;
        if settled.iter().all(|value| matches!(value, Value::Region(..))) {
            let relations = items.iter().all(|item| matches!(item, Expr::Relation(..)));
            return self.join_regions(&settled, joint, relations);
        }
        let mixed = settled.iter().any(|value| matches!(value, Value::Region(..)));
        let pairs = settled.iter().all(|value| match value {
            Value::Region(..) => true,
            Value::Tuple(open, items, _) => items.len() == 2 && *open != Bracket::Angle,
            _ => false,
        });
        if mixed && pairs {
            return self.join_regions(&settled, Joint::Or, false);
        }
        let flat = settled.into_iter().flat_map(|value| match value {
            Value::Several(members) => members,
            one => vec![one],
        });
        Ok(Value::Several(flat.collect()))
    }

    fn join_regions(&mut self, settled: &[Value], joint: Joint, relations: bool) -> Parsed<Value> {
        const REASON: &str = "the ends of an interval have no order";
        let mut name: Option<String> = None;
        let (mut either, mut both) = (Region::empty(), Region::line());
        for value in settled {
            if let Value::Region(_, Some(own)) = value {
                if name.as_ref().is_some_and(|name| name != own) {
                    return Ok(Value::Several(settled.to_vec()));
                }
                name = Some(own.clone());
            }
            let region = self.as_region(value).ok_or(REASON)?;
            either = either.union(&region, self).ok_or(REASON)?;
            both = both.intersection(&region, self).ok_or(REASON)?;
        }
        let joined = match joint {
            Joint::Or => either,
            Joint::And if relations => both,
            Joint::Comma if relations && !both.is_empty() => both,
            _ => either,
        };
        Ok(Value::Region(joined, name))
    }

    /// `x=2, y=3` as a value for each variable; `x=2 or x=3` and `x_1=2, x_2=3` as two values of one.
    fn assignments(&mut self, items: &[Expr]) -> Parsed<Option<Value>> {
        let pairs: Option<Vec<(String, &Expr)>> = items.iter().map(assignment).collect();
        let Some(pairs) = pairs else { return Ok(None) };
        let mut values = Vec::new();
        for (name, value) in pairs {
            values.push((name, self.settle(value)?));
        }
        let Some((first, _)) = values.first().cloned() else { return Ok(None) };
        if values.iter().all(|(name, _)| *name == first) {
            let flat = values.into_iter().flat_map(|(_, value)| match value {
                Value::Several(more) => more,
                one => vec![one],
            });
            return Ok(Some(Value::Labelled(first, true, Box::new(Value::Several(flat.collect())))));
        }
        // `p=3, q=5; p=5, q=3` gives all the variables again: that many solutions.
        let width = values.iter().skip(1).position(|(name, _)| *name == first).map_or(values.len(), |at| at + 1);
        let solutions: Vec<&[(String, Value)]> = values.chunks(width).collect();
        let alike = |solution: &&[(String, Value)]| names_of(solution).eq(names_of(solutions[0]));
        let distinct = (1..width).all(|at| !values[..at].iter().any(|(name, _)| *name == values[at].0));
        if !distinct || !solutions.iter().all(alike) {
            return Ok(None);
        }
        let mut solutions: Vec<Value> = solutions.into_iter().map(|one| Value::Assignment(one.to_vec())).collect();
        Ok(if solutions.len() == 1 { solutions.pop() } else { Some(Value::Several(solutions)) })
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
    fn solved(&mut self, terms: &[Expr], relations: &[Relation]) -> Option<Value> {
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
            let region = super::inequality::solve(self, &terms[index], *relation, &terms[index + 1], name)?;
            all = all.intersection(&region, self)?;
        }
        Some(Value::Region(all, Some(name.clone())))
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
        "emptyset" | "nullset" => Value::Set(Vec::new()),
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

fn signs(expr: &Expr) -> u32 {
    let own = u32::from(matches!(expr, Expr::PlusMinus(_) | Expr::MinusPlus(_)));
    // Inside a set, list or relation the signs belong to one item each.
    let below = match expr {
        Expr::Set(_) | Expr::List(..) | Expr::Relation(..) => 0,
        _ => expr.parts().into_iter().map(signs).sum(),
    };
    own + below
}

fn choose_signs(expr: &Expr, choice: u32, index: &mut u32) -> Expr {
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

/// The variable and the value of `x = 5` or `5 = x`.
fn assignment(item: &Expr) -> Option<(String, &Expr)> {
    match item {
        Expr::Relation(terms, relations) if relations[..] == [Relation::Equal] => match terms.as_slice() {
            [Expr::Variable(name), value] if !value.variables().contains(name) => Some((name.clone(), value)),
            [value, Expr::Variable(name)] if value.is_closed() => Some((name.clone(), value)),
            _ => None,
        },
        _ => None,
    }
}

/// In `x = 2, 3` and `x \ne 2, 3` the later items belong to the same variable.
fn carry_variable(items: &[Expr]) -> Vec<Expr> {
    let (head, relation) = match items.first() {
        Some(Expr::Relation(terms, relations)) => match (terms.as_slice(), relations.as_slice()) {
            ([head @ Expr::Variable(_), _], [relation @ (Relation::Equal | Relation::NotEqual)]) => (head, *relation),
            _ => return items.to_vec(),
        },
        _ => return items.to_vec(),
    };
    if !items[1..].iter().all(|item| item.is_scalar() && item.is_closed()) {
        return items.to_vec();
    }
    let carried = items[1..].iter().map(|item| Expr::Relation(vec![head.clone(), item.clone()], vec![relation]));
    items[..1].iter().cloned().chain(carried).collect()
}

/// Values with a letter that runs through a set: `2k\pi, k \in \mathbb{Z}`.
fn family(items: &[Expr]) -> Option<Vec<Expr>> {
    let (member, heads) = items.split_last()?;
    let Expr::Relation(terms, relations) = member else { return None };
    let ([Expr::Variable(letter), Expr::Named(_)], [Relation::Member]) = (terms.as_slice(), relations.as_slice()) else {
        return None;
    };
    let runs = !heads.is_empty() && heads.iter().all(|head| head.variables().contains(letter));
    let head = super::parser::single_or(heads.to_vec(), |heads| Expr::List(heads, Joint::Comma));
    runs.then(|| vec![head, member.clone()])
}

fn names_of(solution: &[(String, Value)]) -> impl Iterator<Item = &String> {
    solution.iter().map(|(name, _)| name)
}

/// What a value is the value of, in words that are the same for the same thing.
fn label_of(head: &Expr) -> String {
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
