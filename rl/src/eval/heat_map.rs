//! The heat map of a task whose queries hide something: how often it is found, by the length of what it is hidden in and the
//! depth at which it lies.

use std::collections::{BTreeMap, BTreeSet};

use sapo_datasets::Query;
use sapo_datasets::synthetic::needle::{DEPTH_COLUMN, LENGTH_COLUMN, UNIT_COLUMN};
use serde::{Deserialize, Serialize};

use crate::stats::{QueryOutcomes, mean_interval};

/// How often something is found, by length and depth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeatMap {
    /// The task.
    pub task: String,
    /// What lengths count: `words`, `tokens of MODEL`, `pictures`, `frames`.
    pub unit: String,
    /// The lengths that are asked, the least first.
    pub lengths: Vec<u64>,
    /// The depths that are asked, in percent of the length, the least first.
    pub depths: Vec<f64>,
    /// A cell for every pair of them: depth by depth, and within one length by length.
    pub cells: Vec<Cell>,
    /// Samples of queries of the task that say no length or depth; with the samples of all cells those of the row.
    pub without_place: usize,
}

/// The samples of one length and one depth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The length.
    pub length: u64,
    /// The depth, in percent.
    pub depth: f64,
    /// Queries.
    pub queries: usize,
    /// Samples that were scored, over which the share is.
    pub n: usize,
    /// Samples whose score failed.
    pub failed: usize,
    /// Mean over queries of the share of samples that pass; null where none is scored, which is not 0.
    pub share: Option<f64>,
    /// Its 95 % interval.
    pub ci95: Option<[f64; 2]>,
}

impl HeatMap {
    /// The map of a task; none where no query of it says a length and a depth. `asked` has the queries by id.
    pub(super) fn of(task: &str, asked: &BTreeMap<&str, &Query>, answered: &[QueryOutcomes]) -> Option<Self> {
        let mut map = Self { task: task.to_owned(), ..Self::default() };
        // Depths by their bits: of numbers that are not negative these have the same order.
        let mut cells: BTreeMap<(u64, u64), Vec<QueryOutcomes>> = BTreeMap::new();
        for outcomes in answered {
            let query = asked.get(outcomes.query_id.as_str());
            let Some((length, depth)) = query.and_then(|query| place(query)) else {
                map.without_place += outcomes.passes.len();
                continue;
            };
            if map.unit.is_empty() {
                let unit = query.and_then(|query| query.columns.get(UNIT_COLUMN)?.as_str());
                unit.unwrap_or_default().clone_into(&mut map.unit);
            }
            cells.entry((depth.to_bits(), length)).or_default().push(outcomes.clone());
        }
        let depths: BTreeSet<u64> = cells.keys().map(|(depth, _)| *depth).collect();
        let lengths: BTreeSet<u64> = cells.keys().map(|(_, length)| *length).collect();
        let pairs = depths.iter().flat_map(|depth| lengths.iter().map(move |length| (*depth, *length)));
        map.cells = pairs.map(|pair| Cell::of(pair, cells.get(&pair).map_or(&[], Vec::as_slice))).collect();
        map.lengths = lengths.into_iter().collect();
        map.depths = depths.into_iter().map(f64::from_bits).collect();
        (!map.cells.is_empty()).then_some(map)
    }
}

impl Cell {
    fn of((depth, length): (u64, u64), answered: &[QueryOutcomes]) -> Self {
        let passes = || answered.iter().flat_map(|query| &query.passes);
        let found = mean_interval(answered);
        Self {
            length,
            depth: f64::from_bits(depth),
            queries: answered.len(),
            n: passes().flatten().count(),
            failed: passes().filter(|passed| passed.is_none()).count(),
            share: found.map(|found| found.value),
            ci95: found.map(|found| found.interval),
        }
    }
}

