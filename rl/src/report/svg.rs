//! Inline pictures of numbers: lines over steps, intervals by stage, a histogram of passes. Colours come from the page.

use super::figures::{interval as bracketed, percent};
use super::model::{Curve, Series, Stage, TaskRow};
use super::style::{classes, mark, marked};
use super::words::stage_title;

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 188.0;
const LEFT: f64 = 42.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 26.0;
/// Width and height of a histogram.
pub(super) const HISTOGRAM: [f64; 2] = [470.0, 220.0];

/// A linear or logarithmic scale from values to one side of a chart.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let map = |value: f64| if self.log { value.log10() } else { value };
        let span = map(self.high) - map(self.low);
        let share = if span == 0.0 { 0.5 } else { (map(value) - map(self.low)) / span };
        self.from + share * (self.to - self.from)
    }
}

/// The lines of a curve over steps, with the phases marked.
pub(super) fn lines(curve: &Curve, index: usize) -> String {
    let ends =
        |line: &Series| line.band.iter().flat_map(|(step, low, high, _)| [(*step, *low), (*step, *high)]).collect();
    let banded: Vec<(u64, f64)> = curve.series.iter().flat_map(|line| -> Vec<(u64, f64)> { ends(line) }).collect();
    let points = || curve.series.iter().flat_map(|line| line.points.iter().chain(&line.smooth)).chain(&banded);
    let steps = points().map(|(step, _)| *step as f64);
    let (first, last) = steps.fold((f64::MAX, f64::MIN), |(low, high), step| (low.min(step), high.max(step)));
    let x = Scale { low: first, high: last, from: LEFT, to: WIDTH - RIGHT, log: false };
    let (low, high) =
        points().fold((f64::MAX, f64::MIN), |(low, high), (_, value)| (low.min(*value), high.max(*value)));
    let (ticks, low, high) = if curve.log { log_ticks(low, high) } else { linear_ticks(low, high) };
    let y = Scale { low, high, from: HEIGHT - BOTTOM, to: TOP, log: curve.log };
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" data-curve=\"{index}\" \
         data-first=\"{first}\" data-last=\"{last}\" data-left=\"{LEFT}\" data-right=\"{}\">",
        escape(&curve.title),
        WIDTH - RIGHT
    );
    for tick in &ticks {
        let at = y.at(*tick);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            WIDTH - RIGHT
        ));
        let label = if curve.share { format!("{} %", number(tick * 100.0)) } else { number(*tick) };
        svg.push_str(&text(LEFT - 6.0, at + 3.5, "end", &label));
    }
    svg.push_str(&step_axis(curve, &x, first, last));
    curve.series.iter().for_each(|line| svg.push_str(&band(line, &x, &y)));
    for line in &curve.series {
        let smooth = !line.smooth.is_empty();
        let (raw, look) = (if smooth { "raw " } else { "" }, classes(line.style));
        svg.push_str(&path(&line.points, &x, &y, &format!("line {raw}{look}")));
        if smooth {
            svg.push_str(&path(&line.smooth, &x, &y, &format!("line {look}")));
        }
        let strong = if smooth { &line.smooth } else { &line.points };
        // A line alone needs nothing to be told by.
        for place in marked(line.style, strong.len()).into_iter().filter(|_| curve.series.len() > 1) {
            let (step, value) = strong[place];
            svg.push_str(&mark(line.style, x.at(step as f64), y.at(value)));
        }
    }
    svg.push_str(&format!(
        "<line class=\"cross\" y1=\"{TOP}\" y2=\"{}\" visibility=\"hidden\"/></svg>",
        HEIGHT - BOTTOM
    ));
    svg
}

/// The lines of a curve by name, each as it is drawn.
pub(super) fn legend(curve: &Curve) -> String {
    let entry = |line: &Series| {
        let mark = if curve.series.len() > 1 { mark(line.style, 13.0, 5.0) } else { String::new() };
        format!(
            "<li><svg viewBox=\"0 0 26 10\" aria-hidden=\"true\"><line class=\"line {}\" x1=\"0\" x2=\"26\" y1=\"5\" \
             y2=\"5\"/>{mark}</svg>{}</li>",
            classes(line.style),
            escape(&line.label)
        )
    };
    curve.series.iter().map(entry).collect()
}

