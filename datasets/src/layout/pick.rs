//! Values of a row by the names of their columns, the same one under several names among them.

use serde_json::{Map, Value};

use crate::columns::Role;
use crate::error::{DatasetError, Result};

/// A value and the column that held it.
#[derive(Debug, PartialEq)]
pub(super) struct Picked {
    pub(super) column: String,
    pub(super) value: Value,
}

/// A column, or by `a.b` a field of one.
pub(crate) fn look_up<'a>(values: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    values.get(name).or_else(|| {
        let (column, field) = name.split_once('.')?;
        field.split('.').try_fold(values.get(column)?, |value, field| value.get(field))
    })
}

/// Takes the first value that is not null out of the row; a field of a column stays where it is.
///
/// # Errors
/// When two of the columns hold different things.
pub(super) fn pick(
    values: &mut Map<String, Value>,
    names: &[String],
    role: Role,
    place: &str,
) -> Result<Option<Picked>> {
    let mut picked: Option<Picked> = None;
    for name in names {
        let found = values.shift_remove(name).or_else(|| look_up(values, name).cloned());
        let Some(value) = found.filter(|value| !value.is_null()) else { continue };
        match &picked {
            None => picked = Some(Picked { column: name.clone(), value }),
            Some(first) if text_of(&first.value).trim() == text_of(&value).trim() => {}
            Some(first) => {
                let key = role.key();
                let reason = format!("`{}` and `{name}` disagree; name one by columns.{key}", first.column);
                return Err(DatasetError::row(place, reason));
            }
        }
    }
    Ok(picked)
}

/// A value as text: a string without its quotes.
pub(crate) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a value is, in words; null is nothing.
pub(super) fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("true or false"),
        Value::Number(_) => Some("a number"),
        Value::String(_) => Some("text"),
        Value::Array(_) => Some("a list"),
        Value::Object(_) => Some("an object"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_first_that_is_not_null_is_taken_out() {
        let mut values = row(json!({"answer": null, "solution": "4", "reward_model": {"ground_truth": 4}, "x": 1}));
        let all = names(&["answer", "solution", "reward_model.ground_truth"]);
        let picked = pick(&mut values, &all, Role::GroundTruth, "d").unwrap().unwrap();
        assert_eq!(picked, Picked { column: "solution".to_owned(), value: json!("4") });
        assert_eq!(values, row(json!({"reward_model": {"ground_truth": 4}, "x": 1})), "fields stay");
        assert_eq!(pick(&mut values, &all[..2], Role::GroundTruth, "d").unwrap(), None);
    }

    #[test]
    fn two_that_disagree_are_an_error() {
        let mut values = row(json!({"answer": "4", "solution": "2+2=4"}));
        let message = pick(&mut values, &names(&["answer", "solution"]), Role::GroundTruth, "d row 1").unwrap_err();
        assert_eq!(message.to_string(), "d row 1: `answer` and `solution` disagree; name one by columns.ground_truth");
    }

    #[test]
    fn a_column_with_a_dot_in_its_name_is_one() {
        let values = row(json!({"a.b": 1, "a": {"b": 2, "c": {"d": 3}}}));
        assert_eq!(look_up(&values, "a.b"), Some(&json!(1)));
        assert_eq!(look_up(&values, "a.c.d"), Some(&json!(3)));
        assert_eq!(look_up(&values, "a.x"), None);
    }
}
