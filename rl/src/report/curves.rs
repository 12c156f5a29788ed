//! The curves of a report: which metrics make a chart, and how single steps become lines.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Curve, EvalSet, GateFacts, PhaseSpan, PhaseTime, Sentence, Series, Stage, Tone};
use crate::metrics::names;
use crate::pairs::phase_and_step;

/// Points of a line that a page carries at most.
const POINTS: usize = 400;
/// The line of rollouts with reasoning.
const REASONING: &str = "with reasoning";
/// Values of a logarithmic chart below this are rounding, and not drawn.
const LEAST: f64 = 1e-12;

/// The metrics of one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) step: u64,
    pub(super) phase: String,
    pub(super) values: BTreeMap<String, f64>,
    /// Names of metrics that were not finite, and are null in the record.
    pub(super) not_finite: Vec<String>,
}

struct Chart {
    title: &'static str,
    note: &'static str,
    log: bool,
    share: bool,
    smooth: bool,
    series: &'static [(&'static str, &'static str)],
}

const fn chart(title: &'static str, note: &'static str, series: &'static [(&'static str, &'static str)]) -> Chart {
    Chart { title, note, log: false, share: false, smooth: false, series }
}

const CHARTS: &[Chart] = &[
    Chart {
        smooth: true,
        ..chart("Reward", "Mean total reward of the scored rollouts of a step.", &[("mean reward", names::REWARD_MEAN)])
    },
    Chart {
        share: true,
        smooth: true,
        ..chart("Passed", "Share of the scored rollouts of a step that pass.", &[("passed", names::PASSED)])
    },
    Chart {
        share: true,
        smooth: true,
        ..chart("Reasoning", "Share of rollouts with reasoning before the answer.", &[(REASONING, names::REASONED)])
    },
    Chart {
        share: true,
        smooth: true,
        ..chart(
            "Cut answers",
            "Share of rollouts that the token limit cuts.",
            &[("cut by the limit", names::TRUNCATED)],
        )
    },
    Chart {
        smooth: true,
        ..chart("Length", "Mean number of sampled tokens of a rollout.", &[("tokens", names::LENGTH_MEAN)])
    },
    Chart {
        smooth: true,
        ..chart(
            "Entropy",
            "Of the distributions that were sampled from, in nats per token. Near 0, there is nothing left to explore.",
            &[("entropy", names::ENTROPY)],
        )
    },
    Chart {
        log: true,
        ..chart("Supervised loss", "Negative log-prob of the demonstrations' tokens.", &[("loss", names::SFT_LOSS)])
    },
    Chart { log: true, smooth: true, ..chart("Gradient norm", "Before clipping.", &[("norm", names::GRAD_NORM)]) },
    Chart { ..chart("Learning rate", "As scheduled.", &[("rate", names::LR)]) },
    Chart {
        log: true,
        ..chart(
            "Sampler against trainer",
            "How far the log-probs of the same tokens differ between sampling and training; what is 0 is not drawn.",
            &[("largest gap", names::LOGPROB_GAP), ("|mismatch KL|", names::MISMATCH_KL)],
        )
    },
    Chart {
        log: true,
        ..chart(
            "Ratio",
            "How far the policy has moved from the one that sampled, within a step: mean of |ratio - 1|.",
            &[("|ratio - 1|", names::RATIO_OFF)],
        )
    },
    Chart {
        log: true,
        ..chart(
            "SAPO gate, distance from 1",
            "1 - gate: 0 is a plain policy gradient. The largest of a step, and what 5 % of the tokens exceed.",
            &[
                ("largest, positive", "1-sapo/gate/pos/min"),
                ("largest, negative", "1-sapo/gate/neg/min"),
                ("5 %, positive", "1-sapo/gate/pos/q05"),
                ("5 %, negative", "1-sapo/gate/neg/q05"),
            ],
        )
    },
    Chart {
        smooth: true,
        ..chart(
            "Groups",
            "Of a step: trained on, without signal (all rewards equal), and too easy (above 90 %).",
            &[("trained", names::TRAINED), ("no signal", names::NO_SIGNAL), ("too easy", names::TOO_EASY)],
        )
    },
];

