//! A packed batch: prompts once, their branches beside them, without a padded row in any linear map.
//!
//! The model works on one flat list of real tokens. A branch starts with the last token of its prompt, so that every
//! branch row predicts exactly one recorded token and nothing has to be gathered for the loss: row j of a branch
//! predicts its j-th sampled token. Positions of a branch go on where the prompt ends.

use crate::error::{PolicyError, Result};
use crate::input::{PictureInput, PolicyInput};
use crate::positions::{Positions, positions};

/// A prompt with the token ids that follow it, once per branch.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The shared prompt.
    pub prompt: &'a PolicyInput,
    /// Sampled (or demonstrated) tokens of each branch, not empty.
    pub branches: &'a [&'a [u32]],
}

/// The layout of a batch on the host.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// Token ids of all rows: prompt tokens first, then branch tokens.
    pub ids: Vec<u32>,
    /// Positions of all rows.
    pub positions: Vec<[u32; 3]>,
    /// Rows that are prompt tokens.
    pub prefix_rows: usize,
    /// Tokens of each prompt.
    pub prefix_lens: Vec<usize>,
    /// Padded prompt length, at least 1.
    pub prefix_width: usize,
    /// Branches of each prompt, padded; 0 when there are only prompts.
    pub branches: usize,
    /// Padded branch length.
    pub branch_width: usize,
    /// The row in each padded prompt slot, `[b * p]`; padding points at row 0.
    pub prefix_slots: Vec<i64>,
    /// The row in each padded branch slot, `[b * g * a]`; padding points at row 0.
    pub branch_slots: Vec<i64>,
    /// For each row its slot in the prompt slots followed by the branch slots.
    pub row_slots: Vec<i64>,
    /// What each branch row predicts, in row order.
    pub targets: Vec<u32>,
    /// Branch and token index of each branch row: (prompt, branch, token).
    pub origins: Vec<(usize, usize, usize)>,
    /// The pictures, those of equal size together.
    pub pictures: Vec<&'a PictureInput>,
    /// The row of every merged patch of `pictures`, in order.
    pub visual_rows: Vec<i64>,
}

