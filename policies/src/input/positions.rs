//! Position ids of a prompt and of what follows it: three numbers a token (time, height, width).

use super::completion::Completion;
use super::prompt::{ImageSpan, PictureInput, PolicyInput};

/// Positions of every token of one prompt or completion, and the position of the first token after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// One triple (time, height, width) a token.
    pub tokens: Vec<[u32; 3]>,
    /// The position, equal on all three axes, of the token that follows.
    pub next: u32,
}

/// Text counts up, equal on all axes. A picture (or one slot of a video) that starts at s has time s, height
/// `s + row`, width `s + column` on the merged grid; the token after it is at `s + max(rows, columns)`.
pub fn positions(input: &PolicyInput, merge: usize) -> Positions {
    walk(input.ids.len(), &input.spans, &input.pictures, 0, merge)
}

/// Positions of what is put behind a sequence whose `next` is `start`.
pub fn positions_from(input: &PolicyInput, start: u32, merge: usize) -> Positions {
    walk(input.ids.len(), &input.spans, &input.pictures, start, merge)
}

/// Positions of a completion whose first token is at `start`, the `next` of its prompt: those that its tokens have in
/// the whole sequence.
pub fn positions_after(completion: &Completion, start: u32, merge: usize) -> Positions {
    walk(completion.ids().len(), completion.spans(), completion.pictures(), start, merge)
}

fn walk(length: usize, spans: &[ImageSpan], pictures: &[PictureInput], start: u32, merge: usize) -> Positions {
    let mut tokens = Vec::with_capacity(length);
    let mut next = start;
    let mut spans = spans.iter().peekable();
    while tokens.len() < length {
        match spans.peek() {
            Some(span) if span.start == tokens.len() => {
                let [_, height, width] = pictures[span.picture].grid;
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