fn step_axis(curve: &Curve, x: &Scale, first: f64, last: f64) -> String {
    let mut svg = String::new();
    for phase in curve.phases.iter().filter(|_| curve.phases.len() > 1) {
        let (from, to) = (x.at((phase.from as f64).max(first)), x.at((phase.to as f64).min(last)));
        if phase.from as f64 > first {
            svg.push_str(&format!(
                "<line class=\"phase\" x1=\"{from:.1}\" x2=\"{from:.1}\" y1=\"{TOP}\" y2=\"{}\"/>",
                HEIGHT - BOTTOM
            ));
        }
        // A name needs about six units a letter; where it does not fit, the line alone marks the phase.
        if to - from > 6.0 * phase.name.len() as f64 {
            svg.push_str(&text(f64::midpoint(from, to), TOP - 6.0, "middle", &phase.name));
        }
    }
    let (ticks, _, _) = linear_ticks(first, last);
    for tick in ticks.iter().filter(|tick| (first..=last).contains(*tick) && tick.fract() == 0.0) {
        svg.push_str(&text(x.at(*tick), HEIGHT - BOTTOM + 15.0, "middle", &number(*tick)));
    }
    svg
}

/// From the least to the most of the runs that are pooled in a line.
fn band(line: &Series, x: &Scale, y: &Scale) -> String {
    if line.band.is_empty() {
        return String::new();
    }
    let at = |step: u64, value: f64| format!("{:.1},{:.1}", x.at(step as f64), y.at(value));
    let over = line.band.iter().map(|(step, _, high, _)| at(*step, *high));
    let under = line.band.iter().rev().map(|(step, low, ..)| at(*step, *low));
    let edge: Vec<String> = over.chain(under).collect();
    format!("<polygon class=\"band b{}\" points=\"{}\"/>", line.style % 6, edge.join(" "))
}

fn path(points: &[(u64, f64)], x: &Scale, y: &Scale, class: &str) -> String {
    if let [(step, value)] = points {
        return format!(
            "<circle class=\"{class}\" r=\"2\" cx=\"{:.1}\" cy=\"{:.1}\"/>",
            x.at(*step as f64),
            y.at(*value)
        );
    }
    let points: Vec<String> =
        points.iter().map(|(step, value)| format!("{:.1},{:.1}", x.at(*step as f64), y.at(*value))).collect();
    format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "))
}

/// Pass@1 of a task by stage: a dot with its 95 % interval, an open diamond for the greedy answer.
pub(super) fn intervals(task: &str, stages: &[&Stage]) -> String {
    let (width, left, top) = (230.0, 30.0, 24.0);
    let gap = (width - left - 6.0) / stages.len().max(1) as f64;
    // Names that are wider than the room between two dots stand in two lines, turn by turn.
    let lines = 1 + usize::from(stages.iter().any(|stage| label(stage, gap).ends_with('\u{2026}')));
    let (height, bottom) = if lines == 2 { (188.0, 36.0) } else { (176.0, 24.0) };
    let title = if task == "all" { "all tasks, equal weight" } else { task };
    let rated = |stage: &&Stage| stage.row(task).filter(|row| row.pass_at_1.is_finite()).cloned();
    let rows: Vec<Option<TaskRow>> = stages.iter().map(rated).collect();
    let y = Scale { low: 0.0, high: 1.0, from: height - bottom, to: top, log: false };
    let x = |at: usize| left + gap * (at as f64 + 0.5);
    let spoken = stages.iter().zip(&rows);
    let said = |stage: &Stage, row: &TaskRow| format!("{} {} %", stage_title(&stage.after), percent(row.pass_at_1));
    let spoken = spoken.filter_map(|(stage, row)| row.as_ref().map(|row| said(stage, row)));
    let mut svg = format!(
        "<svg class=\"chart panel\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}: {}\">",
        escape(title),
        escape(&spoken.collect::<Vec<_>>().join(", "))
    );
    svg.push_str(&format!(
        "<text class=\"title\" x=\"{left}\" y=\"12\">{}<title>{}</title></text>",
        escape(&fitted(title, width - left, 7.0)),
        escape(title)
    ));
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = y.at(tick);
        svg.push_str(&format!("<line class=\"grid\" x1=\"{left}\" x2=\"{width}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"));
        if (tick * 2.0).fract() == 0.0 {
            svg.push_str(&text(left - 5.0, at + 3.5, "end", &number(tick * 100.0)));
        }
    }
    let dots = rows.iter().enumerate();
    let dots = dots.filter_map(|(at, row)| row.as_ref().map(|row| format!("{:.1},{:.1}", x(at), y.at(row.pass_at_1))));
    svg.push_str(&format!("<polyline class=\"thread\" points=\"{}\"/>", dots.collect::<Vec<_>>().join(" ")));
    // Where stages stand close, only every few of them have a label and a number.
    let every = (30.0 / gap).ceil() as usize;
    for (at, (row, stage)) in rows.iter().zip(stages).enumerate() {
        let labelled = (stages.len() - 1 - at).is_multiple_of(every);
        if labelled {
            let line = ((stages.len() - 1 - at) / every % lines) as f64;
            // No name reaches beyond the panel.
            let room = (gap * (every * lines) as f64).min(2.0 * x(at).min(width - x(at)));
            svg.push_str(&text(x(at), height - 8.0 - 12.0 * line, "middle", &label(stage, room)));
        }
        if let Some(row) = row {
            svg.push_str(&interval(row, x(at), &y, labelled));
        }
    }
    svg.push_str("</svg>");
    svg
}

