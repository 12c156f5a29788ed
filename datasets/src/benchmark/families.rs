//! The layouts of public benchmarks: which columns a row has, and what they ask.

use serde_json::{Map, Value};

use super::asked::{Asked, letter};
use crate::table::Row;

/// Columns of options, in order.
const LETTERS: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

macro_rules! benchmarks {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, columns $columns:expr, pictures $pictures:expr;)*) => {
        /// A public benchmark, by the layout of its files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Benchmark {
            $($(#[$doc])* $variant,)*
        }

        impl Benchmark {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, which is the task of its rows.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Columns that a file must have.
            pub(super) fn columns(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &$columns,)*
                }
            }

            /// Columns of pictures, in order, where a file has them.
            pub(super) fn pictures(self) -> &'static [&'static str] {
                match self {
                    $(Self::$variant => &$pictures,)*
                }
            }
        }
    };
}

benchmarks! {
    /// MMMU and MMMU-Pro: `question` with `<image 1>`, `options` as a list or as Python writes one, `answer`.
    Mmmu = "mmmu", columns ["id", "question", "options", "answer"],
        pictures ["image", "image_1", "image_2", "image_3", "image_4", "image_5", "image_6", "image_7"];
    /// MMBench: `question`, `hint`, the options in `A` to `D`, `answer`.
    Mmbench = "mmbench", columns ["index", "question", "A", "B", "answer"], pictures ["image"];
    /// MMStar: `question` with its options in the text, `answer`.
    Mmstar = "mmstar", columns ["index", "question", "answer"], pictures ["image"];
    /// MathVista: `question`, `choices`, `answer`, `question_type`, `answer_type`.
    Mathvista = "mathvista", columns ["pid", "question", "choices", "answer", "question_type"], pictures ["decoded_image"];
    /// MathVision: `question`, `options`, `answer`.
    Mathvision = "mathvision", columns ["id", "question", "options", "answer"], pictures ["decoded_image"];
    /// DocVQA, InfographicVQA, ChartQA and the like: `question` and `answers`, scored by the reward `anls`.
    Docvqa = "docvqa", columns ["question", "answers"], pictures ["image"];
    /// CountBenchQA: `question`, `number`.
    Countbench = "countbench", columns ["question", "number"], pictures ["image"];
    /// RefCOCO, RefCOCO+ and RefCOCOg: `answer` (what is looked for), `bbox` in pixels as `[x, y, width, height]`.
    Refcoco = "refcoco", columns ["answer", "bbox"], pictures ["image"];
    /// IFEval: `prompt`, `instruction_id_list`, `kwargs`.
    Ifeval = "ifeval", columns ["key", "prompt", "instruction_id_list", "kwargs"], pictures [];
}

impl Benchmark {
    /// The benchmark of a name.
    ///
    /// # Errors
    /// When there is none; the message names all.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|benchmark| benchmark.name() == name).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|benchmark| benchmark.name()).collect();
            format!("there is no benchmark `{name}`; the layouts are {}", all.join(", "))
        })
    }

    /// What a row asks.
    pub(super) fn read(self, row: &Row, index: u64) -> Result<Asked, String> {
        let values = &row.values;
        let mut asked = match self {
            Self::Mmmu | Self::Mathvision => of_options(values, "options"),
            Self::Mathvista => of_options(values, "choices"),
            Self::Mmbench => of_letters(values),
            Self::Mmstar => {
                let (question, choices) = with_options(&text(values, "question")?);
                let mut asked = Asked { question, ..Asked::default() };
                choose(&mut asked, choices, &text(values, "answer")?).map(|()| asked)
            }
            Self::Docvqa => document(values),
            Self::Countbench => {
                let number = values.get("number").filter(|number| number.is_number()).ok_or("`number` is no number")?;
                let question = text(values, "question")?;
                Ok(Asked {
                    question,
                    prompt: "number",
                    kind: "number",
                    truth: Some(number.clone()),
                    ..Asked::default()
                })
            }
            Self::Refcoco => place(values),
            Self::Ifeval => {
                let kept = ["instruction_id_list", "kwargs"]
                    .map(|key| (key.to_owned(), values.get(key).cloned().unwrap_or_default()));
                let (question, columns) = (text(values, "prompt")?, kept.into_iter().collect());
                Ok(Asked { question, prompt: "plain", kind: "instructions", columns, ..Asked::default() })
            }
        }?;
        if self == Self::Mathvision && asked.choices.is_empty() {
            (asked.prompt, asked.kind) = ("math", "math");
        }
        let named = IDS.iter().find_map(|key| match values.get(*key)? {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        });
        asked.id = format!("{}-{}", self.name(), named.unwrap_or_else(|| (index + 1).to_string()));
        Ok(asked)
    }
}

/// Columns that name a row, in order.
const IDS: [&str; 6] = ["id", "pid", "questionId", "question_id", "key", "index"];

/// A question whose options stand in a column; without options it is open.
fn of_options(values: &Map<String, Value>, column: &str) -> Result<Asked, String> {
    let answer = text(values, "answer")?;
    let mut asked = Asked { question: text(values, "question")?, ..Asked::default() };
    match list(values, column)? {
        choices if choices.is_empty() => open(&mut asked, answer),
        choices => choose(&mut asked, choices, &answer)?,
    }
    if let Some(unit) = values.get("unit").and_then(Value::as_str) {
        asked.question.push_str(&format!(" (unit: {unit})"));
    }
    Ok(asked)
}

