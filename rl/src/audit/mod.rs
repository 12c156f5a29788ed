//! The audit of an RL phase at work: draws a slice of its rollouts, has a second rubric score them, and keeps the test.
//!
//! Whether a rollout is drawn depends on the run's seed, the phase's step, the query and the sample alone, so that a resumed
//! run draws the same. Nothing that is trained on comes from here.

mod line;
mod tally;

use std::path::Path;
use std::sync::Arc;

use sapo_datasets::StopReason;
use sapo_rewards::Scored;
use sapo_rollouts::seed_of;

pub use self::line::{AuditLine, FILE, Found, Trained};
pub use self::tally::{AuditFacts, Counts, Tally, facts};
use crate::config::AuditConfig;
use crate::error::Result;
use crate::ledger::LedgerEntry;
use crate::metrics::Metrics;
use crate::run_dir::read_lines;
use crate::sample::{ScoredGroup, ScoredRollout, SeedScope, is_drawn};
use crate::score::{Pending, ReadyRubric, Rewards};

/// The audit of a phase.
pub struct Audit {
    phase: String,
    share: f64,
    rubric: ReadyRubric,
    tally: Tally,
}

/// Drawn rollouts of a step, whose second scores are on their way.
#[derive(Default)]
pub struct Slice(Vec<Drawn>);

struct Drawn {
    group: usize,
    rollout: usize,
    /// None where the trained rubric has failed: there is nothing to compare with.
    second: Option<Pending>,
}

/// What the second rubric said of a slice.
#[derive(Default)]
pub struct Audited {
    /// The lines of the audit's record.
    pub lines: Vec<AuditLine>,
    /// Those of the ledger.
    pub entries: Vec<LedgerEntry>,
}

impl Audit {
    /// The audit of a phase, with what is recorded of it in a run's folder taken in.
    ///
    /// # Errors
    /// When the rubric is not in use here, or the record cannot be read.
    pub fn open(phase: &str, config: &AuditConfig, rewards: &Rewards, run: &Path) -> Result<Self> {
        let mut tally = Tally::new(config);
        let mut recorded = Vec::new();
        for line in read_lines(&run.join(FILE))? {
            let line = AuditLine::read(line)?;
            recorded.extend((line.phase == phase).then_some(line));
        }
        recorded.chunk_by(|one, next| one.step == next.step).for_each(|step| _ = tally.step(step));
        Ok(Self { phase: phase.to_owned(), share: config.share, rubric: rewards.rubric(&config.rubric)?, tally })
    }

    /// Draws from the rollouts of a step, and has the drawn ones scored.
    pub fn start(&self, rewards: &Rewards, scope: SeedScope<'_>, batch: &[ScoredGroup]) -> Slice {
        let place = format!("audit of {}", scope.place);
        let mut slice = Vec::new();
        for (group, asked) in batch.iter().enumerate() {
            let query = &asked.prompt.query;
            for (rollout, scored) in asked.rollouts.iter().enumerate() {
                let chance = seed_of(scope.seed, &place, &query.id, scored.rollout.sample);
                if is_drawn(chance, self.share) {
                    let start = || rewards.start(&self.rubric, Arc::clone(query), scored.transcript.clone());
                    slice.push(Drawn { group, rollout, second: scored.score.passed.map(|_| start()) });
                }
            }
        }
        Slice(slice)
    }

    /// Waits for the second scores of a step's slice, and takes them in; `step` is the run's, `file` has the rollouts. Tells
    /// whether the alarm has just come.
    ///
    /// # Errors
    /// When a reward died.
    pub fn finish(
        &mut self,
        rewards: &Rewards,
        slice: Slice,
        batch: &[ScoredGroup],
        (step, file): (u64, &str),
    ) -> Result<(Audited, bool)> {
        let mut audited = Audited::default();
        for Drawn { group, rollout, second } in slice.0 {
            let (group, scored) = (&batch[group], &batch[group].rollouts[rollout]);
            let second = second.map(|second| rewards.finish(second)).transpose()?;
            let query = &group.prompt.query;
            if let Some(second) = &second {
                let what = ("audit", scored.rollout.sample);
                audited.entries.push(LedgerEntry::of_other(query, &scored.transcript, what, second));
            }
            audited.lines.push(AuditLine {
                phase: self.phase.clone(),
                step,
                file: file.to_owned(),
                query_id: query.id.clone(),
                task: query.task.clone(),
                rubric: self.rubric.name().to_owned(),
                ..of_rollout(scored, second)
            });
        }
        let alarm = self.tally.step(&audited.lines);
        Ok((audited, alarm))
    }

    /// Records what a step's slice came to, and the phase so far.
    pub fn record(&self, audited: &Audited, metrics: &mut Metrics) {
        self.tally.record(&Counts::of(&audited.lines), metrics);
    }
}

/// What a line says of the rollout itself.
fn of_rollout(scored: &ScoredRollout, second: Option<Scored>) -> AuditLine {
    let trained = Trained::of(&scored.score);
    let audit = second.map(|second| second.score);
    AuditLine {
        v: 1,
        sample: scored.rollout.sample,
        tokens: scored.rollout.sampled(),
        truncated: scored.rollout.stop == StopReason::Length,
        outcome: Found::of(trained.passed, audit.as_ref().and_then(|score| score.passed)),
        trained,
        audit,
        ..AuditLine::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slice_is_a_share_and_each_rollout_has_its_own_chance() {
        let drawn = |share: f64, seed: u64| -> Vec<bool> {
            let all = (0..500).flat_map(|query| (0..8).map(move |sample| (query, sample)));
            all.map(|(query, sample)| is_drawn(seed_of(seed, "audit of rl:0", &format!("q{query}"), sample), share))
                .collect()
        };
        let count = |share: f64| drawn(share, 1).iter().filter(|drawn| **drawn).count();
        assert_eq!((count(1.0), count(0.0)), (4000, 0));
        // Within four standard errors.
        for share in [0.02_f64, 0.3] {
            let error = 4.0 * (4000.0 * share * (1.0 - share)).sqrt();
            assert!((count(share) as f64 - 4000.0 * share).abs() < error, "{share}: {}", count(share));
        }
        assert_ne!(drawn(0.3, 1), drawn(0.3, 2), "by the run's seed");
        let (few, many) = (drawn(0.1, 1), drawn(0.3, 1));
        assert!(few.iter().zip(&many).all(|(few, many)| !few || *many), "a larger share holds the smaller one");
    }
}
