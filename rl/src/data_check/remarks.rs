//! What is worth saying of rows that can be used, by file and row: nothing of a row is taken for something else, or left
//! out of sight, in silence.

use std::collections::BTreeMap;

use sapo_datasets::{Dataset, DatasetError, Example, Fault, Part};
use serde_json::Value;

use super::spread::{SAMPLED, spread};

/// How parts of a conversation's frame begin and end in the templates of most models.
const FRAME: [&str; 2] = ["<|", "|>"];

/// The kinds of remarks, so that many rows with the same one are a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Spoken,
    BlankTruth,
    Rubric,
    Tools,
    Frame,
}

/// Rubrics that rows may ask for: those of a configuration, or nothing where there is none.
#[derive(Clone, Debug, Default)]
pub struct KnownRubrics(Option<Vec<String>>);

impl KnownRubrics {
    /// Those of a configuration.
    pub fn of<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        Self(Some(names.cloned().collect()))
    }

    /// That a row asks for a rubric that is there, or for none.
    ///
    /// # Errors
    /// When it does not; `place` is file and row.
    pub fn check(&self, example: &Example, place: &str) -> Result<(), DatasetError> {
        match (&example.query.rubric, &self.0) {
            (Some(name), Some(known)) if !known.contains(name) => {
                let reason = format!(
                    "it asks for the rubric `{name}`; {}",
                    sapo_datasets::nearest(name, known.iter().map(String::as_str))
                );
                Err(DatasetError::Row { place: place.to_owned(), reason, fault: Fault::Columns })
            }
            _ => Ok(()),
        }
    }
}

/// What is worth saying of a row, without its place.
pub fn of_row(example: &Example, known: &KnownRubrics) -> Vec<String> {
    all(example, known).into_iter().map(|(_, remark)| remark).collect()
}

/// What is worth saying of up to 256 rows spread over a source, each kind once, with file and row of the first.
///
/// # Errors
/// When one of them asks for a rubric that is not there.
pub fn of_dataset(dataset: &Dataset, known: &KnownRubrics) -> Result<Vec<String>, DatasetError> {
    let Some(length) = dataset.len().filter(|_| dataset.generated().is_none()) else { return Ok(Vec::new()) };
    let mut remarks = Remarks::default();
    for index in spread(length, SAMPLED) {
        if let Ok(example) = dataset.get(index) {
            known.check(&example, &dataset.place(index))?;
            remarks.add(&example, &dataset.place(index), known);
        }
    }
    Ok(remarks.lines())
}

/// Remarks of many rows.
#[derive(Debug, Default)]
pub struct Remarks {
    rows: usize,
    first: BTreeMap<Kind, (usize, String)>,
}

impl Remarks {
    /// Looks at a row.
    pub fn add(&mut self, example: &Example, place: &str, known: &KnownRubrics) {
        self.rows += 1;
        for (kind, remark) in all(example, known) {
            self.first.entry(kind).or_insert_with(|| (0, format!("{place}: {remark}"))).0 += 1;
        }
    }

    /// A line for each kind.
    pub fn lines(&self) -> Vec<String> {
        let line = |(count, first): &(usize, String)| match count {
            1 => first.clone(),
            _ => format!("{first} ({count} of {} rows that were looked at)", self.rows),
        };
        self.first.values().map(line).collect()
    }
}

fn all(example: &Example, known: &KnownRubrics) -> Vec<(Kind, String)> {
    let query = &example.query;
    let mut found = Vec::new();
    if example.spoken {
        let reason =
            "its last message is the assistant's: it is taken as the response, and the question ends before it";
        found.push((Kind::Spoken, reason.to_owned()));
    }
    if query.ground_truth.as_ref().is_some_and(is_blank) {
        found.push((Kind::BlankTruth, "its ground truth is empty, and no answer is right".to_owned()));
    }
    if let (Some(name), None) = (&query.rubric, &known.0) {
        let reason = format!("it asks for the rubric `{name}`, which only a configuration with [rubrics.{name}] has");
        found.push((Kind::Rubric, reason));
    }
    if !query.tools.is_empty() {
        let reason = format!(
            "it names the tools {}: none is run or told to the policy, and the reward `tool_calls` alone looks at their names",
            query.tools.iter().map(|tool| format!("`{tool}`")).collect::<Vec<_>>().join(", ")
        );
        found.push((Kind::Tools, reason));
    }
    let texts = query.messages.iter().flat_map(|message| &message.content).filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        Part::Image | Part::Video => None,
    });
    if let Some(token) = texts.filter_map(frame).next() {
        let reason = format!("it holds `{token}`: where the tokenizer has such a token, the row is refused");
        found.push((Kind::Frame, reason));
    }
    found
}

fn is_blank(truth: &Value) -> bool {
    match truth {
        Value::String(text) => text.trim().is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The first thing in a text that looks like a token of a frame, such as `<|im_start|>`.
fn frame(text: &str) -> Option<&str> {
    text.match_indices(FRAME[0]).find_map(|(at, _)| {
        let rest = &text[at + FRAME[0].len()..];
        let end = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '_')?;
        (end > 0 && rest[end..].starts_with(FRAME[1])).then(|| &text[at..at + FRAME[0].len() + end + FRAME[1].len()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_frame_are_found() {
        assert_eq!(frame("a <| b <|im_start|>user"), Some("<|im_start|>"));
        for none in ["", "a <|b c|>", "<||>", "<|im_start", "1 <| 2 |> 3", "<|é|>"] {
            assert_eq!(frame(none), None, "{none}");
        }
    }

    #[test]
    fn each_kind_is_said_once_with_the_first_row() {
        let query = sapo_datasets::synthetic::query(sapo_datasets::Task::Arith, sapo_datasets::Split::Train, 1, 0);
        let mut row = Example { query, response: None, spoken: false };
        let (none, some) = (KnownRubrics::default(), KnownRubrics::of([&"right".to_owned()].into_iter()));
        assert_eq!(of_row(&row, &none), Vec::<String>::new());
        (row.spoken, row.query.ground_truth) = (true, Some(Value::String(" ".to_owned())));
        (row.query.rubric, row.query.tools) = (Some("rigth".to_owned()), vec!["zoom".to_owned()]);
        assert_eq!(of_row(&row, &none).len(), 4);
        assert_eq!(of_row(&row, &some).len(), 3, "an unknown one is an error there");
        let error = some.check(&row, "a.jsonl row 2").unwrap_err().to_string();
        assert!(error.starts_with("a.jsonl row 2: it asks for the rubric `rigth`; did you mean `right`?"), "{error}");
        let mut remarks = Remarks::default();
        (1..4).for_each(|number| remarks.add(&row, &format!("a.jsonl row {number}"), &none));
        let lines = remarks.lines();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[0].starts_with("a.jsonl row 1: its last message") && lines[0].contains("(3 of 3 rows"),
            "{lines:?}"
        );
    }
}
