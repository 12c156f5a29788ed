//! What another rubric changes: scores part by part, verdicts, the order within groups, and the gradient's mass.

use std::collections::BTreeMap;

use sapo_rewards::{Outcome, Score};
use serde::Serialize;

use super::stored::Stored;

/// A count before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// By the stored scores.
    pub before: usize,
    /// By the new ones.
    pub after: usize,
}

/// What changed in one part of the score, or in the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PartChange {
    /// Mean of the stored values; empty when there are none.
    pub mean_before: Option<f64>,
    /// Mean of the new ones.
    pub mean_after: Option<f64>,
    /// Rollouts with a value.
    pub values: Count,
    /// Rollouts where it failed.
    pub failed: Count,
    /// Rollouts on which it changed: another value, or a value instead of none or the reverse.
    pub changed: usize,
}

/// Pairs of rollouts of one group that have a total before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pairs {
    /// All of them.
    pub all: usize,
    /// Their order is reversed.
    pub reversed: usize,
    /// A tie is broken, or made.
    pub ties: usize,
}

/// What changed.
///
/// The mass of a rollout in the gradient is the size of its advantage: every sequence weighs the same in the loss, however
/// long it is. What moves is the sum over rollouts of |new - old| as a share of the sum of |old|; rollouts that are not
/// trained on have advantage 0. It is above 1 when mass appears that was not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// Rollouts that were scored again.
    pub rollouts: usize,
    /// Groups.
    pub groups: usize,
    /// The total.
    pub total: PartChange,
    /// Every part of either score.
    pub parts: BTreeMap<String, PartChange>,
    /// Rollouts that passed and do not any more.
    pub pass_lost: usize,
    /// Rollouts that pass now and did not.
    pub pass_gained: usize,
    /// Pairs of rollouts within groups.
    pub pairs: Pairs,
    /// Groups with a pair whose order is reversed.
    pub groups_reordered: usize,
    /// Groups that are trained on.
    pub groups_trained: Count,
    /// Rollouts whose advantage has the other sign.
    pub sign_flips: usize,
    /// Rollouts that had an advantage other than 0 and have none now.
    pub advantage_lost: usize,
    /// Rollouts that have an advantage other than 0 now and had none.
    pub advantage_gained: usize,
    /// Share of the gradient's mass that moves, by rollouts as the loss weighs them; empty when there was none.
    pub mass_moved: Option<f64>,
    /// The same with every rollout weighed by its tokens.
    pub mass_moved_by_tokens: Option<f64>,
    /// Rollouts whose stored advantage is another than their stored scores give.
    pub stored_advantage_differs: usize,
    /// The run shuffled its rewards as a control; advantages are compared unshuffled.
    pub shuffled: bool,
    #[serde(skip)]
    sums: Sums,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    total: (f64, f64),
    parts: BTreeMap<String, (f64, f64)>,
    moved: f64,
    before: f64,
    moved_tokens: f64,
    before_tokens: f64,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_none(&self) -> bool {
        let parts = self.parts.values().all(|part| part.changed == 0);
        parts && self.total.changed == 0 && self.pass_lost + self.pass_gained == 0 && self.sums.moved == 0.0
    }

    /// Takes a group in: its rollouts with the new scores and the advantages before and after.
    pub(super) fn add(&mut self, group: &[Stored], scores: &[Score], before: &[Option<f64>], after: &[Option<f64>]) {
        self.groups += 1;
        self.groups_trained.before += usize::from(before.iter().any(Option::is_some));
        self.groups_trained.after += usize::from(after.iter().any(Option::is_some));
        for (at, (line, score)) in group.iter().zip(scores).enumerate() {
            self.rollouts += 1;
            self.scores(&line.score, score);
            let (old, new) = (before[at].unwrap_or(0.0), after[at].unwrap_or(0.0));
            self.sign_flips += usize::from(old * new < 0.0);
            self.advantage_lost += usize::from(old != 0.0 && new == 0.0);
            self.advantage_gained += usize::from(old == 0.0 && new != 0.0);
            let tokens = line.transcript.tokens as f64;
            self.sums.moved += (new - old).abs();
            self.sums.before += old.abs();
            self.sums.moved_tokens += tokens * (new - old).abs();
            self.sums.before_tokens += tokens * old.abs();
            let stored = line.advantage.map(|stored| stored.unwrap_or(0.0));
            self.stored_advantage_differs += usize::from(stored.is_some_and(|stored| (stored - old).abs() > 1e-9));
        }
        self.order(group, scores);
        let share = |moved: f64, before: f64| (before > 0.0).then(|| moved / before);
        self.mass_moved = share(self.sums.moved, self.sums.before);
        self.mass_moved_by_tokens = share(self.sums.moved_tokens, self.sums.before_tokens);
    }

    fn scores(&mut self, old: &Score, new: &Score) {
        let total = |score: &Score| score.total.map_or(Seen::Failed, Seen::Value);
        self.total.add(&mut self.sums.total, total(old), total(new));
        let names = old.parts.iter().chain(&new.parts).map(|part| part.name.as_str());
        for name in names.collect::<std::collections::BTreeSet<&str>>() {
            let seen = |score: &Score| score.part(name).map_or(Seen::Nothing, |part| Seen::of(&part.score.outcome));
            let sums = self.sums.parts.entry(name.to_owned()).or_default();
            self.parts.entry(name.to_owned()).or_default().add(sums, seen(old), seen(new));
        }
        self.pass_lost += usize::from(old.passed == Some(true) && new.passed != Some(true));
        self.pass_gained += usize::from(old.passed != Some(true) && new.passed == Some(true));
    }

    fn order(&mut self, group: &[Stored], scores: &[Score]) {
        let totals: Vec<(f64, f64)> =
            group.iter().zip(scores).filter_map(|(line, score)| line.score.total.zip(score.total)).collect();
        let mut reordered = false;
        for (at, one) in totals.iter().enumerate() {
            for other in &totals[at + 1..] {
                let (old, new) = (one.0.total_cmp(&other.0), one.1.total_cmp(&other.1));
                self.pairs.all += 1;
                let reversed = old.is_ne() && old == new.reverse();
                self.pairs.reversed += usize::from(reversed);
                self.pairs.ties += usize::from(old.is_eq() != new.is_eq());
                reordered |= reversed;
            }
        }
        self.groups_reordered += usize::from(reordered);
    }
}

