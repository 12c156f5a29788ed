//! What a row of logits is divided by, found by a block of threads.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::THREADS;

/// Threads of a block, and so of a row.
pub(super) const WIDE: usize = THREADS as usize;
/// Below every logit.
pub(super) const LOWEST: f32 = -3.0e38;
/// Where a probability is 0 its log-prob may be minus infinity; this gives a product of 0 as well.
pub(super) const FLOOR: f32 = -1.0e4;

/// A row's numbers: see [`normaliser`].
#[derive(CubeType)]
pub(super) struct Normaliser {
    pub(super) start: usize,
    pub(super) largest: f32,
    pub(super) sum: f32,
    pub(super) entropy: f32,
}

/// Reads a row: the largest of its scaled logits, the sum of the exponentials of what each is below it, and the entropy.
#[cube]
pub(super) fn normaliser(logits: &Tensor<f32>, row: usize, scale: f32, shared: &mut Shared<[f32]>) -> Normaliser {
    let width = logits.shape(1);
    let start = row * width;
    let mut largest = f32::new(LOWEST);
    let mut at = UNIT_POS as usize;
    while at < width {
        largest = f32::max(largest, logits[start + at] * scale);
        at += WIDE;
    }
    let largest = of_block(largest, shared, true);
    let mut sum = 0.0f32;
    let mut weighted = 0.0f32;
    let mut at = UNIT_POS as usize;
    while at < width {
        let below = logits[start + at] * scale - largest;
        let weight = f32::exp(below);
        sum += weight;
        weighted += weight * f32::max(below, f32::new(FLOOR));
        at += WIDE;
    }
    let sum = of_block(sum, shared, false);
    let weighted = of_block(weighted, shared, false);
    Normaliser { start, largest, sum, entropy: f32::ln(sum) - weighted / sum }
}

/// The largest of all threads' numbers, or their sum.
#[cube]
fn of_block(own: f32, shared: &mut Shared<[f32]>, #[comptime] largest: bool) -> f32 {
    let place = UNIT_POS as usize;
    sync_cube();
    shared[place] = own;
    sync_cube();
    let mut step = (WIDE / 2).runtime();
    while step > 0 {
        if place < step {
            if largest {
                shared[place] = f32::max(shared[place], shared[place + step]);
            } else {
                shared[place] += shared[place + step];
            }
        }
        sync_cube();
        step /= 2;
    }
    shared[0]
}
