//! What an audit comes to: counts that add up, and the test of whether the trained rubric is laxer than tolerated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::line::{AuditLine, Found};
use crate::config::AuditConfig;
use crate::metrics::{Metrics, names};
use crate::stats::EProcess;

/// Counts that add up: `drawn = agreed + lenient + strict + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rollouts that were drawn.
    pub drawn: usize,
    /// Those of the same verdict.
    pub agreed: usize,
    /// The trained rubric passes them, and the second does not.
    pub lenient: usize,
    /// The second passes them, and the trained rubric does not.
    pub strict: usize,
    /// Those without a verdict of one of the two.
    pub failed: usize,
    /// Those that the trained rubric passes, of all with both verdicts: `lenient` is a part of them, `strict` of the others.
    pub passed: usize,
}

/// The counts and the test of a phase so far.
#[derive(Clone, Debug)]
pub struct Tally {
    counts: Counts,
    test: EProcess,
    lenient: Mean,
    strict: Mean,
    /// The evidence that raises the alarm.
    enough: f64,
    alarm: bool,
}

/// A mean over queries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    queries: usize,
}

impl Mean {
    fn add(&mut self, share: Option<f64>) {
        if let Some(share) = share {
            self.sum += share;
            self.queries += 1;
        }
    }

    fn value(self) -> Option<f64> {
        (self.queries > 0).then(|| self.sum / self.queries as f64)
    }
}

/// An audit in a run's summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditFacts {
    /// Its counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// The evidence at the end of the phase.
    pub e_value: f64,
    /// The step of the alarm, if there was one.
    pub alarm_step: Option<u64>,
}

impl Counts {
    /// Counts lines.
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l AuditLine>) -> Self {
        let mut counts = Self::default();
        for line in lines {
            counts.drawn += 1;
            counts.passed += usize::from(line.trained_passes() == Some(true));
            *match line.outcome {
                Found::Agreed => &mut counts.agreed,
                Found::Lenient => &mut counts.lenient,
                Found::Strict => &mut counts.strict,
                Found::Failed => &mut counts.failed,
            } += 1;
        }
        counts
    }

    /// Of the answers that the trained rubric passes, the share that the second fails; `None` without any.
    pub fn lenient_share(&self) -> Option<f64> {
        (self.passed > 0).then(|| self.lenient as f64 / self.passed as f64)
    }

    /// Of those that it fails, the share that the second passes.
    pub fn strict_share(&self) -> Option<f64> {
        let failing = self.drawn - self.failed - self.passed;
        (failing > 0).then(|| self.strict as f64 / failing as f64)
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in [
            (&mut self.drawn, other.drawn),
            (&mut self.agreed, other.agreed),
            (&mut self.lenient, other.lenient),
            (&mut self.strict, other.strict),
            (&mut self.failed, other.failed),
            (&mut self.passed, other.passed),
        ] {
            *count += more;
        }
    }
}

impl Tally {
    /// The test of an audit of which nothing is known yet.
    pub fn new(config: &AuditConfig) -> Self {
        let test = EProcess::new(config.tolerated);
        let (counts, lenient, strict) = Default::default();
        Self { counts, test, lenient, strict, enough: 1.0 / config.false_alarm, alarm: false }
    }

    /// Takes in the lines of a step; tells whether the alarm has just come.
    ///
    /// What is tested is the share of answers that the second rubric fails among those that the trained one passes: among all,
    /// it would rise with the pass rate alone. Answers to one query hang together, so that each query is one bet, on its share.
    pub fn step(&mut self, lines: &[AuditLine]) -> bool {
        self.counts.add(&Counts::of(lines));
        for query in lines.chunk_by(|one, next| one.query_id == next.query_id) {
            let counts = Counts::of(query);
            self.lenient.add(counts.lenient_share());
            self.strict.add(counts.strict_share());
            counts.lenient_share().into_iter().for_each(|share| self.test.bet(share));
        }
        let before = self.alarm;
        self.alarm |= self.test.e_value() >= self.enough;
        self.alarm && !before
    }

    /// The counts so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The evidence so far that the trained rubric is laxer than tolerated.
    pub fn e_value(&self) -> f64 {
        self.test.e_value()
    }

    /// Whether there has been an alarm.
    pub fn alarm(&self) -> bool {
        self.alarm
    }

    /// Records what `now` has come to in a step, and the phase so far.
    pub fn record(&self, now: &Counts, metrics: &mut Metrics) {
        for (name, count) in [
            (names::AUDIT_DRAWN, now.drawn),
            (names::AUDIT_AGREED, now.agreed),
            (names::AUDIT_LENIENT, now.lenient),
            (names::AUDIT_STRICT, now.strict),
            (names::AUDIT_FAILED, now.failed),
            (names::AUDIT_PASSED, now.passed),
        ] {
            metrics.sum(name, count as f64);
        }
        // The test is of the whole phase, and so are the shares: each query of a step counts alike in both.
        let shares =
            [(names::AUDIT_LENIENT_SHARE, self.lenient.value()), (names::AUDIT_STRICT_SHARE, self.strict.value())];
        shares.into_iter().for_each(|(name, share)| share.into_iter().for_each(|share| metrics.set(name, share)));
        metrics.set(names::AUDIT_E_VALUE, self.e_value());
        metrics.set(names::AUDIT_ALARM, f64::from(u8::from(self.alarm)));
    }
}

