//! A packed batch: prompts once, their completions beside them, without a padded row in any linear map.
//!
//! The model works on one flat list of real tokens. A completion starts with the last token of its prompt, so that every
//! row of it predicts exactly one recorded token: row j predicts token j. Positions go on where the prompt ends, and
//! pictures within a completion have those that they have in the whole sequence.

use burn::tensor::{Tensor, TensorData};

use super::completion::Completion;
use super::positions::{Positions, positions, positions_after};
use super::prompt::{ImageSpan, PictureInput, PolicyInput};
use crate::error::{PolicyError, Result};

/// A prompt with what follows it, once per completion.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The shared prompt.
    pub prompt: &'a PolicyInput,
    /// What follows it, each with at least one sampled (or demonstrated) token.
    pub completions: &'a [Completion],
}

impl Group<'_> {
    /// Rows that it takes in a batch: the last token of the prompt is the first row of every completion.
    pub fn rows(&self) -> usize {
        let completions: usize = self.completions.iter().map(|completion| completion.rows()).sum();
        self.prompt.ids.len().saturating_sub(1) + completions
    }
}

/// Which token a row predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The group in its batch.
    pub group: usize,
    /// The completion in its group.
    pub completion: usize,
    /// The token in its completion.
    pub token: usize,
}

/// The layout of a batch on the host.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Token ids of all rows: prompt tokens first, then those of completions.
    pub ids: Vec<u32>,
    /// Positions of all rows.
    pub positions: Vec<[u32; 3]>,
    /// Rows that are prompt tokens.
    pub prefix_rows: usize,
    /// Tokens of each prompt.
    pub prefix_lens: Vec<usize>,
    /// Rows of the completions of each prompt.
    pub completion_lens: Vec<Vec<usize>>,
    /// The sampled tokens, in row order: what a loss is taken over.
    pub targets: Vec<u32>,
    /// Where each target comes from.
    pub origins: Vec<Origin>,
    /// The row that predicts each target.
    pub target_rows: Vec<i64>,
    /// The pictures, those of equal size together.
    pub pictures: Vec<&'a PictureInput>,
    /// The row of every merged patch of `pictures`, in order.
    pub visual_rows: Vec<i64>,
}

/// A picture and the rows where it stands.
struct PlacedPicture<'a> {
    picture: &'a PictureInput,
    rows: Vec<i64>,
}

