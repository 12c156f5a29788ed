//! Needle in a haystack: one fact in a long text, among pictures, or among the frames of a video, on a grid of lengths and depths.

mod filler;
mod pictures;
mod text;

use std::fmt;

use serde_json::{Map, Value};

pub use self::filler::Filler;
pub use self::text::Haystack;
use super::dice::{Dice, seeded};
use crate::error::{DatasetError, Result};
use crate::picture::Picture;
use crate::query::{Message, Part, Query, Role};

/// The column with the length of a row's haystack, a whole number.
pub const LENGTH_COLUMN: &str = "needle_length";
/// The column with the depth of its needle, in percent: 0 is the beginning, 100 the end.
pub const DEPTH_COLUMN: &str = "needle_depth";
/// The column that says what lengths count.
pub const UNIT_COLUMN: &str = "needle_unit";
/// The column with what the haystack of a row really counts, its needle in it.
const COUNTED_COLUMN: &str = "needle_counted";

/// Rows of a grid at most.
const MOST_ROWS: u64 = 1_000_000;
/// Words or tokens of a row at most.
const MOST_WORDS: u64 = 10_000_000;
/// Pictures or frames of a row at most.
const MOST_PICTURES: u64 = 10_000;

/// What a needle is hidden in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sentence in a text.
    Text,
    /// A picture among pictures.
    Pictures,
    /// A frame of a video.
    Video,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::Pictures, Self::Video];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Pictures => "pictures",
            Self::Video => "video",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn parse(name: &str) -> std::result::Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| "say text, pictures or video".to_owned())
    }

    /// The lengths where none are said.
    pub fn usual_lengths(self) -> Vec<u64> {
        match self {
            Self::Text => vec![256, 512, 1024, 2048],
            Self::Pictures | Self::Video => vec![4, 8, 16],
        }
    }

    /// The task of its rows.
    fn task(self) -> &'static str {
        match self {
            Self::Text => "needle-text",
            Self::Pictures => "needle-pictures",
            Self::Video => "needle-video",
        }
    }

    /// The version of its prompt, and the prompt.
    fn prompt(self) -> (&'static str, &'static str) {
        let file = match self {
            Self::Text => include_str!("../../../prompts/needle-text.txt"),
            Self::Pictures => include_str!("../../../prompts/needle-pictures.txt"),
            Self::Video => include_str!("../../../prompts/needle-video.txt"),
        };
        file.split_once('\n').unwrap_or(("", file))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lengths by depths, with some rows in each cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What needles are hidden in.
    pub kind: Kind,
    /// The lengths of haystacks.
    pub lengths: Vec<u64>,
    /// The depths of needles, in percent.
    pub depths: Vec<f64>,
    /// Rows of each cell.
    pub per_cell: u64,
    /// Another seed, other rows.
    pub seed: u64,
}

/// A row of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    length: u64,
    depth: f64,
    /// Which of the cell.
    number: u64,
}

/// What a row asks.
struct Asked {
    question: String,
    answer: u32,
    /// The text that the needle lies in; empty where it lies among pictures.
    haystack: String,
    pictures: Vec<Picture>,
    /// What is counted of the haystack.
    counted: u64,
}

/// A row: what is asked, and the frames of its video, which are files of their own.
#[derive(Clone, Debug)]
pub struct Row {
    /// The query. Of a video it has the place, and no video yet.
    pub query: Query,
    /// The frames, in order; none but for videos.
    pub frames: Vec<Picture>,
}

