//! Many samples of a query as one answer: whether any passes, and whether the one that most give does.

use std::collections::BTreeMap;

use super::QueryOutcomes;

/// Probability that at least one of `k` samples passes, estimated without bias from `scored` samples of which `passed`
/// pass (Chen et al. 2021, arXiv 2107.03374); `None` when fewer than `k` are scored, or `k` is 0.
pub fn pass_at_k(scored: usize, passed: usize, k: usize) -> Option<f64> {
    if k == 0 || k > scored || passed > scored {
        return None;
    }
    let wrong = scored - passed;
    if wrong < k {
        return Some(1.0);
    }
    let none_passes: f64 = (wrong + 1..=scored).map(|n| 1.0 - k as f64 / n as f64).product();
    Some(1.0 - none_passes)
}

/// Pass@k over queries, equal weight per task; `None` when no query has `k` scored samples.
pub fn mean_pass_at_k(queries: &[QueryOutcomes], k: usize) -> Option<f64> {
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for query in queries {
        let counts = query.counts();
        if let Some(value) = pass_at_k(counts.scored, counts.passed, k) {
            tasks.entry(&query.task).or_default().push(value);
        }
    }
    let means = tasks.values().map(|values| values.iter().sum::<f64>() / values.len() as f64);
    (!tasks.is_empty()).then(|| means.sum::<f64>() / tasks.len() as f64)
}

/// The chance that the answer that most samples of a query give is right (maj@k, self-consistency: Wang et al. 2022): of
/// answers that come equally often, one by lot. A sample without an answer has no vote. `None` when no sample with an answer
/// has a verdict.
pub fn majority_at_k(samples: &[(Option<&str>, Option<bool>)]) -> Option<f64> {
    let mut votes: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for (answer, passed) in samples {
        if let (Some(answer), Some(passed)) = (answer, passed) {
            votes.entry(answer.trim()).or_default().push(*passed);
        }
    }
    let most = votes.values().map(Vec::len).max()?;
    // The same text has the same verdict, unless a judge wavers.
    let share = |passes: &Vec<bool>| passes.iter().filter(|pass| **pass).count() as f64 / passes.len() as f64;
    let chosen: Vec<f64> = votes.values().filter(|passes| passes.len() == most).map(share).collect();
    Some(chosen.iter().sum::<f64>() / chosen.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pass_at_k_rises_with_k_from_the_pass_rate(scored in 1..40_usize, share in 0.0..=1.0_f64) {
            let passed = (share * scored as f64).round() as usize;
            let all: Vec<f64> = (1..=scored).map(|k| pass_at_k(scored, passed, k).unwrap()).collect();
            prop_assert!((all[0] - passed as f64 / scored as f64).abs() < 1e-12);
            prop_assert!(all.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
            prop_assert!((all[scored - 1] - f64::from(u8::from(passed > 0))).abs() < 1e-12);
        }
    }

    #[test]
    fn known_values() {
        // 5 samples, 2 pass: 1 - C(3,2)/C(5,2) = 0.7; 10 samples, 3 pass: 1 - C(7,5)/C(10,5) = 11/12.
        assert!((pass_at_k(5, 2, 2).unwrap() - 0.7).abs() < 1e-12);
        assert!((pass_at_k(10, 3, 5).unwrap() - 11.0 / 12.0).abs() < 1e-12);
        assert_eq!((pass_at_k(4, 1, 5), pass_at_k(4, 1, 0), pass_at_k(2, 2, 2)), (None, None, Some(1.0)));
    }

    #[test]
    fn the_majority_decides_and_a_draw_by_lot() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(majority_at_k(&[(Some("7"), yes), (Some("8"), no), (Some(" 7"), yes)]), Some(1.0));
        assert_eq!(majority_at_k(&[(Some("7"), yes), (Some("8"), no), (Some("8"), no), (None, no)]), Some(0.0));
        assert_eq!(majority_at_k(&[(Some("7"), yes), (Some("8"), no)]), Some(0.5));
        // Those without an answer do not outvote one, and a score that failed is no verdict.
        assert_eq!(majority_at_k(&[(None, no), (None, no), (Some("7"), yes), (Some("8"), None)]), Some(1.0));
        assert_eq!(majority_at_k(&[(None, no), (Some("8"), None)]), None);
    }
}
