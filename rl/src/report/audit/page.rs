//! The section on audits as it stands in the page. Whatever a model or a data set wrote is escaped.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::super::audited::{AuditSection, AuditStep, Breakdown, Share};
use super::super::figures::{interval, percent};
use super::super::model::{Curve, Series};
use super::super::svg;

const SECTION: &str = include_str!("section.html");

/// Width of a plot of groups, the room on its left and right, and the height of a group.
const WIDTH: f64 = 340.0;
const SIDE: f64 = 12.0;
const ROW: f64 = 38.0;
const BOTTOM: f64 = 22.0;
/// Where the scale of a plot of groups may end.
const ENDS: [f64; 5] = [0.1, 0.2, 0.4, 0.6, 1.0];

/// The section, or nothing where there was no audit.
pub(in crate::report) fn html(sections: &[AuditSection]) -> Result<String, minijinja::Error> {
    if sections.is_empty() {
        return Ok(String::new());
    }
    let mut page = Environment::new();
    page.set_auto_escape_callback(|_| AutoEscape::Html);
    page.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    page.add_filter("percent", percent);
    page.add_filter("interval", |bounds: Vec<f64>| match bounds[..] {
        [low, high] => interval([low, high]),
        _ => String::new(),
    });
    page.add_template("section", SECTION)?;
    let plots = |section: &AuditSection| -> Vec<Value> {
        section.breakdowns.iter().map(|groups| safe(plot(groups, section.tolerated))).collect()
    };
    let charts =
        |section: &AuditSection| -> Vec<Value> { curves(section).into_iter().map(|curve| chart(&curve)).collect() };
    page.get_template("section")?.render(context! {
        audits => Value::from(Serde(sections)),
        plots => sections.iter().map(plots).collect::<Vec<_>>(),
        charts => sections.iter().map(charts).collect::<Vec<_>>(),
    })
}

fn safe(html: String) -> Value {
    Value::from_safe_string(html)
}

/// A chart with its legend. Its numbers are not those that the page's script reads out.
fn chart(curve: &Curve) -> Value {
    context! {
        title => curve.title.as_str(),
        note => curve.note.as_str(),
        legend => safe(svg::legend(curve)),
        picture => safe(svg::lines(curve, 0).replacen("data-curve=\"0\" ", "", 1)),
    }
}

/// The running shares, and the evidence; those of which a step has something.
fn curves(section: &AuditSection) -> Vec<Curve> {
    let line = |label: &str, style: usize, of: &dyn Fn(&AuditStep) -> Option<f64>| Series {
        label: label.to_owned(),
        style,
        points: section.steps.iter().filter_map(|step| Some((step.step, of(step)?))).collect(),
        ..Series::default()
    };
    let curve = |title: &str, note: &str, series: Vec<Series>| Curve {
        title: title.to_owned(),
        note: note.to_owned(),
        series: series.into_iter().filter(|line| !line.points.is_empty()).collect(),
        ..Curve::default()
    };
    let shares = vec![
        line("second fails what passes", 0, &|step| step.lenient_share),
        line("second passes what fails", 1, &|step| step.strict_share),
        line("tolerated", 2, &|_| section.tolerated),
    ];
    let evidence = vec![
        line("evidence", 0, &|step| step.e_value),
        line("alarm", 1, &|_| section.false_alarm.map(|chance| 1.0 / chance)),
    ];
    let shares = curve("Where the graders differ", "Share of the answers so far, each query alike.", shares);
    let evidence = curve(
        "Evidence",
        "That more is passed in error than tolerated (e-value); at the dashed line the alarm comes.",
        evidence,
    );
    let curves = [Curve { share: true, ..shares }, Curve { log: true, ..evidence }];
    curves.into_iter().filter(|curve| !curve.series.is_empty()).collect()
}

/// The shares of groups with their intervals: a dot of what the second grader fails, an open diamond of what it passes.
fn plot(groups: &Breakdown, tolerated: Option<f64>) -> String {
    let shares = || groups.rows.iter().flat_map(|row| row.lenient.iter().chain(&row.strict));
    let most = shares().map(|share| share.ci95[1]).fold(tolerated.unwrap_or(0.0), f64::max);
    let end = ENDS.into_iter().find(|end| *end >= most).unwrap_or(1.0);
    let x = |share: f64| SIDE + share / end * (WIDTH - 2.0 * SIDE);
    let bottom = ROW * groups.rows.len() as f64 + 4.0;
    let height = bottom + BOTTOM;
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}: the figures stand in the table\">",
        svg::escape(&groups.by)
    );
    for tick in 0..=4 {
        let share = end * f64::from(tick) / 4.0;
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"4\" y2=\"{bottom:.1}\"/>",
            x(share)
        ));
        svg.push_str(&svg::text(
            x(share),
            bottom + 14.0,
            "middle",
            &format!("{} %", percent(share).trim_end_matches(".0")),
        ));
    }
    if let Some(tolerated) = tolerated.filter(|tolerated| *tolerated <= end) {
        svg.push_str(&format!(
            "<line class=\"line s2 d2\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"4\" y2=\"{bottom:.1}\"/>",
            x(tolerated)
        ));
    }
    for (at, row) in groups.rows.iter().enumerate() {
        let top = ROW * at as f64 + 4.0;
        svg.push_str(&format!(
            "<text class=\"value\" x=\"{SIDE}\" y=\"{:.1}\">{}</text>",
            top + 12.0,
            svg::escape(&row.label)
        ));
        if let Some(share) = &row.lenient {
            svg.push_str(&whisker(share, top + 20.0, &x, "whisker"));
            svg.push_str(&format!(
                "<circle class=\"dot\" r=\"3.6\" cx=\"{:.1}\" cy=\"{:.1}\"/>",
                x(share.share),
                top + 20.0
            ));
        }
        if let Some(share) = &row.strict {
            svg.push_str(&whisker(share, top + 30.0, &x, "line s1 d1"));
            svg.push_str(&format!(
                "<path class=\"greedy\" d=\"M{:.1} {:.1}l4 -4 4 4 -4 4z\"/>",
                x(share.share) - 4.0,
                top + 30.0
            ));
        }
    }
    svg.push_str("</svg>");
    svg
}

fn whisker(share: &Share, y: f64, x: &dyn Fn(f64) -> f64, class: &str) -> String {
    let [low, high] = share.ci95.map(x);
    format!("<line class=\"{class}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>")
}
