//! The judge of a run at work: opened with its phase, measured before and after it, closed with what it cost.

use sapo_datasets::Query;

use super::Run;
use crate::config::{PhaseConfig, RlConfig};
use crate::error::{Result, RunError};
use crate::eval::heldout;
use crate::judging::{self, Judging};

impl Run<'_> {
    /// Makes the rewards of a phase ready unless they are.
    pub(super) fn open_judging(&mut self, name: &str, phase: &RlConfig) -> Result<()> {
        if self.judging.as_ref().is_none_or(|(open, _)| open != name) {
            self.close_judging();
            let judging = Judging::start(self.config, phase)?;
            if let Some(record) = &self.state.judge {
                judging.carry(record);
            }
            self.judging = Some((name.to_owned(), judging));
        }
        Ok(())
    }

    /// Ends the rewards that are open and keeps what their judge has cost.
    pub(super) fn close_judging(&mut self) {
        // Its memory can be asked for only while it lives.
        self.state.peak_rss_bytes = self.peak_rss_bytes();
        let Some((_, judging)) = self.judging.take() else { return };
        if let (Some(record), Some(counts)) = (&mut self.state.judge, judging.counts()) {
            record.add(&counts);
        }
    }

    /// Passes on what the judge has to tell.
    pub(super) fn say_notes(&self) -> Result<()> {
        let notes = self.judging.as_ref().map(|(_, judging)| judging.take_notes()).unwrap_or_default();
        notes.iter().try_for_each(|note| self.say(note))
    }

    /// Measures the judge before its phase: on labelled items, and on what the policy answers now.
    pub(super) fn measure_judge(&mut self, name: &str) -> Result<()> {
        let Some((_, judging)) = &self.judging else { return Ok(()) };
        // A judge that is not good enough stops the run where it can go on with a better one.
        let calibrated = judging.calibrate().map_err(|error| match error {
            RunError::Reward(error) => RunError::Stopped(format!("{name} does not start: {error}")),
            other => other,
        });
        let Some(mut record) = calibrated? else { return Ok(()) };
        let share = |value: Option<f64>| value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
        record.precision_before = self.judge_precision()?;
        self.say(&format!(
            "{name}: the judge's balanced accuracy is {} on {} labelled items (false yes {}, false no {}); share of its yes \
             to held-out answers that is right: {}",
            share(record.balanced_accuracy),
            record.items.unwrap_or(0),
            share(record.false_yes),
            share(record.false_no),
            share(record.precision_before),
        ))?;
        self.dir.write_json("judge.json", &record)?;
        self.state.judge = Some(record);
        Ok(())
    }

    /// How often the judge's yes to the answers of the last evaluation is right by the exact rule.
    pub(super) fn judge_precision(&self) -> Result<Option<f64>> {
        let (Some((_, judging)), Some(folder)) = (&self.judging, self.state.evaluated.last()) else { return Ok(None) };
        let judged: Vec<Query> = heldout(&self.config.eval)
            .into_iter()
            .filter(|list| judging.judged().iter().any(|judged| judged.name() == list.task))
            .flat_map(|list| list.queries)
            .collect();
        if judged.is_empty() {
            return Ok(None);
        }
        let answers = judging::recorded_answers(&self.dir.path().join(format!("eval/{folder}/samples.jsonl")), judged)?;
        Ok(judging.precision(&answers))
    }

    /// After the evaluation that follows a judged phase, the judge is measured again on the policy's answers.
    pub(super) fn remeasure_judge(&mut self, after: &str) -> Result<()> {
        let config = self.config;
        let judged = config.run.phases.iter().find_map(|name| match &config.phases[name] {
            PhaseConfig::Rl(phase) if phase.eval_after.as_deref() == Some(after) => Some((name, phase)),
            _ => None,
        });
        let Some((name, phase)) = judged.filter(|(_, phase)| !config.judges_of(phase).is_empty()) else {
            return Ok(());
        };
        self.open_judging(name, phase)?;
        let precision = self.judge_precision()?;
        self.close_judging();
        if let Some(record) = &mut self.state.judge {
            record.precision_after = precision;
            self.dir.write_json("judge.json", record)?;
        }
        Ok(())
    }
}