/// Lines of a chart at most.
const LINES: usize = 6;
/// What the name of a part's mean reward ends with.
const MEAN: &str = "/mean";

/// The held-out evaluations where some are within phases, the charts whose metrics the run recorded, and those of the pass
/// rate by task. Lines have all their points.
pub(super) fn curves(steps: &[Step], sets: &[EvalSet]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = held_out(steps, sets).into_iter().collect();
    curves.extend(CHARTS.iter().filter_map(|chart| curve(chart, steps)));
    curves.extend(by_part(steps));
    curves.extend(by_task(steps));
    curves
}

/// Pass@1 of all tasks over the steps, a line for each set of queries that is evaluated within phases.
fn held_out(steps: &[Step], sets: &[EvalSet]) -> Option<Curve> {
    let within = |set: &&EvalSet| set.stages.iter().any(|stage| phase_and_step(&stage.after).is_some());
    let line = |set: &EvalSet| {
        let point = |stage: &Stage| stage.row("all").map(|row| (stage.step, row.pass_at_1));
        Series { label: set.name.clone(), points: set.stages.iter().filter_map(point).collect(), ..Series::default() }
    };
    let series = sets.iter().filter(within).map(line).collect();
    finished("Held-out pass@1", "Of all tasks with equal weight, at temperature 1.", series, 0, steps)
        .map(|curve| Curve { share: true, ..curve })
}

/// The pass rates of the tasks.
fn by_task(steps: &[Step]) -> Vec<Curve> {
    let prefix = format!("{}/", names::PASSED);
    let note = "Share of the scored rollouts of a step that pass, as running means.";
    let label = |name: &str| name.strip_prefix(&prefix).map(str::to_owned);
    let curves = by_label("Passed, by task", note, steps, &label);
    curves.into_iter().map(|curve| Curve { share: true, ..curve }).collect()
}

/// The mean of each part of the reward, where it has several.
fn by_part(steps: &[Step]) -> Vec<Curve> {
    let (prefix, passed) = (format!("{}/", names::REWARD), format!("{}/", names::PASSED));
    let label = |name: &str| {
        let part = name.strip_prefix(&prefix)?.strip_suffix(MEAN)?;
        (!name.starts_with(&passed)).then(|| part.to_owned())
    };
    let note = "Mean value of each part of the score in a step, before its weight; a penalty is taken off.";
    by_label("Reward, by part", note, steps, &label)
}

/// A line for every metric that `label` gives a name, in as many charts of the same size as keep the lines apart.
fn by_label(title: &str, note: &str, steps: &[Step], label: &dyn Fn(&str) -> Option<String>) -> Vec<Curve> {
    let named: BTreeSet<&String> = steps.iter().flat_map(|step| step.values.keys()).collect();
    let named: Vec<(String, &String)> = named.into_iter().filter_map(|name| Some((label(name)?, name))).collect();
    let size = named.len().div_ceil(named.len().div_ceil(LINES).max(1)).max(1);
    let chart = |(number, metrics): (usize, &[(String, &String)])| {
        let series = metrics.iter().map(|(label, name)| line(label, name, steps, true)).collect();
        finished(title, note, series, number * size, steps)
    };
    named.chunks(size).enumerate().filter_map(chart).collect()
}

fn curve(chart: &Chart, steps: &[Step]) -> Option<Curve> {
    let lines = chart.series.iter().map(|(label, name)| line(label, name, steps, chart.smooth));
    let lines = lines.map(|mut line| {
        if chart.log {
            // A logarithmic scale has no place for 0, and no sign.
            line.points = line.points.into_iter().map(|(step, value)| (step, value.abs())).collect();
            line.points.retain(|(_, value)| *value > LEAST);
            line.smooth.retain(|(_, value)| *value > LEAST);
        }
        line
    });
    // A run without reasoning has no line at 0 that speaks of it.
    let unused = |line: &Series| line.label == REASONING && line.points.iter().all(|(_, value)| *value == 0.0);
    let lines = lines.filter(|line| !unused(line));
    let curve = finished(chart.title, chart.note, lines.collect(), 0, steps)?;
    Some(Curve { log: chart.log, share: chart.share, ..curve })
}

