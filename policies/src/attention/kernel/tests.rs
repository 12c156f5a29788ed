//! The kernel against plain sums, its gradients against finite differences, and rows that do not depend on others.

use proptest::prelude::*;

use super::super::panels::{Panels, Place};
use super::backward::Passed;
use super::*;

const HEADS: Heads = Heads { kv: 2, per_kv: 3, dim: 24 };

fn waves(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * step + 0.3).sin()).collect()
}

/// A prompt with completions of these lengths beside it, arranged as a batch does.
fn arranged(prompt: usize, completions: &[usize]) -> (Vec<Sequence>, Vec<Place>, usize) {
    let mut arranging = super::super::arrangement::Arranging::default();
    arranging.group(prompt, completions);
    let arrangement = arranging.finish();
    let rows = prompt + completions.iter().sum::<usize>();
    (arrangement.sequences, arrangement.places, rows)
}

fn panels(places: &[Place], k: &[f32], v: &[f32]) -> Panels {
    let blocks = places.iter().map(|place| place.block as usize + 1).max().unwrap_or(0);
    let mut panels = Panels::new(HEADS, blocks);
    panels.write(HEADS, places, k, v);
    panels
}

fn contexts(sequences: &[Sequence], places: &[Place], [q, k, v]: [&[f32]; 3]) -> Vec<f32> {
    forward(HEADS, &panels(places, k, v), &pieces(sequences), q)
}

/// The rows that a row sees, itself last.
fn sees(prompt: usize, completions: &[usize], row: usize) -> Vec<usize> {
    if row < prompt {
        return (0..=row).collect();
    }
    let mut start = prompt;
    for length in completions {
        if row < start + length {
            return (0..prompt).chain(start..=row).collect();
        }
        start += length;
    }
    unreachable!("there is no such row")
}

/// Attention in double precision, by its definition.
fn plain(prompt: usize, completions: &[usize], rows: usize, [q, k, v]: [&[f32]; 3]) -> Vec<f64> {
    let Heads { kv, per_kv, dim } = HEADS;
    let mut out = Vec::new();
    for row in 0..rows {
        for head in 0..kv * per_kv {
            let query = &q[(row * kv * per_kv + head) * dim..][..dim];
            let of = |x: &[f32], other: usize, column: usize| f64::from(x[(other * kv + head / per_kv) * dim + column]);
            let seen = sees(prompt, completions, row);
            let scores: Vec<f64> = seen
                .iter()
                .map(|other| {
                    (0..dim).map(|c| f64::from(query[c]) * of(k, *other, c)).sum::<f64>() / (dim as f64).sqrt()
                })
                .collect();
            let sum: f64 = scores.iter().map(|score| score.exp()).sum();
            out.extend((0..dim).map(|c| {
                seen.iter().zip(&scores).map(|(other, score)| score.exp() / sum * of(v, *other, c)).sum::<f64>()
            }));
        }
    }
    out
}

fn inputs(rows: usize) -> [Vec<f32>; 3] {
    let Heads { kv, per_kv, dim } = HEADS;
    [waves(rows * kv * per_kv * dim, 0.37), waves(rows * kv * dim, 0.61), waves(rows * kv * dim, 0.83)]
}

fn slices(x: &[Vec<f32>; 3]) -> [&[f32]; 3] {
    [&x[0], &x[1], &x[2]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn contexts_are_those_of_the_definition(prompt in 0_usize..40, completions in prop::collection::vec(1_usize..40, 0..4)) {
        let (sequences, places, rows) = arranged(prompt, &completions);
        let x = inputs(rows);
        let exact = plain(prompt, &completions, rows, slices(&x));
        for (got, wanted) in contexts(&sequences, &places, slices(&x)).iter().zip(exact) {
            prop_assert!((f64::from(*got) - wanted).abs() < 2e-6, "{got} {wanted}");
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whoever_is_beside_it(prompt in 0_usize..40, completions in prop::collection::vec(1_usize..40, 1..4)) {
        let (sequences, places, rows) = arranged(prompt, &completions);
        let x = inputs(rows);
        let together = contexts(&sequences, &places, slices(&x));
        let width = HEADS.kv * HEADS.per_kv * HEADS.dim;
        // Row by row, as decoding asks.
        let mut alone = Vec::new();
        for sequence in &sequences {
            for row in sequence.rows.clone() {
                let before = sequence.before + row - sequence.rows.start;
                let one = Sequence { rows: 0..1, before, blocks: sequence.blocks.clone() };
                let q = &x[0][row * width..(row + 1) * width];
                alone.extend(forward(HEADS, &panels(&places, &x[1], &x[2]), &[one], q));
            }
        }
        prop_assert!(together.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn gradients_are_finite_differences() {
    let (prompt, completions) = (19, [3, 18]);
    let (sequences, places, rows) = arranged(prompt, &completions);
    let x = inputs(rows);
    let derivative = waves(x[0].len(), 0.29);
    let loss = |x: &[Vec<f32>; 3]| -> f64 {
        plain(prompt, &completions, rows, slices(x)).iter().zip(&derivative).map(|(c, d)| c * f64::from(*d)).sum()
    };
    let out = contexts(&sequences, &places, slices(&x));
    let passed = Passed { q: &x[0], contexts: &out, derivative: &derivative };
    let gradients = backward(HEADS, &panels(&places, &x[1], &x[2]), &sequences, &places, passed);
    for (which, gradient) in [gradients.q, gradients.k, gradients.v].iter().enumerate() {
        for at in (0..gradient.len()).step_by(97) {
            let moved = |by: f32| {
                let mut moved = x.clone();
                moved[which][at] += by;
                loss(&moved)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(gradient[at])).abs() < 2e-4 + 1e-3 * slope.abs(),
                "{which} {at} {slope} {}",
                gradient[at]
            );
        }
    }
}
