//! Two typed values side by side.

use super::{
    expression::{Bracket, Clock, Expr, Function, Relation},
    gathered::definitions,
    label::label_of,
    opaque::with_argument_of,
    ordered::is_row_of_names,
    scalar::Session,
    units::Unit,
    value::{Value, choose_signs, signs},
    verdict::Verdict,
};

/// More pairs of members than this are not compared.
const MAX_PAIRS: usize = 4_096;

impl Session {
    /// Whether two typed values are one answer.
    pub(super) fn equal(&mut self, a: &Value, b: &Value) -> Verdict {
        match (a, b) {
            (Value::Scalar(a), Value::Scalar(b)) if a != b && is_row_of_names(a) && is_row_of_names(b) => {
                Verdict::Unknown
            }
            (Value::Scalar(a), Value::Scalar(b)) => self.scalars(a, b),
            (Value::Quantity(a, unit), Value::Quantity(b, other)) => {
                if unit == other {
                    self.scalars(a, b)
                } else {
                    Verdict::Different
                }
            }
            (Value::Quantity(a, unit), Value::Scalar(b)) | (Value::Scalar(b), Value::Quantity(a, unit)) => {
                self.measured(a, unit, b)
            }
            (Value::Several(a), Value::Several(b)) if a.iter().chain(b).all(is_single) => self.several(a, b),
            (Value::Set(a) | Value::Several(a), Value::Set(b) | Value::Several(b)) => self.sets(a, b),
            (Value::Pieces(a), Value::Pieces(b)) => self.pieces_match(a, b),
            (Value::Builder(a), Value::Builder(b)) => self.rules(a, b),
            (Value::Without(set, a), Value::Without(other, b)) => {
                if set == other {
                    self.sets(a, b)
                } else {
                    Verdict::Different
                }
            }
            (Value::Relation(a, x), Value::Relation(b, y)) => self.relations(a, x, b, y),
            (Value::Matrix(a), Value::Matrix(b)) => self.matrices(a, b),
            (Value::Congruence { .. }, Value::Congruence { .. }) => self.congruences(a, b),
            // Two words that differ are two answers; sentences may say one thing in two ways.
            (Value::Text(a), Value::Text(b)) if a != b && (a.contains(' ') || b.contains(' ')) => Verdict::Unknown,
            (Value::Text(a), Value::Text(b)) => Verdict::when(a == b),
            (Value::Named(a), Value::Named(b)) => Verdict::when(a == b),
            (Value::Clock(a), Value::Clock(b)) => Verdict::when(same_time(a, b)),
            (Value::Ratio(a), Value::Ratio(b)) => self.ratios(a, b),
            (Value::Radix(a, base), Value::Radix(b, other)) => Verdict::when(a == b && base == other),
            (Value::Labelled(..) | Value::Assignment(_), _) | (_, Value::Labelled(..) | Value::Assignment(_)) => {
                self.named(a, b)
            }
            (Value::Joined(..), _) | (_, Value::Joined(..)) => self.formulas(a, b),
            (Value::Tuple(..) | Value::Region(..), _) | (_, Value::Tuple(..) | Value::Region(..)) => self.placed(a, b),
            _ => self.unlike(a, b),
        }
    }

