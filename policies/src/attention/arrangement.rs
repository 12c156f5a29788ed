//! Where the rows of a batch stand for the CPU's attention: prompts and completions as sequences of blocks.

use super::panels::{BLOCK, Place, Sequence};
use crate::input::Batch;

/// Sequences of a batch, and the blocks that its keys and values are written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// Their rows follow each other.
    pub(crate) sequences: Vec<Sequence>,
    /// Where each row is written: once, and once more for each copy of a prompt's last block.
    pub(crate) places: Vec<Place>,
    /// How many blocks there are.
    pub(crate) blocks: usize,
}

/// An arrangement in the making.
#[derive(Debug, Default)]
pub(crate) struct Arranging {
    done: Arrangement,
    rows: usize,
}

impl Arrangement {
    /// Of a packed batch, whose prompts come before all completions.
    pub(crate) fn of(batch: &Batch<'_>) -> Self {
        let mut arranging = Arranging::default();
        let prompts: Vec<Sequence> = batch.prefix_lens.iter().map(|length| arranging.prompt(*length)).collect();
        for (prompt, lengths) in prompts.iter().zip(&batch.completion_lens) {
            for length in lengths {
                arranging.completion(prompt, *length);
            }
        }
        arranging.finish()
    }
}

impl Arranging {
    /// A prompt and its completions beside it.
    #[cfg(test)]
    pub(crate) fn group(&mut self, prompt: usize, completions: &[usize]) {
        let prompt = self.prompt(prompt);
        completions.iter().for_each(|length| self.completion(&prompt, *length));
    }

    fn prompt(&mut self, length: usize) -> Sequence {
        let blocks = self.new_blocks(length.div_ceil(BLOCK));
        let sequence = Sequence { rows: self.rows..self.rows + length, before: 0, blocks };
        self.push(&sequence);
        sequence
    }

    fn completion(&mut self, prompt: &Sequence, length: usize) {
        let before = prompt.rows.len();
        let shared = before / BLOCK;
        let mut blocks = prompt.blocks[..shared].to_vec();
        blocks.extend(self.new_blocks((before + length).div_ceil(BLOCK) - shared));
        // The prompt's last block is not full: its tokens stand in the completion's own block as well.
        for token in shared * BLOCK..before {
            self.done.places.push(Place::of(prompt.rows.start + token, &blocks, token));
        }
        self.push(&Sequence { rows: self.rows..self.rows + length, before, blocks });
    }

    fn push(&mut self, sequence: &Sequence) {
        for (index, row) in sequence.rows.clone().enumerate() {
            self.done.places.push(Place::of(row, &sequence.blocks, sequence.before + index));
        }
        self.rows = sequence.rows.end;
        if !sequence.rows.is_empty() {
            self.done.sequences.push(sequence.clone());
        }
    }

    fn new_blocks(&mut self, count: usize) -> Vec<u32> {
        let first = self.done.blocks as u32;
        self.done.blocks += count;
        (first..first + count as u32).collect()
    }

    /// What was arranged.
    pub(crate) fn finish(self) -> Arrangement {
        self.done
    }
}
