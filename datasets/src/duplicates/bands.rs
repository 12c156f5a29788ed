//! Keys under which near rows meet: a few least hashes of the text's runs, what the pictures' parts look like, and what
//! must be equal.

use super::look::Look;
use super::text::mix;

/// Keys of a row.
pub(super) const BANDS: usize = 12;
/// Levels of grey that fall together; where the steps are, every band decides anew.
const STEP: u64 = 12;

/// How many least hashes make a key: more where rows must be more alike, so that fewer others meet.
pub(super) fn hashes_of_a_key(near: f64) -> usize {
    match near {
        near if near >= 0.75 => 4,
        near if near >= 0.6 => 3,
        _ => 2,
    }
}

/// The keys of a text with its pictures. Texts of similarity s share one of them with the probability
/// `1 - (1 - s^n)^12` for n hashes of a key, less a little for each picture.
pub(super) fn keys(runs: &[u64], equal: u64, looks: &[Look], hashes: usize) -> [u64; BANDS] {
    std::array::from_fn(|band| {
        let mut key = mix(equal ^ band as u64);
        for at in 0..hashes {
            let seed = mix((band * hashes + at) as u64 + 1);
            let least = runs.iter().map(|run| mix(run ^ seed)).min().unwrap_or(0);
            key = mix(key ^ least);
        }
        for look in looks {
            for index in 0..16 {
                let offset = mix((band * 16 + index) as u64 + 1_000) % STEP;
                key = mix(key ^ ((u64::from(look.quarter(index)) + offset) / STEP));
            }
        }
        key
    })
}
