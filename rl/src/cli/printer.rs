//! What people see: bars on a terminal and plain lines elsewhere while a command works, tables and JSON at its end.

use std::borrow::Cow;
use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Result, RunError};
use crate::eval::{EvalRow, Gain};
use crate::kernels::{self, Spent};
use crate::progress::Progress;
use crate::report::figures::{interval, percent, points};
use crate::report::words::stage_title;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::pace::{Pace, clock};

/// Talks on stderr.
pub(crate) struct Printer {
    terminal: bool,
    started: Instant,
    talk: Arc<Mutex<Talk>>,
}

/// What is being told.
#[derive(Default)]
struct Talk {
    bar: Option<ProgressBar>,
    note: String,
    pace: Pace,
    /// What stands in the bar's place while kernels are compiled before there is one.
    kernels: Option<ProgressBar>,
}

/// How often kernels are looked for.
const LOOK: Duration = Duration::from_millis(500);

impl Printer {
    /// A printer that draws bars when stderr is a terminal.
    pub(crate) fn new() -> Self {
        let printer = Self { terminal: std::io::stderr().is_terminal(), started: Instant::now(), talk: Arc::default() };
        if cfg!(feature = "gpu") {
            let (talk, terminal) = (Arc::downgrade(&printer.talk), printer.terminal);
            std::thread::spawn(move || tell_of_kernels(&talk, terminal));
        }
        printer
    }

    /// Takes the last bar away.
    pub(crate) fn finish(&self) {
        let mut talk = self.talk();
        let bars = [talk.bar.take(), talk.kernels.take()];
        bars.into_iter().flatten().for_each(|bar| bar.finish_and_clear());
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells of kernels while they are being compiled, as long as somebody talks.
fn tell_of_kernels(talk: &Weak<Mutex<Talk>>, terminal: bool) {
    let mut known = kernels::spent().unwrap_or_default();
    let mut pace = Pace::default();
    let began = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        let Some(talk) = talk.upgrade() else { return };
        let now = kernels::spent().unwrap_or_default();
        let grew = now.compiled > known.compiled;
        known = now;
        if terminal {
            talk.lock().unwrap_or_else(PoisonError::into_inner).show_kernels(grew.then_some(now));
        } else if grew && pace.is_due(began.elapsed()) {
            tell(&counted(now));
        }
    }
}

/// What is told of kernels.
fn counted(spent: Spent) -> String {
    let kept = if spent.loaded > 0 { format!(", {} were kept", spent.loaded) } else { String::new() };
    format!("compiling kernels: {} in {:.0} s{kept}", spent.compiled, spent.secs)
}

impl Talk {
    /// Shows that kernels are being compiled, or that they no longer are.
    fn show_kernels(&mut self, spent: Option<Spent>) {
        match (&self.bar, spent) {
            (Some(bar), Some(spent)) => bar.set_message(format!("{}  {}", plain(&self.note), counted(spent))),
            (Some(bar), None) if bar.message().contains("compiling kernels") => {
                bar.set_message(plain(&self.note).into_owned());
            }
            (None, Some(spent)) => {
                let bar = self.kernels.get_or_insert_with(ProgressBar::new_spinner);
                bar.set_message(counted(spent));
                bar.tick();
            }
            (_, None) => self.kernels.take().iter().for_each(ProgressBar::finish_and_clear),
        }
    }
}

/// A line on stderr. Nobody may be listening any more: that must not end a run.
fn tell(line: &str) {
    _ = writeln!(std::io::stderr(), "{}", plain(line));
}

/// Whether a character steers a terminal, or turns the direction of the text around it.
fn steers(character: char) -> bool {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control() && !matches!(character, '\n' | '\t')
}

/// A text for people, in which what steers a terminal is written out, such as `\u{1b}`: what comes from data must not.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let written = |character: char| match steers(character) {
        true => character.escape_unicode().to_string(),
        false => character.to_string(),
    };
    text.chars().map(written).collect()
}

/// JSON in which the same is written out, in its own way: it is read back as it was.
fn plain_json(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let written = |character: char| match steers(character) {
        true => format!("\\u{:04x}", u32::from(character)),
        false => character.to_string(),
    };
    text.chars().map(written).collect()
}

/// A bar that fits into 60 columns: what is too long is cut, not wrapped. The time left is `pace`'s.
fn styled(bar: ProgressBar, pace: &Pace) -> ProgressBar {
    let (pace, began) = (pace.clone(), Instant::now());
    let template = "{prefix:20!} {bar:8} {pos}/{len} {elapsed}<{left} {wide_msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("left", move |state: &ProgressState, text: &mut dyn fmt::Write| {
            let left = pace.left(pace.began() + began.elapsed(), state.pos());
            _ = text.write_str(&left.map_or_else(|| "?".to_owned(), clock));
        })),
        Err(_) => bar,
    }
}

