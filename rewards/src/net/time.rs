//! Time as a client sees it: real, or one that tests move on without waiting.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A clock that sleeps.
#[derive(Default)]
pub(crate) struct Time {
    /// How much sleeping was skipped; `None` for real time.
    skipped: Option<Mutex<Duration>>,
}

impl Time {
    /// A clock whose sleepers wake at once, later.
    #[cfg(test)]
    pub(crate) fn skipping() -> Self {
        Self { skipped: Some(Mutex::default()) }
    }

    /// How much sleeping was skipped.
    #[cfg(test)]
    pub(crate) fn skipped(&self) -> Duration {
        self.skipped.as_ref().map(|skipped| *skipped.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default()
    }

    pub(crate) fn now(&self) -> Instant {
        let skipped = self.skipped.as_ref().map(|skipped| *skipped.lock().unwrap_or_else(PoisonError::into_inner));
        Instant::now() + skipped.unwrap_or_default()
    }

    pub(crate) async fn sleep_until(&self, at: Instant) {
        match &self.skipped {
            None => sleep_until(at).await,
            Some(skipped) => {
                let left = at.saturating_duration_since(self.now());
                *skipped.lock().unwrap_or_else(PoisonError::into_inner) += left;
                tokio::task::yield_now().await;
            }
        }
    }
}
