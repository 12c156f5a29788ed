//! Heat maps of needles: the share that is found by length and depth, as a figure in each cell whose ground is as strong.

use serde_json::Value;

use super::figures::percent;
use super::model::Stage;
use super::svg::{escape, text};
use super::words::stage_phrase;
use crate::eval::heat_map::{Cell, HeatMap};

/// Width and height of a cell, and the room for the depths and the lengths, in pixels.
const CELL: [f64; 2] = [52.0, 42.0];
const LEFT: f64 = 50.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 36.0;
/// Shares from which on a ground is stronger; from the third step on its text is light.
const STEPS: [f64; 4] = [0.2, 0.4, 0.6, 0.8];

/// The heat maps of an evaluation's results; none in those of rows without lengths and depths.
///
/// # Errors
/// When there are some that cannot be read.
pub(super) fn read(results: &Value) -> Result<Vec<HeatMap>, serde_json::Error> {
    match &results["heat_maps"] {
        Value::Null => Ok(Vec::new()),
        maps => serde_json::from_value(maps.clone()),
    }
}

/// The maps of the last evaluation of a set, each a figure.
pub(super) fn figures(stages: &[Stage]) -> Vec<String> {
    let Some(last) = stages.last() else { return Vec::new() };
    let when = if stages.len() > 1 { format!(", {}", stage_phrase(&last.after)) } else { String::new() };
    last.heat_maps.iter().map(|map| figure(map, &when)).collect()
}

fn figure(map: &HeatMap, when: &str) -> String {
    let failed: usize = map.cells.iter().map(|cell| cell.failed).sum();
    let told = |count: usize, words: &str| if count > 0 { format!(" {count} samples {words}.") } else { String::new() };
    format!(
        "<figure class=\"card heat\"><figcaption><b>{} by length and depth{}</b><span class=\"about\">Share of samples that pass, in \
         percent, over n scored ones; lengths are in {}, a depth of 0 % is the beginning. A blank cell has no scored sample.{}{}\
         </span></figcaption><div class=\"scroll\" tabindex=\"0\">{}</div></figure>",
        escape(&map.task),
        escape(when),
        escape(unit(map)),
        told(failed, "failed to score"),
        told(map.without_place, "say no length or depth"),
        drawn(map)
    )
}

fn unit(map: &HeatMap) -> &str {
    if map.unit.is_empty() { "units of the data" } else { &map.unit }
}

fn drawn(map: &HeatMap) -> String {
    let [wide, high] = CELL;
    let (columns, rows) = (map.lengths.len() as f64, map.depths.len() as f64);
    let (width, height) = (LEFT + columns * wide + 1.0, TOP + rows * high + BOTTOM);
    let spoken: Vec<String> = map.cells.iter().map(said).collect();
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}: {}\">",
        escape(&map.task),
        escape(&spoken.join("; "))
    );
    svg.push_str(&text(LEFT - 8.0, TOP - 7.0, "end", "depth"));
    let y = |row: usize| TOP + row as f64 * high;
    let x = |column: usize| LEFT + column as f64 * wide;
    for (row, depth) in map.depths.iter().enumerate() {
        svg.push_str(&text(LEFT - 8.0, y(row) + high / 2.0 + 4.0, "end", &format!("{depth} %")));
    }
    for (column, length) in map.lengths.iter().enumerate() {
        svg.push_str(&text(x(column) + wide / 2.0, height - BOTTOM + 15.0, "middle", &length.to_string()));
    }
    svg.push_str(&text(
        LEFT + columns * wide / 2.0,
        height - 5.0,
        "middle",
        &shortened(&format!("length in {}", unit(map)), columns),
    ));
    for cell in &map.cells {
        let column = map.lengths.iter().position(|length| *length == cell.length);
        let row = map.depths.iter().position(|depth| *depth == cell.depth);
        if let (Some(column), Some(row)) = (column, row) {
            svg.push_str(&square(cell, x(column), y(row)));
        }
    }
    svg.push_str("</svg>");
    svg
}

