//! A mixture of data sets: the same count of each in every batch, each with its own cursor.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cursor::{Cursor, CursorState};
use crate::dataset::{Dataset, Example};
use crate::error::{DatasetError, Result};

/// One data set of a mixture.
#[derive(Clone, Debug)]
pub struct MixturePart {
    /// Its name, by which a saved state finds it again; unique in the mixture.
    pub name: String,
    /// Where its rows come from.
    pub dataset: Dataset,
    /// Its weight; only the ratio to the others counts.
    pub share: f64,
}

/// What was drawn: an index of a part's data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Drawn {
    /// The part, in the order in which the mixture was given.
    pub part: usize,
    /// The index in its data set.
    pub index: u64,
}

/// Where a [`Mixture`] stands, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureState {
    /// Name and cursor of each part.
    pub parts: Vec<(String, CursorState)>,
}

/// Draws batches with a fixed count per part.
#[derive(Clone, Debug)]
pub struct Mixture {
    parts: Vec<MixturePart>,
    cursors: Vec<Cursor>,
}

impl Mixture {
    /// A mixture at its start. The order of each part depends on `seed` and its name alone, not on the other parts.
    ///
    /// # Errors
    /// When there is no part, two share a name, a source is empty, or a share is not above 0.
    pub fn new(parts: Vec<MixturePart>, seed: u64) -> Result<Self> {
        if parts.is_empty() {
            return Err(DatasetError::Request("a mixture needs at least one source".to_owned()));
        }
        let mut cursors = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let mistake = |reason: String| DatasetError::Request(format!("mixture part `{}`: {reason}", part.name));
            if !(part.share.is_finite() && part.share > 0.0) {
                return Err(mistake(format!("a share of {} is not above 0; leave the part out", part.share)));
            }
            if parts[..index].iter().any(|other| other.name == part.name) {
                return Err(mistake("another part has the same name".to_owned()));
            }
            let seed = seed ^ seed_of(&part.name);
            cursors.push(Cursor::new(part.dataset.len(), seed).map_err(|error| mistake(error.to_string()))?);
        }
        Ok(Self { parts, cursors })
    }

    /// The parts, in the order that [`Drawn::part`] counts.
    pub fn parts(&self) -> &[MixturePart] {
        &self.parts
    }

    /// How many of each part a batch of `size` holds: its share, rounded by largest remainder; they add up to `size`.
    ///
    /// # Errors
    /// When a part would never be drawn.
    pub fn counts(&self, size: usize) -> Result<Vec<usize>> {
        let total: f64 = self.parts.iter().map(|part| part.share).sum();
        let quotas: Vec<f64> = self.parts.iter().map(|part| part.share / total * size as f64).collect();
        let mut counts: Vec<usize> = quotas.iter().map(|quota| quota.floor() as usize).collect();
        let mut by_remainder: Vec<usize> = (0..quotas.len()).collect();
        // The sort is stable: the earlier part wins a tie.
        by_remainder.sort_by(|&a, &b| quotas[b].fract().total_cmp(&quotas[a].fract()));
        let rest = size.saturating_sub(counts.iter().sum());
        for &part in by_remainder.iter().cycle().take(rest) {
            counts[part] += 1;
        }
        match counts.iter().position(|&count| count == 0) {
            Some(part) => Err(DatasetError::Request(format!(
                "a batch of {size} leaves no place for `{}`; enlarge the batch or its share",
                self.parts[part].name
            ))),
            None => Ok(counts),
        }
    }

    /// The next batch: [`Mixture::counts`] of each part, part by part.
    ///
    /// # Errors
    /// As [`Mixture::counts`].
    pub fn next_batch(&mut self, size: usize) -> Result<Vec<Drawn>> {
        let counts = self.counts(size)?;
        Ok(counts.into_iter().enumerate().flat_map(|(part, count)| self.refill(part, count)).collect())
    }

    /// The next `count` of one part, to replace what was dropped of it.
    ///
    /// # Panics
    /// When there is no such part.
    pub fn refill(&mut self, part: usize, count: usize) -> Vec<Drawn> {
        (0..count).map(|_| Drawn { part, index: self.cursors[part].next_index() }).collect()
    }

    /// The row that was drawn.
    ///
    /// # Errors
    /// As [`Dataset::get`], and when it was drawn from another mixture.
    pub fn example(&self, drawn: Drawn) -> Result<Example> {
        let part = self.parts.get(drawn.part);
        let part = part.ok_or_else(|| DatasetError::Request(format!("the mixture has no part {}", drawn.part)))?;
        part.dataset.get(drawn.index)
    }

    /// Where it stands.
    pub fn state(&self) -> MixtureState {
        let names = self.parts.iter().map(|part| part.name.clone());
        MixtureState { parts: names.zip(self.cursors.iter().map(Cursor::state)).collect() }
    }

    /// Goes on from a state that a mixture with the same seed and parts gave.
    ///
    /// # Errors
    /// When the parts differ, or a source has become shorter.
    pub fn restore(&mut self, state: &MixtureState) -> Result<()> {
        let saved: Vec<&str> = state.parts.iter().map(|part| part.0.as_str()).collect();
        let here: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
        if saved != here {
            let reason =
                format!("the saved mixture has the parts {saved:?}, this one {here:?}; resume with the saved config");
            return Err(DatasetError::Request(reason));
        }
        let mut cursors = self.cursors.clone();
        for (cursor, (name, state)) in cursors.iter_mut().zip(&state.parts) {
            cursor.restore(*state).map_err(|error| DatasetError::Request(format!("mixture part `{name}`: {error}")))?;
        }
        self.cursors = cursors;
        Ok(())
    }
}

