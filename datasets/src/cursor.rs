//! A cursor over a data set: without replacement, reshuffled each epoch, resumable.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{DatasetError, Result};

/// Where a [`Cursor`] stands; with the seed and the length, all that is needed to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CursorState {
    /// How often all indices were given out.
    pub epoch: u64,
    /// How many indices of this epoch were given out.
    pub position: u64,
}

/// Gives indices of a source: each once an epoch, in an order that depends on seed and epoch alone.
/// An unlimited source is read in order, and its epoch never ends.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    length: Option<u64>,
    seed: u64,
    state: CursorState,
    order: Vec<u64>,
}

impl Cursor {
    /// A cursor at its start; `length` is that of the source.
    ///
    /// # Errors
    /// When the source is empty.
    pub(crate) fn new(length: Option<u64>, seed: u64) -> Result<Self> {
        if length == Some(0) {
            return Err(DatasetError::Request("a source without queries cannot be sampled".to_owned()));
        }
        let order = shuffled(length, seed, 0);
        Ok(Self { length, seed, state: CursorState::default(), order })
    }

    /// The next index.
    pub(crate) fn next_index(&mut self) -> u64 {
        if self.length.is_some_and(|length| self.state.position >= length) {
            self.state = CursorState { epoch: self.state.epoch + 1, position: 0 };
            self.order = shuffled(self.length, self.seed, self.state.epoch);
        }
        let position = self.state.position;
        self.state.position += 1;
        self.order.get(position as usize).copied().unwrap_or(position)
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> CursorState {
        self.state
    }

    /// Goes on from a state that a cursor with the same seed and length gave.
    ///
    /// # Errors
    /// When the state is past the end of the source: the source has changed.
    pub(crate) fn restore(&mut self, state: CursorState) -> Result<()> {
        if let Some(length) = self.length
            && state.position > length
        {
            let reason =
                format!("{} of {length} queries were given out: the source has become shorter since", state.position);
            return Err(DatasetError::Request(reason));
        }
        self.order = shuffled(self.length, self.seed, state.epoch);
        self.state = state;
        Ok(())
    }
}

/// The order of an epoch; empty for an unlimited source.
fn shuffled(length: Option<u64>, seed: u64, epoch: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..length.unwrap_or(0)).collect();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&Sha256::digest(format!("order/{seed}/{epoch}").as_bytes()));
    let mut dice = ChaCha8Rng::from_seed(bytes);
    for last in (1..order.len()).rev() {
        order.swap(last, dice.random_range(0..=last));
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(cursor: &mut Cursor, count: usize) -> Vec<u64> {
        (0..count).map(|_| cursor.next_index()).collect()
    }

    proptest! {
        #[test]
        fn an_epoch_gives_each_index_once(length in 1_u64..60, seed: u64, epochs in 1_usize..4) {
            let mut cursor = Cursor::new(Some(length), seed).unwrap();
            for _ in 0..epochs {
                let mut epoch = take(&mut cursor, length as usize);
                epoch.sort_unstable();
                prop_assert_eq!(epoch, (0..length).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_restored_cursor_goes_on_as_the_first(length in 1_u64..40, seed: u64, before in 0_usize..100) {
            let mut cursor = Cursor::new(Some(length), seed).unwrap();
            take(&mut cursor, before);
            let text = serde_json::to_string(&cursor.state()).unwrap();
            let mut restored = Cursor::new(Some(length), seed).unwrap();
            restored.restore(serde_json::from_str(&text).unwrap()).unwrap();
            prop_assert_eq!(take(&mut restored, 50), take(&mut cursor, 50));
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let mut one = Cursor::new(Some(50), 1).unwrap();
        let mut two = Cursor::new(Some(50), 2).unwrap();
        let (first, second, other) = (take(&mut one, 50), take(&mut one, 50), take(&mut two, 50));
        assert!(first != second && first != other);
    }

    #[test]
    fn an_unlimited_source_is_read_in_order() {
        let mut cursor = Cursor::new(None, 9).unwrap();
        assert_eq!(take(&mut cursor, 3), [0, 1, 2]);
        assert_eq!(cursor.state(), CursorState { epoch: 0, position: 3 });
    }

    #[test]
    fn impossible_states_are_refused() {
        assert!(Cursor::new(Some(0), 1).is_err());
        let mut cursor = Cursor::new(Some(4), 1).unwrap();
        assert!(cursor.restore(CursorState { epoch: 0, position: 5 }).is_err());
    }
}
