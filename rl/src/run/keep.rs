//! Which checkpoints of a run are kept: the newest, those at the end of phases, one in so many steps, and the best.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{BestBy, KeepConfig, RunConfig};
use crate::error::{Result, RunError};
use crate::eval::Evaluation;

/// The link, in `checkpoints/`, to the best of them.
pub const BEST: &str = "best";

/// The best checkpoint so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// By which number.
    pub by: BestBy,
    /// The number.
    pub value: f64,
    /// Steps that were done then.
    pub step: u64,
}

impl Best {
    /// The best after an evaluation: this one, where it is of the set that counts and better than the best before. The
    /// first of equals stays.
    ///
    /// # Errors
    /// When the evaluation has no such row or number.
    pub fn after(before: Option<Self>, by: &BestBy, evaluation: &Evaluation, step: u64) -> Result<Option<Self>> {
        if evaluation.set != by.set {
            return Ok(before);
        }
        let row = evaluation.rows.iter().find(|row| row.task == by.task);
        let value = row.and_then(|row| row.statistic(&by.statistic));
        let value = value.ok_or_else(|| {
            let tasks: Vec<&str> = evaluation.rows.iter().map(|row| row.task.as_str()).collect();
            RunError::User(format!(
                "run.keep.best = \"{by}\": the evaluation has no such number; its tasks are {} (pass_at_16 needs 16 samples)",
                tasks.join(", ")
            ))
        })?;
        Ok(match before {
            Some(before) if before.by == *by && before.value >= value => Some(before),
            _ => Some(Self { by: by.clone(), value, step }),
        })
    }
}

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// So many of the newest.
    pub newest: usize,
    /// The first at or behind every multiple of so many steps; 0 for none.
    pub every: u64,
    /// Those at the end of a phase.
    pub phase_ends: bool,
    /// The best, by its step.
    pub best: Option<u64>,
}

impl Rule {
    /// The rule of a run, whose best checkpoint is that of a step.
    pub fn of(run: &RunConfig, best: Option<u64>) -> Self {
        let KeepConfig { newest, every, phase_ends, .. } = run.keep;
        Self { newest, every, phase_ends, best }
    }
}

/// What the rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Steps done.
    pub step: u64,
    /// Whether a phase ends with it.
    pub phase_end: bool,
    /// Whether the update before it was done, and not skipped.
    pub good: bool,
}

/// The steps of checkpoints that are not kept; `all` are in order.
pub fn outdated(all: &[Saved], rule: Rule) -> Vec<u64> {
    let newest = all.len().saturating_sub(rule.newest);
    let newest_good = all.iter().rposition(|saved| saved.good);
    let stretch = |saved: &Saved| saved.step.checked_div(rule.every).filter(|stretch| *stretch > 0);
    let is_kept = |at: usize| {
        let saved = &all[at];
        // Checkpoints are due at the ends of phases too, so that few lie at a multiple: the first behind one counts.
        let first = stretch(saved).is_some_and(|own| !all[..at].iter().any(|other| stretch(other) == Some(own)));
        at >= newest
            || Some(at) == newest_good
            || first
            || saved.phase_end && rule.phase_ends
            || Some(saved.step) == rule.best
    };
    (0..all.len()).filter(|at| !is_kept(*at)).map(|at| all[at].step).collect()
}

