//! How fast a part of the work goes, by a clock that is handed in: the time left, counted from this start, and when a line is
//! due where there is no terminal.

use std::time::Duration;

/// How often a line is told at most.
const EVERY: Duration = Duration::from_secs(30);

/// A part of the work on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    name: String,
    units: u64,
    /// Units that were done before this start.
    from: u64,
    done: u64,
    began: Duration,
    told: Duration,
}

impl Pace {
    /// A part with so many units begins, `from` of which were done earlier.
    pub(crate) fn begin(name: &str, units: u64, from: u64, now: Duration) -> Self {
        Self { name: name.to_owned(), units, from, done: from, began: now, told: now }
    }

    /// When it began.
    pub(crate) fn began(&self) -> Duration {
        self.began
    }

    /// So many units are done.
    pub(crate) fn at(&mut self, done: u64) {
        self.done = done;
    }

    /// The time that is left, at the pace since this start; nothing is known before the first unit.
    pub(crate) fn left(&self, now: Duration, done: u64) -> Option<Duration> {
        let since = done.saturating_sub(self.from);
        let left = self.units.saturating_sub(done) as f64;
        (since > 0).then(|| now.saturating_sub(self.began).mul_f64(left / since as f64))
    }

    /// Whether a line is due; it is told then.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let due = now.saturating_sub(self.told) >= EVERY;
        if due {
            self.told = now;
        }
        due
    }

    /// The line that is due, if one is.
    pub(crate) fn line(&mut self, now: Duration, note: &str) -> Option<String> {
        if !self.is_due(now) {
            return None;
        }
        let left = self.left(now, self.done).map_or(String::new(), |left| format!(", about {} left", clock(left)));
        let note = if note.is_empty() { String::new() } else { format!(", {note}") };
        Some(format!("{}: {}/{}{note}{left}", self.name, self.done, self.units))
    }
}

/// A duration as people read it: 45s, 3m10s, 2h05m, 3d04h.
pub(crate) fn clock(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86_400);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{minutes}m{:02}s", secs % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_line_is_due_every_thirty_seconds_with_step_note_and_time_left() {
        let mut pace = Pace::begin("reasoning", 2000, 0, secs(100));
        pace.at(1);
        assert_eq!(pace.line(secs(101), "reward 0.4"), None);
        pace.at(20);
        assert_eq!(
            pace.line(secs(130), "reward 0.4").as_deref(),
            Some("reasoning: 20/2000, reward 0.4, about 49m30s left")
        );
        pace.at(21);
        assert_eq!(pace.line(secs(159), "reward 0.5"), None, "half a minute has not passed");
        assert!(pace.line(secs(160), "").is_some_and(|line| line.starts_with("reasoning: 21/2000, about ")));
    }

    #[test]
    fn the_time_left_counts_from_this_start() {
        // 168 of 2000 were done before a resume; 10 steps took 10 s.
        let pace = Pace::begin("reasoning", 2000, 168, secs(0));
        assert_eq!(pace.left(secs(5), 168), None);
        assert_eq!(pace.left(secs(10), 178), Some(secs(1822)));
        assert_eq!(pace.left(secs(10), 2000), Some(secs(0)));
    }

    #[test]
    fn times_are_short() {
        let words = [0, 59, 61, 3600, 7500, 90_000].map(|time| clock(secs(time)));
        assert_eq!(words, ["0s", "59s", "1m01s", "1h00m", "2h05m", "1d01h"]);
    }
}
