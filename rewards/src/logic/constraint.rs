//! Constraints on variables, and whether an assignment keeps them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::spelled;

/// The value of every variable.
pub(super) type Assignment<'p> = BTreeMap<&'p str, &'p Value>;

/// Constraints inside constraints, at most.
const DEEPEST: usize = 64;

/// Whether an assignment keeps a constraint.
///
/// # Errors
/// When the constraint cannot be read: a fault of the data.
pub(super) fn holds(constraint: &Value, values: &Assignment<'_>, depth: usize) -> Result<bool, String> {
    let fault = || format!("the constraint {constraint} cannot be read");
    if depth > DEEPEST {
        return Err("a constraint is nested too deep".to_owned());
    }
    if let Some(name) = constraint.as_str() {
        return values.get(name).map(|value| is_true(value)).ok_or_else(fault);
    }
    let object = constraint.as_object().filter(|object| object.len() == 1).ok_or_else(fault)?;
    let (kind, given) = object.iter().next().ok_or_else(fault)?;
    let inner = |constraint: &Value| holds(constraint, values, depth + 1);
    let list = || given.as_array().filter(|list| !list.is_empty()).ok_or_else(fault);
    let pair = || match given.as_array().map(Vec::as_slice) {
        Some([one, other]) => Ok((one, other)),
        _ => Err(fault()),
    };
    let terms = || list()?.iter().map(|one| term(one, values)).collect::<Result<Vec<&Value>, String>>();
    let numbers = || terms()?.into_iter().map(number).collect::<Result<Vec<f64>, String>>();
    let all_of = || list()?.iter().map(inner).collect::<Result<Vec<bool>, String>>();
    Ok(match kind.as_str() {
        "all_different" => {
            let spelled: Vec<String> = terms()?.into_iter().map(spelled).collect();
            spelled.iter().enumerate().all(|(at, one)| !spelled[..at].contains(one))
        }
        "equal" => terms()?.windows(2).all(|pair| spelled(pair[0]) == spelled(pair[1])),
        "not_equal" => {
            pair()?;
            let found = terms()?;
            spelled(found[0]) != spelled(found[1])
        }
        "less" => numbers()?.windows(2).all(|pair| pair[0] < pair[1]),
        "less_or_equal" => numbers()?.windows(2).all(|pair| pair[0] <= pair[1]),
        "greater" => numbers()?.windows(2).all(|pair| pair[0] > pair[1]),
        "adjacent" => {
            pair()?;
            let found = numbers()?;
            (found[0] - found[1]).abs() == 1.0
        }
        "next_to_right" => {
            pair()?;
            let found = numbers()?;
            found[0] + 1.0 == found[1]
        }
        "distance" => match numbers()?[..] {
            [one, other, distance] => (one - other).abs() == distance,
            _ => return Err(fault()),
        },
        "between" => match numbers()?[..] {
            [middle, one, other] => one.min(other) < middle && middle < one.max(other),
            _ => return Err(fault()),
        },
        "sum" | "product" | "difference" => {
            let (of, is) = given.get("of").zip(given.get("is")).ok_or_else(fault)?;
            let of = of.as_array().filter(|list| !list.is_empty()).ok_or_else(fault)?;
            let of: Vec<f64> = of.iter().map(|one| number(term(one, values)?)).collect::<Result<_, String>>()?;
            let is = number(term(is, values)?)?;
            let found = match kind.as_str() {
                "sum" => of.iter().sum::<f64>(),
                "product" => of.iter().product(),
                _ => of.iter().skip(1).fold(of[0], |rest, one| rest - one),
            };
            (found - is).abs() < 1e-9
        }
        "in" => {
            let (one, among) = pair()?;
            let one = spelled(term(one, values)?);
            among.as_array().ok_or_else(fault)?.iter().any(|value| spelled(value) == one)
        }
        "and" => all_of()?.into_iter().all(|kept| kept),
        "or" => all_of()?.into_iter().any(|kept| kept),
        "not" => !inner(given)?,
        "xor" => all_of()?.into_iter().filter(|kept| *kept).count() % 2 == 1,
        "implies" => {
            let (one, other) = pair()?;
            let (one, other) = (inner(one)?, inner(other)?);
            !one || other
        }
        "iff" => {
            let (one, other) = pair()?;
            inner(one)? == inner(other)?
        }
        "count" => {
            let of = given.get("of").and_then(Value::as_array).ok_or_else(fault)?;
            let is = given.get("is").and_then(Value::as_u64).ok_or_else(fault)?;
            let kept = of.iter().map(inner).collect::<Result<Vec<bool>, String>>()?;
            kept.into_iter().filter(|kept| *kept).count() as u64 == is
        }
        // A knight tells the truth, a knave lies.
        "says" => {
            let (speaker, statement) = pair()?;
            is_true(term(speaker, values)?) == inner(statement)?
        }
        _ => return Err(format!("`{kind}` is no kind of constraint")),
    })
}

/// The value of a variable, or the value itself; `{"value": "red"}` is a text that is no variable.
fn term<'p>(term: &'p Value, values: &Assignment<'p>) -> Result<&'p Value, String> {
    match term {
        Value::String(name) => Ok(values.get(name.as_str()).copied().unwrap_or(term)),
        Value::Object(object) => object.get("value").ok_or_else(|| format!("the term {term} has no `value`")),
        Value::Array(_) | Value::Null => Err(format!("{term} is no term")),
        Value::Number(_) | Value::Bool(_) => Ok(term),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("{value} is no number, nor a variable of one"))
}

/// Whether a value says that its variable holds, or is one who tells the truth.
fn is_true(value: &Value) -> bool {
    ["true", "knight", "truthful", "truth", "honest", "yes", "1", "t"].contains(&spelled(value).as_str())
}
