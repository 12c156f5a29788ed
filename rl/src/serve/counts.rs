//! What the server counts, as Prometheus reads it.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sapo_rollouts::Load;

/// Upper ends of the buckets of a histogram, in seconds.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations by buckets.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// Counts of each bucket alone; what is longer than all is in the last.
    buckets: [Counter; BUCKETS.len() + 1],
    nanoseconds: Counter,
}

impl Histogram {
    pub(super) fn add(&self, time: Duration) {
        let secs = time.as_secs_f64();
        self.buckets[BUCKETS.partition_point(|end| *end < secs)].add(1);
        self.nanoseconds.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!("# HELP {name} {help}\n# TYPE {name} histogram"));
        let mut below = 0;
        for (end, count) in BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]).zip(&self.buckets) {
            below += count.get();
            line(format!("{name}_bucket{{le=\"{end}\"}} {below}"));
        }
        let secs = Duration::from_nanos(self.nanoseconds.get()).as_secs_f64();
        line(format!("{name}_sum {secs}\n{name}_count {below}"));
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Whole.
    Answered,
    /// The client is to blame.
    Refused,
    /// This program is to blame, or had no room, or ended.
    Failed,
    /// The client went away.
    Abandoned,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Failed, Self::Abandoned];

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    outcomes: [Counter; Outcome::ALL.len()],
    requests: Counter,
    in_flight: AtomicUsize,
    /// Tokens of prompts, pictures included.
    pub(super) prompted: Counter,
    /// Sampled tokens.
    pub(super) generated: Counter,
    /// From the arrival of a request at the model to its first token.
    pub(super) first_token: Histogram,
    /// From a token of a sample to its next.
    pub(super) between_tokens: Histogram,
    /// From the arrival of a request to its end, however it ends.
    pub(super) whole: Histogram,
    load: Mutex<Load>,
}

/// A request while it is answered; without an outcome its client has gone away.
#[derive(Debug)]
pub(super) struct Flight {
    counts: Arc<Counts>,
    outcome: Outcome,
    came: std::time::Instant,
    /// Its number since the server started.
    pub(super) number: u64,
}

impl Flight {
    /// Says how it ends.
    pub(super) fn ends(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.counts.outcomes[self.outcome as usize].add(1);
        self.counts.whole.add(self.came.elapsed());
        self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    /// A request has come.
    pub(super) fn flight(self: &Arc<Self>) -> Flight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let number = self.requests.0.fetch_add(1, Ordering::Relaxed);
        let came = std::time::Instant::now();
        Flight { counts: Arc::clone(self), outcome: Outcome::Abandoned, came, number }
    }

    /// What the engine is busy with.
    pub(super) fn set_load(&self, load: Load) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    /// What the engine was busy with after its last step.
    pub(super) fn load(&self) -> Load {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that are being answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Everything in Prometheus' text format.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            // Writing into a text does not fail.
            _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (label, value) in values {
                _ = writeln!(out, "{name}{label} {value}");
            }
        };
        let outcomes: Vec<(String, u64)> = Outcome::ALL
            .iter()
            .map(|outcome| (format!("{{outcome=\"{}\"}}", outcome.name()), self.outcomes[*outcome as usize].get()))
            .collect();
        let outcomes: Vec<(&str, u64)> = outcomes.iter().map(|(label, count)| (label.as_str(), *count)).collect();
        family("sapo_requests_total", "counter", "Requests to the model that have ended, by outcome.", &outcomes);
        let in_flight = [("", self.in_flight() as u64)];
        family("sapo_requests_in_flight", "gauge", "Requests to the model that have not ended.", &in_flight);
        let tokens = [("{kind=\"prompt\"}", self.prompted.get()), ("{kind=\"generated\"}", self.generated.get())];
        family("sapo_tokens_total", "counter", "Tokens of prompts that were taken, and sampled tokens.", &tokens);
        let load = self.load();
        let samples = [("{state=\"running\"}", load.running as u64), ("{state=\"waiting\"}", load.waiting as u64)];
        family("sapo_samples", "gauge", "Answers that are being decoded, and those that wait for a place.", &samples);
        let blocks = [("{state=\"used\"}", load.used_blocks as u64), ("{state=\"total\"}", load.blocks as u64)];
        family("sapo_cache_blocks", "gauge", "Blocks of the cache that hold something, and all it may have.", &blocks);
        family("sapo_cache_block_bytes", "gauge", "Bytes of a block of the cache.", &[("", load.block_bytes as u64)]);
        for (name, help, histogram) in [
            ("sapo_time_to_first_token_seconds", "From a request's arrival to its first token.", &self.first_token),
            ("sapo_time_per_token_seconds", "From a token of an answer to the next.", &self.between_tokens),
            ("sapo_request_seconds", "From a request's arrival to its end.", &self.whole),
        ] {
            histogram.write(name, help, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_from_below_and_flights_end_once() {
        let counts = Arc::new(Counts::default());
        for millis in [1, 2, 400, 120_000] {
            counts.first_token.add(Duration::from_millis(millis));
        }
        let mut flight = counts.flight();
        let other = counts.flight();
        assert_eq!((flight.number, other.number, counts.in_flight()), (0, 1, 2));
        flight.ends(Outcome::Refused);
        drop((flight, other));
        let text = counts.text();
        for line in [
            "sapo_time_to_first_token_seconds_bucket{le=\"0.001\"} 1",
            "sapo_time_to_first_token_seconds_bucket{le=\"0.0025\"} 2",
            "sapo_time_to_first_token_seconds_bucket{le=\"0.25\"} 2",
            "sapo_time_to_first_token_seconds_bucket{le=\"60\"} 3",
            "sapo_time_to_first_token_seconds_bucket{le=\"+Inf\"} 4",
            "sapo_time_to_first_token_seconds_sum 120.403",
            "sapo_time_to_first_token_seconds_count 4",
            "sapo_requests_total{outcome=\"refused\"} 1",
            "sapo_requests_total{outcome=\"abandoned\"} 1",
            "sapo_requests_total{outcome=\"answered\"} 0",
            "sapo_requests_in_flight 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in:\n{text}");
        }
    }
}
