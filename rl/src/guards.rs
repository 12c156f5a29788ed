//! What a run warns of: numbers of its steps that mean trouble, with the words for it. A run says them when they come, and the
//! report when it is over, both from here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::WarnConfig;
use crate::figures::percent;
use crate::metrics::{names, quantile};

/// Steps that a mean is taken over.
const WINDOW: usize = 10;
/// Steps that the median of the gradient norm is taken over.
const MEDIAN_OF: usize = 50;

/// A number that means trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The policy has nothing left to explore.
    EntropyCollapse,
    /// Answers have become very long.
    LengthExplosion,
    /// The token limit cuts answers.
    CutAnswers,
    /// A gradient is far above the others.
    GradientNorm,
    /// Groups have nothing to tell.
    NoSignal,
    /// The gate lets little through.
    GateSaturation,
    /// Rewards fail.
    FailedRewards,
    /// The audit has found the trained reward laxer than tolerated.
    LaxReward,
    /// The second grader of the audit fails.
    FailedAudits,
}

/// A warning at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Of what.
    pub trouble: Trouble,
    /// The step.
    pub step: u64,
    /// Whether it is the first of its kind in the phase.
    pub is_first: bool,
    /// The words.
    pub text: String,
}

/// A metric over a phase: its first values, and its last.
#[derive(Clone, Debug, Default)]
struct Track {
    first: Vec<f64>,
    last: VecDeque<f64>,
    count: usize,
}

impl Track {
    fn push(&mut self, value: f64) {
        self.count += 1;
        if self.first.len() < WINDOW {
            self.first.push(value);
        }
        self.last.push_back(value);
        if self.last.len() > MEDIAN_OF + 1 {
            self.last.pop_front();
        }
    }

    /// The mean of the last values, once there are enough of them.
    fn now(&self) -> Option<f64> {
        (self.count >= WINDOW).then(|| mean(self.last.iter().rev().take(WINDOW)))
    }

    /// The means at the beginning and now, once they have no value in common.
    fn change(&self) -> Option<(f64, f64)> {
        (self.count >= 2 * WINDOW).then(|| Some((mean(self.first.iter()), self.now()?)))?
    }

    /// The last value, and the median of those before it, once there are enough of them.
    fn spike(&self) -> Option<(f64, f64)> {
        let (last, before) = self.last.iter().rev().collect::<Vec<_>>().split_first().map(|(last, before)| {
            let mut before: Vec<f64> = before.iter().map(|value| **value).collect();
            before.sort_by(f64::total_cmp);
            (**last, before)
        })?;
        (before.len() >= WINDOW).then(|| (last, quantile(&before, 0.5)))
    }
}

fn mean<'v>(values: impl Iterator<Item = &'v f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// Watches the steps of a run, in order.
#[derive(Clone, Debug)]
pub struct Guards {
    limits: WarnConfig,
    phase: String,
    tracks: BTreeMap<&'static str, Track>,
    said: BTreeSet<Trouble>,
}

impl Guards {
    /// Guards that have seen nothing.
    pub fn new(limits: &WarnConfig) -> Self {
        Self { limits: limits.clone(), phase: String::new(), tracks: BTreeMap::new(), said: BTreeSet::new() }
    }

    /// Takes in the numbers of a step, and gives what there is to warn of.
    pub fn step(&mut self, step: u64, phase: &str, values: &BTreeMap<String, f64>) -> Vec<Alert> {
        if self.phase != phase {
            *self = Self { phase: phase.to_owned(), ..Self::new(&self.limits) };
        }
        for (name, value) in tracked(values) {
            self.tracks.entry(name).or_default().push(value);
        }
        let found = [
            (Trouble::EntropyCollapse, self.entropy()),
            (Trouble::LengthExplosion, self.length()),
            (Trouble::CutAnswers, self.cut()),
            (Trouble::GradientNorm, self.gradient().filter(|_| values.contains_key(names::GRAD_NORM))),
            (Trouble::NoSignal, self.no_signal()),
            (Trouble::GateSaturation, self.gate()),
            (Trouble::FailedRewards, self.failed()),
            (Trouble::LaxReward, lax(values)),
            (Trouble::FailedAudits, self.failed_audits()),
        ];
        let mut alerts = Vec::new();
        for (trouble, text) in found.into_iter().filter_map(|(trouble, text)| Some((trouble, text?))) {
            let is_first = self.said.insert(trouble);
            alerts.push(Alert { trouble, step, is_first, text: format!("{phase}: {text}") });
        }
        alerts
    }

    fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.get(name)
    }

    fn entropy(&self) -> Option<String> {
        let (before, now) = self.track(names::ENTROPY)?.change()?;
        (now < self.limits.entropy_share * before).then(|| {
            format!(
                "the entropy has collapsed from {before:.3} nats at the beginning of the phase to {now:.3} \
                 (run.warn.entropy_share): answers are nearly the same each time, and little is left to learn from; a \
                 lower learning rate or a higher temperature keeps more"
            )
        })
    }

    fn length(&self) -> Option<String> {
        let (before, now) = self.track(names::LENGTH_MEAN)?.change()?;
        (now > self.limits.length_times * before).then(|| {
            format!(
                "answers have grown from {before:.1} tokens at the beginning of the phase to {now:.1} \
                 (run.warn.length_times): see whether the reward pays for length"
            )
        })
    }

    fn cut(&self) -> Option<String> {
        let now = self.track(names::TRUNCATED)?.now()?;
        (now > self.limits.cut_share).then(|| {
            format!(
                "{:.0} % of the answers are cut by the token limit (run.warn.cut_share): a cut answer is rarely right; \
                 raise sampling.max_new_tokens",
                100.0 * now
            )
        })
    }

    fn gradient(&self) -> Option<String> {
        let (now, median) = self.track(names::GRAD_NORM)?.spike()?;
        (now > self.limits.grad_norm_times * median).then(|| {
            format!(
                "the gradient norm is {now:.3}, where the median of the steps before is {median:.3} \
                 (run.warn.grad_norm_times): it is clipped, but one batch is unlike the others, or the learning rate is \
                 too high"
            )
        })
    }

    fn no_signal(&self) -> Option<String> {
        let now = self.track(names::NO_SIGNAL)?.now()?;
        (now > self.limits.no_signal_share).then(|| {
            format!(
                "{:.0} % of the groups have no signal (run.warn.no_signal_share): all their answers have the same reward; \
                 curate for queries that are sometimes solved, or sample more answers",
                100.0 * now
            )
        })
    }

    fn gate(&self) -> Option<String> {
        let now = |name| self.track(name).and_then(Track::now);
        let least = [("positive", now(names::GATE_POS)), ("negative", now(names::GATE_NEG))]
            .into_iter()
            .filter_map(|(sign, mean)| Some((sign, mean?)))
            .min_by(|one, other| one.1.total_cmp(&other.1))?;
        (least.1 < self.limits.gate_mean).then(|| {
            format!(
                "the gate of tokens with {} advantage is {:.2} on average (run.warn.gate_mean): the policy moves so far \
                 within a step that little of it is learned from; lower the learning rate, or take fewer mini-batches",
                least.0, least.1
            )
        })
    }

    /// The mean of the last values of a share of failures, if it is more than they may be.
    fn failing(&self, name: &str) -> Option<f64> {
        let now = mean(self.track(name)?.last.iter().rev().take(WINDOW));
        (now > self.limits.failed_share).then_some(now)
    }

    fn failed_audits(&self) -> Option<String> {
        self.failing(names::AUDIT_FAILED).map(|now| {
            format!(
                "{:.1} % of the drawn answers could not be audited (run.warn.failed_share): the audit tells nothing of \
                 them; audit.jsonl has the reasons",
                100.0 * now
            )
        })
    }

    fn failed(&self) -> Option<String> {
        self.failing(names::REWARD_FAILED_SHARE).map(|now| {
            format!(
                "{:.1} % of the rewards failed (run.warn.failed_share): such answers are not learned from; the ledger has \
                 the reasons",
                100.0 * now
            )
        })
    }
}

/// What an audit's alarm means.
fn lax(values: &BTreeMap<String, f64>) -> Option<String> {
    let share = |name| values.get(name).map_or("-".to_owned(), |share| percent(*share));
    (values.get(names::AUDIT_ALARM) == Some(&1.0)).then(|| {
        format!(
            "the audit raises its alarm: of the audited answers that the trained rubric passes, the second grader fails {} % \
             so far, more than is tolerated (evidence {:.3e}); the other way round it is {} %. The policy may have learned to \
             please its reward: look at these answers in the report, or in audit.jsonl",
            share(names::AUDIT_LENIENT_SHARE),
            values.get(names::AUDIT_E_VALUE).copied().unwrap_or(f64::NAN),
            share(names::AUDIT_STRICT_SHARE)
        )
    })
}

