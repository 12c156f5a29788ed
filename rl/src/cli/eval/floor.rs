//! `--fail-under`: a number of an evaluation, and what it must not be below.

use std::str::FromStr;

use crate::config::BestBy;
use crate::error::{Result, RunError};
use crate::eval::{ALL, EvalRow};
use crate::figures::percent;

/// A number and its floor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Floor {
    /// The set; without one, each that was evaluated.
    set: Option<String>,
    task: String,
    statistic: String,
    share: f64,
}

impl FromStr for Floor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let shape = || format!("`{text}` is not NUMBER=SHARE, such as pass_at_1=0.6 or heldout/arith/greedy=0.9");
        let (number, share) = text.rsplit_once('=').ok_or_else(shape)?;
        let share: f64 = share.parse().map_err(|_| shape())?;
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("{share} is no share; it must be at least 0 and at most 1"));
        }
        let (set, whole) = match number.contains('/') {
            true => (true, number.to_owned()),
            false => (false, format!("each/{ALL}/{number}")),
        };
        let BestBy { set: name, task, statistic } = whole.parse()?;
        Ok(Self { set: set.then_some(name), task, statistic, share })
    }
}

impl Floor {
    /// What to say of each set that is below it.
    ///
    /// # Errors
    /// When no row has such a number.
    pub(super) fn missed_by(&self, rows: &[EvalRow]) -> Result<Vec<String>> {
        let of_set = |row: &&EvalRow| self.set.as_ref().is_none_or(|set| *set == row.set) && row.task == self.task;
        let mut found = 0;
        let mut missed = Vec::new();
        for row in rows.iter().filter(of_set) {
            let Some(value) = row.statistic(&self.statistic) else { continue };
            found += 1;
            if value < self.share {
                missed.push(format!(
                    "{}/{}/{} is {}, below {}",
                    row.set,
                    self.task,
                    self.statistic,
                    percent(value),
                    percent(self.share)
                ));
            }
        }
        if found == 0 {
            let known = rows.iter().map(|row| format!("{}/{}", row.set, row.task));
            return Err(RunError::User(format!(
                "--fail-under {}/{}/{}: there is no such number; the rows are {} (pass_at_16 needs 16 samples)",
                self.set.as_deref().unwrap_or("each"),
                self.task,
                self.statistic,
                known.collect::<Vec<_>>().join(", ")
            )));
        }
        Ok(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_read_and_kept() {
        let floor: Floor = "heldout/arith/greedy=0.9".parse().unwrap();
        assert_eq!((floor.set.as_deref(), floor.task.as_str(), floor.share), (Some("heldout"), "arith", 0.9));
        let short: Floor = "pass_at_1=0.6".parse().unwrap();
        assert_eq!((short.set, short.task.as_str(), short.statistic.as_str()), (None, ALL, "pass_at_1"));
        for wrong in ["pass_at_1", "pass_at_1=60", "speed=0.1", "a/b=0.1", "pass_at_1=x"] {
            assert!(wrong.parse::<Floor>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_below_is_told_and_what_is_not_there_refused() {
        let passes = |all: bool| vec![(vec![Some(true), Some(all)], Some(all)); 4];
        let evaluation = crate::eval::tests::evaluation(&[passes(true), passes(false)], 2);
        let missed = |text: &str| text.parse::<Floor>().unwrap().missed_by(&evaluation.rows);
        assert_eq!(missed("pass_at_1=0.75").unwrap(), Vec::<String>::new());
        assert_eq!(missed("pass_at_1=0.76").unwrap().len(), 1);
        assert!(missed("pass_at_16=0.1").is_err());
    }
}
