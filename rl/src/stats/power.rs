//! What an evaluation can tell apart at all.

use super::interval::NORMAL_975;
use super::{QueryOutcomes, by_task};

/// The normal quantile of what is found four times of five.
const NORMAL_80: f64 = 0.841_621_233_572_914_3;

/// The smallest difference of pass@1 that a comparison with another evaluation of the same queries finds four times of five (at
/// the 5 % level), by how much the samples of each query differ; where a query has one sample, by its worst case, a chance of
/// a half. It is the least: where a change helps some queries and harms others, more is needed. `None` where the samples of no
/// query differ, and where not even a difference of 1 would be found.
pub fn detectable(queries: &[QueryOutcomes]) -> Option<f64> {
    let tasks = by_task(queries);
    let variances = tasks.iter().map(|task| {
        let count = task.len() as f64;
        // Of the mean of a query's samples, on both sides.
        let of_query = |query: &&QueryOutcomes| 2.0 * spread(query) / query.counts().scored as f64;
        task.iter().map(of_query).sum::<f64>() / (count * count)
    });
    let variance = variances.sum::<f64>() / (tasks.len() as f64).powi(2);
    Some((NORMAL_975 + NORMAL_80) * variance.sqrt()).filter(|least| *least > 0.0 && *least <= 1.0)
}

/// The same before anything is asked: tasks of so many queries with so many samples each, every answer right by a chance of a
/// half, which is the worst case.
pub fn detectable_by(tasks: &[usize], samples: usize) -> Option<f64> {
    let tasks: Vec<f64> = tasks.iter().filter(|queries| **queries > 0).map(|queries| *queries as f64).collect();
    let variance = tasks.iter().map(|queries| 2.0 * 0.25 / samples.max(1) as f64 / queries).sum::<f64>();
    let least = (NORMAL_975 + NORMAL_80) * variance.sqrt() / tasks.len() as f64;
    Some(least).filter(|least| *least > 0.0 && *least <= 1.0)
}

/// The variance of one sample of a query, without bias.
fn spread(query: &QueryOutcomes) -> f64 {
    let counts = query.counts();
    if counts.scored < 2 {
        return 0.25;
    }
    let (scored, passed) = (counts.scored as f64, counts.passed as f64);
    passed * (scored - passed) / (scored * (scored - 1.0))
}