/// The length and the depth that a query says: whole numbers above 0, and percent.
fn place(query: &Query) -> Option<(u64, f64)> {
    let length = query.columns.get(LENGTH_COLUMN)?.as_u64().filter(|length| *length > 0)?;
    let depth = query.columns.get(DEPTH_COLUMN)?.as_f64().filter(|depth| (0.0..=100.0).contains(depth))?;
    // A depth of -0 is 0.
    Some((length, depth + 0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sapo_datasets::{Split, Task, synthetic};
    use serde_json::json;

    use super::*;

    fn query(index: usize, place: Option<(u64, f64)>) -> Query {
        let mut query = synthetic::query(Task::Logic, Split::Test, 7, 0);
        query.id = format!("q{index}");
        if let Some((length, depth)) = place {
            query.columns.insert(LENGTH_COLUMN.to_owned(), json!(length));
            query.columns.insert(DEPTH_COLUMN.to_owned(), json!(depth));
            query.columns.insert(UNIT_COLUMN.to_owned(), json!("words"));
        }
        query
    }

    /// Where a needle lies, and the verdicts of the samples.
    type Placed = (Option<(u64, f64)>, Vec<Option<bool>>);

    fn map(asked: &[Placed]) -> Option<HeatMap> {
        let queries: Vec<Query> = asked.iter().enumerate().map(|(index, (place, _))| query(index, *place)).collect();
        let outcomes = |(query, (_, passes)): (&Query, &Placed)| QueryOutcomes {
            query_id: query.id.clone(),
            task: "logic".to_owned(),
            passes: passes.clone(),
        };
        let answered: Vec<QueryOutcomes> = queries.iter().zip(asked).map(outcomes).collect();
        HeatMap::of("logic", &queries.iter().map(|query| (query.id.as_str(), query)).collect(), &answered)
    }

    proptest! {
        #[test]
        fn the_samples_of_all_cells_are_those_of_the_row(
            asked in prop::collection::vec(
                (prop::option::weighted(0.8, (1_u64..4, (0_u8..3).prop_map(|step| f64::from(step) * 50.0))),
                 prop::collection::vec(prop::option::weighted(0.8, any::<bool>()), 3)),
                0..30,
            )
        ) {
            let placed = asked.iter().filter(|(place, _)| place.is_some()).count();
            let Some(map) = map(&asked) else {
                prop_assert_eq!(placed, 0);
                return Ok(());
            };
            let (n, failed, queries) = map.cells.iter().fold((0, 0, 0), |sum, cell| {
                (sum.0 + cell.n, sum.1 + cell.failed, sum.2 + cell.queries)
            });
            prop_assert_eq!(n + failed + map.without_place, asked.len() * 3);
            prop_assert_eq!(queries, placed);
            prop_assert_eq!(map.cells.len(), map.lengths.len() * map.depths.len());
            for cell in &map.cells {
                prop_assert_eq!(cell.share.is_some(), cell.n > 0);
            }
        }
    }

    #[test]
    fn cells_stand_by_depth_and_length_and_those_without_answers_are_blank() {
        let asked = [
            (Some((512, 100.0)), vec![Some(true), Some(false)]),
            (Some((256, 0.0)), vec![Some(true), Some(true)]),
            (Some((512, 0.0)), vec![None, None]),
            (Some((256, 0.0)), vec![Some(false), Some(true)]),
        ];
        let map = map(&asked).unwrap();
        assert_eq!(
            (map.unit.as_str(), &map.lengths[..], &map.depths[..]),
            ("words", &[256, 512][..], &[0.0, 100.0][..])
        );
        let shown: Vec<_> =
            map.cells.iter().map(|cell| (cell.depth, cell.length, cell.queries, cell.n, cell.share)).collect();
        let wanted = [
            (0.0, 256, 2, 4, Some(0.75)),
            (0.0, 512, 1, 0, None),
            (100.0, 256, 0, 0, None),
            (100.0, 512, 1, 2, Some(0.5)),
        ];
        assert_eq!(shown, wanted);
        assert_eq!(json!(map.cells[2])["share"], json!(null));
        assert_eq!(serde_json::from_value::<HeatMap>(json!(map)).unwrap(), map);
    }
}
