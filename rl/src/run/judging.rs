//! The judges of a run at work: measured before what they score, and on the policy's own answers before and after.

use std::sync::Arc;

use sapo_datasets::Query;
use sapo_rewards::Judge;

use super::Run;
use crate::config::{PhaseKind, RlConfig, SourceUse};
use crate::data;
use crate::error::{Result, RunError};
use crate::score::judge::{calibrate, precision, recorded_answers};

impl Run<'_> {
    /// Measures judges that are not measured yet on labelled items; `place` is what asks them.
    ///
    /// # Errors
    /// When one is not good enough: the run stops where it can go on with a better one.
    pub fn measure_judges(&mut self, place: &str, used: &[&str]) -> Result<()> {
        for name in used {
            if self.state.judges.contains_key(*name) {
                continue;
            }
            let Some(judge) = self.rewards.judges().get(*name).cloned() else { continue };
            let record = calibrate(&self.rewards, &judge).map_err(|error| match error {
                RunError::Reward(error) => RunError::Stopped(format!("{place} does not start: {error}")),
                other => other,
            })?;
            self.say(&format!("{place}: {}", record.said(name)))?;
            self.judged.remove(*name);
            self.state.judges.insert((*name).to_owned(), record);
            self.write_judges()?;
        }
        Ok(())
    }

    /// Measures the precision of a phase's judges on what the policy answered last: `after` the phase, or before it.
    ///
    /// # Errors
    /// When the record of the evaluation cannot be read.
    pub fn measure_precision(&mut self, phase: &RlConfig, after: bool) -> Result<()> {
        let config = self.config;
        let mut judged: Vec<(String, Vec<String>)> = Vec::new();
        for used in phase.data() {
            for judge in config.judges_of(config.rubric_of(used, &phase.rubric)) {
                match judged.iter_mut().find(|(name, _)| name == judge) {
                    Some((_, sources)) => sources.push(used.name.clone()),
                    None => judged.push((judge.to_owned(), vec![used.name.clone()])),
                }
            }
        }
        for (name, sources) in judged {
            let Some(judge) = self.rewards.judges().get(&name).cloned() else { continue };
            let measured = self.precision_of(&judge, &sources)?;
            let Some(record) = self.state.judges.get_mut(&name) else { continue };
            let when = if after { "after" } else { "before" };
            if after {
                record.precision_after = measured;
            } else {
                record.precision_before = measured;
            }
            if let Some(value) = measured {
                self.say(&format!("precision of the judge `{name}` {when} the phase: {value:.3}"))?;
            }
        }
        self.write_judges()
    }

    /// How often a judge's yes to the answers of the last evaluation is right by an exact rule.
    fn precision_of(&self, judge: &Arc<Judge>, sources: &[String]) -> Result<Option<f64>> {
        let last = self.state.evaluations.iter().zip(&self.state.evaluated).rev();
        for (evaluation, folder) in last {
            let Some(eval) = self.config.eval.get(&evaluation.set) else { continue };
            // What another judge said is not a rule.
            let ruled = |name: &&String| {
                let used = SourceUse::of(name);
                sources.contains(name) && self.config.judges_of(self.config.rubric_of(&used, &eval.rubric)).is_empty()
            };
            let names: Vec<&String> = eval.data.iter().filter(ruled).collect();
            if names.is_empty() {
                continue;
            }
            let mut queries: Vec<Query> = Vec::new();
            for dataset in
                data::open_eval(self.config, eval)?.iter().filter(|set| names.iter().any(|name| *name == set.name()))
            {
                for index in 0..dataset.len().unwrap_or(0) {
                    queries.extend(dataset.get(index).map(|example| example.query));
                }
            }
            let samples = self.path().join(format!("eval/{folder}/samples.jsonl"));
            return Ok(precision(&self.rewards, judge, &recorded_answers(&samples, queries)?));
        }
        Ok(None)
    }

    /// Writes `judge.json`: the record of the judge, or of all of them by name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_judges(&self) -> Result<()> {
        let dir = self.recorder.dir();
        match self.state.judges.values().collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            [only] => dir.write_json("judge.json", only),
            _ => dir.write_json("judge.json", &serde_json::json!({"v": 2, "judges": self.state.judges})),
        }
    }
}
