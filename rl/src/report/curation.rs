//! The picture of a curation, a file of its own: queries by number of passes, and what became of them with intervals.

use super::figures::{interval, percent};
use super::svg::{HISTOGRAM, escape, histogram, text};
use crate::curation::CurationSummary;

/// Colours and type: alone, a picture has no page to take them from.
const STYLE: &str = "text{fill:#646b74;font:11px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
    .title{fill:#1c2025;font-size:14px;font-weight:600}.ink{fill:#1c2025}.grid{stroke:#e3e1da}.kept{fill:#1f5fa8}\
    .dropped{fill:url(#hatch)}.hatch-ground{fill:#ffffff}.hatch-line{stroke:#bf5312;stroke-width:3}";
/// Height of a line of the list.
const LINE: f64 = 17.0;
/// Where the histogram begins.
const CHART_TOP: f64 = 46.0;

/// The picture as SVG.
pub fn picture(summary: &CurationSummary) -> String {
    let [width, chart] = HISTOGRAM;
    let list = CHART_TOP + chart + 22.0;
    let rows = summary.decisions.len() + usize::from(summary.bad_rows > 0);
    let height = list + LINE * rows as f64 + 8.0;
    let sampled: usize = summary.histogram.iter().map(|(kept, dropped)| kept + dropped).sum();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <style>{STYLE}</style><rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\
         <text class=\"title\" x=\"12\" y=\"20\">{}: {} queries, {sampled} of them sampled</text>",
        escape(&summary.phase),
        summary.queries
    );
    let by = format!("answered by {}; {} samples", summary.by, summary.samples);
    svg.push_str(&text(12.0, 37.0, "start", &by));
    let bars = histogram(&summary.histogram);
    let place = format!("<svg x=\"0\" y=\"{CHART_TOP}\" width=\"{width}\" height=\"{chart}\" ");
    svg.push_str(&bars.replacen("<svg ", &place, 1));
    let all = summary.histogram.len().saturating_sub(1);
    let axis = format!("passes of {all} samples; blue bars are kept or undecided, hatched ones dropped");
    svg.push_str(&text(width / 2.0, CHART_TOP + chart + 6.0, "middle", &axis));
    for (at, share) in summary.decisions.iter().enumerate() {
        let y = list + LINE * (at as f64 + 1.0) - 4.0;
        let figures = format!("{} %  {}", percent(share.share), interval(share.ci95));
        svg.push_str(&text(12.0, y, "start", share.decision.words()));
        svg.push_str(&text(width - 160.0, y, "end", &share.queries.to_string()));
        svg.push_str(&text(width - 12.0, y, "end", &figures));
    }
    if summary.bad_rows > 0 {
        let y = list + LINE * rows as f64 - 4.0;
        svg.push_str(&text(12.0, y, "start", "unusable rows, not among the queries"));
        svg.push_str(&text(width - 160.0, y, "end", &summary.bad_rows.to_string()));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curation::{Curation, Decision, Tally};

    #[test]
    fn every_count_stands_in_the_picture() {
        let mut tally = Tally::default();
        for (decision, passed, times) in
            [(Decision::Kept, 1, 41), (Decision::DroppedTooEasy, 4, 7), (Decision::Unusable, 0, 3)]
        {
            for _ in 0..times {
                let mut record = Curation { decision, ..Curation::default() };
                if decision != Decision::Unusable {
                    record.set_outcomes((0..4).map(|sample| Some(u8::from(sample < passed))).collect());
                }
                tally.add(&record);
            }
        }
        let svg = picture(&tally.summary("a <phase>", "the policy", 4));
        for words in [
            "a &lt;phase&gt;: 48 queries, 48 of them sampled",
            ">41</text>",
            ">7</text>",
            ">3</text>",
            "85.4 %  [",
            "too easy",
        ] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        assert_eq!(svg.matches("class=\"kept\"").count(), 1);
    }
}