/// The name of a stage as it fits under its dot.
fn label(stage: &Stage, room: f64) -> String {
    // Of a model's path its last part tells most.
    let name = if stage.after == "init" { "start" } else { stage.after.rsplit('/').next().unwrap_or(&stage.after) };
    fitted(name, room, 7.0)
}

/// As much of a text as fits into a width, at so many units a letter.
fn fitted(text: &str, room: f64, letter: f64) -> String {
    let most = ((room / letter) as usize).max(2);
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{}\u{2026}", kept.trim_end())
}

fn interval(row: &TaskRow, x: f64, y: &Scale, numbered: bool) -> String {
    let (low, high, at) = (y.at(row.ci95[0]), y.at(row.ci95[1]), y.at(row.pass_at_1));
    let mut svg = String::new();
    if let Some(greedy) = row.greedy {
        svg.push_str(&format!(
            "<path class=\"greedy\" d=\"M{:.1} {:.1}l4 -4 4 4 -4 4z\"><title>greedy {} %</title></path>",
            x + 5.0,
            y.at(greedy),
            percent(greedy)
        ));
    }
    svg.push_str(&format!(
        "<g><title>{} % {}</title><line class=\"whisker\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{low:.1}\" \
         y2=\"{high:.1}\"/><circle class=\"dot\" cx=\"{x:.1}\" cy=\"{at:.1}\" r=\"3.6\"/></g>",
        percent(row.pass_at_1),
        bracketed(row.ci95)
    ));
    if !numbered {
        return svg;
    }
    // The number stands above the interval and a diamond beside it, or below them where there is no room.
    let near = row.greedy.map(|greedy| y.at(greedy)).filter(|greedy| (greedy - at).abs() < 18.0);
    let above = near.map_or(high, |greedy| high.min(greedy - 4.0)) - 5.0;
    let below = near.map_or(low, |greedy| low.max(greedy + 4.0)) + 13.0;
    let place = if above < y.to + 2.0 { below } else { above };
    svg.push_str(&format!(
        "<text class=\"value\" x=\"{x:.1}\" y=\"{place:.1}\" text-anchor=\"middle\">{}</text>",
        percent(row.pass_at_1)
    ));
    svg
}

/// Queries by number of passes; what was dropped is hatched.
pub(super) fn histogram(bins: &[(usize, usize)]) -> String {
    let [width, height] = HISTOGRAM;
    let most = bins.iter().map(|(kept, dropped)| kept + dropped).max().unwrap_or(0).max(1);
    let (ticks, _, high) = linear_ticks(0.0, most as f64);
    let y = Scale { low: 0.0, high, from: height - BOTTOM, to: TOP, log: false };
    let gap = (width - LEFT - RIGHT) / bins.len() as f64;
    // Where bars stand close, only every few of them have their numbers.
    let every = (18.0 / gap).ceil() as usize;
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Queries by number of passes\"><defs>\
         <pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect class=\"hatch-ground\" width=\"6\" height=\"6\"/><line class=\"hatch-line\" y2=\"6\"/></pattern></defs>"
    );
    for tick in ticks {
        let at = y.at(tick);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            width - RIGHT
        ));
        svg.push_str(&text(LEFT - 6.0, at + 3.5, "end", &number(tick)));
    }
    for (passes, (kept, dropped)) in bins.iter().enumerate() {
        let (left, wide) = (LEFT + gap * passes as f64 + gap * 0.12, gap * 0.76);
        let (base, middle, top) = (y.at(0.0), y.at(*kept as f64), y.at((kept + dropped) as f64));
        let mut bar = |class: &str, from: f64, to: f64| {
            if from > to {
                svg.push_str(&format!(
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{to:.1}\" width=\"{wide:.1}\" height=\"{:.1}\"/>",
                    from - to
                ));
            }
        };
        bar("kept", base, middle);
        bar("dropped", middle, top);
        let centre = left + wide / 2.0;
        if !passes.is_multiple_of(every) {
            continue;
        }
        svg.push_str(&text(centre, height - BOTTOM + 15.0, "middle", &passes.to_string()));
        if kept + dropped > 0 {
            svg.push_str(&text(centre, top - 4.0, "middle", &(kept + dropped).to_string()));
        }
    }
    svg.push_str("</svg>");
    svg
}

