//! What is kept of a row to find others that say the same.

use sha2::{Digest, Sha256};

use super::bands::{self, BANDS};
use super::look::Look;
use super::text::{self, Text};
use crate::query::Query;

/// What is kept of a row: about a kilobyte and half of one for each picture.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    /// Of the messages and the pictures' bytes.
    pub(super) exact: [u8; 16],
    pub(super) text: Text,
    pub(super) looks: Box<[Look]>,
    pub(super) keys: [u64; BANDS],
    /// Of what is expected, as it is written; `None` without one.
    pub(super) truth: Option<u64>,
}

impl Fingerprint {
    /// The fingerprint of a query whose pictures look so, in order; `near` is the similarity of texts, from 0 to 1, from
    /// which on rows are near.
    pub fn of(query: &Query, looks: &[Look], near: f64) -> Self {
        let canonical = text::canonical(&query.messages);
        let mut hash = Sha256::new();
        hash.update(canonical.as_bytes());
        for picture in &query.images {
            hash.update(picture.sha256());
        }
        for video in &query.videos {
            hash.update(video.to_json().to_string());
        }
        let mut exact = [0; 16];
        exact.copy_from_slice(&hash.finalize()[..16]);
        let (runs, text) = text::read(&canonical);
        let truth = query.ground_truth.as_ref().map(|truth| {
            let written = truth.as_str().map_or_else(|| truth.to_string(), str::to_owned);
            text::hash(written.trim().to_lowercase().chars())
        });
        // What is shown by videos is compared by their names alone.
        let shown = [query.images.len() as u64, u64::from_be_bytes(std::array::from_fn(|at| exact[at]))];
        let shown = if query.videos.is_empty() { shown[0] } else { shown[1] };
        let keys = bands::keys(&runs, text::mix(text.numbers ^ shown), looks, bands::hashes_of_a_key(near));
        Self { exact, text, looks: looks.into(), keys, truth }
    }

    /// How similar the texts of two near rows are; `None` where the rows are not near.
    pub(super) fn near(&self, other: &Self, least: f64) -> Option<f64> {
        let truths_differ = self.truth.zip(other.truth).is_some_and(|(one, other)| one != other);
        if truths_differ || self.text.numbers != other.text.numbers || self.looks.len() != other.looks.len() {
            return None;
        }
        if !self.looks.iter().zip(&other.looks).all(|(one, other)| one.is_near(other)) {
            return None;
        }
        Some(text::similarity(&self.text, &other.text)).filter(|similarity| *similarity >= least)
    }
}