impl<'a> Batch<'a> {
    /// Whole prompts alone, pictures in their order of appearance.
    pub fn prompts(prompts: &[&'a PolicyInput], merge: usize) -> Self {
        let mut batch = Self::empty();
        let mut pictures = Vec::new();
        for prompt in prompts {
            pictures.extend(placed(&prompt.pictures, &prompt.spans, batch.ids.len(), usize::MAX));
            batch.push_prompt(prompt, prompt.ids.len(), &positions(prompt, merge));
        }
        batch.prefix_rows = batch.ids.len();
        batch.place_pictures(pictures, merge);
        batch
    }

    /// Prompts without their last token, each with its completions up to their last sampled token.
    ///
    /// # Errors
    /// When a prompt is empty or ends in a picture, or a completion has no sampled token.
    pub fn groups(groups: &[Group<'a>], merge: usize) -> Result<Self> {
        let mut batch = Self::empty();
        let mut nexts = Vec::with_capacity(groups.len());
        let mut pictures = Vec::new();
        for group in groups {
            let prompt = group.prompt;
            let length = prompt.ids.len();
            if length == 0 || prompt.spans.last().is_some_and(|span| span.start + span.len == length) {
                return Err(PolicyError::input("a prompt must end with a text token, so that an answer can follow it"));
            }
            // The last token of a prompt is left to its completions: the row that predicts a completion's first token
            // then lies among its own, also while decoding.
            let at = positions(prompt, merge);
            pictures.extend(placed(&prompt.pictures, &prompt.spans, batch.ids.len(), length));
            batch.push_prompt(prompt, length - 1, &at);
            nexts.push(at.next);
        }
        batch.prefix_rows = batch.ids.len();
        batch.completion_lens =
            groups.iter().map(|group| group.completions.iter().map(|completion| completion.rows()).collect()).collect();
        for (index, (group, next)) in groups.iter().zip(nexts).enumerate() {
            for (at, completion) in group.completions.iter().enumerate() {
                pictures.extend(batch.push_completion((index, at), group, completion, next, merge)?);
            }
        }
        // Frames of equal size are attended to in one product, so they stand together.
        pictures.sort_by_key(|placed| placed.picture.grid[1..].iter().product::<usize>());
        batch.place_pictures(pictures, merge);
        Ok(batch)
    }

    fn empty() -> Self {
        Self {
            ids: Vec::new(),
            positions: Vec::new(),
            prefix_rows: 0,
            prefix_lens: Vec::new(),
            completion_lens: Vec::new(),
            targets: Vec::new(),
            origins: Vec::new(),
            target_rows: Vec::new(),
            pictures: Vec::new(),
            visual_rows: Vec::new(),
        }
    }

    fn push_prompt(&mut self, prompt: &PolicyInput, length: usize, at: &Positions) {
        self.ids.extend_from_slice(&prompt.ids[..length]);
        self.positions.extend_from_slice(&at.tokens[..length]);
        self.prefix_lens.push(length);
    }

    /// Appends the rows of one completion and gives the pictures that stand in them.
    fn push_completion(
        &mut self,
        (group, index): (usize, usize),
        of: &Group<'a>,
        completion: &'a Completion,
        next: u32,
        merge: usize,
    ) -> Result<Vec<PlacedPicture<'a>>> {
        // The last sampled token is predicted and not fed, and nothing behind it is predicted at all.
        let rows = completion.rows();
        if rows == 0 {
            return Err(PolicyError::input("a completion without a sampled token cannot be packed; leave it out"));
        }
        let (start, fed) = (self.ids.len(), rows - 1);
        let at = positions_after(completion, next, merge);
        self.ids.push(of.prompt.ids[of.prompt.ids.len() - 1]);
        self.ids.extend_from_slice(&completion.ids()[..fed]);
        // A prompt ends with text, whose position is one below the next.
        self.positions.push([next - 1; 3]);
        self.positions.extend_from_slice(&at.tokens[..fed]);
        for token in (0..rows).filter(|token| completion.sampled()[*token]) {
            self.targets.push(completion.ids()[token]);
            self.origins.push(Origin { group, completion: index, token });
            self.target_rows.push((start + token) as i64);
        }
        // Row 0 is the prompt's last token, so token j is fed in row j + 1.
        Ok(placed(completion.pictures(), completion.spans(), start + 1, fed))
    }

    fn place_pictures(&mut self, pictures: Vec<PlacedPicture<'a>>, merge: usize) {
        for PlacedPicture { picture, rows } in pictures {
            debug_assert_eq!(rows.len(), picture.tokens(merge));
            self.visual_rows.extend(rows);
            self.pictures.push(picture);
        }
    }

    /// Number of real rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Of the hidden rows `[t, d]` of this batch those that predict its targets, `[m, d]`.
    pub fn predicting(&self, hidden_td: Tensor<2>) -> Tensor<2> {
        let [rows, _] = hidden_td.dims();
        let count = self.target_rows.len();
        if self.prefix_rows + count == rows {
            // Every row of a completion predicts a sampled token: a view of them, and no copy by indices.
            return hidden_td.narrow(0, self.prefix_rows, count);
        }
        let rows = TensorData::new(self.target_rows.clone(), [count]);
        let rows = Tensor::from_data(rows, &hidden_td.device());
        hidden_td.select(0, rows)
    }
}

/// The pictures whose tokens are among the first `length` of a sequence that starts at row `start`.
fn placed<'a>(
    pictures: &'a [PictureInput],
    spans: &[ImageSpan],
    start: usize,
    length: usize,
) -> Vec<PlacedPicture<'a>> {
    let mut all: Vec<PlacedPicture<'a>> =
        pictures.iter().map(|picture| PlacedPicture { picture, rows: Vec::new() }).collect();
    for span in spans.iter().filter(|span| span.start + span.len <= length) {
        let first = (start + span.start) as i64;
        all[span.picture].rows.extend(first..first + span.len as i64);
    }
    all.retain(|placed| !placed.rows.is_empty());
    all
}