impl Progress for Printer {
    fn begin(&self, name: &str, units: u64, from: u64) {
        self.finish();
        let mut talk = self.talk();
        talk.note = String::new();
        talk.pace = Pace::begin(name, units, from, self.started.elapsed());
        if self.terminal {
            let bar = ProgressBar::new(units).with_prefix(name.to_owned()).with_position(from);
            let bar = styled(bar, &talk.pace);
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
                bar.set_message(plain(note).into_owned());
                bar.set_position(units);
            }
            None => {
                talk.pace.at(units);
                let line = talk.pace.line(self.started.elapsed(), note);
                line.iter().for_each(|line| tell(line));
            }
        }
    }

    fn rollouts(&self, ended: usize, of: usize) {
        let mut talk = self.talk();
        let note = format!("{}  rollouts {ended}/{of}", talk.note);
        match &talk.bar {
            Some(bar) => bar.set_message(note),
            // A step may be longer than a line is waited for.
            None => {
                let line = talk.pace.line(self.started.elapsed(), note.trim_start());
                line.iter().for_each(|line| tell(line));
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.talk().bar {
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }
}

/// Whether an object was printed: there is one alone on stdout, so that an error that comes after it stands on stderr only.
static PRINTED: AtomicBool = AtomicBool::new(false);

/// Whether an object was printed.
pub(crate) fn has_printed_json() -> bool {
    PRINTED.load(Ordering::Relaxed)
}

/// Prints a value as JSON on stdout.
pub(crate) fn print_json(value: &impl serde::Serialize, on_one_line: bool) -> Result<()> {
    PRINTED.store(true, Ordering::Relaxed);
    let text = if on_one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    print(&format!("{}\n", plain_json(&text.map_err(|error| RunError::Internal(error.to_string()))?)))
}

/// Adds to an object what was spent on kernels, where the work was a GPU's.
pub(crate) fn add_kernels(object: &mut serde_json::Value) {
    if let Some(spent) = kernels::spent() {
        object["kernels"] = serde_json::json!(spent);
    }
}

/// Prints a text for people on stdout, [`plain`].
pub(crate) fn print_text(text: &str) -> Result<()> {
    print(&plain(text))
}

/// Prints on stdout. A reader that has seen enough, as `head` does, is no fault.
fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(RunError::io("the standard output", error)),
        _ => Ok(()),
    }
}

/// A column of a table: its head, and what a row has in it; numbers stand at the right.
struct Column {
    head: &'static str,
    number: bool,
    cell: fn(&EvalRow) -> String,
}

const fn words(head: &'static str, cell: fn(&EvalRow) -> String) -> Column {
    Column { head, number: false, cell }
}

const fn number(head: &'static str, cell: fn(&EvalRow) -> String) -> Column {
    Column { head, number: true, cell }
}

/// What a row says of a share that only scored samples have.
fn scored(row: &EvalRow, text: String) -> String {
    if row.scored > 0 { text } else { "-".to_owned() }
}

/// Rows of evaluations as a table, shares in percent, as wide as its names. `cut` is the share of answers that
/// the token limit has cut. What no row has has no column: a second set of queries, reasoning before the answer, pass@16,
/// failed scores.
pub(crate) fn table(rows: &[EvalRow]) -> String {
    let mut columns = vec![
        words("after", |row| stage_title(&row.after)),
        words("task", |row| row.task.clone()),
        number("queries", |row| row.queries.to_string()),
        number("pass@1", |row| scored(row, percent(row.pass_at_1))),
        words("95 % interval", |row| if row.scored > 0 { interval(row.ci95) } else { "not scored".to_owned() }),
        number("greedy", |row| percent(row.greedy)),
        number("cut", |row| percent(row.truncated)),
    ];
    let any = |is_so: fn(&EvalRow) -> bool| rows.iter().any(is_so);
    if rows.iter().any(|row| row.set != rows[0].set) {
        columns.insert(0, words("set", |row| row.set.clone()));
    }
    if any(|row| row.with_working > 0.0) {
        columns.push(number("reasoning", |row| percent(row.with_working)));
    }
    if any(|row| row.pass_at_16.is_some()) {
        columns.push(number("pass@16", |row| row.pass_at_16.map_or_else(|| "-".to_owned(), percent)));
    }
    if any(|row| row.maj_at_k.is_some()) {
        columns.push(number("maj@k", |row| row.maj_at_k.map_or_else(|| "-".to_owned(), percent)));
    }
    if any(|row| row.failed > 0) {
        columns.push(number("failed", |row| row.failed.to_string()));
    }
    let cells = |row: &EvalRow| columns.iter().map(|column| (column.cell)(row)).collect::<Vec<String>>();
    let heads: Vec<(&str, bool)> = columns.iter().map(|column| (column.head, column.number)).collect();
    aligned(&heads, rows.iter().map(cells).collect())
}

/// What differences of the rows over all tasks another evaluation of the same queries would show, a line each.
pub(crate) fn detectable(rows: &[EvalRow]) -> String {
    let told = rows.iter().filter(|row| row.task == "all").filter_map(|row| {
        let least = percent(row.detectable?);
        Some(format!("{}: a difference of {least} points is found 4 times of 5, paired by query\n", row.set))
    });
    told.collect()
}

