//! Limits on what a judge is asked: requests and tokens a minute, and what a run may spend in all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::config::{Budget, JudgeConfig};
use super::watch::Watch;

/// Tokens of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) reply: u64,
}

impl Usage {
    /// What an exchange may take before it is known: four characters a token is a fair guess.
    pub(super) fn guess(prompt: &str, reply_tokens: u32) -> Self {
        Self { prompt: (prompt.len() as u64).div_ceil(4), reply: reply_tokens.into() }
    }

    pub(super) fn total(self) -> u64 {
        self.prompt + self.reply
    }
}

/// A bucket that never lets more through in any minute than its limit: a tenth at once, the rest evenly.
struct Bucket {
    most: f64,
    per_sec: f64,
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn new(per_minute: u32) -> Self {
        let per_minute = f64::from(per_minute);
        let most = (per_minute / 10.0).max(1.0);
        Self { most, per_sec: (per_minute - most).max(per_minute / 2.0) / 60.0, level: most, at: None }
    }

    /// When an amount may go; it is not taken yet.
    fn free_at(&mut self, now: Instant, amount: f64) -> Instant {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.level = (self.level + passed.as_secs_f64() * self.per_sec).min(self.most);
        self.at = Some(now);
        let missing = (amount - self.level).max(0.0);
        now + Duration::from_secs_f64((missing / self.per_sec).min(86_400.0 * 365.0))
    }
}

/// Both buckets.
pub(super) struct Rates {
    requests: Option<Mutex<Bucket>>,
    tokens: Option<Mutex<Bucket>>,
}

impl Rates {
    pub(super) fn new(config: &JudgeConfig) -> Self {
        let bucket = |limit: Option<u32>| limit.map(|limit| Mutex::new(Bucket::new(limit)));
        Self { requests: bucket(config.requests_per_minute), tokens: bucket(config.tokens_per_minute) }
    }

    /// When a request with so many tokens may go; `None`, and nothing is taken, when that is too late.
    pub(super) fn reserve(&self, now: Instant, until: Instant, tokens: u64) -> Option<Instant> {
        let mut taken = Vec::with_capacity(2);
        let mut at = now;
        for (bucket, amount) in [(&self.requests, 1.0), (&self.tokens, tokens as f64)] {
            if let Some(bucket) = bucket {
                let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                at = at.max(bucket.free_at(now, amount));
                taken.push((bucket, amount));
            }
        }
        if at >= until {
            return None;
        }
        for (bucket, amount) in &mut taken {
            bucket.level -= *amount;
        }
        Some(at)
    }

    /// What the server counted in place of what was guessed.
    pub(super) fn correct(&self, guessed: u64, used: u64) {
        if let Some(tokens) = &self.tokens {
            tokens.lock().unwrap_or_else(PoisonError::into_inner).level += guessed as f64 - used as f64;
        }
    }
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    pub(super) calls: u64,
    pub(super) prompt_tokens: u64,
    pub(super) reply_tokens: u64,
}

/// The spending of a run.
pub(super) struct Spending {
    budget: Budget,
    before: Mutex<Spent>,
    spent: Mutex<Spent>,
    warned: Mutex<bool>,
}

/// From this share on, the run is told.
const WARN_AT: f64 = 0.8;

impl Spending {
    pub(super) fn new(budget: Option<Budget>) -> Self {
        let budget = budget.unwrap_or_default();
        Self { budget, before: Mutex::default(), spent: Mutex::default(), warned: Mutex::new(false) }
    }

