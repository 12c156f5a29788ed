//! Position ids of a prompt: three numbers a token (time, height, width).

use crate::input::PolicyInput;

/// Positions of every token of one prompt, and the position of the first token after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// One triple (time, height, width) a token.
    pub tokens: Vec<[u32; 3]>,
    /// The position, equal on all three axes, of the token that follows the prompt.
    pub next: u32,
}

/// Text counts up, equal on all axes. A picture (or one slot of a video) that starts at s has time s, height
/// `s + row`, width `s + column` on the merged grid; the token after it is at `s + max(rows, columns)`.
pub fn positions(input: &PolicyInput, merge: usize) -> Positions {
    let mut tokens = Vec::with_capacity(input.ids.len());
    let mut next = 0;
    let mut spans = input.spans.iter().peekable();
    while tokens.len() < input.ids.len() {
        match spans.peek() {
            Some(span) if span.start == tokens.len() => {
                let [_, height, width] = input.pictures[span.picture].grid;
                let (rows, columns) = (height / merge, width / merge);
                for index in 0..span.len {
                    tokens.push([next, next + (index / columns) as u32, next + (index % columns) as u32]);
                }
                next += rows.max(columns) as u32;
                spans.next();
            }
            _ => {
                tokens.push([next; 3]);
                next += 1;
            }
        }
    }
    Positions { tokens, next }
}

impl Positions {
    /// `largest position + 1 - number of tokens`: a decoded token at index j has position `j + rope_delta`.
    pub fn rope_delta(&self) -> i64 {
        let largest = self.tokens.iter().flatten().copied().max().map_or(-1, i64::from);
        largest + 1 - self.tokens.len() as i64
    }
}
