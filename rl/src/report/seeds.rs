//! Runs that differ in their seed alone, pooled: the mean of each number, the least and the most, and of how many runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::against::differences;
use super::figures::points;
use super::model::{Curve, EvalSet, Report, Sentence, Series, Tone};
use super::pooled::{SeedRow, Seeds};
use super::words::stage_title;
use crate::report_error::ReportError;

/// Refuses a run whose configuration differs from the first one's in more than seed and name.
///
/// # Errors
/// The run, and the keys.
pub(super) fn refuse_others(first: &Path, others: &[&Path]) -> Result<(), ReportError> {
    for other in others {
        if !other.join("config.toml").is_file() {
            return Err(ReportError::NoRun(other.to_path_buf()));
        }
        let keys: Vec<String> = differences(first, other).into_iter().map(|[key, ..]| key).collect();
        if !keys.is_empty() {
            return Err(ReportError::NotPooled(other.to_path_buf(), first.to_owned(), keys));
        }
    }
    Ok(())
}

/// Puts what several runs come to into the report of the first.
pub(super) fn pool(report: &mut Report, others: &[Report], runs: Vec<String>) {
    let sets: Vec<&[EvalSet]> =
        std::iter::once(&report.sets).chain(others.iter().map(|other| &other.sets)).map(Vec::as_slice).collect();
    let seeds = Seeds { runs, rates: rows(&sets, &rates), gains: rows(&sets, &gains) };
    // Of each set the pair that the run is about.
    let mut said = BTreeSet::new();
    let main = seeds.gains.iter().filter(|row| row.task == "all" && said.insert(&row.set));
    report.verdict.sentences.extend(main.map(|row| sentence(row, sets.len())));
    let curves: Vec<&[Curve]> = others.iter().map(|other| other.curves.as_slice()).collect();
    report.curves.iter_mut().for_each(|curve| pool_curve(curve, &curves));
    report.seeds = Some(seeds);
}

/// The numbers of a set of queries: which evaluation or evaluations, the task, and the value.
type Numbers = Vec<(String, String, f64)>;

fn rates(set: &EvalSet) -> Numbers {
    let of_stage = |stage: &super::model::Stage| {
        let of = stage_title(&stage.after);
        stage
            .rows
            .iter()
            .filter(|row| row.pass_at_1.is_finite())
            .map(move |row| (of.clone(), row.task.clone(), row.pass_at_1))
            .collect::<Vec<_>>()
    };
    set.stages.iter().flat_map(of_stage).collect()
}

fn gains(set: &EvalSet) -> Numbers {
    let of = |gain: &super::model::GainRow| format!("{} \u{2192} {}", stage_title(&gain.from), stage_title(&gain.to));
    set.gains.iter().map(|gain| (of(gain), gain.task.clone(), gain.gain)).collect()
}

/// The same number of every run that has it, in the order of the first.
fn rows(runs: &[&[EvalSet]], numbers: &dyn Fn(&EvalSet) -> Numbers) -> Vec<SeedRow> {
    let (mut rows, mut values) = (Vec::new(), BTreeMap::<[String; 3], Vec<f64>>::new());
    for set in runs.iter().copied().flatten() {
        for (of, task, value) in numbers(set) {
            let key = [set.name.clone(), of, task];
            if !values.contains_key(&key) {
                rows.push(key.clone());
            }
            values.entry(key).or_default().push(value);
        }
    }
    let row = |key: [String; 3]| {
        let found = values.remove(&key)?;
        let [set, of, task] = key;
        let (mean, least, most) = spread(&found);
        Some(SeedRow { set, of, task, mean, least, most, runs: found.len() })
    };
    rows.into_iter().filter_map(row).collect()
}

/// Mean, least and most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let ends = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    (values.iter().sum::<f64>() / values.len() as f64, ends.0, ends.1)
}