/// Lines of cells under their heads, each column as wide as its widest cell; numbers (`true`) stand at the right.
pub(crate) fn aligned(heads: &[(&str, bool)], rows: Vec<Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(|(head, _)| (*head).to_owned()).collect()];
    lines.extend(rows);
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let padded = |(at, cell): (usize, &String)| {
        let width = widths[at];
        if heads[at].1 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    };
    let line = |line: &Vec<String>| line.iter().enumerate().map(padded).collect::<Vec<_>>().join("  ");
    lines.iter().map(|cells| format!("{}\n", line(cells).trim_end())).collect()
}

/// What changed over all tasks, one line each.
pub(crate) fn gains(gains: &[Gain]) -> String {
    let many = gains.iter().any(|gain| gain.set != gains[0].set);
    let line = |gain: &Gain| {
        let set = if many { format!("{}: ", gain.set) } else { String::new() };
        let (from, to) = (stage_title(&gain.from), stage_title(&gain.to));
        let (amount, bounds, greedy) = (points(gain.gain), interval(gain.ci95), points(gain.greedy_gain));
        let of_greedy = gain.greedy_ci95.map_or(String::new(), |bounds| format!(" {}", interval(bounds)));
        format!("{set}{from} -> {to}: {amount} points {bounds} at temperature 1, {greedy}{of_greedy} greedy\n")
    };
    gains.iter().filter(|gain| gain.task == "all").map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal of 60 columns, and what is written on it.
    #[derive(Clone, Debug, Default)]
    struct Narrow(std::sync::Arc<Mutex<Vec<String>>>);

    impl indicatif::TermLike for Narrow {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let text = "a\u{1b}]0;x\u{7}\u{9b}2J\r\u{202e}b\tc\né";
        assert_eq!(plain(text), "a\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{d}\\u{202e}b\tc\né");
        let json = serde_json::to_string(text).unwrap();
        assert!(!plain_json(&json).contains(steers));
        assert_eq!(serde_json::from_str::<String>(&plain_json(&json)).unwrap(), text);
    }

    #[test]
    fn a_bar_fits_into_sixty_columns() {
        let narrow = Narrow::default();
        let target = indicatif::ProgressDrawTarget::term_like(Box::new(narrow.clone()));
        let name = "evaluation (a phase with a long name)";
        let bar = ProgressBar::with_draw_target(Some(2000), target).with_prefix(name).with_position(168);
        let bar = styled(bar, &Pace::begin(name, 2000, 168, std::time::Duration::ZERO));
        bar.set_message("reward 0.412, a note that is longer than any terminal, and rollouts 1024/4096");
        bar.tick();
        let written = narrow.0.lock().unwrap().join("");
        assert!(written.contains("168/2000") && written.contains("reward"), "{written:?}");
        let widest = narrow.0.lock().unwrap().iter().map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 60), "{written:?}");
    }

    fn row(set: &str, task: &str, rate: f64) -> EvalRow {
        EvalRow {
            set: set.to_owned(),
            after: "init".to_owned(),
            task: task.to_owned(),
            queries: 40,
            scored: 160,
            failed: 0,
            pass_at_1: rate,
            ci95: [0.0, 0.0877],
            greedy: 0.05,
            greedy_ci95: None,
            pass_at_16: None,
            maj_at_k: None,
            mean_reward: None,
            detectable: None,
            with_working: 0.0,
            truncated: 0.0,
            mean_tokens: 3.0,
            metrics: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn columns_are_aligned_and_what_no_row_has_is_absent() {
        let rows = [row("geo", "counting to a hundred", 0.0), row("geo", "all", 0.2915)];
        let expected = "\
after            task                   queries  pass@1  95 % interval  greedy  cut
before training  counting to a hundred       40     0.0  [0.0, 8.8]        5.0  0.0
before training  all                         40    29.2  [0.0, 8.8]        5.0  0.0
";
        assert_eq!(table(&rows), expected);
        assert_eq!(table(&[]).lines().count(), 1);
    }

    #[test]
    fn sets_and_reasoning_have_a_column_where_there_are_any() {
        let reasons = EvalRow { with_working: 0.5, failed: 2, scored: 0, ..row("other", "all", 0.2) };
        let text = table(&[row("geo", "all", 0.1), reasons]);
        assert!(text.starts_with("set ") && text.contains("reasoning") && text.contains("not scored"), "{text}");
        assert!(
            text.lines().nth(2).is_some_and(|line| line.contains(" -  not scored") && line.ends_with("50.0       2"))
        );
    }

    #[test]
    fn gains_are_written_as_in_the_report() {
        let gain = |set: &str| Gain {
            set: set.to_owned(),
            from: "mixed".to_owned(),
            to: "rl@20".to_owned(),
            task: "all".to_owned(),
            gain: 0.2915,
            ci95: [-0.0004, 0.31],
            greedy_gain: 0.0,
            greedy_ci95: Some([-0.1, 0.1]),
        };
        let one = "mixed -> rl, step 20: +29.2 points [0.0, 31.0] at temperature 1, 0.0 [-10.0, 10.0] greedy\n";
        assert_eq!(gains(&[gain("geo")]), one);
        assert_eq!(gains(&[gain("geo"), gain("maps")]), format!("geo: {one}maps: {one}"));
    }
}
