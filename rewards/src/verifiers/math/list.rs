//! Answers of several items: named values, regions, families, values side by side.

use std::collections::BTreeSet;

use super::{
    expression::{Bracket, Expr, Joint, Relation},
    label::assignment,
    parser::{Parsed, single_or},
    region::Region,
    scalar::Session,
    value::Value,
    verdict::Verdict,
};

impl Session {
    pub(super) fn settle_list(&mut self, items: &[Expr], joint: Joint) -> Parsed<Value> {
        if let Some(family) = family(items) {
            return Ok(Value::Builder(family));
        }
        let items = carry_variable(items);
        if let Some(value) = self.assignments(&items, joint)? {
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
        let signed = matches!(joint, Joint::Conjunction | Joint::Disjunction);
        if signed && settled.iter().any(is_open) || joint == Joint::Or && are_statements(&settled) {
            return Ok(Value::Joined(joint, settled));
        }
        let flat = settled.into_iter().flat_map(|value| match value {
            Value::Several(members) => members,
            one => vec![one],
        });
        Ok(Value::Several(flat.collect()))
    }

    /// Two formulas: equal when connective and parts are; what they come to otherwise is not worked out.
    pub(super) fn formulas(&mut self, a: &Value, b: &Value) -> Verdict {
        let (Value::Joined(joint, own), Value::Joined(other, others)) = (a, b) else { return Verdict::Unknown };
        let (own, others) = (flat_parts(*joint, own), flat_parts(*other, others));
        let nested = own.iter().chain(&others).any(|part| matches!(part, Value::Joined(..)));
        if joint.is_either() != other.is_either() {
            return if nested { Verdict::Unknown } else { Verdict::Different };
        }
        // The same sign stands between vectors and forms, whose order counts.
        let ordered = *joint == Joint::Conjunction && !own.iter().all(is_proposition);
        let verdict = if ordered { self.in_order(&own, &others) } else { self.several(&own, &others) };
        match verdict {
            Verdict::Equal => Verdict::Equal,
            _ => Verdict::Unknown,
        }
    }

    fn join_regions(&mut self, settled: &[Value], joint: Joint, relations: bool) -> Parsed<Value> {
        const REASON: &str = "the ends of an interval have no order";
        let mut name: Option<String> = None;
        let (mut either, mut both) = (Region::empty(), Region::line());
        for value in settled {
            if let Value::Region(_, Some(own)) = value {
                if name.as_ref().is_some_and(|name| name != own) {
                    let settled = settled.to_vec();
                    return Ok(if joint.is_either() { Value::Joined(joint, settled) } else { Value::Several(settled) });
                }
                name = Some(own.clone());
            }
            let region = self.as_region(value).ok_or(REASON)?;
            either = either.union(&region, self).ok_or(REASON)?;
            both = both.intersection(&region, self).ok_or(REASON)?;
        }
        let joined = match joint {
            Joint::Or => either,
            Joint::Disjunction => either,
            Joint::And | Joint::Conjunction if relations => both,
            Joint::Comma if relations && !both.is_empty() => both,
            _ => either,
        };
        Ok(Value::Region(joined, name))
    }

    /// `x=2, y=3` as a value for each variable; `x=2 or x=3` and `x_1=2, x_2=3` as two values of one.
    fn assignments(&mut self, items: &[Expr], joint: Joint) -> Parsed<Option<Value>> {
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
        // "x = 1 or y = 2" gives neither.
        if solutions.len() == 1 && joint.is_either() {
            return Ok(None);
        }
        let distinct = (1..width).all(|at| !values[..at].iter().any(|(name, _)| *name == values[at].0));
        if !distinct || !solutions.iter().all(alike) {
            return Ok(None);
        }
        let mut solutions: Vec<Value> = solutions.into_iter().map(|one| Value::Assignment(one.to_vec())).collect();
        Ok(if solutions.len() == 1 { solutions.pop() } else { Some(Value::Several(solutions)) })
    }
}

/// The parts of a formula, those of the same connective below it among them.
fn flat_parts(joint: Joint, parts: &[Value]) -> Vec<Value> {
    let flat = parts.iter().flat_map(|part| match part {
        Value::Joined(own, parts) if own.is_either() == joint.is_either() => flat_parts(joint, parts),
        one => vec![one.clone()],
    });
    flat.collect()
}

/// Whether a part of a formula is a statement, or a letter that usually stands for one.
fn is_proposition(value: &Value) -> bool {
    match value {
        Value::Scalar(Expr::Variable(name)) => name.len() == 1 && "pqrstPQRSTABCDEF".contains(name.as_str()),
        Value::Scalar(inner) => matches!(inner, Expr::Apply(..)),
        _ => true,
    }
}

/// Whether a value is no number, point or set of them: then a connective before it is one of logic.
fn is_open(value: &Value) -> bool {
    match value {
        Value::Scalar(inner) | Value::Quantity(inner, _) => !inner.is_closed(),
        Value::Tuple(_, items, _) | Value::Set(items) | Value::Several(items) => items.iter().any(is_open),
        Value::Labelled(_, _, inner) => is_open(inner),
        Value::Text(_) | Value::Joined(..) | Value::Relation(..) | Value::Region(..) => true,
        _ => false,
    }
}

/// Whether "or" joins statements rather than answers: letters, words, and what is said of several letters.
fn are_statements(values: &[Value]) -> bool {
    let said_of = values.iter().flat_map(|value| match value {
        Value::Relation(terms, _) => terms.iter().flat_map(Expr::variables).collect::<BTreeSet<_>>(),
        _ => BTreeSet::new(),
    });
    let counted = |value: &Value| if let Value::Quantity(_, unit) = value { Some(unit.clone()) } else { None };
    let units: Vec<_> = values.iter().filter_map(counted).collect();
    units.windows(2).any(|pair| pair[0] != pair[1])
        || values.iter().any(is_statement)
        || said_of.collect::<BTreeSet<_>>().len() > 1
}

fn is_statement(value: &Value) -> bool {
    match value {
        Value::Scalar(Expr::Variable(_) | Expr::Apply(..)) | Value::Text(_) | Value::Joined(..) => true,
        Value::Scalar(Expr::Product(factors)) => {
            factors.iter().all(|factor| matches!(&factor.expr, Expr::Variable(_)) && !factor.inverse)
        }
        Value::Labelled(_, _, inner) => is_statement(inner),
        _ => false,
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
    let ([Expr::Variable(letter), Expr::Named(_)], [Relation::Member]) = (terms.as_slice(), relations.as_slice())
    else {
        return None;
    };
    let runs = !heads.is_empty() && heads.iter().all(|head| head.variables().contains(letter));
    let head = single_or(heads.to_vec(), |heads| Expr::List(heads, Joint::Comma));
    runs.then(|| vec![head, member.clone()])
}

fn names_of(solution: &[(String, Value)]) -> impl Iterator<Item = &String> {
    solution.iter().map(|(name, _)| name)
}
