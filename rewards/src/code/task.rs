//! The hidden tests of a query: what its ground truth must look like.

use serde::Deserialize;
use serde_json::Value;

use super::data::Data;

/// A ground truth as data has it, an object or the same as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The function that is called; without it, programs read stdin and print.
    entry_point: Option<String>,
    /// How far floats may be off, absolutely or relatively.
    tolerance: Option<f64>,
    tests: Vec<RowTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowTest {
    stdin: Option<String>,
    stdout: Option<String>,
    args: Option<Value>,
    args_json: Option<String>,
    #[serde(default, deserialize_with = "present")]
    expected: Option<Value>,
    expected_json: Option<String>,
}

/// A key that is there with `null` is not a key that is missing.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// The tests of a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    /// The function that is called; without it, programs read stdin and print.
    pub(super) entry_point: Option<String>,
    pub(super) tolerance: Option<f64>,
    pub(super) tests: Vec<Test>,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// What is read, and what must be printed.
    Output { stdin: String, stdout: String },
    /// Arguments as JSON, a list or an object of names, and what the function must give.
    Call { args: String, expected: Data },
}

impl Task {
    /// The tests of a ground truth.
    ///
    /// # Errors
    /// When it has another form; the message names the test and the key.
    pub(super) fn read(truth: &Value) -> Result<Self, String> {
        let row = match truth {
            Value::String(text) => serde_json::from_str::<Row>(text).map_err(|error| error.to_string()),
            other => Row::deserialize(other).map_err(|error| error.to_string()),
        };
        let row = row.map_err(|error| format!("the ground truth of code is {{\"tests\": [...]}}: {error}"))?;
        if row.tests.is_empty() {
            return Err("`tests` is empty: every program would pass".to_owned());
        }
        if row.tolerance.is_some_and(|tolerance| !(tolerance.is_finite() && tolerance > 0.0)) {
            return Err("`tolerance` must be above 0; leave it out for exact comparison".to_owned());
        }
        if let Some(name) = &row.entry_point {
            let word =
                |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
            if !name.split('.').all(word) {
                return Err(format!("entry_point = \"{name}\": it must be a name, or a class and its method as A.b"));
            }
        }
        let call = row.entry_point.is_some();
        let tests = row.tests.into_iter().enumerate();
        let tests = tests.map(|(at, test)| test.read(call).map_err(|reason| format!("test {}: {reason}", at + 1)));
        Ok(Self { tests: tests.collect::<Result<_, _>>()?, entry_point: row.entry_point, tolerance: row.tolerance })
    }
}

impl RowTest {
    fn read(self, call: bool) -> Result<Test, String> {
        let only = |keys: &str| format!("it needs {keys}, and no other key");
        if !call {
            return match (
                self.stdout,
                self.args.is_some() || self.args_json.is_some(),
                self.expected,
                self.expected_json,
            ) {
                (Some(stdout), false, None, None) if !stdout.trim().is_empty() => {
                    Ok(Test::Output { stdin: self.stdin.unwrap_or_default(), stdout })
                }
                (Some(_), false, None, None) => {
                    Err("`stdout` is blank: a program that does nothing would pass".to_owned())
                }
                _ => Err(only("`stdout` and perhaps `stdin` (with `entry_point`: `args` and `expected`)")),
            };
        }
        if self.stdin.is_some() || self.stdout.is_some() {
            return Err(only("`args` and `expected` (without `entry_point`: `stdin` and `stdout`)"));
        }
        let args = match (self.args, self.args_json) {
            (Some(args), None) => args.to_string(),
            (None, Some(text)) => text,
            _ => return Err(only("one of `args` and `args_json`, and one of `expected` and `expected_json`")),
        };
        let form: Value = serde_json::from_str(&args).map_err(|error| format!("args_json: {error}"))?;
        if !form.is_array() && !form.is_object() {
            return Err("`args` must be a list of arguments, or an object with their names".to_owned());
        }
        let expected = match (self.expected, self.expected_json) {
            (Some(value), None) => Data::of(&value)?,
            (None, Some(text)) => Data::exact(&text).map_err(|error| format!("expected_json: {error}"))?,
            _ => return Err(only("one of `expected` and `expected_json`")),
        };
        Ok(Test::Call { args, expected })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_both_forms_are_read() {
        let task = Task::read(&json!({"tests": [{"stdin": "1\n", "stdout": "2\n"}, {"stdout": "3"}]})).unwrap();
        assert_eq!(task.tests[1], Test::Output { stdin: String::new(), stdout: "3".to_owned() });
        let row = json!({"entry_point": "A.f", "tolerance": 0.1, "tests": [{"args": [1], "expected": null}]});
        let task = Task::read(&row).unwrap();
        assert_eq!(task.tests, [Test::Call { args: "[1]".to_owned(), expected: Data::None }]);
        assert_eq!(Task::read(&Value::String(row.to_string())).unwrap(), task);
        let long = json!({"entry_point": "f", "tests": [{"args_json": "[1]", "expected_json": "123456789012345678901234567890"}]});
        assert!(matches!(&Task::read(&long).unwrap().tests[0], Test::Call { expected: Data::Int(_), .. }));
    }

    #[test]
    fn what_is_no_test_says_what_is_missing() {
        for (row, says) in [
            (json!(null), "tests"),
            (json!("{"), "tests"),
            (json!({"tests": []}), "empty"),
            (json!({"test": []}), "test"),
            (json!({"tests": [{"stdout": " \n"}]}), "blank"),
            (json!({"tests": [{"stdin": "1"}]}), "test 1: it needs `stdout`"),
            (json!({"tests": [{"stdout": "1"}, {"stdout": "1", "args": []}]}), "test 2"),
            (json!({"entry_point": "f", "tests": [{"stdout": "1"}]}), "`args` and `expected`"),
            (json!({"entry_point": "f", "tests": [{"args": 1, "expected": 1}]}), "a list of arguments"),
            (json!({"entry_point": "f", "tests": [{"args": [1]}]}), "`expected`"),
            (json!({"entry_point": "f()", "tests": [{"args": [1], "expected": 1}]}), "entry_point"),
            (json!({"tolerance": 0, "tests": [{"stdout": "1"}]}), "tolerance"),
        ] {
            let error = Task::read(&row).unwrap_err();
            assert!(error.contains(says), "{row}: {error}");
        }
    }
}
