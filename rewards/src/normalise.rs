//! Normalising rewards over a group: after the sum of the parts, or part by part before it.
//!
//! What comes out takes the place of the totals where advantages are made. An estimator that divides by the group's
//! standard deviation does the same once more to `sum_then_normalise`, which then changes nothing; to
//! `normalise_then_sum` it gives one scale to groups whose parts agree and to those whose parts contradict each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::score::Score;

/// When rewards are normalised over their group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// The totals as they are.
    #[default]
    None,
    /// The parts are summed, then totals are normalised: a part with a wide spread drowns the others.
    SumThenNormalise,
    /// Every part is normalised, then they are summed by their weights: parts count alike, whatever their spread.
    NormaliseThenSum,
}

/// Keeps quotients finite.
const EPS: f64 = 1e-6;

/// What the rewards of a group are, in order; `None` for those that failed, which leave the statistics.
pub fn group_rewards(scores: &[&Score], normalise: Normalise) -> Vec<Option<f64>> {
    let totals: Vec<Option<f64>> = scores.iter().map(|score| score.total).collect();
    match normalise {
        Normalise::None => totals,
        Normalise::SumThenNormalise => standardised(&totals),
        Normalise::NormaliseThenSum => by_parts(scores),
    }
}

fn by_parts(scores: &[&Score]) -> Vec<Option<f64>> {
    let mut rewards: Vec<Option<f64>> = scores.iter().map(|score| score.total.map(|_| 0.0)).collect();
    let mut names: Vec<&str> = Vec::new();
    for part in scores.iter().filter(|score| score.total.is_some()).flat_map(|score| &score.parts) {
        if !names.contains(&part.name.as_str()) {
            names.push(&part.name);
        }
    }
    for name in names {
        let found = scores.iter().map(|score| score.part(name).filter(|_| score.total.is_some()));
        let found: Vec<_> = found.collect();
        // A gate that is closed takes the weight away; the part's own weight is that of the others.
        let weight = found
            .iter()
            .flatten()
            .map(|part| part.weight)
            .fold(0.0, |most: f64, weight| if weight.abs() > most.abs() { weight } else { most });
        if weight == 0.0 {
            continue;
        }
        let values: Vec<Option<f64>> = found
            .iter()
            .map(|part| part.and_then(|part| Some(part.score.outcome.value()? * part.weight / weight)))
            .collect();
        for (reward, value) in rewards.iter_mut().zip(standardised(&values)) {
            // What is skipped adds nothing.
            if let (Some(reward), Some(value)) = (reward, value) {
                *reward += weight * value;
            }
        }
    }
    rewards
}

/// Values less their mean, over their standard deviation; 0 when all are equal.
fn standardised(values: &[Option<f64>]) -> Vec<Option<f64>> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let count = known.len().max(1) as f64;
    let equal = known.windows(2).all(|pair| pair[0] == pair[1]);
    let mean = known.iter().sum::<f64>() / count;
    let spread = (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    values.iter().map(|value| value.map(|value| if equal { 0.0 } else { (value - mean) / (spread + EPS) })).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::score::{CORRECT, FailureKind, PartScore, WeightedPart};

    fn score(values: &[(&str, f64, Option<f64>)]) -> Score {
        let part = |(name, weight, value): &(&str, f64, Option<f64>)| WeightedPart {
            name: (*name).to_owned(),
            weight: *weight,
            score: value.map_or_else(|| PartScore::skip("not here"), |value| PartScore::value(value, "")),
        };
        Score::of(values.iter().map(part).collect())
    }

    fn near(found: &[Option<f64>], wanted: &[Option<f64>]) -> bool {
        found.len() == wanted.len()
            && found.iter().zip(wanted).all(|pair| match pair {
                (Some(one), Some(other)) => (one - other).abs() < 1e-4,
                (one, other) => one == other,
            })
    }

    #[test]
    fn parts_of_unlike_spread() {
        let group = [
            score(&[(CORRECT, 1.0, Some(1.0)), ("length", 1.0, Some(0.0))]),
            score(&[(CORRECT, 1.0, Some(0.0)), ("length", 1.0, Some(0.1))]),
        ];
        let group: Vec<&Score> = group.iter().collect();
        assert!(near(&group_rewards(&group, Normalise::None), &[Some(1.0), Some(0.1)]));
        assert!(near(&group_rewards(&group, Normalise::SumThenNormalise), &[Some(1.0), Some(-1.0)]));
        // Each part says the opposite of the other, and counts as much.
        assert!(near(&group_rewards(&group, Normalise::NormaliseThenSum), &[Some(0.0), Some(0.0)]));
    }

    #[test]
    fn skips_closed_gates_and_failures() {
        let failed = Score::of(vec![WeightedPart {
            name: CORRECT.to_owned(),
            weight: 1.0,
            score: PartScore::failed(FailureKind::Timeout, "late"),
        }]);
        let group = [
            score(&[(CORRECT, 2.0, Some(1.0)), ("more", 1.0, None)]),
            failed,
            // Behind a closed gate.
            score(&[(CORRECT, 0.0, Some(1.0)), ("more", 1.0, Some(1.0))]),
        ];
        let group: Vec<&Score> = group.iter().collect();
        let rewards = group_rewards(&group, Normalise::NormaliseThenSum);
        assert!(near(&rewards, &[Some(2.0), None, Some(-2.0)]), "{rewards:?}");
        assert!(near(&group_rewards(&group, Normalise::SumThenNormalise), &[Some(1.0), None, Some(-1.0)]));
        assert!(group_rewards(&[], Normalise::NormaliseThenSum).is_empty());
    }

    proptest! {
        #[test]
        fn normalised_rewards_have_no_mean_and_do_not_depend_on_scale(
            values in prop::collection::vec((0.0_f64..1.0, prop::option::of(0.0_f64..1.0)), 2..12),
            scale in 0.5_f64..20.0,
        ) {
            let group = |scale: f64| -> Vec<Score> {
                values.iter().map(|(a, b)| score(&[(CORRECT, 1.0, Some(a * scale)), ("b", 0.5, *b)])).collect()
            };
            for how in [Normalise::SumThenNormalise, Normalise::NormaliseThenSum] {
                let one = group(1.0);
                let rewards = group_rewards(&one.iter().collect::<Vec<_>>(), how);
                prop_assert!(rewards.iter().flatten().sum::<f64>().abs() < 1e-6 * values.len() as f64);
            }
            // The spread is far above the eps.
            let spread = values.iter().map(|(a, _)| *a).fold(0.0, f64::max) - values.iter().map(|(a, _)| *a).fold(1.0, f64::min);
            if spread > 0.1 {
                let (one, other) = (group(1.0), group(scale));
                let rewards = |group: &[Score]| group_rewards(&group.iter().collect::<Vec<_>>(), Normalise::NormaliseThenSum);
                prop_assert!(near(&rewards(&one), &rewards(&other)));
            }
        }
    }
}
