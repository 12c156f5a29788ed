//! The dice behind every draw, and what is drawn with them again and again.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// The generator behind every draw: named, so that a new release of a library cannot change the data.
pub(super) type Dice = ChaCha8Rng;

/// Dice that fall alike for the same text.
pub(super) fn seeded(text: &str) -> Dice {
    let digest = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&digest);
    Dice::from_seed(bytes)
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
