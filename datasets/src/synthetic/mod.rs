//! Generated tasks: unlimited, seeded, with pictures, ground truth and demonstrations; one file per task.

mod arith;
mod canvas;
mod clock;
mod count;
mod describe;
mod digits;
mod figure;
mod judge;
mod locate;
mod logic;
mod provoke;

use std::fmt;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use describe::same_description;
pub use judge::judge_prompt;

use crate::error::{DatasetError, Result};
use crate::nearest::nearest;
use crate::picture::Picture;
use crate::query::{Demonstration, Message, Part, Query, Role};
use crate::split::Split;
use canvas::Canvas;

/// The generator behind every draw: named, so that a new release of a library cannot change the data.
type Dice = ChaCha8Rng;
/// Draws the picture of a question; it runs only once the question is accepted for its split.
type Painting = Box<dyn FnOnce(&mut Dice) -> Canvas>;

/// A generated task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Adding and subtracting numbers below 100; no picture.
    Arith,
    /// Counting shapes of a colour or of a kind.
    Count,
    /// Reading a clock in steps of five minutes.
    Clock,
    /// Reading three digits.
    Digits,
    /// Boxing a shape, in 0..1000.
    Locate,
    /// Ordering three people by two comparisons; no picture.
    Logic,
    /// Describing a picture in one canonical phrase.
    Describe,
    /// Questions that provoke mixing languages or repeating words.
    Provoke,
    /// Telling whether an answer means the same as a reference; no picture.
    Judge,
}

/// How a demonstration answers; its answer is right in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// A worked line, then the answer.
    Careful,
    /// The answer at once.
    Hasty,
}

/// The language of a prompt, and of the answer that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English, `en`.
    #[serde(rename = "en")]
    English,
    /// Chinese, `zh`: the second script.
    #[serde(rename = "zh")]
    Chinese,
}

