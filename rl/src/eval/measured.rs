//! What rewards measure beside their values: collected from samples, and averaged.

use std::collections::BTreeMap;

use sapo_rewards::Score;

/// What the parts of a score measured beside their values.
pub(super) fn measured(score: &Score) -> Vec<(String, f64)> {
    let parts = score.parts.iter();
    let named = parts.flat_map(|part| part.score.metrics.iter().map(move |(name, value)| (part, name, value)));
    named.map(|(part, name, value)| (format!("{}/{name}", part.name), *value)).collect()
}

/// The mean of each of the numbers.
pub(super) fn means(numbers: impl Iterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (name, value) in numbers {
        let (sum, count) = sums.entry(name).or_default();
        *sum += value;
        *count += 1;
    }
    sums.into_iter().map(|(name, (sum, count))| (name, sum / count as f64)).collect()
}
