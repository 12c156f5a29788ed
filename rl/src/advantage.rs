//! Group-relative advantages: how much better a rollout did than the others of its group.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Added to the standard deviation of a group.
pub const EPS: f64 = 1e-6;

/// What is taken off rewards, and what they are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdvantageNorm {
    /// The standard deviation over the group, dividing by n; the mean is taken off.
    Population,
    /// The same, dividing by n - 1.
    Sample,
    /// Nothing: the mean alone is taken off.
    None,
    /// Nothing, and the mean of the group's other rollouts is taken off.
    LeaveOneOut,
}

/// Advantages of a group: `(R - mean) / (std + eps)` over the scored rollouts. A failed reward (`None`) gets `None`.
/// `None` for the whole group when it has no signal: fewer than two scored, or all scores equal.
pub fn advantages(rewards: &[Option<f64>], norm: AdvantageNorm, eps: f64) -> Option<Vec<Option<f64>>> {
    let scored: Vec<f64> = rewards.iter().flatten().copied().collect();
    let first = *scored.first()?;
    if scored.len() < 2 || scored.iter().all(|reward| *reward == first) {
        return None;
    }
    let count = scored.len() as f64;
    let mean = scored.iter().sum::<f64>() / count;
    let squares: f64 = scored.iter().map(|reward| (reward - mean).powi(2)).sum();
    let divisor = match norm {
        AdvantageNorm::Population => (squares / count).sqrt() + eps,
        AdvantageNorm::Sample => (squares / (count - 1.0)).sqrt() + eps,
        AdvantageNorm::None => 1.0,
        // R - mean of the others = (R - mean) n / (n - 1).
        AdvantageNorm::LeaveOneOut => (count - 1.0) / count,
    };
    Some(rewards.iter().map(|reward| reward.map(|reward| (reward - mean) / divisor)).collect())
}

/// Why a group is not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Fewer than two scored rollouts, or all rewards equal.
    NoSignal,
    /// More than 90 % of the scored rollouts pass, and such groups are filtered out.
    TooEasy,
}

/// Whether more than 90 % of the scored samples pass, by integers: of 16, 15 and 16 do, 14 do not.
pub fn is_too_easy(passed: usize, scored: usize) -> bool {
    10 * passed > 9 * scored
}

/// The advantages of a group as training takes them: from its rewards, and from the verdicts of its scored rollouts.
///
/// # Errors
/// Why the group is not trained on.
pub fn advantages_of_group(
    rewards: &[Option<f64>],
    verdicts: &[bool],
    norm: AdvantageNorm,
    filter_live: bool,
) -> Result<Vec<Option<f64>>, Dropped> {
    let passed = verdicts.iter().filter(|passed| **passed).count();
    match advantages(rewards, norm, EPS) {
        None => Err(Dropped::NoSignal),
        Some(_) if filter_live && is_too_easy(passed, verdicts.len()) => Err(Dropped::TooEasy),
        Some(advantages) => Ok(advantages),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn twelve_right_of_sixteen() {
        let rewards: Vec<Option<f64>> = (0..16).map(|index| Some(f64::from(u8::from(index < 12)))).collect();
        let ours = advantages(&rewards, AdvantageNorm::Population, 0.0).expect("signal");
        assert!((ours[0].expect("scored") - (4.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert!((ours[15].expect("scored") + (12.0_f64 / 4.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn groups_without_signal_have_no_advantages() {
        assert_eq!(advantages(&[Some(1.0); 4], AdvantageNorm::Population, 1e-6), None);
        assert_eq!(advantages(&[Some(1.0), None, None], AdvantageNorm::Population, 1e-6), None);
        assert_eq!(advantages(&[], AdvantageNorm::None, 1e-6), None);
    }

    proptest! {
        #[test]
        fn they_sum_to_zero_and_ignore_shift_and_scale(
            rewards in prop::collection::vec(prop::option::of(-3.0_f64..3.0), 2..20),
            shift in -5.0_f64..5.0,
            scale in 0.1_f64..10.0,
        ) {
            if let Some(ours) = advantages(&rewards, AdvantageNorm::Sample, 0.0) {
                prop_assert!(ours.iter().flatten().sum::<f64>().abs() < 1e-6);
                let moved: Vec<Option<f64>> = rewards.iter().map(|r| r.map(|r| r * scale + shift)).collect();
                if let Some(theirs) = advantages(&moved, AdvantageNorm::Sample, 0.0) {
                    for (a, b) in ours.iter().zip(&theirs) {
                        prop_assert_eq!(a.is_some(), b.is_some());
                        prop_assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-6);
                    }
                }
            }
        }
    }
}