/// The audits of a run, by phase, from the lines of its metrics.
pub fn facts(lines: &[Value]) -> BTreeMap<String, AuditFacts> {
    let mut all: BTreeMap<String, AuditFacts> = BTreeMap::new();
    for line in lines.iter().filter(|line| line[names::AUDIT_DRAWN].is_number()) {
        let facts = all.entry(line["phase"].as_str().unwrap_or_default().to_owned()).or_default();
        let count = |name: &str| line[name].as_f64().unwrap_or(0.0) as usize;
        facts.counts.add(&Counts {
            drawn: count(names::AUDIT_DRAWN),
            agreed: count(names::AUDIT_AGREED),
            lenient: count(names::AUDIT_LENIENT),
            strict: count(names::AUDIT_STRICT),
            failed: count(names::AUDIT_FAILED),
            passed: count(names::AUDIT_PASSED),
        });
        facts.e_value = line[names::AUDIT_E_VALUE].as_f64().unwrap_or(facts.e_value);
        let alarm = line[names::AUDIT_ALARM].as_f64() == Some(1.0);
        facts.alarm_step = facts.alarm_step.or_else(|| line["step"].as_u64().filter(|_| alarm));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::line::Trained;
    use super::*;

    fn config() -> AuditConfig {
        AuditConfig { rubric: "strict".to_owned(), share: 1.0, tolerated: 0.05, false_alarm: 0.01, stop: false }
    }

    /// An audited answer to a query, by the verdicts of the trained rubric and of the second.
    fn line(step: u64, query: usize, trained: Option<bool>, second: Option<bool>) -> AuditLine {
        let outcome = Found::of(trained, second);
        let trained = Trained { passed: trained, ..Trained::default() };
        AuditLine { step, query_id: format!("q{query}"), outcome, trained, ..AuditLine::default() }
    }

    const VERDICTS: [Option<bool>; 3] = [Some(true), Some(false), None];

    #[test]
    fn denominators_add_up_and_shares_are_of_their_own_kind() {
        let lines: Vec<AuditLine> = VERDICTS
            .iter()
            .flat_map(|trained| VERDICTS.iter().map(move |second| line(0, 0, *trained, *second)))
            .chain([line(0, 1, Some(true), Some(true))])
            .collect();
        let counts = Counts::of(&lines);
        assert_eq!(counts.drawn, counts.agreed + counts.lenient + counts.strict + counts.failed);
        assert_eq!((counts.agreed, counts.lenient, counts.strict, counts.failed), (3, 1, 1, 5));
        assert_eq!((counts.passed, counts.lenient_share(), counts.strict_share()), (3, Some(1.0 / 3.0), Some(0.5)));
        assert_eq!((Counts::default().lenient_share(), Counts::default().strict_share()), (None, None));
    }

    #[test]
    fn only_what_the_trained_rubric_passes_is_bet_on_and_a_query_is_one_bet() {
        let mut tally = Tally::new(&config());
        let unmoved = [line(0, 0, Some(false), Some(true)), line(0, 1, Some(true), None), line(0, 2, None, Some(true))];
        assert!(!tally.step(&unmoved) && tally.e_value() == 1.0);
        let all = |samples: usize| {
            let mut tally = Tally::new(&config());
            (0..4).for_each(|query| _ = tally.step(&vec![line(1, query, Some(true), Some(false)); samples]));
            tally.e_value()
        };
        assert_eq!(all(1), all(8), "eight answers to one query tell as much as one, where all are alike");
    }

    #[test]
    fn the_alarm_comes_once_and_stays_and_the_summary_has_its_step() {
        let mut tally = Tally::new(&config());
        let (mut came, mut lines) = (Vec::new(), Vec::new());
        for step in 0..60 {
            // Every other answer that passes is one that the second grader fails, and later on none.
            let second = step >= 30 || step % 2 == 0;
            let audited = [line(step, 0, Some(true), Some(second)), line(step, 1, Some(false), Some(false))];
            if tally.step(&audited) {
                came.push(step);
            }
            let mut metrics = Metrics::default();
            tally.record(&Counts::of(&audited), &mut metrics);
            assert_eq!(metrics.get(names::AUDIT_ALARM), Some(f64::from(u8::from(!came.is_empty()))));
            lines.push(metrics.line(step, "rl", 0.0));
        }
        assert_eq!(came.len(), 1, "{came:?}");
        let facts = &facts(&lines)["rl"];
        assert_eq!((facts.alarm_step, facts.counts), (Some(came[0]), *tally.counts()));
        assert_eq!((facts.e_value, facts.counts.drawn), (tally.e_value(), 120));
        assert!(tally.alarm());
    }
}