impl<'a> Batch<'a> {
    /// Whole prompts alone, pictures in their order of appearance.
    pub fn prompts(prompts: &[&'a PolicyInput], merge: usize) -> Self {
        let mut batch = Self::empty();
        for prompt in prompts {
            batch.push_prompt(prompt, prompt.ids.len(), &positions(prompt, merge));
        }
        batch.place_prompts();
        batch.place_pictures(prompts, merge, false);
        batch.place_rows();
        batch
    }

    /// Prompts without their last token, each with its branches.
    ///
    /// # Errors
    /// When a prompt is empty or ends in a picture, or a branch is empty.
    pub fn groups(groups: &[Group<'a>], merge: usize) -> Result<Self> {
        let mut batch = Self::empty();
        let mut nexts = Vec::with_capacity(groups.len());
        for group in groups {
            let length = group.prompt.ids.len();
            if length == 0 || group.prompt.spans.last().is_some_and(|span| span.start + span.len == length) {
                return Err(PolicyError::input("a prompt must end with a text token, so that an answer can follow it"));
            }
            if group.branches.iter().any(|branch| branch.is_empty()) {
                return Err(PolicyError::input("a branch without tokens cannot be packed"));
            }
            let at = positions(group.prompt, merge);
            batch.push_prompt(group.prompt, length - 1, &at);
            nexts.push(at.next);
        }
        batch.place_prompts();
        batch.branches = groups.iter().map(|group| group.branches.len()).max().unwrap_or(0);
        batch.branch_width =
            groups.iter().flat_map(|group| group.branches).map(|branch| branch.len()).max().unwrap_or(0);
        for (index, (group, next)) in groups.iter().zip(nexts).enumerate() {
            batch.push_branches(index, group, next);
        }
        let prompts: Vec<&PolicyInput> = groups.iter().map(|group| group.prompt).collect();
        batch.place_pictures(&prompts, merge, true);
        batch.place_rows();
        Ok(batch)
    }

    fn empty() -> Self {
        Self {
            ids: Vec::new(),
            positions: Vec::new(),
            prefix_rows: 0,
            prefix_lens: Vec::new(),
            prefix_width: 1,
            branches: 0,
            branch_width: 0,
            prefix_slots: Vec::new(),
            branch_slots: Vec::new(),
            row_slots: Vec::new(),
            targets: Vec::new(),
            origins: Vec::new(),
            pictures: Vec::new(),
            visual_rows: Vec::new(),
        }
    }

    fn push_prompt(&mut self, prompt: &PolicyInput, length: usize, at: &Positions) {
        self.ids.extend_from_slice(&prompt.ids[..length]);
        self.positions.extend_from_slice(&at.tokens[..length]);
        self.prefix_lens.push(length);
    }

    fn place_prompts(&mut self) {
        self.prefix_rows = self.ids.len();
        self.prefix_width = self.prefix_lens.iter().copied().max().unwrap_or(0).max(1);
        let mut row = 0;
        for length in &self.prefix_lens {
            let rows = row as i64..(row + length) as i64;
            self.prefix_slots.extend(rows.chain(std::iter::repeat(0)).take(self.prefix_width));
            row += length;
        }
    }

    fn push_branches(&mut self, prompt: usize, group: &Group<'_>, next: u32) {
        let last = group.prompt.ids[group.prompt.ids.len() - 1];
        for (index, branch) in group.branches.iter().enumerate() {
            let start = self.ids.len() as i64;
            self.ids.push(last);
            self.ids.extend_from_slice(&branch[..branch.len() - 1]);
            for token in 0..branch.len() {
                self.positions.push([next - 1 + token as u32; 3]);
                self.origins.push((prompt, index, token));
            }
            self.targets.extend_from_slice(branch);
            let rows = start..start + branch.len() as i64;
            self.branch_slots.extend(rows.chain(std::iter::repeat(0)).take(self.branch_width));
        }
        let missing = self.branches - group.branches.len();
        self.branch_slots.extend(std::iter::repeat_n(0, missing * self.branch_width));
    }

    fn place_pictures(&mut self, prompts: &[&'a PolicyInput], merge: usize, sort: bool) {
        let mut order: Vec<(&'a PolicyInput, usize, usize)> = Vec::new();
        let mut start = 0;
        for (prompt, length) in prompts.iter().zip(&self.prefix_lens) {
            order.extend((0..prompt.pictures.len()).map(|picture| (*prompt, start, picture)));
            start += length;
        }
        if sort {
            order.sort_by_key(|(prompt, _, picture)| prompt.pictures[*picture].grid[1..].iter().product::<usize>());
        }
        for (prompt, start, picture) in order {
            let before = self.visual_rows.len();
            for span in prompt.spans.iter().filter(|span| span.picture == picture) {
                let first = start + span.start;
                self.visual_rows.extend(first as i64..(first + span.len) as i64);
            }
            self.pictures.push(&prompt.pictures[picture]);
            debug_assert_eq!(self.visual_rows.len() - before, prompt.pictures[picture].tokens(merge));
        }
    }

    fn place_rows(&mut self) {
        let mut slots = vec![0; self.ids.len()];
        let mut row = 0;
        for (prompt, length) in self.prefix_lens.iter().enumerate() {
            for index in 0..*length {
                slots[row] = (prompt * self.prefix_width + index) as i64;
                row += 1;
            }
        }
        let offset = self.prefix_slots.len();
        for (prompt, branch, token) in &self.origins {
            slots[row] = (offset + (prompt * self.branches + branch) * self.branch_width + token) as i64;
            row += 1;
        }
        self.row_slots = slots;
    }

    /// Number of real rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }
}
