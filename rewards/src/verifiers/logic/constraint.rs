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
    if depth > DEEPEST {
        return Err("a constraint is nested too deep".to_owned());
    }
    let fault = || format!("the constraint {constraint} cannot be read");
    if let Some(name) = constraint.as_str() {
        return values.get(name).map(|value| is_true(value)).ok_or_else(fault);
    }
    let object = constraint.as_object().filter(|object| object.len() == 1).ok_or_else(fault)?;
    let (kind, given) = object.iter().next().ok_or_else(fault)?;
    let constraint = Constraint { whole: constraint, given, values, depth };
    match kind.as_str() {
        "all_different" | "equal" | "not_equal" | "in" => constraint.of_values(kind),
        "less" | "less_or_equal" | "greater" | "adjacent" | "next_to_right" | "distance" | "between" => {
            constraint.of_numbers(kind)
        }
        "sum" | "product" | "difference" => constraint.of_results(kind),
        "and" | "or" | "not" | "xor" | "implies" | "iff" | "count" | "says" => constraint.of_constraints(kind),
        _ => Err(format!("unknown kind of constraint `{kind}`")),
    }
}

/// A constraint of a known kind, with what stands under the name of the kind.
struct Constraint<'c, 'p> {
    whole: &'c Value,
    given: &'c Value,
    values: &'c Assignment<'p>,
    depth: usize,
}

impl<'c> Constraint<'c, '_> {
    fn fault(&self) -> String {
        format!("the constraint {} cannot be read", self.whole)
    }

    fn inner(&self, constraint: &Value) -> Result<bool, String> {
        holds(constraint, self.values, self.depth + 1)
    }

    fn list(&self) -> Result<&'c Vec<Value>, String> {
        self.given.as_array().filter(|list| !list.is_empty()).ok_or_else(|| self.fault())
    }

    fn pair(&self) -> Result<(&'c Value, &'c Value), String> {
        match self.given.as_array().map(Vec::as_slice) {
            Some([one, other]) => Ok((one, other)),
            _ => Err(self.fault()),
        }
    }

    fn spelled(&self) -> Result<Vec<String>, String> {
        self.list()?.iter().map(|one| term(one, self.values).map(spelled)).collect()
    }

    fn numbers(&self) -> Result<Vec<f64>, String> {
        self.list()?.iter().map(|one| number(term(one, self.values)?)).collect()
    }

    fn all_of(&self) -> Result<Vec<bool>, String> {
        self.list()?.iter().map(|one| self.inner(one)).collect()
    }

    fn of_values(&self, kind: &str) -> Result<bool, String> {
        Ok(match kind {
            "all_different" => {
                let spelled = self.spelled()?;
                spelled.iter().enumerate().all(|(at, one)| !spelled[..at].contains(one))
            }
            "equal" => self.spelled()?.windows(2).all(|pair| pair[0] == pair[1]),
            "not_equal" => {
                self.pair()?;
                self.spelled()?.windows(2).all(|pair| pair[0] != pair[1])
            }
            _ => {
                let (one, among) = self.pair()?;
                let one = spelled(term(one, self.values)?);
                among.as_array().ok_or_else(|| self.fault())?.iter().any(|value| spelled(value) == one)
            }
        })
    }

    fn of_numbers(&self, kind: &str) -> Result<bool, String> {
        let numbers = self.numbers()?;
        let ordered = |holds: fn(f64, f64) -> bool| numbers.windows(2).all(|pair| holds(pair[0], pair[1]));
        Ok(match (kind, &numbers[..]) {
            ("less", _) => ordered(|one, other| one < other),
            ("less_or_equal", _) => ordered(|one, other| one <= other),
            ("greater", _) => ordered(|one, other| one > other),
            ("adjacent", [one, other]) => (one - other).abs() == 1.0,
            ("next_to_right", [one, other]) => one + 1.0 == *other,
            ("distance", [one, other, distance]) => (one - other).abs() == *distance,
            ("between", [middle, one, other]) => one.min(*other) < *middle && *middle < one.max(*other),
            _ => return Err(self.fault()),
        })
    }

    /// `{"of": [terms], "is": term}`.
    fn of_results(&self, kind: &str) -> Result<bool, String> {
        let (of, is) = self.given.get("of").zip(self.given.get("is")).ok_or_else(|| self.fault())?;
        let of = of.as_array().filter(|list| !list.is_empty()).ok_or_else(|| self.fault())?;
        let of: Vec<f64> = of.iter().map(|one| number(term(one, self.values)?)).collect::<Result<_, String>>()?;
        let is = number(term(is, self.values)?)?;
        let found = match kind {
            "sum" => of.iter().sum::<f64>(),
            "product" => of.iter().product(),
            _ => of.iter().skip(1).fold(of[0], |rest, one| rest - one),
        };
        Ok((found - is).abs() < 1e-9)
    }

    fn of_constraints(&self, kind: &str) -> Result<bool, String> {
        Ok(match kind {
            "and" => self.all_of()?.into_iter().all(|kept| kept),
            "or" => self.all_of()?.into_iter().any(|kept| kept),
            "not" => !self.inner(self.given)?,
            "xor" => self.all_of()?.into_iter().filter(|kept| *kept).count() % 2 == 1,
            "implies" => {
                let (one, other) = self.pair()?;
                let (one, other) = (self.inner(one)?, self.inner(other)?);
                !one || other
            }
            "iff" => {
                let (one, other) = self.pair()?;
                self.inner(one)? == self.inner(other)?
            }
            "count" => {
                let of = self.given.get("of").and_then(Value::as_array).ok_or_else(|| self.fault())?;
                let is = self.given.get("is").and_then(Value::as_u64).ok_or_else(|| self.fault())?;
                let kept = of.iter().map(|one| self.inner(one)).collect::<Result<Vec<bool>, String>>()?;
                kept.into_iter().filter(|kept| *kept).count() as u64 == is
            }
            // `says`: a knight tells the truth, a knave lies.
            _ => {
                let (speaker, statement) = self.pair()?;
                is_true(term(speaker, self.values)?) == self.inner(statement)?
            }
        })
    }
}

/// The value of a variable, or the value itself; `{"value": "red"}` is a text that is no variable.
fn term<'t>(term: &'t Value, values: &Assignment<'t>) -> Result<&'t Value, String> {
    match term {
        Value::String(name) => Ok(values.get(name.as_str()).copied().unwrap_or(term)),
        Value::Object(object) => object.get("value").ok_or_else(|| format!("the term {term} has no `value`")),
        Value::Array(_) | Value::Null => Err(format!("{term} is not a term")),
        Value::Number(_) | Value::Bool(_) => Ok(term),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
    number
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("{value} is not a number, nor a variable of one"))
}

/// Whether a value says that its variable holds, or is one who tells the truth.
fn is_true(value: &Value) -> bool {
    ["true", "knight", "truthful", "truth", "honest", "yes", "1", "t"].contains(&spelled(value).as_str())
}