/// A curve of the lines that have points; the look of the first is the one at `style`.
fn finished(title: &str, note: &str, mut series: Vec<Series>, style: usize, steps: &[Step]) -> Option<Curve> {
    series.retain(|line| !line.points.is_empty());
    series.iter_mut().enumerate().for_each(|(at, line)| line.style = style + at);
    let drawn = |step: &u64| series.iter().any(|line| line.points.first().is_some_and(|first| first.0 <= *step));
    let last = series.iter().filter_map(|line| line.points.last()).map(|(step, _)| *step).max()?;
    let phases = phases(steps).into_iter().filter(|phase| drawn(&phase.to) && phase.from <= last).collect();
    Some(Curve { title: title.to_owned(), note: note.to_owned(), series, phases, ..Curve::default() })
}

fn line(label: &str, name: &str, steps: &[Step], smooth: bool) -> Series {
    let value = |step: &Step| match name.strip_prefix("1-") {
        Some(name) => step.values.get(name).map(|value| 1.0 - value),
        None => step.values.get(name).copied(),
    };
    let points: Vec<(u64, f64)> = steps.iter().filter_map(|step| value(step).map(|value| (step.step, value))).collect();
    let smoothed = if smooth && points.len() >= 20 { smoothed(&points, steps) } else { Vec::new() };
    Series { label: label.to_owned(), points, smooth: smoothed, ..Series::default() }
}

/// Running means within each phase: what one phase ends with says nothing about how the next begins.
fn smoothed(points: &[(u64, f64)], steps: &[Step]) -> Vec<(u64, f64)> {
    let within = |span: &PhaseSpan| -> Vec<(u64, f64)> {
        points.iter().copied().filter(|(step, _)| (span.from..=span.to).contains(step)).collect()
    };
    phases(steps)
        .iter()
        .map(within)
        .filter(|points| !points.is_empty())
        .flat_map(|points| running_mean(&points))
        .collect()
}

/// Centred mean over a twelfth of the points, narrower at both ends so that no end is bent.
fn running_mean(points: &[(u64, f64)]) -> Vec<(u64, f64)> {
    let reach = (points.len() / 24).max(2);
    let mean_at = |at: usize| {
        let reach = reach.min(at).min(points.len() - 1 - at);
        let window = &points[at - reach..=at + reach];
        (points[at].0, window.iter().map(|(_, value)| value).sum::<f64>() / window.len() as f64)
    };
    (0..points.len()).map(mean_at).collect()
}

/// Leaves at most [`POINTS`] points of every line: the mean of each run of neighbours. Values keep five digits.
pub(super) fn thin(curves: &mut [Curve]) {
    let digits = |value: f64| format!("{value:.4e}").parse().unwrap_or(value);
    let thinned = |points: &[(u64, f64)]| -> Vec<(u64, f64)> {
        let mean = |run: &[(u64, f64)]| {
            let value = run.iter().map(|(_, value)| value).sum::<f64>() / run.len() as f64;
            (run[run.len() / 2].0, digits(value))
        };
        points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
    };
    for line in curves.iter_mut().flat_map(|curve| &mut curve.series) {
        (line.points, line.smooth) = (thinned(&line.points), thinned(&line.smooth));
        let side = |high: bool| -> Vec<(u64, f64)> {
            line.band.iter().map(|(step, low, most, _)| (*step, if high { *most } else { *low })).collect()
        };
        let counts = line.band.chunks(line.band.len().div_ceil(POINTS).max(1));
        let counts = counts.map(|run| run.iter().map(|(.., runs)| *runs).min().unwrap_or(0));
        let sides = thinned(&side(false)).into_iter().zip(thinned(&side(true))).zip(counts);
        line.band = sides.map(|(((step, low), (_, high)), runs)| (step, low, high, runs)).collect();
    }
}

