//! Logic puzzles: an answer is right when it keeps every constraint of the puzzle, whichever solution it is.
//!
//! The puzzle stands in the column `puzzle`, or is the ground truth:
//! `{"variables": {"Ann": [1, 2, 3], ...}, "constraints": [{"less": ["Ann", "Bob"]}, ...]}`, or
//! `{"grid": {"size": 4, "box": [2, 2], "givens": [[1, 0, 0, 4], ...]}}`, where 0 is a blank. The answer is a JSON object
//! of variables, lines as `Ann: 2`, or the rows of the grid.

mod constraint;
mod grid;
mod ranking;

use std::collections::BTreeMap;

use sapo_datasets::Query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::extract::{self, LastJson, capped, last_answer_tag, last_box, last_json, plain, unwrapped};
use crate::kind::{Example, Verifier};
use crate::reward::{Item, probe};
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;
use constraint::Assignment;

/// More variables or constraints than this are a fault of the data.
const MOST: usize = 4096;

/// 1 when the answer solves the puzzle of its query.
pub fn score(item: &Item<'_>) -> PartScore {
    let columns = &item.query.columns;
    let truth = item.query.ground_truth.as_ref();
    let puzzle = columns.get("puzzle").or_else(|| truth.filter(|truth| truth.is_object()));
    let ranking = columns.get("facts").filter(|facts| facts.get("comparisons").is_some());
    let Some(answer) = extract::answer(item.transcript) else {
        return PartScore::verdict(false, "the thinking is not closed");
    };
    let answer = plain(capped(answer));
    let answer = last_answer_tag(&answer).unwrap_or(&answer);
    let checked = match (puzzle, ranking) {
        (Some(puzzle), _) if puzzle.get("grid").is_some() => grid::check(&puzzle["grid"], answer),
        (Some(puzzle), _) => assignment(puzzle, answer),
        (None, Some(facts)) => ranking::check(facts, &extract::final_answer(answer)),
        (None, None) => Err("the query has no puzzle: a column `puzzle`, or an object as the ground truth".to_owned()),
    };
    match checked {
        Err(fault) => PartScore::failed(FailureKind::GroundTruth, fault),
        Ok(Ok(said)) => PartScore::verdict(true, "every constraint is kept").extracted(shortened(&said)),
        Ok(Err(broken)) => PartScore::verdict(false, broken),
    }
}

/// The outer error is a fault of the puzzle; the inner one is what the answer breaks.
type Checked = Result<Result<String, String>, String>;

fn assignment(puzzle: &Value, answer: &str) -> Checked {
    let variables = puzzle.get("variables").and_then(Value::as_object).filter(|variables| !variables.is_empty());
    let variables = variables.ok_or("the puzzle has neither `variables` with their domains nor a `grid`")?;
    let constraints = puzzle.get("constraints").and_then(Value::as_array);
    let constraints = constraints.filter(|list| !list.is_empty()).ok_or("the puzzle has no list of `constraints`")?;
    if variables.len() > MOST || constraints.len() > MOST {
        return Err(format!("the puzzle has more than {MOST} variables or constraints"));
    }
    let said = match read(variables, answer) {
        Ok(said) => said,
        Err(broken) => return Ok(Err(broken)),
    };
    let mut values: Assignment<'_> = BTreeMap::new();
    let mut broken = None;
    for (name, domain) in variables {
        let domain = domain.as_array().filter(|domain| !domain.is_empty());
        let domain = domain.ok_or_else(|| format!("the domain of `{name}` is not a list of values"))?;
        let given = said.get(&key(name));
        match given.and_then(|given| domain.iter().find(|value| spelled(value) == *given)) {
            Some(value) => {
                values.insert(name, value);
            }
            None => {
                broken.get_or_insert_with(|| match given {
                    Some(given) => format!("`{}` is not a value of `{name}`", shortened(given)),
                    None => format!("`{name}` has no value"),
                });
                // A puzzle is checked whatever the answer says.
                values.insert(name, &domain[0]);
            }
        }
    }
    for constraint in constraints {
        let kept = constraint::holds(constraint, &values, 0)?;
        if !kept {
            broken.get_or_insert_with(|| format!("{} does not hold", shortened(&constraint.to_string())));
        }
    }
    Ok(match broken {
        Some(broken) => Err(broken),
        None => Ok(serde_json::to_string(&values).unwrap_or_default()),
    })
}