    /// Two values of which one at least has a name.
    fn named(&mut self, a: &Value, b: &Value) -> Verdict {
        match (a, b) {
            (Value::Labelled(name, _, a), Value::Labelled(other, _, b)) => {
                let verdict = self.equal(a, b);
                if name == other || verdict == Verdict::Different { verdict } else { Verdict::Unknown }
            }
            (Value::Labelled(name, _, inner), Value::Assignment(values))
            | (Value::Assignment(values), Value::Labelled(name, _, inner))
                if ordered_as(name, values).is_some() =>
            {
                match (&**inner, ordered_as(name, values)) {
                    (Value::Tuple(_, items, _), Some(values)) => self.in_order(items, &values),
                    _ => Verdict::Unknown,
                }
            }
            (Value::Labelled(name, ..), Value::Assignment(values))
            | (Value::Assignment(values), Value::Labelled(name, ..))
                if !values.iter().all(|(own, _)| own.starts_with(&format!("{name}_"))) =>
            {
                Verdict::Unknown
            }
            (Value::Labelled(name, _, inner), Value::Relation(terms, relations))
            | (Value::Relation(terms, relations), Value::Labelled(name, _, inner))
                if with_both_signs(terms, relations).is_some() =>
            {
                let stated = named_values(name, inner).zip(with_both_signs(terms, relations));
                stated.map_or(Verdict::Different, |(own, other)| self.several(&own, &other))
            }
            (Value::Labelled(_, loose, labelled), other) | (other, Value::Labelled(_, loose, labelled)) => {
                self.without_label(*loose, labelled, other)
            }
            (Value::Assignment(a), Value::Assignment(b)) => self.assigned(a, b),
            (Value::Assignment(values), Value::Tuple(_, items, _))
            | (Value::Tuple(_, items, _), Value::Assignment(values)) => {
                let mut values = values.clone();
                values.sort_by(|(a, _), (b, _)| a.cmp(b));
                let values: Vec<Value> = values.into_iter().map(|(_, value)| value).collect();
                self.in_order(&values, items)
            }
            (Value::Assignment(values), Value::Several(items)) | (Value::Several(items), Value::Assignment(values)) => {
                self.unnamed(values, items)
            }
            _ => self.unlike(a, b),
        }
    }

    /// Two values of which one at least is a point or a part of the line.
    fn placed(&mut self, a: &Value, b: &Value) -> Verdict {
        match (a, b) {
            (Value::Tuple(open, a, close), Value::Tuple(opening, b, closing)) => {
                let loose = |bracket: Bracket| bracket == Bracket::Angle || a.len() != 2;
                let fits = |x: Bracket, y: Bracket| x == y || loose(x) || loose(y);
                if fits(*open, *opening) && fits(*close, *closing) { self.in_order(a, b) } else { Verdict::Different }
            }
            // The brackets of a point may have been left out.
            (Value::Tuple(Bracket::Round, a, Bracket::Round), Value::Several(b))
            | (Value::Several(b), Value::Tuple(Bracket::Round, a, Bracket::Round))
                if a.len() > 1 =>
            {
                if self.in_order(a, b) == Verdict::Equal {
                    Verdict::Unknown
                } else {
                    Verdict::Different
                }
            }
            (Value::Region(a, name), Value::Region(b, other)) => {
                if let (Some(name), Some(other)) = (name, other)
                    && name != other
                {
                    return Verdict::Different;
                }
                a.same(b, self).map_or(Verdict::Unknown, Verdict::when)
            }
            (Value::Region(region, _), other) | (other, Value::Region(region, _))
                if matches!(other, Value::Tuple(..) | Value::Set(_) | Value::Several(_)) =>
            {
                match self.as_region(other) {
                    Some(other) if other.is_empty() != region.is_empty() => Verdict::Different,
                    Some(other) => region.same(&other, self).map_or(Verdict::Unknown, Verdict::when),
                    None => Verdict::Different,
                }
            }
            _ => self.unlike(a, b),
        }
    }

