//! Trying again: how often, until when, and after which pause.
//!
//! Pauses double and are drawn at random below that (full jitter), so that clients which failed together do not come back
//! together. A server that says when to come back is believed up to a limit.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::time::Time;

/// Longest pause between two tries, in seconds.
const LONGEST_PAUSE_SECS: f64 = 30.0;

/// How long and how often a server is tried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patience {
    /// The time for all tries.
    pub(crate) deadline: Duration,
    /// Tries at most.
    pub(crate) tries: u32,
    /// The second try comes within so many seconds, the next within twice, ...
    pub(crate) base_secs: f64,
    /// A server that asks for a longer pause is asked again after this one.
    pub(crate) longest_after: Duration,
    /// Of the jitter.
    pub(crate) seed: u64,
}

impl Patience {
    /// One try within a deadline.
    pub(crate) fn within(deadline: Duration) -> Self {
        let longest_after = Duration::from_secs_f64(LONGEST_PAUSE_SECS);
        Self { deadline, tries: 1, base_secs: 0.5, longest_after, seed: 0 }
    }

    /// The pause after so many tries: drawn by the seed and the message alone, so that a run can be repeated.
    fn pause(&self, message: &str, tries: u32) -> Duration {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(tries.to_le_bytes());
        hash.update(message.as_bytes());
        let drawn = hash.finalize();
        let share = f64::from(u16::from_le_bytes([drawn[0], drawn[1]])) / f64::from(u16::MAX);
        let longest = (self.base_secs * 2_f64.powi(tries.min(30) as i32 - 1)).min(LONGEST_PAUSE_SECS);
        Duration::from_secs_f64(longest * share)
    }
}

/// Why there is no further try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMore {
    /// There were so many, and no more are allowed.
    Tries(u32),
    /// The deadline comes before the next one.
    Time,
}

/// The tries of one message.
pub(crate) struct Retry<'a> {
    patience: &'a Patience,
    time: &'a Time,
    message: &'a str,
    until: Instant,
    tries: u32,
}

impl<'a> Retry<'a> {
    /// Starts the clock.
    pub(crate) fn new(patience: &'a Patience, time: &'a Time, message: &'a str) -> Self {
        Self { patience, time, message, until: time.now() + patience.deadline, tries: 0 }
    }

    /// When all tries must have ended.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(self.time.now())
    }

    /// Waits for the next try after one at which the server could not serve; it may have said for how long.
    pub(crate) async fn wait(&mut self, after: Option<Duration>) -> Result<(), NoMore> {
        self.tries += 1;
        if self.tries >= self.patience.tries {
            return Err(NoMore::Tries(self.tries));
        }
        let drawn = || self.patience.pause(self.message, self.tries);
        let pause = after.map_or_else(drawn, |after| after.min(self.patience.longest_after));
        let again = self.time.now() + pause;
        if again >= self.until {
            return Err(NoMore::Time);
        }
        self.time.sleep_until(again).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::tests::now;

    fn patience() -> Patience {
        Patience { tries: 4, base_secs: 1.0, ..Patience::within(Duration::from_secs(100)) }
    }

    #[test]
    fn pauses_double_and_are_drawn_again_alike() {
        let patience = patience();
        for tries in 1..40 {
            let longest = 2_f64.powi(tries as i32 - 1).min(LONGEST_PAUSE_SECS);
            assert!(patience.pause("m", tries).as_secs_f64() <= longest);
            assert_eq!(patience.pause("m", tries), patience.pause("m", tries));
        }
        let drawn: Vec<Duration> = (0..50).map(|seed| Patience { seed, ..patience.clone() }.pause("m", 3)).collect();
        assert!(drawn.iter().any(|pause| pause.as_secs_f64() < 1.0) && drawn.iter().any(|p| p.as_secs_f64() > 3.0));
    }

    #[tokio::test]
    async fn a_server_is_believed_up_to_a_limit_and_the_deadline_holds() {
        let patience = Patience { longest_after: Duration::from_secs(2), ..patience() };
        let time = Time::skipping();
        let mut retry = Retry::new(&patience, &time, "m");
        assert_eq!(retry.wait(Some(Duration::from_secs(86_400))).await, Ok(()));
        assert!((1.9..2.1).contains(&time.skipped().as_secs_f64()));
        assert_eq!(retry.wait(Some(Duration::ZERO)).await, Ok(()));
        assert_eq!(retry.wait(None).await, Ok(()));
        assert_eq!(retry.wait(None).await, Err(NoMore::Tries(4)));
        let short = Patience { deadline: Duration::from_secs(1), ..patience };
        assert_eq!(now(Retry::new(&short, &time, "m").wait(Some(Duration::from_secs(1)))), Err(NoMore::Time));
    }
}