/// An outcome, as far as it can change.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Value(f64),
    Skipped,
    Failed,
    Nothing,
}

impl Seen {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Value(value) => Self::Value(*value),
            Outcome::Skip(_) => Self::Skipped,
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

impl PartChange {
    fn add(&mut self, sums: &mut (f64, f64), old: Seen, new: Seen) {
        self.changed += usize::from(old != new);
        let take = |seen: Seen, values: &mut usize, failed: &mut usize, sum: &mut f64| match seen {
            Seen::Value(value) => {
                *values += 1;
                *sum += value;
            }
            Seen::Failed => *failed += 1,
            Seen::Skipped | Seen::Nothing => {}
        };
        take(old, &mut self.values.before, &mut self.failed.before, &mut sums.0);
        take(new, &mut self.values.after, &mut self.failed.after, &mut sums.1);
        let mean = |sum: f64, count: usize| (count > 0).then(|| sum / count as f64);
        self.mean_before = mean(sums.0, self.values.before);
        self.mean_after = mean(sums.1, self.values.after);
    }
}

#[cfg(test)]
mod tests {
    use sapo_datasets::Transcript;
    use sapo_rewards::{PartScore, WeightedPart};

    use super::*;

    fn score(total: Option<f64>) -> Score {
        let outcome = match total {
            Some(value) => PartScore::value(value, ""),
            None => PartScore::failed(sapo_rewards::FailureKind::Timeout, "late"),
        };
        Score::of(vec![WeightedPart { name: "correct".to_owned(), weight: 1.0, score: outcome }])
    }

    fn group(totals: &[Option<f64>], tokens: &[usize]) -> Vec<Stored> {
        let line = |(at, (total, tokens)): (usize, (&Option<f64>, &usize))| Stored {
            file: "x".to_owned(),
            number: at + 1,
            phase: None,
            task: "t".to_owned(),
            rubric: None,
            sample: at as u64,
            transcript: Transcript { tokens: *tokens, ..Transcript::of_answer("q", "") },
            score: score(*total),
            advantage: None,
        };
        totals.iter().zip(tokens).enumerate().map(line).collect()
    }

    #[test]
    fn changes_are_those_worked_out_by_hand() {
        let stored = group(&[Some(1.0), Some(0.0), Some(0.0), None], &[1, 2, 3, 4]);
        let scores = [score(Some(0.0)), score(Some(1.0)), score(Some(0.0)), score(Some(1.0))];
        let before = [Some(1.5), Some(-0.5), Some(-1.0), None];
        let after = [Some(-1.0), Some(1.0), Some(-1.0), Some(1.0)];
        let mut changes = Changes::default();
        changes.add(&stored, &scores, &before, &after);
        assert_eq!((changes.rollouts, changes.groups, changes.total.changed), (4, 1, 3));
        assert_eq!((changes.total.mean_before, changes.total.mean_after), (Some(1.0 / 3.0), Some(0.5)));
        assert_eq!(
            (changes.total.failed, changes.total.values),
            (Count { before: 1, after: 0 }, Count { before: 3, after: 4 })
        );
        assert_eq!((changes.pass_lost, changes.pass_gained), (1, 2));
        // Of three pairs: (0, 1) is reversed, (0, 2) becomes a tie, the tie (1, 2) is broken.
        assert_eq!(changes.pairs, Pairs { all: 3, reversed: 1, ties: 2 });
        assert_eq!((changes.sign_flips, changes.advantage_gained, changes.groups_reordered), (2, 1, 1));
        // |moved| = 2.5 + 1.5 + 0 + 1 of |before| = 3; by tokens 2.5 + 3 + 0 + 4 of 1.5 + 1 + 3.
        assert_eq!(changes.mass_moved, Some(5.0 / 3.0));
        assert_eq!(changes.mass_moved_by_tokens, Some(9.5 / 5.5));
        assert!(!changes.is_none());
        let same: Vec<Score> = stored.iter().map(|line| line.score.clone()).collect();
        let mut none = Changes::default();
        none.add(&stored, &same, &before, &before);
        assert!(none.is_none());
        assert_eq!(none.mass_moved, Some(0.0));
    }
}