/// The phases in order, with their first and last steps.
pub(super) fn phases(steps: &[Step]) -> Vec<PhaseSpan> {
    let mut spans: Vec<PhaseSpan> = Vec::new();
    for step in steps {
        match spans.last_mut() {
            Some(span) if span.name == step.phase => span.to = step.step,
            _ => spans.push(PhaseSpan { name: step.phase.clone(), from: step.step, to: step.step }),
        }
    }
    spans
}

/// Where the time of each phase went.
pub(super) fn time(steps: &[Step]) -> Vec<PhaseTime> {
    let of_span = |span: PhaseSpan| {
        let within: Vec<&Step> = steps.iter().filter(|step| (span.from..=span.to).contains(&step.step)).collect();
        let sum = |name: &str| within.iter().filter_map(|step| step.values.get(name)).sum::<f64>();
        PhaseTime {
            steps: within.len(),
            total_secs: sum("secs"),
            rollout_secs: sum(names::ROLLOUT_SECS),
            reward_secs: sum(names::REWARD_SECS),
            update_secs: sum(names::UPDATE_SECS),
            phase: span.name,
        }
    };
    phases(steps).into_iter().map(of_span).collect()
}

/// Whether the gate did anything, for each phase that recorded it.
pub(super) fn gates(steps: &[Step]) -> Vec<GateFacts> {
    let of_span = |span: PhaseSpan| {
        let within: Vec<&Step> = steps.iter().filter(|step| (span.from..=span.to).contains(&step.step)).collect();
        let both = |statistic: &str| {
            let names = [names::GATE_POS, names::GATE_NEG].map(|sign| format!("{sign}/{statistic}"));
            let least =
                |step: &&Step| names.iter().filter_map(|name| step.values.get(name)).copied().min_by(f64::total_cmp);
            within.iter().filter_map(least).collect::<Vec<f64>>()
        };
        let one =
            |name: &str| mean(&within.iter().filter_map(|step| step.values.get(name).copied()).collect::<Vec<_>>());
        let means = both("mean");
        let mut facts = GateFacts {
            steps: means.len(),
            mean: mean(&means)?,
            least: both("min").into_iter().min_by(f64::total_cmp).or_else(|| mean(&means))?,
            q05: mean(&both("q05")).or_else(|| mean(&means))?,
            ratio_off: one(names::RATIO_OFF),
            effective_samples: one(names::EFFECTIVE_SAMPLES),
            phase: span.name,
            statement: Sentence::default(),
        };
        facts.statement = gate_statement(&facts);
        Some(facts)
    };
    phases(steps).into_iter().filter_map(of_span).collect()
}

fn gate_statement(facts: &GateFacts) -> Sentence {
    let moved = facts.ratio_off.map_or(String::new(), |off| format!(" (mean |r - 1| = {off:.4})"));
    let (phase, steps) = (&facts.phase, facts.steps);
    let text = if facts.least >= 0.99 {
        format!(
            "In {phase} the SAPO gate did next to nothing: over {steps} steps no token's gate fell below {:.4}, since \
             the ratio hardly leaves 1{moved}. These updates are those of a plain policy gradient.",
            facts.least
        )
    } else if facts.q05 >= 0.99 {
        format!(
            "In {phase} the SAPO gate touched few tokens: over {steps} steps its 5 % quantile was {:.4} on average, \
             while the most distant token fell to {:.3}{moved}.",
            facts.q05, facts.least
        )
    } else {
        format!(
            "In {phase} the SAPO gate was at work: its 5 % quantile was {:.3} on average over {steps} steps, its mean \
             {:.3}, the smallest {:.3}{moved}.",
            facts.q05, facts.mean, facts.least
        )
    };
    Sentence { tone: Tone::Note, text }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