/// The numbers that are followed, where a step has them.
fn tracked(values: &BTreeMap<String, f64>) -> impl Iterator<Item = (&'static str, f64)> {
    let get = |name: &str| values.get(name).copied();
    let mean = |name: &str| get(&format!("{name}/mean"));
    let groups: f64 = [names::NO_SIGNAL, names::TOO_EASY, names::TRAINED].into_iter().filter_map(get).sum();
    let no_signal = get(names::NO_SIGNAL).filter(|_| groups > 0.0).map(|count| count / groups);
    let drawn = get(names::AUDIT_DRAWN).filter(|drawn| *drawn > 0.0);
    let failed_audits = get(names::AUDIT_FAILED).zip(drawn).map(|(failed, drawn)| failed / drawn);
    [
        (names::ENTROPY, get(names::ENTROPY)),
        (names::LENGTH_MEAN, get(names::LENGTH_MEAN)),
        (names::TRUNCATED, get(names::TRUNCATED)),
        (names::GRAD_NORM, get(names::GRAD_NORM)),
        (names::NO_SIGNAL, no_signal),
        (names::GATE_POS, mean(names::GATE_POS)),
        (names::GATE_NEG, mean(names::GATE_NEG)),
        (names::REWARD_FAILED_SHARE, get(names::REWARD_FAILED_SHARE)),
        (names::AUDIT_FAILED, failed_audits),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// Above this share of answers that the token limit has cut, an evaluation is warned of.
const CUT_SHARE: f64 = 0.02;

/// What to say of an evaluation of which so large a share of answers was cut at `limit` tokens, where it is known; nothing
/// where they are few. `remedy` names the limit.
pub fn cut_answers(share: f64, limit: Option<usize>, remedy: &str) -> Option<String> {
    (share > CUT_SHARE).then(|| {
        let (cut, at) = (percent(share), limit.map_or("the token limit".to_owned(), |limit| format!("{limit} tokens")));
        format!("{cut} % of the answers were cut at {at}, and a cut answer counts as wrong; raise {remedy}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The warnings of steps with one metric each.
    fn alerts(name: &str, values: &[f64]) -> Vec<Alert> {
        let mut guards = Guards::new(&WarnConfig::default());
        let steps = values.iter().zip(0..).map(|(value, step)| (step, BTreeMap::from([(name.to_owned(), *value)])));
        steps.flat_map(|(step, values)| guards.step(step, "rl", &values)).collect()
    }

    fn with_end(value: f64, end: f64) -> Vec<f64> {
        let mut values = vec![value; 20];
        values.extend([end; 10]);
        values
    }

    #[test]
    fn each_trouble_is_told_where_it_begins_and_not_before() {
        let cases = [
            (names::ENTROPY, 1.0, 0.05, 0.2, Trouble::EntropyCollapse),
            (names::LENGTH_MEAN, 10.0, 60.0, 20.0, Trouble::LengthExplosion),
            (names::TRUNCATED, 0.0, 0.9, 0.2, Trouble::CutAnswers),
            (names::GRAD_NORM, 0.5, 6.0, 4.0, Trouble::GradientNorm),
            ("sapo/gate/neg/mean", 0.9, 0.2, 0.6, Trouble::GateSaturation),
            (names::REWARD_FAILED_SHARE, 0.0, 0.5, 0.005, Trouble::FailedRewards),
        ];
        for (name, usual, bad, fair, trouble) in cases {
            let found = alerts(name, &with_end(usual, bad));
            assert!(!found.is_empty() && found.iter().all(|alert| alert.trouble == trouble), "{name}: {found:?}");
            assert!(found[0].step >= 20 && found[0].is_first, "{name}: {found:?}");
            assert_eq!(found.iter().filter(|alert| alert.is_first).count(), 1, "{name} is said once");
            assert!(found[0].text.starts_with("rl: ") && found[0].text.contains("run.warn."), "{}", found[0].text);
            assert_eq!(alerts(name, &with_end(usual, fair)), [], "{name}");
        }
    }

    #[test]
    fn groups_without_signal_are_a_share_of_all() {
        let of = |no_signal: f64, trained: f64| {
            let mut guards = Guards::new(&WarnConfig::default());
            let values = [(names::NO_SIGNAL, no_signal), (names::TOO_EASY, 0.0), (names::TRAINED, trained)];
            let values = values.map(|(name, value)| (name.to_owned(), value)).into();
            (0..12).flat_map(|step| guards.step(step, "rl", &values)).count()
        };
        // From the tenth step on.
        assert_eq!((of(19.0, 1.0), of(8.0, 2.0), of(0.0, 0.0)), (3, 0, 0));
    }

    #[test]
    fn a_phase_begins_anew() {
        let mut guards = Guards::new(&WarnConfig::default());
        let mut said = 0;
        for (phase, length) in [("one", 5.0), ("two", 50.0)] {
            let values = BTreeMap::from([(names::LENGTH_MEAN.to_owned(), length)]);
            said += (0..30).flat_map(|step| guards.step(step, phase, &values)).count();
        }
        assert_eq!(said, 0);
    }
}
