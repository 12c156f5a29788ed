//! What was seen of a source so far, and of all evaluations: ids, and rows by what they say.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use sapo_datasets::duplicates::{Index, Repeat};

use super::inspect::{Found, Inspected, Repeated};
use super::reason::Reason;
use super::target::Target;

/// Rows of evaluations.
pub(super) struct Evaluated {
    index: Index,
    rows: Vec<Repeated>,
}

impl Evaluated {
    pub(super) fn new(near: f64) -> Self {
        Self { index: Index::new(near), rows: Vec::new() }
    }
}

/// Rows of one source.
pub(super) struct Seen<'a> {
    target: &'a Target,
    index: Index,
    rows: Vec<(u64, String)>,
    hasher: RandomState,
    ids: HashMap<u64, u64>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(target: &'a Target, near: f64) -> Self {
        let (rows, ids) = (Vec::new(), HashMap::new());
        Self { target, index: Index::new(near), rows, hasher: RandomState::new(), ids }
    }

    /// Adds what a row repeats, and remembers it. Of rows that say the same, the first good one is kept.
    pub(super) fn compare(&mut self, row: &mut Inspected, evaluated: &mut Evaluated) {
        let id = row.id.clone().unwrap_or_default();
        if let Some(earlier) = row.id.as_ref().and_then(|id| self.ids.insert(self.hasher.hash_one(id), row.index)) {
            self.ids.insert(self.hasher.hash_one(&id), earlier);
            let repeats = Repeated { source: self.target.name.clone(), row: earlier, id: id.clone() };
            let detail = format!("the id `{id}` is that of row {earlier} (counted from 0)");
            row.found.push(Found { reason: Reason::RepeatedId, detail, repeats: Some(repeats) });
        }
        let Some(fingerprint) = row.fingerprint.take() else { return };
        if self.target.is_evaluation {
            if evaluated.index.insert(fingerprint.clone()).is_some() {
                evaluated.rows.push(Repeated { source: self.target.name.clone(), row: row.index, id: id.clone() });
            }
        } else if let Some(found) = evaluated.index.find(&fingerprint).filter(|found| self.counts(found)) {
            let repeats = evaluated.rows[found.of].clone();
            row.found.push(repeat(found, repeats, [Reason::Overlap, Reason::NearOverlap]));
        }
        if self.target.may_repeat() {
            return;
        }
        match self.index.find(&fingerprint) {
            Some(found) => {
                let (earlier, id) = self.rows[found.of].clone();
                let repeats = Repeated { source: self.target.name.clone(), row: earlier, id };
                row.found.push(repeat(found, repeats, [Reason::Duplicate, Reason::NearDuplicate]));
            }
            None if row.found.is_empty() && self.index.insert(fingerprint).is_some() => {
                self.rows.push((row.index, id));
            }
            None => {}
        }
    }

    /// Questions that are generated from one template are near by their make.
    fn counts(&self, found: &Repeat) -> bool {
        found.similarity.is_none() || !self.target.may_repeat()
    }

    /// Rows that met so many others that not all were compared.
    pub(super) fn capped(&self) -> usize {
        self.index.capped()
    }
}

fn repeat(found: Repeat, repeats: Repeated, [same, near]: [Reason; 2]) -> Found {
    let which = format!("{} row {} (counted from 0), `{}`", repeats.source, repeats.row, repeats.id);
    let (reason, detail) = match found.similarity {
        None => (same, format!("says the same as {which}")),
        Some(similarity) => (near, format!("is like {which}: the texts are alike by {similarity:.2}")),
    };
    Found { reason, detail, repeats: Some(repeats) }
}