/// About five round ticks that hold the values, with the ends of the scale.
fn linear_ticks(low: f64, high: f64) -> (Vec<f64>, f64, f64) {
    // A scale that starts near 0 starts at 0: a small change must not look large.
    let low = if low > 0.0 && low < 0.5 * high { 0.0 } else { low };
    let span = match high - low {
        0.0 if high == 0.0 => 1.0,
        0.0 => high.abs(),
        span => span,
    };
    let rough = span / 4.0;
    let power = 10.0_f64.powf(rough.log10().floor());
    let unit =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|unit| unit * power >= rough * 0.999).unwrap_or(10.0) * power;
    let (from, to) = ((low / unit + 1e-9).floor() as i64, (high / unit - 1e-9).ceil() as i64);
    let to = to.max(from + 1);
    let ticks: Vec<f64> = (from..=to).map(|at| at as f64 * unit).collect();
    let (first, last) = (from as f64 * unit, to as f64 * unit);
    (ticks, first, last)
}

/// Powers of ten that hold the values; within a single decade also 2 and 5 of it.
fn log_ticks(low: f64, high: f64) -> (Vec<f64>, f64, f64) {
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = (to - from).max(1);
    let factors: &[f64] = if decades <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let all = (from..=from + decades).flat_map(|power| factors.iter().map(move |factor| factor * 10.0_f64.powi(power)));
    let all: Vec<f64> = all.collect();
    let first = all.iter().copied().rfind(|tick| *tick <= low * 1.0001).unwrap_or(low);
    let last = all.iter().copied().find(|tick| *tick >= high * 0.9999 && *tick > first).unwrap_or(high.max(low * 1.1));
    let stride = (decades as usize).div_ceil(6).max(1);
    let within = all.into_iter().filter(|tick| (first * 0.9999..=last * 1.0001).contains(tick));
    (within.step_by(stride).collect(), first, last)
}

/// A number as short as it reads well.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

pub(super) fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(words))
}

/// Text that cannot end its element or attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_hold_the_values_and_are_few() {
        for (low, high) in [(0.0, 1.0), (0.31, 0.74), (3.0, 3.0), (0.0, 0.0), (-2.0, 5.0), (1e-8, 3e-8), (0.0, 819.0)] {
            let (ticks, first, last) = linear_ticks(low, high);
            assert!(first <= low && high <= last && first < last, "{low} {high}: {first} {last}");
            assert!((2..=7).contains(&ticks.len()), "{ticks:?}");
        }
        for (low, high) in [(1e-7, 1e-2), (0.3, 6.8), (2.0, 2.0), (1e-12, 1.0), (10.0, 10.0)] {
            let (ticks, first, last) = log_ticks(low, high);
            assert!(first <= low * 1.001 && high <= last * 1.001 && first < last, "{low} {high}: {first} {last}");
            assert!((1..=8).contains(&ticks.len()), "{ticks:?}");
        }
    }

    #[test]
    fn many_stages_and_long_names_leave_the_panel_readable() {
        let row = TaskRow { task: "geo".to_owned(), ci95: [0.2, 0.3], pass_at_1: 0.25, ..TaskRow::default() };
        let stage = |at: usize| Stage {
            after: format!("a phase with a long <name> {at}"),
            rows: vec![row.clone()],
            ..Stage::default()
        };
        let stages: Vec<Stage> = (0..60).map(stage).collect();
        let svg = intervals("geo", &stages.iter().collect::<Vec<_>>());
        assert_eq!(svg.matches("class=\"dot\"").count(), 60);
        assert!(svg.matches("class=\"value\"").count() <= 10 && !svg.contains("<name>"));
        assert_eq!(fitted("counting", 30.0, 6.0), "coun\u{2026}");
        assert_eq!(fitted("geo", 1.0, 6.0), "g\u{2026}");
    }

    #[test]
    fn numbers_read_well() {
        let words = [0.0, -0.0, 0.25, 3.0, 1e-6, 2.5e-7, 1_500_000.0].map(number);
        assert_eq!(words, ["0", "0", "0.25", "3", "1e-6", "2.5e-7", "1.5e6"]);
    }
}