impl Language {
    /// The code in `columns.language`: `en` or `zh`.
    pub fn code(self) -> &'static str {
        self.choose("en", "zh")
    }

    fn choose<T>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 9] = [
        Self::Arith,
        Self::Count,
        Self::Clock,
        Self::Digits,
        Self::Locate,
        Self::Logic,
        Self::Describe,
        Self::Provoke,
        Self::Judge,
    ];
    /// The tasks of Reasoning RL, whose answers a rule can check.
    pub const REASONING: [Self; 6] = [Self::Arith, Self::Count, Self::Clock, Self::Digits, Self::Locate, Self::Logic];

    /// The lower-case name, as in `Query::task`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arith => "arith",
            Self::Count => "count",
            Self::Clock => "clock",
            Self::Digits => "digits",
            Self::Locate => "locate",
            Self::Logic => "logic",
            Self::Describe => "describe",
            Self::Provoke => "provoke",
            Self::Judge => "judge",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// When it is no task; the message names the nearest one.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let guess = nearest(name, Self::ALL.iter().map(|task| task.name()));
            DatasetError::Request(format!("no synthetic task `{name}`; {guess}"))
        })
    }

    fn draw(self, frame: Frame, dice: &mut Dice) -> Draft {
        match self {
            Self::Arith => arith::draw(frame, dice),
            Self::Count => count::draw(frame, dice),
            Self::Clock => clock::draw(frame, dice),
            Self::Digits => digits::draw(frame, dice),
            Self::Locate => locate::draw(frame, dice),
            Self::Logic => logic::draw(frame, dice),
            Self::Describe => describe::draw(frame, dice),
            Self::Provoke => provoke::draw(frame, dice),
            Self::Judge => judge::draw(frame, dice),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is settled before a question is drawn, so that rejecting questions of other splits cannot shift its shares.
#[derive(Clone, Copy, Debug)]
struct Frame {
    language: Language,
    /// A fair coin: the verdict of a judge pair.
    coin: bool,
    /// Uniform below 12: the kind of question, where a task has several.
    roll: usize,
}

/// A question before it is accepted: all of it but the pixels.
struct Draft {
    /// What is asked, less the pixels' noise and the language of the words: the key of the split.
    content: String,
    prompt: String,
    reward_kind: &'static str,
    ground_truth: Value,
    /// The worked line of a careful answer; empty when there is nothing to work out.
    working: String,
    answer: String,
    /// What the question was drawn from; the solvers work from it.
    facts: Value,
    /// Further columns.
    columns: Map<String, Value>,
    painting: Option<Painting>,
}

/// The query of a task at `index`: unlimited, the same for the same arguments, always of the wanted split.
///
/// Columns: `language` (`en`, `zh`), `content` (the key of the split), `reward_kind`, `facts` (what the solver needs).
pub fn query(task: Task, split: Split, seed: u64, index: u64) -> Query {
    generate(task, split, seed, index, Style::Careful).query
}

/// A demonstration from the training split: its query is that of [`query`] with [`Split::Train`], its answer is right.
pub fn demonstration(task: Task, seed: u64, index: u64, style: Style) -> Demonstration {
    generate(task, Split::Train, seed, index, style)
}

/// Whether `answer` (the text after `</think>`) is right, worked out anew from what the question was drawn from.
/// False for a query that no task of this module has made.
pub fn is_correct(query: &Query, answer: &str) -> bool {
    let (Ok(task), Some(facts)) = (Task::parse(&query.task), query.columns.get("facts")) else { return false };
    let answer = answer.trim();
    match task {
        Task::Arith => arith::is_correct(facts, answer),
        Task::Count => count::is_correct(facts, answer),
        Task::Clock => clock::is_correct(facts, answer),
        Task::Digits => digits::is_correct(facts, answer),
        Task::Locate => locate::is_correct(facts, answer),
        Task::Logic => logic::is_correct(facts, answer),
        Task::Describe => describe::is_correct(facts, answer),
        Task::Provoke => provoke::is_correct(query, facts, answer),
        Task::Judge => judge::is_correct(facts, answer),
    }
}

/// The texts of a demonstration, without the cost of its picture: question, worked line, answer.
pub(crate) fn texts(task: Task, split: Split, seed: u64, index: u64) -> [String; 3] {
    let draft = settle(task, split, seed, index).0;
    [draft.prompt, draft.working, draft.answer]
}

/// A demonstration of any split.
pub(crate) fn generate(task: Task, split: Split, seed: u64, index: u64, style: Style) -> Demonstration {
    let (draft, language, mut dice) = settle(task, split, seed, index);
    let response = match style {
        Style::Careful => format!("{}</think>{}", draft.working, draft.answer),
        Style::Hasty => format!("</think>{}", draft.answer),
    };
    let id = format!("{task}-{split}-{seed}-{index}");
    Demonstration { query: finish(draft, task, id, language, &mut dice), response }
}

/// The columns of a query, without the cost of its picture.
pub(crate) fn columns(task: Task, split: Split, seed: u64, index: u64) -> Map<String, Value> {
    let (mut draft, language, _) = settle(task, split, seed, index);
    take_columns(&mut draft, language)
}

/// Draws questions until one belongs to the split.
fn settle(task: Task, split: Split, seed: u64, index: u64) -> (Draft, Language, Dice) {
    let mut dice = dice(seed, task, split, index);
    let language = if dice.random_bool(0.2) { Language::Chinese } else { Language::English };
    let frame = Frame { language, coin: dice.random(), roll: dice.random_range(0..12) };
    // Every task has questions in every split (a test draws them), so this ends.
    loop {
        let draft = task.draw(frame, &mut dice);
        if Split::of(&draft.content) == split {
            return (draft, language, dice);
        }
    }
}

fn take_columns(draft: &mut Draft, language: Language) -> Map<String, Value> {
    let mut columns = Map::new();
    columns.insert("language".to_owned(), language.code().into());
    columns.insert("content".to_owned(), std::mem::take(&mut draft.content).into());
    columns.insert("reward_kind".to_owned(), draft.reward_kind.into());
    columns.extend(std::mem::take(&mut draft.columns));
    columns.insert("facts".to_owned(), draft.facts.take());
    columns
}

fn finish(mut draft: Draft, task: Task, id: String, language: Language, dice: &mut Dice) -> Query {
    let columns = take_columns(&mut draft, language);
    let images: Vec<Picture> = draft
        .painting
        .into_iter()
        .map(|paint| Picture::from_rgb(&paint(dice).into_rgb()).expect("a drawn picture has pixels"))
        .collect();
    let mut content: Vec<Part> = images.iter().map(|_| Part::Image).collect();
    content.push(Part::text(draft.prompt));
    Query {
        id,
        task: task.name().to_owned(),
        messages: vec![Message { role: Role::User, content }],
        images,
        videos: Vec::new(),
        ground_truth: Some(draft.ground_truth),
        rubric: None,
        tools: Vec::new(),
        columns,
    }
}

fn dice(seed: u64, task: Task, split: Split, index: u64) -> Dice {
    let digest = Sha256::digest(format!("{seed}/{task}/{split}/{index}").as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&digest);
    Dice::from_seed(bytes)
}

/// One of `items`, which are not empty.
fn pick<T: Copy>(dice: &mut Dice, items: &[T]) -> T {
    items[dice.random_range(0..items.len())]
}

/// `items` in random order.
fn shuffled<T: Copy>(dice: &mut Dice, items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    for last in (1..items.len()).rev() {
        items.swap(last, dice.random_range(0..=last));
    }
    items
}

/// A mid grey, near which the policy's normalised pixels are 0.
fn background(dice: &mut Dice) -> u8 {
    dice.random_range(118..=138)
}

/// A number in the digit font, for labels; `height` in pixels.
pub(crate) fn number_label(number: usize, height: u32) -> image::RgbImage {
    let digits = number.to_string();
    let step = height as f32 * 0.8;
    let mut canvas = Canvas::new((step * digits.len() as f32).ceil() as u32 + 2, height + 2, 245);
    for (place, digit) in digits.bytes().enumerate() {
        canvas.digit(digit - b'0', (1.0 + place as f32 * step, 1.0), height as f32, [40, 40, 40]);
    }
    canvas.into_rgb()
}

#[cfg(test)]
mod tests;
