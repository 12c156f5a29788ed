//! When failed rewards stop a run: more of them in a window of steps than it may have, or one that must not be.

use std::collections::VecDeque;

use sapo_rewards::{FailureKind, OnFailure};
use serde::{Deserialize, Serialize};

use crate::config::RlConfig;
use crate::sample::{ScoredGroup, ScoredRollout};

/// Failed scores, and all, of the last steps of a phase; part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window {
    steps: VecDeque<(usize, usize)>,
}

impl Window {
    /// Forgets all, as a new phase does.
    pub fn clear(&mut self) {
        self.steps.clear();
    }

    /// Takes a step in, and lets go what is older than the window.
    pub fn push(&mut self, failed: usize, all: usize, length: usize) {
        self.steps.push_back((failed, all));
        while self.steps.len() > length.max(1) {
            self.steps.pop_front();
        }
    }

    fn with(&self, failed: usize, all: usize, length: usize) -> (usize, usize) {
        let mut window = self.clone();
        window.push(failed, all, length);
        window.steps.iter().fold((0, 0), |(failed, all), step| (failed + step.0, all + step.1))
    }
}

/// What failed in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Scores that failed.
    pub failed: usize,
    /// All scores.
    pub all: usize,
}

impl Failures {
    /// Counts those of a batch.
    pub fn of(batch: &[ScoredGroup]) -> Self {
        let scores = || batch.iter().flat_map(|group| &group.rollouts);
        Self { failed: scores().filter(|answer| answer.score.total.is_none()).count(), all: scores().count() }
    }
}

/// Why a run must stop before it learns from this step; `None` when it need not.
///
/// A step counts together with the steps before it in the window. What a full window may hold is the limit, so that a
/// run stops as soon as the window can no longer come in below it, and a single early failure stops nothing. It also stops
/// when every reward of a step failed, when a rubric says `on_failure = "stop"`, and when a reward says that asking again
/// is useless.
pub fn refusal(batch: &[ScoredGroup], config: &RlConfig, window: &Window) -> Option<String> {
    let failed: Vec<(&ScoredGroup, &ScoredRollout)> = batch
        .iter()
        .flat_map(|group| group.rollouts.iter().map(move |rollout| (group, rollout)))
        .filter(|(_, rollout)| rollout.score.total.is_none())
        .collect();
    let kind_of = |rollout: &ScoredRollout| rollout.score.failure().map(|(_, kind, _)| kind);
    let useless = failed.iter().find(|(_, rollout)| kind_of(rollout) == Some(FailureKind::Unavailable));
    let stopping = failed.iter().find(|(group, _)| group.rubric.on_failure() == OnFailure::Stop);
    let (group, rollout) = *useless.or(stopping).or(failed.first())?;
    let reason = reason(Failures::of(batch), config, window, useless.is_some(), stopping.is_some())?;
    let (part, kind, message) = rollout.score.failure().unwrap_or(("correct", FailureKind::Empty, "no part applies"));
    let kind = serde_json::to_value(kind).unwrap_or_default();
    Some(format!(
        "{reason}; on query `{}`: {part}: {message} ({}). The step is not learned from, and is done again when the run \
         goes on",
        group.prompt.query.id,
        kind.as_str().unwrap_or_default()
    ))
}

/// Why so many failures stop a run, if they do.
fn reason(failures: Failures, config: &RlConfig, window: &Window, useless: bool, stopping: bool) -> Option<String> {
    let Failures { failed, all } = failures;
    let length = config.failure_window();
    let (in_window, seen) = window.with(failed, all, length);
    let limit = config.max_failed_share * (length * all) as f64;
    if useless {
        Some(format!("a reward is unavailable ({failed} of {all} rewards of this step failed)"))
    } else if stopping {
        Some(format!("{failed} of {all} rewards of this step failed, and their rubric says on_failure = \"stop\""))
    } else if failed == all {
        Some(format!("all {all} rewards of this step failed"))
    } else if in_window as f64 > limit {
        Some(format!(
            "{in_window} of the last {seen} rewards failed: more than max_failed_share = {} of a window of {length} steps",
            config.max_failed_share
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_lets_go_of_old_steps_and_is_read_back() {
        let mut window = Window::default();
        for failed in 0..5 {
            window.push(failed, 10, 3);
        }
        assert_eq!(window.with(1, 10, 3), (3 + 4 + 1, 30));
        let text = serde_json::to_string(&window).unwrap();
        assert_eq!(text, "[[2,10],[3,10],[4,10]]");
        assert_eq!(serde_json::from_str::<Window>(&text).unwrap(), window);
        window.clear();
        assert_eq!(window.with(1, 10, 3), (1, 10));
    }
}