    /// Values of two kinds that may still be one answer.
    fn unlike(&mut self, a: &Value, b: &Value) -> Verdict {
        match (a, b) {
            (
                Value::Congruence { left: None, value, modulus },
                Value::Scalar(Expr::Call(Function::Remainder, parts)),
            )
            | (
                Value::Scalar(Expr::Call(Function::Remainder, parts)),
                Value::Congruence { left: None, value, modulus },
            ) => match parts.as_slice() {
                [rest, by] => self.scalars(value, rest).and(self.scalars(modulus, by)),
                _ => Verdict::Unknown,
            },
            (Value::Relation(terms, relations), other) | (other, Value::Relation(terms, relations)) => {
                match self.asserted(terms, relations) {
                    Some(value) => self.equal(&value, other),
                    None => Verdict::Different,
                }
            }
            // The same value said twice may be a double root, or a slip.
            (Value::Several(items), _) | (_, Value::Several(items)) if items.len() > 1 => {
                let other = if matches!(a, Value::Several(_)) { b } else { a };
                match items.iter().fold(Verdict::Equal, |all, item| all.and(self.equal(item, other))) {
                    Verdict::Equal => Verdict::Unknown,
                    verdict => verdict,
                }
            }
            // `{x}` may be what is left of x beside its whole part.
            (Value::Set(items), Value::Scalar(_)) | (Value::Scalar(_), Value::Set(items)) if matches!(items.as_slice(), [Value::Scalar(only)] if !only.is_closed()) => {
                Verdict::Unknown
            }
            (Value::Set(items) | Value::Several(items), other) | (other, Value::Set(items) | Value::Several(items))
                if !items.is_empty() =>
            {
                items.iter().fold(Verdict::Equal, |all, item| all.and(self.equal(item, other)))
            }
            (Value::Matrix(rows), Value::Tuple(_, items, _)) | (Value::Tuple(_, items, _), Value::Matrix(rows)) => {
                match rows.as_slice() {
                    [row] => {
                        let row: Vec<Value> = row.iter().cloned().map(Value::Scalar).collect();
                        self.in_order(&row, items)
                    }
                    _ => Verdict::Different,
                }
            }
            (Value::Ratio(items), Value::Scalar(value)) | (Value::Scalar(value), Value::Ratio(items)) => {
                match (items.as_slice(), is_fraction(value)) {
                    ([above, below], true) => {
                        let quotient = Expr::Quotient(Box::new(above.clone()), Box::new(below.clone()));
                        self.scalars(&quotient, value)
                    }
                    _ => Verdict::Different,
                }
            }
            (Value::Clock(clock), Value::Ratio(items)) | (Value::Ratio(items), Value::Clock(clock)) => {
                self.clock_as_ratio(clock, items)
            }
            (Value::Radix(digits, _), Value::Scalar(Expr::Number(value)))
            | (Value::Scalar(Expr::Number(value)), Value::Radix(digits, _)) => {
                Verdict::when(value.to_string() == if digits.is_empty() { "0" } else { digits })
            }
            _ => Verdict::Different,
        }
    }

    /// A number with a unit against a bare one.
    fn measured(&mut self, amount: &Expr, unit: &Unit, bare: &Expr) -> Verdict {
        let verdict = self.scalars(amount, bare);
        let angle =
            *unit == Unit::one("degree") && bare.any(&|node| *node == Expr::Constant(super::expression::Constant::Pi));
        if verdict != Verdict::Equal && angle {
            return self.scalars(&Expr::Degree(Box::new(amount.clone())), bare);
        }
        verdict
    }

    pub(super) fn in_order(&mut self, a: &[Value], b: &[Value]) -> Verdict {
        if a.len() != b.len() {
            return Verdict::Different;
        }
        a.iter()
            .zip(b)
            .fold(Verdict::Equal, |all, (a, b)| if all == Verdict::Different { all } else { all.and(self.equal(a, b)) })
    }

    /// Sets are equal when each member of either is in the other.
    fn sets(&mut self, a: &[Value], b: &[Value]) -> Verdict {
        if a.len() * b.len() > MAX_PAIRS {
            return Verdict::Unknown;
        }
        let defined = definitions(a).zip(definitions(b));
        let (a, b) = defined.as_ref().map_or((a, b), |(a, b)| (a, b));
        let all = self.contained(a, b);
        if all == Verdict::Different { all } else { all.and(self.contained(b, a)) }
    }

    fn contained(&mut self, a: &[Value], b: &[Value]) -> Verdict {
        let mut all = Verdict::Equal;
        for (index, member) in a.iter().enumerate() {
            let mut found = Verdict::Different;
            // Most often the members stand in the same order.
            for other in b[index.min(b.len())..].iter().chain(&b[..index.min(b.len())]) {
                // A set is no member of the set of its members.
                let nested = matches!(member, Value::Set(_)) != matches!(other, Value::Set(_));
                match if nested { Verdict::Different } else { self.equal(member, other) } {
                    Verdict::Equal => {
                        found = Verdict::Equal;
                        break;
                    }
                    Verdict::Unknown => found = Verdict::Unknown,
                    Verdict::Different => {}
                }
            }
            if found == Verdict::Different {
                return found;
            }
            all = all.and(found);
        }
        all
    }

