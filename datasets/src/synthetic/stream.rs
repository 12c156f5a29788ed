//! The questions of a task as a stream: unlimited, seeded, of one split and one difficulty.

use rand::RngExt;
use serde_json::{Map, Value};

use super::Task;
use super::dice::{Dice, seeded};
use super::draft::{Draft, Frame};
use super::words::{Difficulty, Language, Style};
use crate::picture::Picture;
use crate::query::{Demonstration, Message, Part, Query, Role};
use crate::split::Split;

/// The questions of a task: the one at an index is always the same.
///
/// Columns of its queries: `language` (`en`, `zh`), `content` (the key of the split), `reward_kind`, `facts` (what the
/// solver needs), and `difficulty` where it is not the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What is asked.
    pub task: Task,
    /// The part to which all questions belong; no question is in two.
    pub split: Split,
    /// Another seed, other questions.
    pub seed: u64,
    /// How hard they are.
    pub difficulty: Difficulty,
}

impl Stream {
    /// The questions of usual difficulty.
    pub fn new(task: Task, split: Split, seed: u64) -> Self {
        Self { task, split, seed, difficulty: Difficulty::default() }
    }

    /// The query at `index`.
    pub fn query(&self, index: u64) -> Query {
        self.demonstration(index, Style::Careful).query
    }

    /// The query at `index` with an answer that is right.
    pub fn demonstration(&self, index: u64, style: Style) -> Demonstration {
        let (mut draft, language, mut dice) = self.settle(index);
        let paint = draft.painting.take();
        let pictures =
            paint.map(|paint| Picture::from_rgb(&paint(&mut dice).into_rgb()).expect("a drawn picture has pixels"));
        self.finish(index, style, (draft, language), pictures.into_iter().collect())
    }

    /// [`Stream::demonstration`] without its pictures, at a fraction of the cost.
    pub fn unpainted(&self, index: u64, style: Style) -> Demonstration {
        let (draft, language, _) = self.settle(index);
        self.finish(index, style, (draft, language), Vec::new())
    }

    /// Draws questions until one belongs to the split.
    pub(super) fn settle(&self, index: u64) -> (Draft, Language, Dice) {
        let mut dice = self.dice(index);
        let language = if dice.random_bool(0.2) { Language::Chinese } else { Language::English };
        let frame =
            Frame { language, difficulty: self.difficulty, coin: dice.random(), roll: dice.random_range(0..12) };
        // Every task has questions of every difficulty in every split (a test draws them), so this ends.
        loop {
            let draft = self.task.draw(frame, &mut dice);
            if Split::of(&draft.content) == self.split {
                return (draft, language, dice);
            }
        }
    }

    fn finish(
        &self,
        index: u64,
        style: Style,
        (draft, language): (Draft, Language),
        images: Vec<Picture>,
    ) -> Demonstration {
        let mut columns = Map::new();
        columns.insert("language".to_owned(), language.code().into());
        columns.insert("content".to_owned(), draft.content.into());
        columns.insert("reward_kind".to_owned(), draft.reward_kind.into());
        if self.difficulty != Difficulty::default() {
            columns.insert("difficulty".to_owned(), self.difficulty.name().into());
        }
        columns.extend(draft.columns);
        columns.insert("facts".to_owned(), draft.facts);
        let mut content: Vec<Part> = images.iter().map(|_| Part::Image).collect();
        content.push(Part::text(draft.prompt));
        let response = match style {
            Style::Careful => format!("{}</think>{}", draft.working, draft.answer),
            Style::Hasty => format!("</think>{}", draft.answer),
        };
        let query = Query {
            id: format!("{}-{}-{}-{index}", self.named(), self.split, self.seed),
            task: self.task.name().to_owned(),
            messages: vec![Message { role: Role::User, content }],
            conversational: false,
            images,
            videos: Vec::new(),
            ground_truth: Some(draft.ground_truth),
            rubric: None,
            tools: Vec::new(),
            columns,
        };
        Demonstration { query, response }
    }

    /// The columns of the query at `index`, without the cost of its picture.
    pub(crate) fn columns(&self, index: u64) -> Map<String, Value> {
        self.unpainted(index, Style::Hasty).query.columns
    }

    /// The task, and its difficulty where that is not the usual one: so ids of two difficulties differ.
    fn named(&self) -> String {
        match self.difficulty {
            Difficulty::Medium => self.task.name().to_owned(),
            other => format!("{}-{other}", self.task),
        }
    }

    fn dice(&self, index: u64) -> Dice {
        seeded(&format!("{}/{}/{}/{index}", self.seed, self.named(), self.split))
    }
}
