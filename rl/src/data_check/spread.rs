//! Some rows of many, spread evenly: for what must not take as long as reading all of them.

/// Rows of a source that are looked at.
pub(super) const SAMPLED: u64 = 256;

/// `most` of `length` indices at most, evenly spread from the first on.
pub(super) fn spread(length: u64, most: u64) -> Vec<u64> {
    let count = length.min(most);
    (0..count).map(|at| (u128::from(at) * u128::from(length) / u128::from(count)) as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_evenly_and_each_is_taken_once() {
        assert_eq!(spread(3, 256), [0, 1, 2]);
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert_eq!(spread(0, 4), Vec::<u64>::new());
        let many = spread(u64::MAX, 256);
        assert!(many.len() == 256 && many.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
