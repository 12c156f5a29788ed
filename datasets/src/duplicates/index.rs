//! An index of rows in which another row finds the first that says the same.

use std::collections::HashMap;

use super::bands::BANDS;
use super::fingerprint::Fingerprint;

/// Rows that a row is compared with at most; where more meet it, the latest are.
const MOST_COMPARED: usize = 4096;
/// Stands for no row.
const NONE: u32 = u32::MAX;

/// An earlier row that says the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeat {
    /// Its number in the index.
    pub of: usize,
    /// The similarity of the texts where the rows are only near; `None` where they are the same.
    pub similarity: Option<f64>,
}

/// Rows by what they say.
#[derive(Debug)]
pub struct Index {
    near: f64,
    rows: Vec<Fingerprint>,
    exact: HashMap<[u8; 16], u32>,
    /// The latest row of each key, band by band.
    latest: Vec<HashMap<u64, u32>>,
    /// The row before each row under the same key, band by band.
    before: Vec<[u32; BANDS]>,
    capped: usize,
}

impl Index {
    /// An empty index; rows are near from this similarity of their texts on, from 0 to 1, above which nothing is.
    pub fn new(near: f64) -> Self {
        let latest = (0..BANDS).map(|_| HashMap::new()).collect();
        Self { near, rows: Vec::new(), exact: HashMap::new(), latest, before: Vec::new(), capped: 0 }
    }

    /// The row that says the same, else the first of the nearest.
    pub fn find(&mut self, row: &Fingerprint) -> Option<Repeat> {
        if let Some(of) = self.exact.get(&row.exact) {
            return Some(Repeat { of: *of as usize, similarity: None });
        }
        let mut compared: Vec<u32> = Vec::new();
        for (band, key) in row.keys.iter().enumerate() {
            let mut at = self.latest[band].get(key).copied().unwrap_or(NONE);
            while at != NONE && compared.len() < MOST_COMPARED {
                compared.push(at);
                at = self.before[at as usize][band];
            }
        }
        self.capped += usize::from(compared.len() >= MOST_COMPARED);
        compared.sort_unstable();
        compared.dedup();
        let near = compared.into_iter().filter_map(|at| Some((at, row.near(&self.rows[at as usize], self.near)?)));
        // The first of equals.
        let best = near.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(of, similarity)| Repeat { of: of as usize, similarity: Some(similarity) })
    }

    /// Takes a row in; gives its number, or `None` when it is full (with more than four thousand million rows).
    pub fn insert(&mut self, row: Fingerprint) -> Option<usize> {
        let number = u32::try_from(self.rows.len()).ok().filter(|number| *number != NONE)?;
        self.exact.entry(row.exact).or_insert(number);
        let before = std::array::from_fn(|band| self.latest[band].insert(row.keys[band], number).unwrap_or(NONE));
        self.before.push(before);
        self.rows.push(row);
        Some(number as usize)
    }

    /// How many rows met so many others that not all were compared.
    pub fn capped(&self) -> usize {
        self.capped
    }
}
