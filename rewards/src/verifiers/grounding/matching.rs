//! The one-to-one matching with the greatest sum: shortest augmenting paths with potentials.

/// The pairs of rows and columns with the greatest sum of `worth`; rows may be fewer or more than columns.
pub(super) fn matching(worth: &[Vec<f64>]) -> Vec<(usize, usize)> {
    let (rows, columns) = (worth.len(), worth.first().map_or(0, Vec::len));
    if columns == 0 {
        return Vec::new();
    }
    if rows > columns {
        let turned: Vec<Vec<f64>> = (0..columns).map(|column| worth.iter().map(|row| row[column]).collect()).collect();
        return matching(&turned).into_iter().map(|(row, column)| (column, row)).collect();
    }
    // Index 0 is a stand-in on both sides.
    let mut row_potential = vec![0.0; rows + 1];
    let mut column_potential = vec![0.0; columns + 1];
    let mut owner = vec![0_usize; columns + 1];
    for row in 1..=rows {
        owner[0] = row;
        let mut column = 0;
        let mut least = vec![f64::INFINITY; columns + 1];
        let mut before = vec![0_usize; columns + 1];
        let mut used = vec![false; columns + 1];
        while owner[column] != 0 {
            used[column] = true;
            let (from, mut step, mut next) = (owner[column], f64::INFINITY, 0);
            for candidate in (1..=columns).filter(|candidate| !used[*candidate]) {
                let cost = -worth[from - 1][candidate - 1] - row_potential[from] - column_potential[candidate];
                if cost < least[candidate] {
                    (least[candidate], before[candidate]) = (cost, column);
                }
                if least[candidate] < step {
                    (step, next) = (least[candidate], candidate);
                }
            }
            for at in 0..=columns {
                if used[at] {
                    row_potential[owner[at]] += step;
                    column_potential[at] -= step;
                } else {
                    least[at] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            owner[column] = owner[before[column]];
            column = before[column];
        }
    }
    (1..=columns).filter(|column| owner[*column] != 0).map(|column| (owner[column] - 1, column - 1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The best sum by trying every order of the columns.
    fn slow(worth: &[Vec<f64>], row: usize, used: &mut Vec<bool>) -> f64 {
        let Some(values) = worth.get(row) else { return 0.0 };
        let mut best = slow(worth, row + 1, used);
        for column in 0..values.len() {
            if !used[column] {
                used[column] = true;
                best = best.max(values[column] + slow(worth, row + 1, used));
                used[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn the_matching_is_the_best(
            worth in (1_usize..5, 1_usize..5).prop_flat_map(|(rows, columns)| {
                prop::collection::vec(prop::collection::vec(0.0..1.0_f64, columns), rows)
            })
        ) {
            let sum: f64 = matching(&worth).iter().map(|(row, column)| worth[*row][*column]).sum();
            prop_assert!((sum - slow(&worth, 0, &mut vec![false; worth[0].len()])).abs() < 1e-9);
        }
    }
}
