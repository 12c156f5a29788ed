//! What a task hands over: a question before it is accepted, and the dice that it is drawn with.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use serde_json::{Map, Value};

use super::canvas::Canvas;
use super::words::{Difficulty, Language};

/// The generator behind every draw: named, so that a new release of a library cannot change the data.
pub(super) type Dice = ChaCha8Rng;
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

/// One of `items`, which are not empty.
pub(super) fn pick<T: Copy>(dice: &mut Dice, items: &[T]) -> T {
    items[dice.random_range(0..items.len())]
}

/// `items` in random order.
pub(super) fn shuffled<T: Copy>(dice: &mut Dice, items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    for last in (1..items.len()).rev() {
        items.swap(last, dice.random_range(0..=last));
    }
    items
}

/// A mid grey, near which the policy's normalised pixels are 0.
pub(super) fn background(dice: &mut Dice) -> u8 {
    dice.random_range(118..=138)
}
