//! What people see: bars on a terminal and plain lines elsewhere while a command works, tables and JSON at its end.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Result, RunError};
use crate::eval::{EvalRow, Gain};
use crate::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is printed at most.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Talks on stderr.
pub(crate) struct Printer {
    terminal: bool,
    talk: Mutex<Talk>,
}

/// What is being told.
struct Talk {
    bar: Option<ProgressBar>,
    name: String,
    note: String,
    units: u64,
    last: Instant,
}

impl Printer {
    /// A printer that draws bars when stderr is a terminal.
    pub(crate) fn new() -> Self {
        let talk = Talk { bar: None, name: String::new(), note: String::new(), units: 0, last: Instant::now() };
        Self { terminal: std::io::stderr().is_terminal(), talk: Mutex::new(talk) }
    }

    /// Takes the last bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.talk().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line on stderr. Nobody may be listening any more: that must not end a run.
fn tell(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

impl Progress for Printer {
    fn begin(&self, name: &str, units: u64, from: u64) {
        self.finish();
        let mut talk = self.talk();
        (talk.name, talk.units, talk.note) = (name.to_owned(), units, String::new());
        talk.last = Instant::now();
        if self.terminal {
            let bar = ProgressBar::new(units).with_prefix(name.to_owned()).with_position(from);
            if let Ok(style) = ProgressStyle::with_template("{prefix:<22} {bar:30} {pos}/{len} {elapsed}<{eta} {msg}") {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar.tick();
            talk.bar = Some(bar);
        } else {
            tell(&format!("{name}: {} to do", units.saturating_sub(from)));
        }
    }

    fn done(&self, units: u64, note: &str) {
        let mut talk = self.talk();
        note.clone_into(&mut talk.note);
        match &talk.bar {
            Some(bar) => {
                bar.set_message(note.to_owned());
                bar.set_position(units);
            }
            None if talk.last.elapsed() >= PLAIN_EVERY => {
                tell(&format!("{}: {units}/{} {note}", talk.name, talk.units));
                talk.last = Instant::now();
            }
            None => {}
        }
    }

    fn rollouts(&self, ended: usize, of: usize) {
        let talk = self.talk();
        if let Some(bar) = &talk.bar {
            bar.set_message(format!("{}  rollouts {ended}/{of}", talk.note));
        }
    }

    fn say(&self, text: &str) {
        match &self.talk().bar {
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }
}

/// Prints a value as JSON on stdout.
pub(crate) fn print_json(value: &impl serde::Serialize, on_one_line: bool) -> Result<()> {
    let text = if on_one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    print_text(&format!("{}\n", text.map_err(|error| RunError::Internal(error.to_string()))?))
}

/// Prints on stdout. A reader that has seen enough, as `head` does, is no fault.
pub(crate) fn print_text(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(RunError::io("the standard output", error)),
        _ => Ok(()),
    }
}

/// Rows of evaluations as a table; pass@16 and failed scores have a column where there are any.
pub(crate) fn table(rows: &[EvalRow]) -> String {
    let widest =
        |least: usize, of: fn(&EvalRow) -> &str| rows.iter().map(|row| of(row).chars().count()).fold(least, usize::max);
    let (after, task) = (widest(12, |row| &row.after), widest(9, |row| &row.task));
    let sixteen = rows.iter().any(|row| row.pass_at_16.is_some());
    let failed = rows.iter().any(|row| row.failed > 0);
    let mut text = format!(
        "{:<after$} {:<task$} {:>7} {:>7}  {:<16} {:>7} {:>8}",
        "after", "task", "queries", "pass@1", "95 % interval", "greedy", "working"
    );
    text.push_str(if sixteen { " pass@16" } else { "" });
    text.push_str(if failed { "  failed" } else { "" });
    text.push('\n');
    for row in rows {
        let rate = match row.scored {
            0 => format!("{:>7}  {:<16}", "-", "not scored"),
            _ => format!("{:>7.3}  [{:.3}, {:.3}]  ", row.pass_at_1, row.ci95[0], row.ci95[1]),
        };
        text.push_str(&format!(
            "{:<after$} {:<task$} {:>7} {rate} {:>7.3} {:>8.2}",
            row.after, row.task, row.queries, row.greedy, row.with_working
        ));
        if sixteen {
            text.push_str(&row.pass_at_16.map_or_else(|| format!("{:>8}", "-"), |value| format!("{value:>8.3}")));
        }
        if failed {
            text.push_str(&format!("{:>8}", row.failed));
        }
        text.push('\n');
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