/// Makes `checkpoints/best` a link to the checkpoint of a step, or takes it away where there is none.
///
/// # Errors
/// When the link cannot be made.
pub fn point_to_best(checkpoints: &Path, step: Option<u64>) -> Result<()> {
    let link = checkpoints.join(BEST);
    let target = step.map(|step| format!("step-{step:06}")).filter(|target| checkpoints.join(target).is_dir());
    let io = |source| RunError::io(&link, source);
    let remove = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let Some(target) = target else { return remove(&link).map_err(io) };
    if std::fs::read_link(&link).is_ok_and(|now| now == Path::new(&target)) {
        return Ok(());
    }
    let aside = checkpoints.join("best.tmp");
    remove(&aside).map_err(io)?;
    std::os::unix::fs::symlink(&target, &aside).map_err(io)?;
    std::fs::rename(&aside, &link).and_then(|()| sapo_datasets::sync_folder(&link)).map_err(io)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluation(set: &str, pass_at_1: f64) -> Evaluation {
        let row = json!({"after": "x", "task": "all", "queries": 4, "scored": 8, "failed": 0, "pass_at_1": pass_at_1,
            "ci95": [0.0, 1.0], "greedy": 0.0, "with_working": 0.0, "truncated": 0.0, "mean_tokens": 1.0});
        let sampling = json!({"samples": 2, "max_new_tokens": 8, "seed": 1, "decode_rows": 4});
        let whole = json!({"set": set, "after": "x", "rows": [row], "records": {}, "sampling": sampling});
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn the_best_is_the_first_of_the_highest() {
        let by: BestBy = "heldout/all/pass_at_1".parse().unwrap();
        let mut best = None;
        let mut after = |set, value, step| {
            best = Best::after(best.take(), &by, &evaluation(set, value), step).unwrap();
            best.as_ref().map(|best| best.step)
        };
        assert_eq!(after("other", 0.9, 0), None);
        let steps = [(0.25, 10), (0.5, 20), (0.5, 30), (0.25, 40), (0.75, 50)]
            .map(|(value, step)| after("heldout", value, step));
        assert_eq!(steps, [10, 20, 20, 20, 50].map(Some));
        assert_eq!(after("other", 0.9, 60), Some(50));
        // What was best by another number says nothing.
        let greedy: BestBy = "heldout/all/greedy".parse().unwrap();
        let now = Best::after(best, &greedy, &evaluation("heldout", 0.1), 70).unwrap().unwrap();
        assert_eq!((now.step, now.value), (70, 0.0));
        let many: BestBy = "heldout/all/pass_at_16".parse().unwrap();
        let refused = Best::after(None, &many, &evaluation("heldout", 0.1), 70).unwrap_err().to_string();
        assert!(refused.contains("run.keep.best") && refused.contains("16 samples"), "{refused}");
    }

    fn saved(step: u64) -> Saved {
        Saved { step, phase_end: false, good: true }
    }

    const NEWEST: Rule = Rule { newest: 2, every: 0, phase_ends: false, best: None };

    #[test]
    fn each_rule_keeps_its_own() {
        let mut all: Vec<Saved> = [0, 90, 100, 150, 210, 290, 310, 400].map(saved).into();
        let gone = |all: &[Saved], rule: Rule| outdated(all, rule);
        assert_eq!(gone(&all, NEWEST), [0, 90, 100, 150, 210, 290]);
        assert_eq!(gone(&all, Rule { every: 100, ..NEWEST }), [0, 90, 150, 290]);
        assert_eq!(gone(&all, Rule { best: Some(150), ..NEWEST }), [0, 90, 100, 210, 290]);
        all[1].phase_end = true;
        assert_eq!(gone(&all, Rule { phase_ends: true, ..NEWEST }), [0, 100, 150, 210, 290]);
        // The last that is good outlives newer ones.
        (5..8).for_each(|at| all[at].good = false);
        assert_eq!(gone(&all, NEWEST), [0, 90, 100, 150, 290]);
        assert!(gone(&all[..1], NEWEST).is_empty());
    }

    #[test]
    fn what_is_kept_for_good_stays_however_often_the_rule_is_asked() {
        let rule = Rule { every: 50, ..NEWEST };
        let mut all: Vec<Saved> = Vec::new();
        for step in (0..600).step_by(20) {
            all.push(saved(step));
            let gone = outdated(&all, rule);
            all.retain(|saved| !gone.contains(&saved.step));
        }
        let steps: Vec<u64> = all.iter().map(|saved| saved.step).collect();
        assert_eq!(steps, [60, 100, 160, 200, 260, 300, 360, 400, 460, 500, 560, 580]);
    }

    #[test]
    fn the_link_names_the_best_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = folder.path();
        for step in [100, 200] {
            std::fs::create_dir(checkpoints.join(format!("step-{step:06}"))).unwrap();
            point_to_best(checkpoints, Some(step)).unwrap();
            let link = std::fs::read_link(checkpoints.join(BEST)).unwrap();
            assert_eq!(link, Path::new(&format!("step-{step:06}")));
        }
        for none in [Some(300), None] {
            point_to_best(checkpoints, none).unwrap();
            assert!(!checkpoints.join(BEST).is_symlink());
        }
    }
}