impl Grid {
    /// What makes no sense of it: which option, and why.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let twice = |same: bool, value: &dyn fmt::Display| same.then(|| format!("{value} stands twice"));
        let again = |at: usize| self.lengths[..at].contains(&self.lengths[at]);
        let most = if self.kind == Kind::Text { MOST_WORDS } else { MOST_PICTURES };
        for (at, length) in self.lengths.iter().enumerate() {
            let reason = twice(again(at), length);
            let wrong = !(1..=most).contains(length);
            let reason = reason.or_else(|| wrong.then(|| format!("{length} must be at least 1 and at most {most}")));
            if let Some(reason) = reason {
                return Some(("lengths", reason));
            }
        }
        for (at, depth) in self.depths.iter().enumerate() {
            let reason = twice(self.depths[..at].contains(depth), depth);
            let wrong = !(0.0..=100.0).contains(depth);
            let reason = reason.or_else(|| wrong.then(|| format!("{depth} is no depth in percent, from 0 to 100")));
            if let Some(reason) = reason {
                return Some(("depths", reason));
            }
        }
        let rows = self.cells().checked_mul(self.per_cell).filter(|rows| (1..=MOST_ROWS).contains(rows));
        rows.is_none().then(|| {
            let cells = self.cells();
            ("per-cell", format!("{} rows in each of {cells} cells are none, or more than {MOST_ROWS}", self.per_cell))
        })
    }

    fn cells(&self) -> u64 {
        self.lengths.len() as u64 * self.depths.len() as u64
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.cells() * self.per_cell
    }

    /// Cell by cell, the lengths of a depth beside each other.
    fn place(&self, index: u64) -> Place {
        let (cell, number) = (index / self.per_cell, index % self.per_cell);
        let lengths = self.lengths.len() as u64;
        Place { length: self.lengths[(cell % lengths) as usize], depth: self.depths[(cell / lengths) as usize], number }
    }

    /// The row at `index`, which is below [`Grid::rows`]: always the same for the same grid and haystack.
    ///
    /// # Errors
    /// When its length is too short for a needle, or a haystack has its words already.
    pub fn row(&self, index: u64, haystack: &Haystack<'_>) -> Result<Row> {
        let Self { kind, seed, .. } = self;
        let place @ Place { length, depth, number } = self.place(index);
        let id = format!("{}-{seed}-{length}-{depth}-{number}", kind.task());
        let mut dice: Dice = seeded(&id);
        let asked = match kind {
            Kind::Text => haystack.hide(place, &mut dice).map_err(|reason| DatasetError::row(&id, reason))?,
            Kind::Pictures => pictures::hide(place, "One of the pictures shows", &mut dice)?,
            Kind::Video => pictures::hide(place, "One frame of the video shows", &mut dice)?,
        };
        Ok(self.asked(id, place, asked, haystack))
    }

    fn asked(&self, id: String, place: Place, asked: Asked, haystack: &Haystack<'_>) -> Row {
        let (version, prompt) = self.kind.prompt();
        let text = prompt.trim_end().replace("{question}", &asked.question).replace("{haystack}", &asked.haystack);
        let unit = match self.kind {
            Kind::Text => haystack.unit(),
            Kind::Pictures => "pictures",
            Kind::Video => "frames",
        };
        let columns: [(&str, Value); 7] = [
            ("benchmark", self.kind.task().into()),
            ("prompt", version.into()),
            ("reward_kind", "number".into()),
            (LENGTH_COLUMN, place.length.into()),
            (DEPTH_COLUMN, place.depth.into()),
            (UNIT_COLUMN, unit.into()),
            (COUNTED_COLUMN, asked.counted.into()),
        ];
        let (images, frames, before) = match self.kind {
            Kind::Text => (Vec::new(), Vec::new(), Vec::new()),
            Kind::Pictures => {
                let parts = vec![Part::Image; asked.pictures.len()];
                (asked.pictures, Vec::new(), parts)
            }
            Kind::Video => (Vec::new(), asked.pictures, vec![Part::Video]),
        };
        let content = before.into_iter().chain([Part::text(text)]).collect();
        let query = Query {
            id,
            task: self.kind.task().to_owned(),
            messages: vec![Message { role: Role::User, content }],
            conversational: false,
            images,
            videos: Vec::new(),
            ground_truth: Some(asked.answer.into()),
            rubric: None,
            tools: Vec::new(),
            columns: columns.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<String, Value>>(),
        };
        Row { query, frames }
    }
}

#[cfg(test)]
mod tests;
