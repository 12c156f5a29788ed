//! The gate of each token as an update computed it: how much of the plain policy gradient was left. Kept for some rollouts, and
//! written with them, so that viewers show what training did and compute nothing again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::algorithm::{Algorithm, Sequence};
use crate::batch::{TrainedGroup, TrainedSequence};
use crate::sample::{ScoredGroup, is_drawn as drawn};

/// Its name in a line of `rollouts/`: one number for each sampled token, or a single one that is that of all of them.
pub const KEY: &str = "gates";
/// Digits behind the point: a gate lies between 0 and 1.
const DIGITS: f64 = 1e4;

/// The gates of a step's rollouts, by group of the batch and rollout of the group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    share: f64,
    kept: BTreeMap<(usize, usize), Vec<f64>>,
}

impl Gates {
    /// Keeps this share of the rollouts.
    pub fn new(share: f64) -> Self {
        Self { share, kept: BTreeMap::new() }
    }

    /// Keeps the gates of a sequence that is trained on with these log-probs now, where the algorithm has a gate and the
    /// rollout is one of the share: the nth of its group that has an advantage. What is not finite is not kept.
    pub fn keep(
        &mut self,
        algorithm: &dyn Algorithm,
        (batch, group, nth): (&[ScoredGroup], &TrainedGroup, usize),
        known: &TrainedSequence,
        log_probs: &[f32],
    ) {
        let trained = group.advantages.iter().enumerate().filter(|(_, advantage)| advantage.is_some());
        let Some((rollout, _)) = trained.into_iter().nth(nth) else { return };
        if !drawn(batch[group.index].rollouts[rollout].rollout.seed, self.share) {
            return;
        }
        let sequence = Sequence { log_probs, old_log_probs: &known.old_log_probs, advantage: known.advantage };
        let gates = algorithm.gates(&sequence).filter(|gates| gates.iter().all(|gate| gate.is_finite()));
        self.kept.extend(gates.map(|gates| ((group.index, rollout), gates)));
    }

    /// What a line of a rollout says of its gates.
    pub fn of(&self, group: usize, rollout: usize) -> Option<Value> {
        let gates = self.kept.get(&(group, rollout))?;
        match gates.first() {
            // Before the first update of a step every gate is 1: one number says it.
            Some(first) if gates.iter().all(|gate| gate == first) => Some(json!(rounded(*first))),
            _ => Some(gates.iter().map(|gate| rounded(*gate)).collect()),
        }
    }
}

/// The gate of each of so many tokens, as a line of a rollout has it.
pub fn of_line(line: &Value, tokens: usize) -> Option<Vec<f64>> {
    match &line[KEY] {
        Value::Array(gates) => {
            let gates: Vec<f64> = gates.iter().map(Value::as_f64).collect::<Option<_>>()?;
            (gates.len() == tokens).then_some(gates)
        }
        one => one.as_f64().map(|gate| vec![gate; tokens]),
    }
}

fn rounded(gate: f64) -> f64 {
    (gate * DIGITS).round() / DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_and_one_number_stands_for_all() {
        let kept = BTreeMap::from([((0, 1), vec![1.0; 3]), ((2, 0), vec![0.25, 1.0, 0.123_456])]);
        let gates = Gates { share: 1.0, kept };
        let line = |group, rollout| json!({KEY: gates.of(group, rollout)});
        assert_eq!(line(0, 1)[KEY], 1.0);
        assert_eq!(of_line(&line(0, 1), 3), Some(vec![1.0; 3]));
        assert_eq!(of_line(&line(2, 0), 3), Some(vec![0.25, 1.0, 0.1235]));
        assert_eq!(of_line(&line(2, 0), 4), None, "another number of tokens");
        assert_eq!(of_line(&line(1, 1), 3), None, "not kept");
    }

    #[test]
    fn a_share_is_kept_and_it_is_always_the_same() {
        let seeds: Vec<u64> = (0..4000).map(|sample| sapo_rollouts::seed_of(1, "rl:0", "q", sample)).collect();
        let kept = |share: f64| seeds.iter().filter(|seed| drawn(**seed, share)).count();
        assert_eq!((kept(0.0), kept(1.0)), (0, seeds.len()));
        // 4000 draws of 1 in 4: ten standard deviations are 274.
        assert!(kept(0.25).abs_diff(1000) < 274, "{}", kept(0.25));
    }
}
