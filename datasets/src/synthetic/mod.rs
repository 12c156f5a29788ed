//! Generated tasks: unlimited, seeded, with pictures, ground truth and demonstrations.
//!
//! A new task is its own file and a line in the table below: names, help, streams and tests take everything else from
//! its `draw` (a question from dice) and its `is_correct` (a solver that works from the facts of a question alone).

mod arith;
mod canvas;
mod chart;
mod clock;
mod count;
mod describe;
mod dice;
mod digits;
mod draft;
mod figure;
mod glyphs;
mod judge;
mod locate;
mod logic;
mod maze;
pub mod needle;
mod ocr;
mod oddity;
mod pattern;
mod program;
mod provoke;
mod receipt;
mod relation;
mod stream;
mod words;
mod zebra;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use describe::same_description;
pub use judge::judge_prompt;
pub use stream::Stream;
pub use words::{Difficulty, Language, Style};

use crate::error::{DatasetError, Result};
use crate::nearest::nearest;
use crate::query::{Demonstration, Query};
use crate::split::Split;
use canvas::Canvas;
use dice::{Dice, background, pick, shuffled};
use draft::{Draft, Frame, Painting};

macro_rules! tasks {
    ($($variant:ident = $module:ident: $about:literal,)*) => {
        /// A generated task.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Task {
            $(
                #[doc = $about]
                $variant,
            )*
        }

        impl Task {
            /// All tasks.
            pub const ALL: [Self; [$($about),*].len()] = [$(Self::$variant),*];

            /// The lower-case name, as in `Query::task`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($module),)*
                }
            }

            /// What is asked, in a line.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about,)*
                }
            }

            fn draw(self, frame: Frame, dice: &mut Dice) -> Draft {
                match self {
                    $(Self::$variant => $module::draw(frame, dice),)*
                }
            }

            fn is_correct(self, facts: &Value, answer: &str) -> bool {
                match self {
                    $(Self::$variant => $module::is_correct(facts, answer),)*
                }
            }
        }
    };
}

tasks! {
    Arith = arith: "Adding and subtracting numbers; no picture.",
    Count = count: "Counting shapes of a colour or of a kind.",
    Clock = clock: "Reading a clock.",
    Digits = digits: "Reading digits.",
    Locate = locate: "Boxing a shape, in 0..1000.",
    Logic = logic: "Ordering people by comparisons; no picture.",
    Describe = describe: "Describing a picture in one canonical phrase.",
    Provoke = provoke: "Questions that provoke mixing languages or repeating words.",
    Judge = judge: "Telling whether an answer means the same as a reference; no picture.",
    Chart = chart: "Reading a bar or line chart: a value, the highest or lowest place, a difference.",
    Maze = maze: "The length of the shortest way through a maze.",
    Pattern = pattern: "Choosing the figure that is missing in a matrix of figures.",
    Zebra = zebra: "A puzzle of clues with one solution: who has what; no picture.",
    Program = program: "Writing a Python function that passes hidden tests; no picture.",
    Receipt = receipt: "Reading a field of a receipt.",
    Oddity = oddity: "Counting the parts of a thing that has more or fewer than usual.",
    Relation = relation: "What stands beside what, and in which colour.",
    Ocr = ocr: "Reading letters, Latin ones in English questions and Chinese ones in Chinese questions.",
}

impl Task {
    /// The tasks of Reasoning RL, whose answers a rule can check.
    pub const REASONING: [Self; 6] = [Self::Arith, Self::Count, Self::Clock, Self::Digits, Self::Locate, Self::Logic];

    /// The tasks on whose text the tokenizer of the small presets was trained. The list is closed: one task more would
    /// give every token another id, and weights that were trained before would be worthless.
    pub const OF_TOKENIZER: [Self; 9] = [
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
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The query of a task at `index`, of usual difficulty: unlimited, the same for the same arguments, always of the wanted
/// split. [`Stream`] tells its columns.
pub fn query(task: Task, split: Split, seed: u64, index: u64) -> Query {
    Stream::new(task, split, seed).query(index)
}

/// A demonstration from the training split: its query is that of [`query`] with [`Split::Train`], its answer is right.
pub fn demonstration(task: Task, seed: u64, index: u64, style: Style) -> Demonstration {
    Stream::new(task, Split::Train, seed).demonstration(index, style)
}

/// Whether `answer` (the text after `</think>`) is right, worked out anew from what the question was drawn from.
/// False for a query that no task of this module has made.
pub fn is_correct(query: &Query, answer: &str) -> bool {
    match (Task::parse(&query.task), query.columns.get("facts")) {
        (Ok(task), Some(facts)) => task.is_correct(facts, answer.trim()),
        _ => false,
    }
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