/// As much of a text as fits under so many columns.
fn shortened(words: &str, columns: f64) -> String {
    let most = ((LEFT + columns * CELL[0]) / 6.5) as usize;
    if words.chars().count() <= most {
        return words.to_owned();
    }
    format!("{}\u{2026}", words.chars().take(most.saturating_sub(1)).collect::<String>())
}

fn square(cell: &Cell, x: f64, y: f64) -> String {
    let [wide, high] = [CELL[0] - 2.0, CELL[1] - 2.0];
    let step = cell.share.map(|share| STEPS.iter().filter(|from| share >= **from).count());
    let class = step.map_or("blank".to_owned(), |step| format!("h{step}"));
    let mut svg = format!(
        "<g class=\"{class}\"><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide}\" height=\"{high}\" rx=\"3\"/>",
        escape(&said(cell))
    );
    if let Some(share) = cell.share {
        let middle = x + wide / 2.0;
        svg.push_str(&format!(
            "<text class=\"share\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y + 19.0,
            percent(share)
        ));
        svg.push_str(&text(middle, y + 33.0, "middle", &format!("n {}", cell.n)));
    }
    svg.push_str("</g>");
    svg
}

/// A cell in words.
fn said(cell: &Cell) -> String {
    let found = match (cell.share, cell.ci95) {
        (Some(share), Some([low, high])) => {
            format!("{} % of {} ({} to {})", percent(share), cell.n, percent(low), percent(high))
        }
        (Some(share), None) => format!("{} % of {}", percent(share), cell.n),
        (None, _) => "no scored sample".to_owned(),
    };
    format!("length {}, depth {} %: {found}", cell.length, cell.depth)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(length: u64, depth: f64, share: Option<f64>) -> Cell {
        let n = if share.is_some() { 4 } else { 0 };
        Cell { length, depth, queries: 2, n, failed: 0, share, ci95: share.map(|share| [share / 2.0, share]) }
    }

    fn map() -> HeatMap {
        HeatMap {
            task: "needle-<text>".to_owned(),
            unit: "words".to_owned(),
            lengths: vec![256, 512],
            depths: vec![0.0, 12.5],
            cells: vec![
                cell(256, 0.0, Some(0.0)),
                cell(512, 0.0, Some(1.0)),
                cell(256, 12.5, None),
                cell(512, 12.5, Some(0.5)),
            ],
            without_place: 3,
        }
    }

    #[test]
    fn every_cell_has_its_figure_and_a_blank_one_has_none() {
        let html = figure(&map(), "");
        assert_eq!(html.matches("<rect").count(), 4);
        assert_eq!(html.matches("class=\"share\"").count(), 3, "{html}");
        assert!(
            html.contains(">0.0</text>") && html.contains(">100.0</text>") && html.contains(">50.0</text>"),
            "{html}"
        );
        assert!(html.contains("class=\"blank\"><title>length 256, depth 12.5 %: no scored sample"), "{html}");
        assert!(html.contains("3 samples say no length or depth") && html.contains("lengths are in words"), "{html}");
        assert!(!html.contains("<text>") || !html.contains("needle-<text>"), "{html}");
        assert!(["h0", "h2", "h4"].iter().all(|class| html.contains(&format!("class=\"{class}\""))), "{html}");
    }

    #[test]
    fn the_last_evaluation_of_several_is_shown_by_name() {
        let stage = |after: &str| Stage { after: after.to_owned(), heat_maps: vec![map()], ..Stage::default() };
        assert!(!figures(&[stage("init")])[0].contains("before training"));
        let shown = figures(&[stage("init"), stage("general")]);
        assert!(shown.len() == 1 && shown[0].contains("after general"), "{shown:?}");
        assert!(figures(&[]).is_empty());
        assert_eq!(read(&json!({"heat_maps": [map()]})).unwrap(), [map()]);
        assert!(read(&json!({})).unwrap().is_empty() && read(&json!({"heat_maps": 3})).is_err());
    }
}