fn sentence(row: &SeedRow, runs: usize) -> Sentence {
    let tone = match (row.least, row.most) {
        (least, _) if least > 0.0 => Tone::Better,
        (_, most) if most < 0.0 => Tone::Worse,
        _ => Tone::Same,
    };
    let of = if row.runs == runs { format!("Over {runs} runs") } else { format!("Over {} of {runs} runs", row.runs) };
    let text = format!(
        "{of} that differ in their seed alone, {} of {} is {} points on average, from {} to {}.",
        row.of,
        row.set,
        points(row.mean),
        points(row.least),
        points(row.most)
    );
    Sentence { tone, text }
}

/// Makes the lines of a chart those of all runs: their mean, with a band.
fn pool_curve(curve: &mut Curve, others: &[&[Curve]]) {
    for line in &mut curve.series {
        let same = |curves: &&[Curve]| {
            let curves = curves.iter().filter(|other| other.title == curve.title);
            curves.flat_map(|other| &other.series).find(|other| other.label == line.label).cloned()
        };
        let found: Vec<Series> = others.iter().filter_map(same).collect();
        let all = || std::iter::once(&*line).chain(&found);
        let points = by_step(all().map(|line| &line.points));
        let smooth = by_step(all().map(|line| &line.smooth));
        let mean = |rows: &[(u64, f64, f64, f64, usize)]| rows.iter().map(|row| (row.0, row.1)).collect();
        let banded = if smooth.is_empty() { &points } else { &smooth };
        let band = banded.iter().map(|(step, _, low, high, runs)| (*step, *low, *high, *runs)).collect();
        (line.points, line.smooth, line.band) = (mean(&points), mean(&smooth), band);
    }
}

/// Mean, least, most and count of the values of every step.
fn by_step<'a>(lines: impl Iterator<Item = &'a Vec<(u64, f64)>>) -> Vec<(u64, f64, f64, f64, usize)> {
    let mut steps: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    lines.flatten().for_each(|(step, value)| steps.entry(*step).or_default().push(*value));
    let row = |(step, values): (u64, Vec<f64>)| {
        let (mean, low, high) = spread(&values);
        (step, mean, low, high, values.len())
    };
    steps.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(u64, f64)]) -> Series {
        Series { label: "x".to_owned(), points: points.to_vec(), ..Series::default() }
    }

    #[test]
    fn lines_become_their_mean_with_a_band_and_say_of_how_many() {
        let chart =
            |points: &[(u64, f64)]| Curve { title: "t".to_owned(), series: vec![line(points)], ..Curve::default() };
        let mut first = chart(&[(0, 1.0), (1, 2.0)]);
        let others = [chart(&[(0, 3.0), (1, 5.0), (2, 7.0)]), chart(&[(0, 2.0)])];
        pool_curve(&mut first, &[&others[..1], &others[1..]]);
        assert_eq!(first.series[0].points, [(0, 2.0), (1, 3.5), (2, 7.0)]);
        assert_eq!(first.series[0].band, [(0, 1.0, 3.0, 3), (1, 2.0, 5.0, 2), (2, 7.0, 7.0, 1)]);
    }

    #[test]
    fn runs_of_other_settings_are_refused_with_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, seed: u32, lr: &str| {
            let at = folder.path().join(name);
            std::fs::create_dir(&at).unwrap();
            let text = format!("[run]\nname = \"{name}\"\nseed = {seed}\n[phases.rl.optimizer]\nlr = {lr}\n");
            std::fs::write(at.join("config.toml"), text).unwrap();
            at
        };
        let [one, two, other] = [run("one", 1, "1e-3"), run("two", 2, "1e-3"), run("other", 3, "2e-3")];
        assert!(refuse_others(&one, &[&two]).is_ok());
        let refused = refuse_others(&one, &[&two, &other]).unwrap_err().to_string();
        assert!(refused.contains("phases.rl.optimizer.lr") && refused.contains("--against"), "{refused}");
    }
}
