//! What a benchmark's row asks, before it is a query: its prompt, its pictures where the text names them, its truth.

use std::path::Path;

use serde_json::{Map, Value};

use crate::dataset::Example;
use crate::error::{DatasetError, Result};
use crate::layout::pictures::picture;
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role};
use crate::table::Row;

/// The prompts, by name: the version in the first line, then the text.
const PROMPTS: [(&str, &str); 6] = [
    ("choice", include_str!("../../prompts/choice.txt")),
    ("short", include_str!("../../prompts/short.txt")),
    ("math", include_str!("../../prompts/math.txt")),
    ("number", include_str!("../../prompts/number.txt")),
    ("box", include_str!("../../prompts/box.txt")),
    ("plain", include_str!("../../prompts/plain.txt")),
];

/// What a row asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) id: String,
    /// The question, with `<image 1>` where a picture stands.
    pub(super) question: String,
    /// Options by letter.
    pub(super) choices: Vec<String>,
    /// Which prompt.
    pub(super) prompt: &'static str,
    /// Which verifier, as the column `reward_kind` names it; empty where a rubric's reward is meant.
    pub(super) kind: &'static str,
    pub(super) truth: Option<Value>,
    /// A box in pixels, `[x, y, width, height]`, of the first picture: the truth in thousandths of it.
    pub(super) pixels: Option<[f64; 4]>,
    /// Further columns.
    pub(super) columns: Map<String, Value>,
}

/// The letter of an option.
pub(super) fn letter(index: usize) -> String {
    char::from(b'A' + (index % 26) as u8).to_string()
}

impl Asked {
    /// The query; `columns` hold its pictures, in order.
    pub(super) fn query(
        mut self,
        (task, columns): (&str, &[&str]),
        row: &Row,
        file: &Path,
        place: &str,
    ) -> Result<Example> {
        let mut pictures = Vec::new();
        for name in columns {
            for raw in row.pictures.get(*name).into_iter().flatten() {
                pictures.push(picture(raw.clone(), file, &format!("{place}, column `{name}`"))?);
            }
        }
        if let Some(pixels) = self.pixels {
            self.truth = Some(in_thousandths(pixels, &pictures, place)?);
        }
        let (_, prompt) = PROMPTS.iter().find(|(name, _)| *name == self.prompt).unwrap_or(&PROMPTS[5]);
        let (version, prompt) = prompt.split_once('\n').unwrap_or(("", prompt));
        let lines: Vec<String> =
            self.choices.iter().enumerate().map(|(index, choice)| format!("{}. {choice}", letter(index))).collect();
        let text =
            prompt.trim_end().replace("{choices}", &lines.join("\n")).replace("{question}", self.question.trim());
        let (content, images) = placed(&text, pictures);
        let mut columns = self.columns;
        columns.insert("benchmark".to_owned(), task.into());
        columns.insert("prompt".to_owned(), version.into());
        if !self.kind.is_empty() {
            columns.insert("reward_kind".to_owned(), self.kind.into());
        }
        if !self.choices.is_empty() {
            let named = self.choices.iter().enumerate().map(|(index, choice)| (letter(index), choice.clone().into()));
            columns.insert("choices".to_owned(), Value::Object(named.collect()));
        }
        let query = Query {
            id: self.id,
            task: task.to_owned(),
            messages: vec![Message { role: Role::User, content }],
            conversational: false,
            images,
            videos: Vec::new(),
            ground_truth: self.truth,
            rubric: None,
            tools: Vec::new(),
            columns,
        };
        Ok(Example { query, response: None, spoken: false })
    }
}

/// Pictures where the text names them (`<image 1>`, `<image1>`, `<image>`), the others before it.
fn placed(text: &str, pictures: Vec<Picture>) -> (Vec<Part>, Vec<Picture>) {
    let (mut parts, mut order, mut rest) = (Vec::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once("<image") {
        let Some((number, after)) = after.split_once('>').filter(|(number, _)| number.len() < 4) else { break };
        let named = if number.trim().is_empty() { Some(order.len() + 1) } else { number.trim().parse::<usize>().ok() };
        let index = named
            .and_then(|named| named.checked_sub(1))
            .filter(|index| *index < pictures.len() && !order.contains(index));
        // A picture that was shown is referred to by its number.
        let said = if index.is_none() { format!("{before}image{number}") } else { before.to_owned() };
        if !said.is_empty() {
            parts.push(Part::text(said));
        }
        if let Some(index) = index {
            order.push(index);
            parts.push(Part::Image);
        }
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::text(rest));
    }
    let unnamed: Vec<usize> = (0..pictures.len()).filter(|index| !order.contains(index)).collect();
    let parts = unnamed.iter().map(|_| Part::Image).chain(parts).collect();
    let images = unnamed.iter().chain(&order).map(|index| pictures[*index].clone()).collect();
    (parts, images)
}

fn in_thousandths([x, y, width, height]: [f64; 4], pictures: &[Picture], place: &str) -> Result<Value> {
    let picture = pictures.first().ok_or_else(|| DatasetError::row(place, "has a box and no picture"))?;
    let (across, down) = picture.size()?;
    let part = |value: f64, whole: u32| (value / f64::from(whole) * 1000.0).round().clamp(0.0, 1000.0);
    let of = [part(x, across), part(y, down), part(x + width, across), part(y + height, down)];
    Ok(serde_json::json!({"task": "bbox", "boxes": [of]}))
}