/// Whether the puzzle of a query can be checked: some answer that names a value for every variable is tried.
pub(crate) fn check_truth(query: &Query) -> Result<(), String> {
    let truth = query.ground_truth.as_ref();
    let puzzle = query.columns.get("puzzle").or_else(|| truth.filter(|truth| truth.is_object()));
    match puzzle.and_then(|puzzle| puzzle.get("variables")).and_then(Value::as_object) {
        Some(variables) => {
            let first = |domain: &Value| domain.get(0).cloned().unwrap_or_default();
            let answer: Map<String, Value> =
                variables.iter().map(|(name, domain)| (name.clone(), first(domain))).collect();
            puzzle.map_or(Ok(()), |puzzle| assignment(puzzle, &Value::Object(answer).to_string()).map(drop))
        }
        None => probe(query, score),
    }
}

fn key(name: &str) -> String {
    name.trim().to_lowercase()
}

/// A value as it is compared with an answer: in lower case, booleans as words.
fn spelled(value: &Value) -> String {
    match value {
        Value::String(text) => key(text),
        Value::Number(number) if number.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() < 1e15) => {
            format!("{:.0}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string().to_lowercase(),
    }
}

/// The values that an answer gives to variables, by their keys in lower case.
fn read(variables: &Map<String, Value>, answer: &str) -> Result<BTreeMap<String, String>, String> {
    match last_json(answer) {
        LastJson::Found(Value::Object(object)) => {
            let inner = object.get("answer").or_else(|| object.get("solution")).and_then(Value::as_object);
            return Ok(inner.unwrap_or(&object).iter().map(|(name, value)| (key(name), spelled(value))).collect());
        }
        LastJson::Broken => return Err("the JSON of the answer is not strict".to_owned()),
        _ => {}
    }
    let text = last_box(answer).unwrap_or(answer);
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for piece in text.split(['\n', ',', ';', '，', '；']) {
        let Some((name, value)) = split(piece) else { continue };
        let Some(name) = named(variables, &name.replace(['*', '`', '"', '$', '_'], " ")) else { continue };
        let value = key(unwrapped(value));
        if said.insert(name.clone(), value.clone()).is_some_and(|before| before != value) {
            return Err(format!("`{}` gets two values", shortened(&name)));
        }
    }
    if said.is_empty() { Err("the answer gives no variable a value".to_owned()) } else { Ok(said) }
}

/// The variable that a text ends with, the longest one.
fn named(variables: &Map<String, Value>, text: &str) -> Option<String> {
    let text = key(text);
    let ends = |known: &String| {
        let before = text.strip_suffix(known.as_str())?;
        (!before.ends_with(char::is_alphanumeric) || !known.is_ascii()).then_some(())
    };
    // Underscores of names went with those of emphasis.
    let known = variables.keys().map(|name| key(&name.replace('_', " ")));
    let found = known.filter(|known| !known.is_empty() && ends(known).is_some()).max_by_key(String::len)?;
    variables.keys().map(|name| key(name)).find(|name| name.replace('_', " ").trim() == found)
}

fn split(piece: &str) -> Option<(&str, &str)> {
    [":", "：", "=", "->", "→", " is a ", " is "].iter().find_map(|mark| piece.split_once(mark))
}

/// Any solution of a puzzle that keeps its constraints: variables with domains, or a grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logic {}

impl Verifier for Logic {
    const VERSION: &'static str = "logic/2";
    const TRUTH_IS_ANSWER: bool = false;

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item)
    }

    fn check_truth(&self, query: &Query) -> Result<(), String> {
        check_truth(query)
    }

    fn example() -> Example {
        Example::new(
            json!({"variables": {"Ann": [1, 2], "Bob": [1, 2]}, "constraints": [{"less": ["Ann", "Bob"]}]}),
            "Ann: 1, Bob: 2",
            1.0,
        )
    }
}

#[cfg(test)]
mod tests;
