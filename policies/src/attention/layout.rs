//! Attention over a packed batch: rows are gathered into padded blocks of prompts and of completions, and back.
//!
//! Shape suffixes as in the attention seam.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};

use super::arrangement::Arrangement;
use super::dense::{attend_completions, attend_self, causal_mask, completion_mask};
use super::heads::{Heads, Projected};
use super::op::Seen;
use crate::bucket::{Rounding, rounding};
use crate::input::Batch;
use crate::tensor::{indices, is_cpu};

/// How the rows of a batch see each other.
pub(crate) enum Layout {
    /// On a CPU, row by row.
    Rows(Arc<Seen>),
    /// Elsewhere, by padded products.
    Padded(Box<Padded>),
}

/// Index tensors and masks of a batch.
pub(crate) struct Padded {
    heads: Heads,
    prompts: usize,
    completions: usize,
    prefix_slots: Tensor<1, Int>,
    prefix_mask: Tensor<3>,
    completion: Option<(Tensor<1, Int>, Tensor<3>)>,
    row_slots: Tensor<1, Int>,
}

impl Layout {
    /// Of a batch that is computed with so many rows, its own first.
    pub(crate) fn new(batch: &Batch<'_>, rows: usize, heads: Heads, device: &Device) -> Self {
        if is_cpu(device) {
            Self::Rows(Arc::new(Seen::new(heads, Arrangement::of(batch))))
        } else {
            Self::Padded(Box::new(Padded::new(batch, rows, heads, (rounding(device), device))))
        }
    }

    /// Contexts `[t, q*k]` of all rows.
    pub(crate) fn attend(&self, x: Projected) -> Tensor<2> {
        match self {
            Self::Rows(seen) => Arc::clone(seen).attend(x),
            Self::Padded(padded) => padded.attend(x),
        }
    }
}

impl Padded {
    fn new(batch: &Batch<'_>, rows: usize, heads: Heads, (round, device): (Rounding, &Device)) -> Self {
        let width = |longest: Option<usize>| round(longest.unwrap_or(0).max(1));
        let completions = batch.completion_lens.iter().map(Vec::len).max().unwrap_or(0);
        let p = width(batch.prefix_lens.iter().copied().max());
        let a = width(batch.completion_lens.iter().flatten().copied().max());
        let mut slots = Slots::default();
        batch.prefix_lens.iter().for_each(|length| slots.push(*length, p));
        let prefix_slots = std::mem::take(&mut slots.rows);
        for lengths in &batch.completion_lens {
            // A prompt with fewer completions than others has empty ones.
            let all = lengths.iter().copied().chain(std::iter::repeat(0));
            all.take(completions).for_each(|length| slots.push(length, a));
        }
        slots.places.resize(rows, 0);
        let completion = (completions > 0).then(|| {
            let mask = completion_mask(heads, &batch.prefix_lens, completions, a, p, device);
            (indices(slots.rows.into_iter(), device), mask)
        });
        Self {
            heads,
            prompts: batch.prefix_lens.len(),
            completions,
            prefix_slots: indices(prefix_slots.into_iter(), device),
            prefix_mask: causal_mask(heads, p, device),
            completion,
            row_slots: indices(slots.places.into_iter(), device),
        }
    }

    fn attend(&self, x: Projected) -> Tensor<2> {
        let (heads, b) = (self.heads, self.prompts);
        let prompt = |x: &Tensor<2>| x.clone().select(0, self.prefix_slots.clone());
        let (k, v) = (heads.split_keys(prompt(&x.k), b, 1), heads.split_keys(prompt(&x.v), b, 1));
        let q = heads.split_queries(prompt(&x.q), b, 1);
        let mut contexts = vec![heads.join(attend_self(q, k.clone(), v.clone(), &self.prefix_mask), b, 1)];
        if let Some((slots, mask)) = &self.completion {
            let g = self.completions;
            let own_rows = |x: Tensor<2>| x.select(0, slots.clone());
            let own = (heads.split_keys(own_rows(x.k), b, g), heads.split_keys(own_rows(x.v), b, g));
            let q = heads.split_queries(own_rows(x.q), b, g);
            contexts.push(heads.join(attend_completions(q, (k, v), own, Some(mask)), b, g));
        }
        // Padded slots computed something too; only the slots of real rows are taken.
        let padded = if contexts.len() == 1 { contexts.remove(0) } else { Tensor::cat(contexts, 0) };
        padded.select(0, self.row_slots.clone())
    }
}

/// Which row stands in each slot of rectangles, and in which slot each row.
#[derive(Debug, Default)]
struct Slots {
    /// By slot; padding points at row 0.
    rows: Vec<i64>,
    /// By row.
    places: Vec<i64>,
    slots: i64,
}

impl Slots {
    /// The next rows stand in a line of so many slots.
    fn push(&mut self, rows: usize, width: usize) {
        let first = self.places.len() as i64;
        self.rows.extend((first..first + rows as i64).chain(std::iter::repeat(0)).take(width));
        self.places.extend(self.slots..self.slots + rows as i64);
        self.slots += width as i64;
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::bucket::bucket;
    use crate::input::{Completion, Group, PolicyInput};
    use crate::tensor::to_vec;

    /// Prompts of different lengths, one without a token of its own, with unequal numbers of completions.
    #[test]
    fn rectangles_say_what_the_kernel_of_the_cpu_says() {
        let (heads, device) = (Heads { kv: 2, per_kv: 2, dim: 8 }, Device::flex());
        let prompts = [21, 1, 5].map(|length| PolicyInput::of_text(vec![3; length]));
        let completions = [vec![4, 19], vec![2], vec![1, 1, 7]].map(|lengths| {
            lengths.into_iter().map(|length| Completion::of_sampled(vec![5; length])).collect::<Vec<_>>()
        });
        let groups: Vec<Group<'_>> =
            prompts.iter().zip(&completions).map(|(prompt, completions)| Group { prompt, completions }).collect();
        let batch = Batch::groups(&groups, 2).expect("it packs");
        let values = |rows: usize, width: usize, step: f32| {
            let values = (0..rows * width).map(|at| (at as f32 * step + 0.4).sin()).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, width]), &device)
        };
        let asked = |rows| Projected { q: values(rows, 32, 0.7), k: values(rows, 16, 1.1), v: values(rows, 16, 1.7) };
        let wanted = to_vec(Layout::new(&batch, batch.rows(), heads, &device).attend(asked(batch.rows())));
        let rows = bucket(batch.rows());
        let found = Padded::new(&batch, rows, heads, (bucket, &device)).attend(asked(rows));
        assert_eq!(found.dims()[0], rows);
        let found = to_vec(found);
        let worst = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6 && rows > batch.rows() && wanted.iter().any(|value| value.abs() > 0.1), "{worst}");
    }

    #[test]
    fn rows_and_slots_are_each_others_inverse() {
        let mut slots = Slots::default();
        [(2, 3), (3, 3), (0, 2), (1, 2)].into_iter().for_each(|(rows, width)| slots.push(rows, width));
        assert_eq!(slots.rows, [0, 1, 0, 2, 3, 4, 0, 0, 5, 0]);
        assert_eq!(slots.places, [0, 1, 3, 4, 5, 8]);
        for (row, slot) in slots.places.iter().enumerate() {
            assert_eq!(slots.rows[*slot as usize], row as i64);
        }
    }
}
