//! What a task hands over: a question before it is accepted.

use serde_json::{Map, Value};

use super::canvas::Canvas;
use super::dice::Dice;
use super::words::{Difficulty, Language};

/// Draws the picture of a question; it runs only once the question is accepted for its split.
pub(super) type Painting = Box<dyn FnOnce(&mut Dice) -> Canvas>;

/// What is settled before a question is drawn, so that rejecting questions of other splits cannot shift its shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) language: Language,
    pub(super) difficulty: Difficulty,
    /// A fair coin: the verdict of a judge pair.
    pub(super) coin: bool,
    /// Uniform below 12: the kind of question, where a task has several.
    pub(super) roll: usize,
}

/// A question before it is accepted: all of it but the pixels.
pub(super) struct Draft {
    /// What is asked, less the pixels' noise and the language of the words: the key of the split.
    pub(super) content: String,
    pub(super) prompt: String,
    pub(super) reward_kind: &'static str,
    pub(super) ground_truth: Value,
    /// The worked line of a careful answer; empty when there is nothing to work out.
    pub(super) working: String,
    pub(super) answer: String,
    /// What the question was drawn from; the solvers work from it.
    pub(super) facts: Value,
    /// Further columns.
    pub(super) columns: Map<String, Value>,
    pub(super) painting: Option<Painting>,
}