/// A number that tells the parts' orders apart.
fn seed_of(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::SourceConfig;
    use crate::dataset::OpenContext;
    use crate::synthetic::Task;

    fn mixture(shares: &[f64], seed: u64) -> Result<Mixture> {
        let part = |(index, &share): (usize, &f64)| {
            let name = Task::ALL[index].name();
            // One part is limited, so that its epochs end.
            let limit = if index == 0 { "[0:7]" } else { "" };
            let config = SourceConfig { source: format!("synthetic:{name}{limit}"), ..SourceConfig::default() };
            let dataset = Dataset::open(name, &config, &OpenContext::default()).unwrap();
            MixturePart { name: name.to_owned(), dataset, share }
        };
        Mixture::new(shares.iter().enumerate().map(part).collect(), seed)
    }

    #[test]
    fn golden_counts() {
        let counts = |shares: &[f64], size| mixture(shares, 0).unwrap().counts(size).unwrap();
        assert_eq!(counts(&[4.0, 3.0, 3.0, 3.0, 3.0, 2.0, 1.0], 32), [7, 5, 5, 5, 5, 3, 2]);
        assert_eq!(counts(&[1.0; 6], 36), [6; 6]);
        assert_eq!(counts(&[1.0, 1.0, 1.0], 4), [2, 1, 1]);
    }

    proptest! {
        #[test]
        fn counts_add_up_and_are_within_one_of_the_quota(shares in prop::collection::vec(0.5_f64..3.0, 1..7), size in 60_usize..200) {
            let counts = mixture(&shares, 0).unwrap().counts(size).unwrap();
            prop_assert_eq!(counts.iter().sum::<usize>(), size);
            let total: f64 = shares.iter().sum();
            for (count, share) in counts.iter().zip(&shares) {
                prop_assert!((*count as f64 - share / total * size as f64).abs() < 1.0);
            }
        }

        #[test]
        fn a_restored_mixture_goes_on_as_the_first(seed: u64, batches in 0_usize..5, refills in 0_usize..4) {
            let mut first = mixture(&[2.0, 1.0, 1.0], seed).unwrap();
            for _ in 0..batches {
                first.next_batch(9).unwrap();
            }
            first.refill(0, refills);
            let text = serde_json::to_string(&first.state()).unwrap();
            let mut second = mixture(&[2.0, 1.0, 1.0], seed).unwrap();
            second.restore(&serde_json::from_str(&text).unwrap()).unwrap();
            prop_assert_eq!(first.next_batch(12).unwrap(), second.next_batch(12).unwrap());
        }
    }

    #[test]
    fn parts_do_not_disturb_each_other() {
        let alone = mixture(&[1.0], 5).unwrap().refill(0, 20);
        let mut mixed = mixture(&[1.0, 1.0], 5).unwrap();
        mixed.refill(1, 3);
        assert_eq!(mixed.refill(0, 20), alone);
    }

    #[test]
    fn drawn_rows_are_of_their_part() {
        let mut mixture = mixture(&[1.0, 1.0], 5).unwrap();
        for drawn in mixture.next_batch(8).unwrap() {
            let example = mixture.example(drawn).unwrap();
            assert_eq!(example.query.task, mixture.parts()[drawn.part].name);
            assert_eq!(example, mixture.parts()[drawn.part].dataset.get(drawn.index).unwrap());
        }
        assert!(mixture.example(Drawn { part: 9, index: 0 }).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let message = |result: Result<Mixture>| result.unwrap_err().to_string();
        assert!(message(mixture(&[], 0)).contains("at least one"));
        assert!(message(mixture(&[1.0, 0.0], 0)).contains("`count`"));
        assert!(message(mixture(&[f64::NAN], 0)).contains("`arith`"));
        let unfair = mixture(&[100.0, 1.0], 0).unwrap().counts(8).unwrap_err().to_string();
        assert!(unfair.contains("`count`"), "{unfair}");
        let saved = mixture(&[1.0, 1.0], 0).unwrap().state();
        assert!(mixture(&[1.0], 0).unwrap().restore(&saved).is_err());
    }
}
