//! What people see while a command works: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
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
