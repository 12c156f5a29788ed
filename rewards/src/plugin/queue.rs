//! The queue of a plugin: items arrive one by one, workers take what waits as batches.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sapo_datasets::Picture;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::score::PartScore;

/// How long a worker that has found an item waits for others to fill its batch.
const GATHER: Duration = Duration::from_millis(3);

/// An item as the plugin is told of it.
pub(super) struct Queued {
    pub(super) item: Value,
    /// The query's pictures, when the plugin wants their paths.
    pub(super) pictures: Vec<Picture>,
}

/// An item and who waits for its score.
struct Job {
    queued: Queued,
    done: oneshot::Sender<PartScore>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Items that wait for a worker.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Queue {
    /// Puts an item at the end. The receiver fails when the plugin ends before the item is scored.
    pub(super) fn push(&self, queued: Queued) -> oneshot::Receiver<PartScore> {
        let (done, score) = oneshot::channel();
        self.waiting().jobs.push_back(Job { queued, done });
        self.arrived.notify_one();
        score
    }

    /// Drops what waits and ends the workers.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.jobs.clear();
        self.arrived.notify_all();
    }

    /// Starts a thread that scores batches of at most `most` items until the queue is closed.
    pub(super) fn work<F>(self: &Arc<Self>, most: usize, mut score: F) -> std::io::Result<()>
    where
        F: FnMut(Vec<Queued>) -> Vec<PartScore> + Send + 'static,
    {
        let queue = Arc::clone(self);
        let thread = thread::Builder::new().name("reward".to_owned());
        thread.spawn(move || {
            while let Some(jobs) = queue.take(most) {
                let (asked, waiting): (Vec<Queued>, Vec<_>) =
                    jobs.into_iter().map(|job| (job.queued, job.done)).unzip();
                for (done, score) in waiting.into_iter().zip(score(asked)) {
                    // Who asked may have gone.
                    drop(done.send(score));
                }
            }
        })?;
        Ok(())
    }

    /// What waits, at most so many; `None` when the queue is closed.
    fn take(&self, most: usize) -> Option<Vec<Job>> {
        let mut waiting = self.waiting();
        loop {
            if waiting.closed {
                return None;
            }
            waiting.jobs.retain(|job| !job.done.is_closed());
            if waiting.jobs.is_empty() {
                waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let until = Instant::now() + GATHER;
            while waiting.jobs.len() < most && !waiting.closed {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            // Another worker may have taken them all.
            let count = waiting.jobs.len().min(most);
            if count > 0 {
                return Some(waiting.jobs.drain(..count).collect());
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(number: u64) -> Queued {
        Queued { item: number.into(), pictures: Vec::new() }
    }

    #[test]
    fn what_waits_is_taken_together_in_order_and_who_left_is_left_out() {
        let queue = Queue::default();
        let receivers: Vec<_> = (0..5).map(|number| queue.push(asked(number))).collect();
        drop(queue.push(asked(9)));
        let taken = |jobs: Vec<Job>| jobs.iter().map(|job| job.queued.item.as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(taken(queue.take(3).unwrap()), [0, 1, 2]);
        assert_eq!(taken(queue.take(8).unwrap()), [3, 4]);
        queue.close();
        assert!(queue.take(8).is_none());
        drop(receivers);
    }

    #[test]
    fn a_closed_queue_tells_who_waits() {
        let queue = Queue::default();
        let score = queue.push(asked(1));
        queue.close();
        assert!(score.blocking_recv().is_err());
    }
}