    /// What this run has spent before it was resumed.
    pub(super) fn carry(&self, before: Spent) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = before;
    }

    /// What was spent since this judge was made.
    pub(super) fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one call, or says that the budget is used up.
    pub(super) fn admit(&self, watch: &Watch) -> Result<(), String> {
        let (share, what) = self.share();
        if share >= 1.0 {
            let reason = format!("the judge's budget is used up: {what}; raise `budget`, then go on with --resume");
            watch.stop(reason.clone());
            return Err(reason);
        }
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).calls += 1;
        self.warn(watch);
        Ok(())
    }

    pub(super) fn charge(&self, usage: Usage, watch: &Watch) {
        {
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            spent.prompt_tokens += usage.prompt;
            spent.reply_tokens += usage.reply;
        }
        self.warn(watch);
    }

    fn warn(&self, watch: &Watch) {
        let (share, what) = self.share();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if share >= WARN_AT && !*warned {
            *warned = true;
            watch.note(format!("the judge's budget is nearly used up: {what}; the run stops when it is"));
        }
    }

    /// The largest share of a limit that is spent, in words.
    fn share(&self) -> (f64, String) {
        let (before, now) = (*self.before.lock().unwrap_or_else(PoisonError::into_inner), self.spent());
        let prompt = (before.prompt_tokens + now.prompt_tokens) as f64;
        let reply = (before.reply_tokens + now.reply_tokens) as f64;
        let price = (prompt * self.budget.prompt_price + reply * self.budget.reply_price) / 1e6;
        let limits = [
            ((before.calls + now.calls) as f64, self.budget.calls.map(|limit| limit as f64), "calls"),
            (prompt + reply, self.budget.tokens.map(|limit| limit as f64), "tokens"),
            (price, self.budget.price, "in price"),
        ];
        let shares = limits.into_iter().filter_map(|(spent, limit, unit)| {
            limit.map(|limit| (spent / limit, format!("{spent} of {limit} {unit}")))
        });
        shares.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or((0.0, String::new()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(requests: Option<u32>, tokens: Option<u32>) -> Rates {
        Rates::new(&JudgeConfig { requests_per_minute: requests, tokens_per_minute: tokens, ..JudgeConfig::default() })
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_than_the_limit(
            limit in 1_u32..200,
            gaps in prop::collection::vec(0_u64..3_000, 1..150),
        ) {
            let rates = rates(Some(limit), None);
            let mut now = Instant::now();
            let far = now + Duration::from_secs(1_000_000);
            let mut sent: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                sent.push(rates.reserve(now, far, 0).unwrap());
            }
            for start in &sent {
                let within = |at: &&Instant| **at >= *start && **at < *start + Duration::from_secs(60);
                prop_assert!(sent.iter().filter(within).count() <= limit as usize);
            }
        }
    }

    #[test]
    fn tokens_are_corrected_and_what_comes_too_late_takes_nothing() {
        let rates = rates(None, Some(6_000));
        let now = Instant::now();
        let minute = now + Duration::from_secs(60);
        assert_eq!(rates.reserve(now, minute, 600), Some(now), "a tenth of a minute's tokens goes at once");
        let wait = rates.reserve(now, minute, 900).unwrap() - now;
        assert!((wait.as_secs_f64() - 10.0).abs() < 0.01, "{wait:?}");
        assert_eq!(rates.reserve(now, minute, 6_000), None);
        // The second exchange took nothing after all.
        rates.correct(900, 0);
        let wait = rates.reserve(now, minute, 900).unwrap() - now;
        assert!((wait.as_secs_f64() - 10.0).abs() < 0.01, "{wait:?}");
    }

    #[test]
    fn a_budget_warns_once_and_then_stops() {
        let watch = Watch::default();
        let spending = Spending::new(Some(Budget { calls: Some(5), ..Budget::default() }));
        for call in 1..=5 {
            spending.admit(&watch).unwrap();
            assert_eq!(watch.take_notes().len(), usize::from(call == 4), "call {call}");
        }
        assert_eq!(watch.stopped(), None);
        assert!(spending.admit(&watch).unwrap_err().contains("5 of 5 calls"));
        assert!(watch.stopped().is_some());
        assert_eq!(spending.spent().calls, 5);

        let priced = Budget { price: Some(2.0), prompt_price: 1.0, reply_price: 10.0, ..Budget::default() };
        let spending = Spending::new(Some(priced));
        spending.carry(Spent { calls: 7, prompt_tokens: 500_000, reply_tokens: 0 });
        let watch = Watch::default();
        spending.admit(&watch).unwrap();
        spending.charge(Usage { prompt: 0, reply: 150_000 }, &watch);
        assert!(spending.admit(&watch).unwrap_err().contains("2 of 2 in price"));
    }
}
