//! The table at the end of a run, as aligned text: tasks by rows, stages by columns, then the gains.

use super::model::{GainRow, Stage, TaskRow, stage_title};
use super::verdict::with_interval;

/// Characters of the column of tasks.
const TASK: usize = 10;
/// Characters of the column of a stage.
const COLUMN: usize = 25;

/// Held-out pass@1 in percent with 95 % intervals, greedy beside it and the share with working below, in lines of at
/// most `width` characters (but at least one stage a block), then the gains over all tasks.
pub fn render(stages: &[Stage], gains: &[GainRow], width: usize) -> String {
    let mut tasks: Vec<&str> = stages.iter().flat_map(|stage| &stage.rows).map(|row| row.task.as_str()).collect();
    tasks.sort_by_key(|task| (usize::from(*task == "all"), super::answers::place_of(task), *task));
    tasks.dedup();
    let mut text = String::new();
    if !stages.is_empty() {
        text.push_str("held-out pass@1 in % [95 % interval] greedy\n");
    }
    for block in stages.chunks((width.saturating_sub(TASK) / COLUMN).max(1)) {
        let titles = block.iter().map(|stage| stage_title(&stage.after));
        text.push_str(&line("task", titles));
        for task in &tasks {
            text.push_str(&line(task, block.iter().map(|stage| stage.row(task).map_or_else(|| "-".to_owned(), cell))));
        }
        let working = block.iter().map(|stage| stage.row("all").and_then(|row| row.with_working));
        text.push_str(&line(
            "working",
            working.map(|share| share.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}"))),
        ));
        text.push('\n');
    }
    for gain in gains.iter().filter(|gain| gain.task == "all") {
        let greedy =
            gain.greedy_gain.map_or(String::new(), |greedy| format!(", greedy {}", super::verdict::points(greedy)));
        let pair = format!("{} -> {}:", stage_title(&gain.from), stage_title(&gain.to));
        text.push_str(&format!("{pair:<33} {}{greedy}\n", with_interval(gain)));
    }
    text
}

fn line(first: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("{cell:<COLUMN$}")).collect();
    format!("{}\n", format!("{first:<TASK$}{cells}").trim_end())
}

fn cell(row: &TaskRow) -> String {
    let percent = |share: f64| share * 100.0;
    let greedy = row.greedy.map_or(String::new(), |greedy| format!(" {:.0}", percent(greedy)));
    format!("{:.1} [{:.1}, {:.1}]{greedy}", percent(row.pass_at_1), percent(row.ci95[0]), percent(row.ci95[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(after: &str, rate: f64) -> Stage {
        let row = |task: &str, rate: f64| TaskRow {
            task: task.to_owned(),
            pass_at_1: rate,
            ci95: [rate - 0.025, rate + 0.025],
            greedy: Some(rate + 0.1),
            with_working: Some(1.0),
            ..TaskRow::default()
        };
        Stage { after: after.to_owned(), rows: vec![row("all", rate), row("arith", rate + 0.05)], ..Stage::default() }
    }

    #[test]
    fn columns_are_aligned_and_all_stands_last() {
        let gain = GainRow {
            from: "cold_start".to_owned(),
            to: "reasoning".to_owned(),
            task: "all".to_owned(),
            gain: 0.291,
            ci95: [0.264, 0.314],
            greedy_gain: Some(0.254),
        };
        let text = render(&[stage("cold_start", 0.3), stage("reasoning", 0.591)], &[gain], 100);
        let expected = "\
held-out pass@1 in % [95 % interval] greedy
task      cold start               Reasoning RL
arith     35.0 [32.5, 37.5] 45     64.1 [61.6, 66.6] 74
all       30.0 [27.5, 32.5] 40     59.1 [56.6, 61.6] 69
working   1.00                     1.00

cold start -> Reasoning RL:       +29.1 points [26.4, 31.4], greedy +25.4
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_terminal_gets_blocks() {
        let stages = ["init", "careful", "cold_start"].map(|after| stage(after, 0.4));
        let text = render(&stages, &[], 60);
        assert!(text.lines().all(|line| line.len() <= 60), "{text}");
        assert_eq!(text.matches("task ").count(), 2);
        assert_eq!(render(&[], &[], 80), "");
    }
}