    fn matrices(&mut self, a: &[Vec<Expr>], b: &[Vec<Expr>]) -> Verdict {
        if a.len() != b.len() || a.iter().zip(b).any(|(a, b)| a.len() != b.len()) {
            return Verdict::Different;
        }
        let mut all = Verdict::Equal;
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            all = all.and(self.scalars(a, b));
            if all == Verdict::Different {
                break;
            }
        }
        all
    }

    fn ratios(&mut self, a: &[Expr], b: &[Expr]) -> Verdict {
        if a.len() != b.len() {
            return Verdict::Different;
        }
        let cross = |x: &Expr, y: &Expr| Expr::product(vec![x.clone(), y.clone()]);
        let mut all = Verdict::Equal;
        for index in 1..a.len() {
            all = all.and(self.scalars(&cross(&a[0], &b[index]), &cross(&a[index], &b[0])));
        }
        all
    }

    /// Two digits after a colon may be minutes or the second part of a ratio.
    fn clock_as_ratio(&mut self, clock: &Clock, items: &[Expr]) -> Verdict {
        if clock.afternoon.is_some() || clock.minute < 10 {
            return Verdict::Different;
        }
        let own = [Expr::integer(clock.hour.into()), Expr::integer(clock.minute.into())];
        self.ratios(&own, items)
    }

    fn congruences(&mut self, a: &Value, b: &Value) -> Verdict {
        let (
            Value::Congruence { left, value, modulus },
            Value::Congruence { left: other_left, value: other_value, modulus: other_modulus },
        ) = (a, b)
        else {
            return Verdict::Unknown;
        };
        let mut verdict = self.scalars(modulus, other_modulus);
        if let (Some(left), Some(other)) = (left, other_left) {
            verdict = verdict.and(self.scalars(left, other));
        }
        let rest = |value: &Expr| Expr::Call(Function::Remainder, vec![value.clone(), modulus.clone()]);
        verdict.and(self.scalars(&rest(value), &rest(other_value)))
    }

    /// Two equations, inequalities or other relations.
    fn relations(&mut self, a: &[Expr], x: &[Relation], b: &[Expr], y: &[Relation]) -> Verdict {
        if a == b && x == y {
            return Verdict::Equal;
        }
        if let (Some(a), Some(b)) = (with_both_signs(a, x), with_both_signs(b, y)) {
            return self.several(&a, &b);
        }
        let (a, x) = self.stated(a, x);
        let (b, y) = self.stated(b, y);
        let b = with_argument_of(&a, &b).unwrap_or(b);
        let ([left, right], [relation], [other_left, other_right], [other]) = (&a[..], &x[..], &b[..], &y[..]) else {
            return self.chains(&a, &x, &b, &y);
        };
        let equal = |relation: Relation| matches!(relation, Relation::Equal | Relation::Approximately);
        if equal(*relation) && equal(*other) || (*relation, *other) == (Relation::NotEqual, Relation::NotEqual) {
            let solved =
                is_lone(left) && left == other_left && !right.variables().iter().any(|name| is_named(left, name));
            let named = solved || are_one_function(left, other_left);
            if named && self.scalars(right, other_right) == Verdict::Equal || self.side_by_side(&a, &b) {
                return Verdict::Equal;
            }
            let f = Expr::difference(left.clone(), right.clone());
            let g = Expr::difference(other_left.clone(), other_right.clone());
            return self.proportional(&f, &g, false);
        }
        if relation.bounds() && other.bounds() {
            let (f, strict) = rising(left, *relation, right);
            let (g, other_strict) = rising(other_left, *other, other_right);
            return if strict == other_strict { self.proportional(&f, &g, true) } else { Verdict::Different };
        }
        if relation != other { Verdict::Different } else { self.chains(&a, &x, &b, &y) }
    }

    /// Chains are equal when they are term by term, in either direction.
    fn chains(&mut self, a: &[Expr], x: &[Relation], b: &[Expr], y: &[Relation]) -> Verdict {
        if a.len() != b.len() {
            return Verdict::Different;
        }
        if x == y {
            let forward = a.iter().zip(b).fold(Verdict::Equal, |all, (a, b)| all.and(self.scalars(a, b)));
            if forward == Verdict::Equal {
                return forward;
            }
        }
        let one_way = |relation: &Relation| match relation {
            Relation::Member => true,
            Relation::Other(name) => !matches!(*name, "perp" | "parallel" | "sim" | "cong" | "iff"),
            _ => false,
        };
        if x.iter().any(one_way) {
            return Verdict::Unknown;
        }
        let reversed: Vec<Relation> = y.iter().rev().map(|relation| relation.reversed()).collect();
        if x == reversed {
            return a.iter().zip(b.iter().rev()).fold(Verdict::Equal, |all, (a, b)| all.and(self.scalars(a, b)));
        }
        Verdict::Different
    }
}

