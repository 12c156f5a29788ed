//! Which rows look at which keys, in tiles of a few neighbouring rows, for a GPU's attention: lists of lengths, and no mask.
//!
//! Rows of a sequence look at a list of keys, each at one more than the row before, or all at all of it (patches of a frame).
//! On the way back the keys of a sequence are looked at by its own rows and, if it is a prompt, by those of its completions.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};

use super::super::heads::{Heads, Projected};
use super::super::panels::Sequence;
use super::{How, Tables, attend};
use crate::input::Batch;
use crate::tensor::indices;

/// Query vectors that are worked on together, unless a key-value head has more query heads.
const VECTORS: usize = 16;

/// Numbers that say of a tile of rows: the first row, how many there are, where their list begins, at how much of it the first
/// looks, and where its results go.
pub(super) const ROW_FIELDS: usize = 5;
/// Numbers that say of a tile of keys: the first, how many there are, and the rows from and to which its own sequence, and then
/// its completions, look at them.
pub(super) const KEY_FIELDS: usize = 6;
/// Keys of a tile.
pub(super) const KEYS: usize = 16;
/// Keys that a row alone looks at in one go: a longer list is cut, so that a GPU is not left with a few long loops.
const SPAN: usize = 128;

/// How rows look at keys.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    how: How,
    tables: Arc<Tables>,
}

/// Tables in the making.
struct Making {
    how: How,
    rows: Vec<i64>,
    keys: Vec<i64>,
    list: Vec<i64>,
    /// Where the results of each row begin, and where the last ones end; empty where each row has one, in its place.
    starts: Vec<i64>,
}

impl Tiles {
    /// Of a packed batch, whose prompts come before all completions, that is computed with so many rows.
    pub(crate) fn of_batch(batch: &Batch<'_>, computed: usize, heads: Heads, device: &Device) -> Self {
        let mut making = Making::new(heads, true);
        let mut next = 0;
        let mut rows = |length: usize| {
            next += length;
            next - length..next
        };
        let prompts: Vec<Range<usize>> = batch.prefix_lens.iter().map(|length| rows(*length)).collect();
        for (number, prompt) in prompts.into_iter().enumerate() {
            let lengths = batch.completion_lens.get(number).map(Vec::as_slice).unwrap_or_default();
            let completions: Vec<Range<usize>> = lengths.iter().map(|length| rows(*length)).collect();
            let all = match (completions.first(), completions.last()) {
                (Some(first), Some(last)) => first.start..last.end,
                _ => 0..0,
            };
            making.looking(prompt.clone(), 0, prompt.clone().map(|row| row as i64));
            making.looked_at(prompt.clone(), all);
            for own in completions {
                making.looking(own.clone(), prompt.len(), prompt.clone().chain(own.clone()).map(|row| row as i64));
                making.looked_at(own, 0..0);
            }
        }
        making.finish(next..computed, device)
    }

    /// Of frames, given by their patches, each of which is looked at by itself; so many patches are computed.
    pub(crate) fn of_frames(
        frames: impl Iterator<Item = usize>,
        computed: usize,
        heads: Heads,
        device: &Device,
    ) -> Self {
        let mut making = Making::new(heads, false);
        let mut next = 0;
        for patches in frames {
            let own = next..next + patches;
            making.looking(own.clone(), patches - 1, own.clone().map(|row| row as i64));
            making.looked_at(own, 0..0);
            next += patches;
        }
        making.finish(next..computed, device)
    }

