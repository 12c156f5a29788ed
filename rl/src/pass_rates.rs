//! The pass rate that a phase last saw of each query, and which queries it therefore does not draw now.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::advantage::is_too_easy;
use crate::config::FilterConfig;

/// What a query's last group was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u64)", into = "(u32, u32, u64)")]
pub struct PassRate {
    /// Samples that passed.
    pub passed: u32,
    /// Samples that were scored.
    pub scored: u32,
    /// The step of the phase before which it is known: a curation is known before step 0.
    pub known_at: u64,
}

impl From<(u32, u32, u64)> for PassRate {
    fn from((passed, scored, known_at): (u32, u32, u64)) -> Self {
        Self { passed, scored, known_at }
    }
}

impl From<PassRate> for (u32, u32, u64) {
    fn from(rate: PassRate) -> Self {
        (rate.passed, rate.scored, rate.known_at)
    }
}

impl PassRate {
    fn is_mastered(self) -> bool {
        is_too_easy(self.passed as usize, self.scored as usize)
    }

    fn is_below(self, least: f64) -> bool {
        f64::from(self.passed) < least * f64::from(self.scored)
    }
}

/// Queries that are passed over, by source of the phase and number in it.
pub type PassedOver = BTreeSet<(usize, u64)>;

/// The last pass rate of each query, by source and number in it; part of a checkpoint. Generated sources without an end are
/// not kept: their queries never come again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PassRates {
    sources: BTreeMap<String, BTreeMap<u64, PassRate>>,
}

impl PassRates {
    /// Forgets all, as a new phase does.
    pub fn clear(&mut self) {
        self.sources.clear();
    }

    /// Takes in what became of a query. One whose samples all failed to be scored says nothing.
    pub fn remember(&mut self, source: &str, index: u64, (passed, scored): (usize, usize), known_at: u64) {
        let (passed, scored) = (u32::try_from(passed), u32::try_from(scored));
        if let (Ok(passed), Ok(scored @ 1..)) = (passed, scored) {
            let rate = PassRate { passed, scored, known_at };
            self.sources.entry(source.to_owned()).or_default().insert(index, rate);
        }
    }

    /// The queries that are not drawn for a step: mastered ones until they are due again, and, while the curriculum goes on,
    /// those that are still too hard.
    pub fn passed_over(&self, sources: &[String], filter: &FilterConfig, step: u64) -> PassedOver {
        let least = filter.curriculum.map_or(0.0, |curriculum| curriculum.least_at(step));
        let is_passed_over = |rate: PassRate| {
            let waits = filter.revisit_steps.is_some_and(|steps| step < rate.known_at.saturating_add(steps));
            (rate.is_mastered() && waits) || rate.is_below(least)
        };
        let mut over = PassedOver::new();
        for (part, source) in sources.iter().enumerate() {
            let rates = self.sources.get(source).into_iter().flatten();
            over.extend(rates.filter(|(_, rate)| is_passed_over(**rate)).map(|(index, _)| (part, *index)));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::CurriculumConfig;

    fn filter(revisit_steps: Option<u64>, curriculum: Option<CurriculumConfig>) -> FilterConfig {
        FilterConfig { revisit_steps, curriculum, ..FilterConfig::default() }
    }

    #[test]
    fn what_is_mastered_waits_until_it_is_due() {
        let mut rates = PassRates::default();
        rates.remember("a", 3, (15, 16), 10);
        rates.remember("a", 4, (14, 16), 10);
        rates.remember("b", 3, (0, 0), 10);
        let sources = ["b".to_owned(), "a".to_owned()];
        let over = |step| rates.passed_over(&sources, &filter(Some(5), None), step);
        assert_eq!(over(10), PassedOver::from([(1, 3)]));
        assert_eq!(over(14), PassedOver::from([(1, 3)]));
        assert_eq!(over(15), PassedOver::new());
        assert_eq!(rates.passed_over(&sources, &filter(None, None), 11), PassedOver::new());
        rates.remember("a", 3, (2, 16), 15);
        assert_eq!(rates.passed_over(&sources, &filter(Some(5), None), 16), PassedOver::new());
    }

    #[test]
    fn a_curriculum_lets_harder_queries_in_step_by_step() {
        let mut rates = PassRates::default();
        for passed in 0..=8 {
            rates.remember("a", passed as u64, (passed, 8), 0);
        }
        let sources = ["a".to_owned()];
        let curriculum = CurriculumConfig { least_pass_rate: 0.5, steps: 10 };
        let over = |step| rates.passed_over(&sources, &filter(None, Some(curriculum)), step).len();
        assert_eq!([over(0), over(5), over(9), over(10), over(50)], [4, 2, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn a_checkpoint_keeps_them(queries in prop::collection::vec(("[ab]", 0_u64..9, 0_usize..17, 0_u64..40), 0..20)) {
            let mut rates = PassRates::default();
            for (source, index, passed, step) in &queries {
                rates.remember(source, *index, (*passed, 16), *step);
            }
            let text = serde_json::to_string(&rates).unwrap();
            prop_assert_eq!(serde_json::from_str::<PassRates>(&text).unwrap(), rates);
        }
    }
}