/// The values of named variables in the order in which a label such as `(p, q)` names them.
fn ordered_as(label: &str, values: &[(String, Value)]) -> Option<Vec<Value>> {
    let names = |order: &[&(String, Value)]| {
        let names = order.iter().map(|(name, _)| Expr::Variable(name.clone())).collect();
        label_of(&Expr::Group(Bracket::Round, names, Bracket::Round))
    };
    let mut order: Vec<&(String, Value)> = values.iter().collect();
    order.sort_by(|(a, _), (b, _)| a.cmp(b));
    let written: Vec<&(String, Value)> = values.iter().collect();
    let backwards: Vec<&(String, Value)> = written.iter().rev().copied().collect();
    [order, written, backwards]
        .into_iter()
        .find(|order| order.len() > 1 && names(order) == label)
        .map(|order| order.into_iter().map(|(_, value)| value.clone()).collect())
}

/// The two equations that one with a plus-or-minus sign stands for.
fn with_both_signs(terms: &[Expr], relations: &[Relation]) -> Option<Vec<Value>> {
    let signs: u32 = terms.iter().map(signs).sum();
    let chosen = |choice: u32| {
        let terms = terms.iter().map(|term| choose_signs(term, choice, &mut 0)).collect();
        Value::Relation(terms, relations.to_vec())
    };
    (signs == 1).then(|| vec![chosen(0), chosen(1)])
}

/// Several values of one name as an equation each.
fn named_values(name: &str, values: &Value) -> Option<Vec<Value>> {
    let Value::Several(items) = values else { return None };
    let stated = |item: &Value| match item {
        Value::Scalar(value) => {
            Some(Value::Relation(vec![Expr::Variable(name.to_owned()), value.clone()], vec![Relation::Equal]))
        }
        _ => None,
    };
    items.iter().map(stated).collect()
}

/// Whether both sides name one function of a letter: `y` and `f(x)`.
fn are_one_function(a: &Expr, b: &Expr) -> bool {
    let is_called = |call: &Expr| {
        matches!(call, Expr::Apply(name, items)
            if matches!(name.as_str(), "f" | "g" | "h") && matches!(items.as_slice(), [Expr::Variable(of)] if of != "y"))
    };
    is_named(a, "y") && is_called(b) || is_named(b, "y") && is_called(a)
}

/// The expression that must be positive, and whether zero is excluded.
fn rising(left: &Expr, relation: Relation, right: &Expr) -> (Expr, Option<bool>) {
    let (left, right) = match relation {
        Relation::Less | Relation::LessEqual => (right, left),
        _ => (left, right),
    };
    let strict = match relation {
        Relation::NotEqual => None,
        _ => Some(matches!(relation, Relation::Less | Relation::Greater)),
    };
    (Expr::difference(left.clone(), right.clone()), strict)
}

/// Whether a part of a list counts as often as it stands there; points and equations said twice are said once.
fn is_single(part: &Value) -> bool {
    !matches!(part, Value::Tuple(..) | Value::Relation(..) | Value::Assignment(_))
}

pub(super) fn is_lone(expr: &Expr) -> bool {
    matches!(expr, Expr::Variable(_))
}

fn is_named(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Variable(own) if own == name)
}

fn is_fraction(expr: &Expr) -> bool {
    match expr {
        Expr::Quotient(..) => true,
        Expr::Product(factors) => factors.len() == 2 && factors[1].inverse,
        _ => false,
    }
}

/// Whether two times are one; a half of the day may be left out on one side.
fn same_time(a: &Clock, b: &Clock) -> bool {
    let hour = |clock: &Clock| match clock.afternoon {
        Some(true) if clock.hour < 12 => clock.hour + 12,
        Some(false) if clock.hour == 12 => 0,
        _ => clock.hour,
    };
    if (a.minute, a.second) != (b.minute, b.second) {
        return false;
    }
    match (a.afternoon, b.afternoon) {
        (Some(_), Some(_)) | (None, None) => hour(a) == hour(b),
        _ => a.hour == b.hour || hour(a) == hour(b),
    }
}
