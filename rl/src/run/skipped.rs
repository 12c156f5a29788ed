//! Updates that were left out because a number on their way was not finite: how many, and why the first was.

use serde::{Deserialize, Serialize};

use crate::finite::NotFinite;

/// Updates that were left out; part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Skipped {
    /// Over the whole run.
    pub total: u64,
    /// Since the last that was not.
    pub in_a_row: u64,
    /// The step of the first of them, and why it was.
    pub first: Option<(u64, String)>,
}

impl Skipped {
    /// An update was done.
    pub(super) fn none(&mut self) {
        self.in_a_row = 0;
        self.first = None;
    }

    /// Counts an update that is left out; whether that is more than may be in a row.
    pub(super) fn one_more(&mut self, step: u64, reason: &NotFinite, most: u64) -> bool {
        self.total += 1;
        self.in_a_row += 1;
        self.first.get_or_insert_with(|| (step, reason.to_string()));
        self.in_a_row > most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_updates_are_counted_in_a_row_and_the_first_is_kept() {
        let mut skipped = Skipped::default();
        let of = |name: &str| NotFinite::Gradient(name.to_owned());
        assert!(!skipped.one_more(1, &of("a"), 2) && !skipped.one_more(1, &of("b"), 2));
        skipped.none();
        assert_eq!((skipped.total, skipped.in_a_row, &skipped.first), (2, 0, &None));
        let mut more = |step, name| skipped.one_more(step, &of(name), 2);
        assert!(!more(7, "c") && !more(8, "d") && more(9, "e"));
        assert!(matches!(&skipped.first, Some((7, first)) if first.contains("`c`")), "{skipped:?}");
        assert!(Skipped::default().one_more(0, &of("a"), 0), "0 stops at the first");
        let read: Skipped = serde_json::from_str(&serde_json::to_string(&skipped).unwrap()).unwrap();
        assert_eq!(read, skipped);
    }
}
