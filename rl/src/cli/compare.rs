//! `sapo compare`: two recorded evaluations of the same queries, and what `sapo eval --baseline` says with it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::printer::{aligned, print_json, print_text};
use crate::comparison::{Comparison, Difference, Side, compare_all, open};
use crate::error::Result;
use crate::eval::ALL;
use crate::figures::{chance, interval, percent, points};

/// What to compare.
#[derive(Args)]
pub(crate) struct CompareArguments {
    /// The first evaluation: a folder that `sapo eval --out` wrote, RUN/eval/NAME-000100, a run's folder (the last evaluation
    /// of each set), or a JSONL file of verdicts of another program, a line for each answer: {"id": 7, "correct": true}.
    a: PathBuf,
    /// The second one.
    b: PathBuf,
    /// Compares what both have where their queries are not the same.
    #[arg(long)]
    shared: bool,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &CompareArguments) -> Result<()> {
    let (a, b) = (open(&arguments.a)?, open(&arguments.b)?);
    let compared = compare_all(&a, &b, arguments.shared)?;
    if arguments.json {
        return print_json(&json!({"v": 1, "comparisons": compared}), true);
    }
    print_text(&text(&compared))
}

/// Comparisons as tables, each with what it comes to.
pub(crate) fn text(compared: &[Comparison]) -> String {
    compared.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(compared: &Comparison) -> String {
    let side = |side: &Side| format!("{} (after {}, step {})", side.place, side.after, side.step);
    let mut text = format!("A: {}\nB: {}\n", side(&compared.a), side(&compared.b));
    let heads = [
        ("task", false),
        ("queries", true),
        ("A", true),
        ("B", true),
        ("B - A", true),
        ("95 % interval", false),
        ("p", true),
        ("greedy", true),
        ("95 % interval", false),
        ("exact p", true),
    ];
    text.push_str(&aligned(&heads, compared.rows.iter().map(cells).collect()));
    if compared.left_out > 0 {
        text.push_str(&format!("{} queries that only one of them has are left out\n", compared.left_out));
    }
    for differs in &compared.differs {
        text.push_str(&format!("differs too: {differs}\n"));
    }
    text.push_str(&verdict(compared));
    if compared.rows.iter().filter(|row| row.task != ALL).count() > 1 {
        text.push_str(
            "p of tasks: corrected for how many they are (Holm); greedy: McNemar's exact test, of each alone\n",
        );
    }
    text
}

fn cells(row: &Difference) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        row.task.clone(),
        row.queries.to_string(),
        percent(row.a),
        percent(row.b),
        points(row.difference),
        interval(row.ci95),
        chance(row.p_corrected.unwrap_or(row.p_value)),
        row.greedy_difference.map_or_else(none, points),
        row.greedy_ci95.map_or_else(none, interval),
        row.exact_p_value.map_or_else(none, chance),
    ]
}

fn verdict(compared: &Comparison) -> String {
    let Some(all) = compared.rows.iter().find(|row| row.task == ALL) else { return String::new() };
    let said = match all.ci95 {
        [low, _] if low > 0.0 => "B is better",
        [_, high] if high < 0.0 => "B is worse",
        _ => "no clear difference: the interval holds 0",
    };
    format!("{said} ({} points {}, paired by query)\n", points(all.difference), interval(all.ci95))
}