    /// Of sequences whose rows follow each other, with keys in the places that `key` tells of a sequence's blocks and the number
    /// of a token; so many rows are computed, and nothing goes back.
    pub(crate) fn of_sequences(
        sequences: &[Sequence],
        computed: usize,
        key: impl Fn(&[u32], usize) -> i64,
        heads: Heads,
        device: &Device,
    ) -> Self {
        let mut making = Making::new(heads, true);
        making.starts.push(0);
        if sequences.iter().all(|sequence| sequence.rows.len() == 1) {
            // Neighbouring rows have no key in common.
            making.how.rows_per_tile = 1;
        }
        for Sequence { rows, before, blocks } in sequences {
            let keys = (0..before + rows.len()).map(|token| key(blocks, token));
            if rows.len() == 1 {
                making.looking_in_spans(rows.start, keys)
            } else {
                making.looking(rows.clone(), *before, keys)
            }
        }
        let next = sequences.last().map_or(0, |last| last.rows.end);
        making.finish(next..computed, device)
    }

    /// Contexts `[t, q*k]` of all rows.
    pub(crate) fn attend(&self, x: Projected) -> Tensor<2> {
        attend(x, self.how, &self.tables)
    }
}

impl Making {
    fn new(heads: Heads, causal: bool) -> Self {
        let rows_per_tile = (VECTORS / heads.per_kv).max(1);
        let how = How { heads, causal, rows_per_tile };
        Self { how, rows: Vec::new(), keys: Vec::new(), list: Vec::new(), starts: Vec::new() }
    }

    /// Rows that look at `keys`, the first of them at `before` and one more.
    fn looking(&mut self, rows: Range<usize>, before: usize, keys: impl Iterator<Item = i64>) {
        let start = self.list.len();
        self.list.extend(keys);
        for first in rows.clone().step_by(self.how.rows_per_tile) {
            let count = self.how.rows_per_tile.min(rows.end - first);
            let seen = before + 1 + if self.how.causal { first - rows.start } else { 0 };
            let to = self.starts.last().map_or(first, |end| *end as usize);
            self.rows.extend([first, count, start, seen, to].map(|field| field as i64));
            if !self.starts.is_empty() {
                self.starts.extend((to + 1..=to + count).map(|end| end as i64));
            }
        }
    }

    /// A row that looks at all of `keys`, at [`SPAN`] of them in one go.
    fn looking_in_spans(&mut self, row: usize, keys: impl Iterator<Item = i64>) {
        let (start, mut to) = (self.list.len(), self.starts.last().map_or(row, |end| *end as usize));
        self.list.extend(keys);
        for from in (start..self.list.len()).step_by(SPAN) {
            self.rows.extend([row, 1, from, SPAN.min(self.list.len() - from), to].map(|field| field as i64));
            to += 1;
        }
        self.starts.push(to as i64);
    }

    /// Keys that their own rows look at, and some completions.
    fn looked_at(&mut self, own: Range<usize>, completions: Range<usize>) {
        for first in own.clone().step_by(KEYS) {
            let fields = [first, KEYS.min(own.end - first), own.start, own.end, completions.start, completions.end];
            self.keys.extend(fields.map(|field| field as i64));
        }
    }

    /// Rows that a device adds look at the first key, and nobody at them.
    fn finish(mut self, added: Range<usize>, device: &Device) -> Tiles {
        self.looking(added.clone(), 0, std::iter::repeat_n(0, added.len().max(1)));
        for first in added.clone().step_by(KEYS) {
            let fields = [first, KEYS.min(added.end - first), first, first, 0, 0];
            self.keys.extend(fields.map(|field| field as i64));
        }
        let of = |values: Vec<i64>| -> Tensor<1, Int> { indices(values.into_iter(), device) };
        let counts = [self.rows.len() / ROW_FIELDS, self.keys.len() / KEY_FIELDS];
        let results = self.starts.last().map_or(added.end, |end| *end as usize);
        // Nothing goes back where there is no tile of keys.
        let keys = if self.keys.is_empty() { vec![0; KEY_FIELDS] } else { self.keys };
        // One result of each row needs no joining.
        let joins = (results > added.end).then(|| of(self.starts));
        let tables = Tables { rows: of(self.rows), keys: of(keys), list: of(self.list), joins, results, counts };
        Tiles { how: self.how, tables: Arc::new(tables) }
    }
}