/// A question whose options stand in columns of their own, as far as there are some.
fn of_letters(values: &Map<String, Value>) -> Result<Asked, String> {
    let hint = values.get("hint").and_then(Value::as_str).filter(|hint| !hint.trim().is_empty() && *hint != "nan");
    let question = text(values, "question")?;
    let question = hint.map_or(question.clone(), |hint| format!("{hint}\n{question}"));
    let options = LETTERS.iter().map_while(|letter| match values.get(*letter) {
        Some(Value::String(option)) if option != "nan" => Some(option.clone()),
        Some(Value::Number(option)) => Some(option.to_string()),
        _ => None,
    });
    let mut asked = Asked { question, ..Asked::default() };
    choose(&mut asked, options.collect(), &text(values, "answer")?)?;
    Ok(asked)
}

/// A question about a document, any of whose answers will do.
fn document(values: &Map<String, Value>) -> Result<Asked, String> {
    let answers = list(values, "answers")?;
    let truth = (!answers.is_empty()).then(|| Value::from(answers)).ok_or("`answers` is empty")?;
    Ok(Asked { question: text(values, "question")?, prompt: "short", truth: Some(truth), ..Asked::default() })
}

/// What is to be found in a picture.
fn place(values: &Map<String, Value>) -> Result<Asked, String> {
    let question = list(values, "answer")?.into_iter().next().ok_or("`answer` is empty")?;
    let given = values.get("bbox").cloned().unwrap_or_default();
    let pixels: [f64; 4] = serde_json::from_value(given.clone())
        .map_err(|_| format!("`bbox` is {given}; [x, y, width, height] is wanted"))?;
    Ok(Asked { question, prompt: "box", kind: "grounding", pixels: Some(pixels), ..Asked::default() })
}

fn text(values: &Map<String, Value>, key: &str) -> Result<String, String> {
    match &values.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        other => Err(format!("`{key}` is {}, no text", other.map_or("missing".to_owned(), Value::to_string))),
    }
}

/// A list of texts: one, a text alone, or a list as Python writes it.
fn list(values: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let texts = |values: &[Value]| -> Vec<String> {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        values.iter().filter(|value| !value.is_null()).map(plain).collect()
    };
    match values.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => Ok(texts(values)),
        Some(Value::String(text)) if text.trim_start().starts_with('[') => python_list(text.trim()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(other) => Err(format!("`{key}` is {other}, no list")),
    }
}

/// `['a', "b's"]`, as Python writes a list of texts.
fn python_list(text: &str) -> Result<Vec<String>, String> {
    let fault = || format!("{text} is no list of texts");
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or_else(fault)?;
    let (mut found, mut letters) = (Vec::new(), inside.chars().peekable());
    loop {
        while letters.next_if(|letter| letter.is_whitespace() || *letter == ',').is_some() {}
        let Some(quote) = letters.next() else { return Ok(found) };
        if !['\'', '"'].contains(&quote) {
            return Err(fault());
        }
        let mut said = String::new();
        loop {
            match letters.next().ok_or_else(fault)? {
                '\\' => match letters.next().ok_or_else(fault)? {
                    'n' => said.push('\n'),
                    't' => said.push('\t'),
                    letter if ['\\', '\'', '"'].contains(&letter) => said.push(letter),
                    // LaTeX, of which Python keeps the sign.
                    letter => said.extend(['\\', letter]),
                },
                letter if letter == quote => break,
                letter => said.push(letter),
            }
        }
        found.push(said);
    }
}

/// Makes a question of options one whose answer is a letter; the answer may be written out.
fn choose(asked: &mut Asked, choices: Vec<String>, answer: &str) -> Result<(), String> {
    let by_letter = (0..choices.len()).find(|index| letter(*index).eq_ignore_ascii_case(answer.trim()));
    let index = by_letter.or_else(|| choices.iter().position(|choice| choice.trim() == answer.trim()));
    let index = index.ok_or_else(|| format!("the answer `{answer}` is none of the {} options", choices.len()))?;
    (asked.prompt, asked.kind, asked.truth) = ("choice", "multiple_choice", Some(letter(index).into()));
    asked.choices = choices;
    Ok(())
}

/// A question without options: a number where the answer is one, else a text.
fn open(asked: &mut Asked, answer: String) {
    let number = answer.trim().replace(',', "").parse::<f64>().is_ok_and(f64::is_finite);
    (asked.prompt, asked.kind) = if number { ("number", "number") } else { ("short", "text") };
    let several = if answer.trim_start().starts_with('[') { python_list(answer.trim()).ok() } else { None };
    asked.truth = Some(several.map_or_else(|| answer.into(), Value::from));
}

/// The question and its options, of a text that ends with `Options: A: red, B: blue`.
fn with_options(text: &str) -> (String, Vec<String>) {
    let Some((question, rest)) = text.rsplit_once("Options:").or_else(|| text.rsplit_once("Choices:")) else {
        return (text.to_owned(), Vec::new());
    };
    let mut starts = Vec::new();
    let mut from = 0;
    for letter in LETTERS {
        let found = [format!("{letter}: "), format!("({letter}) "), format!("{letter}. ")]
            .into_iter()
            .find_map(|mark| rest[from..].find(&mark).map(|at| (from + at, mark.len())));
        let Some((at, length)) = found else { break };
        starts.push((at, at + length));
        from = at + length;
    }
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([rest.len()]);
    let option = |((_, from), to): (&(usize, usize), usize)| {
        rest[*from..to].trim().trim_end_matches([',', ';']).trim().to_owned()
    };
    (question.trim().to_owned(), starts.iter().zip(ends).map(option).collect())
}
