//! The page: the report's template filled in. Whatever a model or a data set wrote is escaped.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::figures::{chance, interval, percent, points};
use super::model::{EvalSet, GainRow, Report, Stage, TaskRow, Tone};
use super::sections::in_words;
use super::verdict::tone_of;
use super::words::stage_title;
use super::{ReportError, audit, heat_map, svg};
use crate::browse::{CHOOSER, SCRIPT as CARDS_SCRIPT, STYLE as CARDS};
use crate::pairs::phase_and_step;

const PAGE: &str = include_str!("page.html");
pub(crate) const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// What starts the sample in the page.
const SAMPLE: &str = include_str!("sample.js");

/// The report as one HTML document.
pub(super) fn render(report: &Report) -> Result<String, ReportError> {
    filled(report).map_err(|error| ReportError::Render(format!("{error:#}")))
}

fn filled(report: &Report) -> Result<String, minijinja::Error> {
    let mut page = Environment::new();
    page.set_auto_escape_callback(|_| AutoEscape::Html);
    page.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    page.add_filter("fixed", |value: f64, digits: usize| format!("{:.digits$}", value + 0.0));
    page.add_filter("percent", percent);
    page.add_filter("chance", chance);
    page.add_filter("points", points);
    page.add_filter("interval", |bounds: Vec<f64>| match bounds[..] {
        [low, high] => interval([low, high]),
        _ => String::new(),
    });
    page.add_filter("stage", |name: &str| stage_title(name));
    page.add_filter("duration", duration);
    page.add_filter("said", |value: Value, label: &str| -> String {
        in_words(label, &serde_json::to_value(&value).unwrap_or_default())
    });
    page.add_filter("tone", |interval: Vec<f64>| match interval[..] {
        [low, high] => word(tone_of([low, high])),
        _ => word(Tone::Note),
    });
    page.add_template("page", PAGE)?;
    // Data URIs are made by this program from base64, and need no escaping: the page has each once, and its script puts it in.
    let pictures: BTreeMap<&String, bool> = report.pictures.keys().map(|hash| (hash, true)).collect();
    let charts = report.curves.iter().enumerate().map(|(index, curve)| safe(svg::lines(curve, index)));
    let twin = safe(twin(report).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "the twin is not JSON").with_source(error)
    })?);
    page.get_template("page")?.render(context! {
        report => Value::from(Serde(report)),
        pictures => Value::from(Serde(pictures)),
        style => safe(format!("{STYLE}{CARDS}")),
        script => safe(format!("{SCRIPT}{CARDS_SCRIPT}{SAMPLE}")),
        chooser => safe(CHOOSER.to_owned()),
        uris => safe(serde_json::to_string(&report.pictures).unwrap_or_default()),
        twin => twin,
        audits => safe(audit::html(&report.audits)?),
        unaveraged => report.sets.iter().flat_map(|set| &set.stages).any(|stage| !stage.unaveraged.is_empty()),
        sets => report.sets.iter().map(set).collect::<Vec<Value>>(),
        charts => charts.collect::<Vec<Value>>(),
        legends => report.curves.iter().map(|curve| safe(svg::legend(curve))).collect::<Vec<Value>>(),
        histograms => report.curation.iter().map(|facts| safe(svg::histogram(&facts.histogram))).collect::<Vec<Value>>(),
        longest => report.time.iter().map(|phase| phase.total_secs).fold(0.0, f64::max),
        timed => report.time.iter().map(|phase| phase.total_secs).sum::<f64>(),
    })
}

/// A set of queries as the page shows it.
fn set(set: &EvalSet) -> Value {
    let tasks = tasks(&set.stages);
    // Evaluations within a phase have a curve; beside those after phases they would crowd the panels.
    let within = |stage: &Stage| phase_and_step(&stage.after).is_some();
    let last = set.stages.len().saturating_sub(1);
    let drawn = set.stages.iter().enumerate().filter(|(at, stage)| *at == last || !within(stage));
    let drawn: Vec<&Stage> = drawn.map(|(_, stage)| stage).collect();
    let panels: Vec<Value> = tasks.iter().map(|task| safe(svg::intervals(task, &drawn))).collect();
    context! {
        name => set.name.as_str(),
        reasons => set.reasons,
        stages => Value::from(Serde(&set.stages)),
        panels => panels,
        table => Value::from(Serde(table(&set.stages, &tasks))),
        heat_maps => heat_map::figures(&set.stages).into_iter().map(safe).collect::<Vec<Value>>(),
        pairs => gain_pairs(set, &tasks),
        conduct => Value::from(Serde(&set.conduct)),
        samples => Value::from(Serde(&set.samples)),
    }
}

/// Every task that some stage evaluated, `all` first, in the order of the rows of the first stage that has it.
fn tasks(stages: &[Stage]) -> Vec<String> {
    let mut tasks: Vec<String> = Vec::new();
    for row in stages.iter().flat_map(|stage| &stage.rows) {
        if !tasks.contains(&row.task) {
            tasks.push(row.task.clone());
        }
    }
    tasks.sort_by_key(|task| task != "all");
    tasks
}

/// Tasks by rows, stages by columns.
fn table<'a>(stages: &'a [Stage], tasks: &'a [String]) -> Vec<(&'a str, Vec<Option<&'a TaskRow>>)> {
    let row = |task: &'a String| (task.as_str(), stages.iter().map(|stage| stage.row(task)).collect());
    tasks.iter().map(row).collect()
}

/// The gains of each pair of evaluations, in the order of the tasks.
fn gain_pairs(set: &EvalSet, tasks: &[String]) -> Vec<Value> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for gain in &set.gains {
        let pair = (gain.from.as_str(), gain.to.as_str());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let rows = |(from, to): &(&str, &str)| {
        let mut rows: Vec<&GainRow> = set.gains.iter().filter(|gain| gain.from == *from && gain.to == *to).collect();
        rows.sort_by_key(|gain| tasks.iter().position(|task| *task == gain.task));
        context! { from => *from, to => *to, rows => Value::from(Serde(rows)) }
    };
    pairs.iter().map(rows).collect()
}

/// The twin as it may stand inside a script element: no `<` can close it, whatever a model wrote.
fn twin(report: &Report) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(report)?;
    let escaped = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(escaped.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"))
}

fn safe(html: String) -> Value {
    Value::from_safe_string(html)
}

fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Better => "better",
        Tone::Worse => "worse",
        Tone::Same => "same",
        Tone::Note => "note",
    }
}

/// Seconds as people say them.
fn duration(secs: f64) -> String {
    match secs {
        secs if secs < 10.0 => format!("{secs:.1} s"),
        secs if secs < 120.0 => format!("{secs:.0} s"),
        secs if secs < 7200.0 => format!("{:.0} min {:02.0} s", (secs / 60.0).floor(), (secs % 60.0).floor()),
        secs => format!("{:.1} h", secs / 3600.0),
    }
}
