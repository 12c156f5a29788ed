//! What people see: bars on a terminal and plain lines elsewhere while a command works, tables and JSON at its end.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sapo::error::{Result, RunError};
use sapo::eval::{EvalRow, Gain};
use sapo::train::Progress;

/// How often a plain line is printed at most.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Talks on stderr.
pub(crate) struct Printer {
    bar: Option<ProgressBar>,
    terminal: bool,
    name: String,
    units: u64,
    last: Instant,
}

impl Printer {
    /// A printer that draws bars when stderr is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            name: String::new(),
            units: 0,
            last: Instant::now(),
        }
    }

    /// Takes the last bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Printer {
    fn begin(&mut self, name: &str, units: u64) {
        self.finish();
        (self.name, self.units) = (name.to_owned(), units);
        if self.terminal {
            let bar = ProgressBar::new(units).with_prefix(name.to_owned());
            if let Ok(style) = ProgressStyle::with_template("{prefix:<22} {bar:30} {pos}/{len} {elapsed}<{eta} {msg}") {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        } else {
            eprintln!("{name}: {units} to do");
            self.last = Instant::now();
        }
    }

    fn done(&mut self, units: u64, note: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(note.to_owned());
                bar.set_position(units);
            }
            None if self.last.elapsed() >= PLAIN_EVERY => {
                eprintln!("{}: {units}/{} {note}", self.name, self.units);
                self.last = Instant::now();
            }
            None => {}
        }
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

/// Prints a value as JSON on stdout.
pub(crate) fn print_json(value: &impl serde::Serialize, on_one_line: bool) -> Result<()> {
    let text = if on_one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    println!("{}", text.map_err(|error| RunError::Internal(error.to_string()))?);
    Ok(())
}

/// Rows of evaluations as a table.
pub(crate) fn table(rows: &[EvalRow]) -> String {
    let mut text = format!(
        "{:<12} {:<9} {:>7} {:>7}  {:<16} {:>7} {:>8}\n",
        "after", "task", "queries", "pass@1", "95 % interval", "greedy", "working"
    );
    for row in rows {
        text.push_str(&format!(
            "{:<12} {:<9} {:>7} {:>7.3}  [{:.3}, {:.3}]   {:>7.3} {:>8.2}\n",
            row.after, row.task, row.queries, row.pass_at_1, row.ci95[0], row.ci95[1], row.greedy, row.with_working
        ));
    }
    text
}

/// What changed over all tasks, one line each.
pub(crate) fn gains(gains: &[Gain]) -> String {
    let mut text = String::new();
    for gain in gains.iter().filter(|gain| gain.task == "all") {
        let points = |value: f64| value * 100.0;
        text.push_str(&format!(
            "{} -> {}: {:+.1} points [{:.1}, {:.1}] at temperature 1, {:+.1} greedy\n",
            gain.from,
            gain.to,
            points(gain.gain),
            points(gain.ci95[0]),
            points(gain.ci95[1]),
            points(gain.greedy_gain)
        ));
    }
    text
}
