//! Requests that wait for the model: a bounded line that its worker takes batches from.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::chat::Chat;
use super::fault::Fault;
use super::reply::Answered;

/// A request that waits, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    /// What is asked.
    pub(super) chat: Chat,
    /// Size of the body, which stands for the memory that it holds while it waits.
    pub(super) bytes: usize,
    /// Closed as soon as the client has gone away.
    pub(super) answer: oneshot::Sender<Result<Answered, Fault>>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests that wait.
    pub(super) waiting: usize,
    /// Requests that the worker took.
    pub(super) taken: u64,
    /// Requests whose client went away before they were taken.
    pub(super) abandoned: u64,
}

#[derive(Debug, Default)]
struct State {
    line: VecDeque<Job>,
    bytes: usize,
    closed: bool,
    taken: u64,
    abandoned: u64,
}

/// The line.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
    most_bytes: usize,
}

impl Queue {
    /// An empty line of at most `most` requests and `most_bytes` bytes.
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), most, most_bytes }
    }

    /// Puts a request at the end; a full line refuses it.
    pub(super) fn push(&self, job: Job) -> Result<(), Fault> {
        let mut state = self.lock();
        state.forget_abandoned();
        let bytes = state.bytes + job.bytes;
        if state.closed || state.line.len() >= self.most || bytes > self.most_bytes {
            return Err(Fault::overloaded());
        }
        state.bytes = bytes;
        state.line.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for requests and takes the oldest, with up to `most - 1` others that want the same sampling. `None` when
    /// the line is closed and empty.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            state.forget_abandoned();
            if let Some(first) = state.line.pop_front() {
                return Some(state.batch(first, most));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more; what waits is still answered.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// What happened so far.
    pub(super) fn counts(&self) -> Counts {
        let mut state = self.lock();
        state.forget_abandoned();
        Counts { waiting: state.line.len(), taken: state.taken, abandoned: state.abandoned }
    }

    // A panic of another thread leaves the line whole: nothing here stops halfway.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_abandoned(&mut self) {
        let before = self.line.len();
        self.line.retain(|job| !job.answer.is_closed());
        self.abandoned += (before - self.line.len()) as u64;
        self.count_bytes();
    }

    fn batch(&mut self, first: Job, most: usize) -> Vec<Job> {
        let mut batch = vec![first];
        let mut index = 0;
        while batch.len() < most && index < self.line.len() {
            if self.line[index].chat.sampling == batch[0].chat.sampling {
                batch.extend(self.line.remove(index));
            } else {
                index += 1;
            }
        }
        self.taken += batch.len() as u64;
        self.count_bytes();
        batch
    }

    fn count_bytes(&mut self) {
        self.bytes = self.line.iter().map(|job| job.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use sapo_rollouts::Sampling;

    use super::*;

    type Waiting = oneshot::Receiver<Result<Answered, Fault>>;

    fn job(seed: u64, max_new_tokens: usize, bytes: usize) -> (Job, Waiting) {
        let (answer, waiting) = oneshot::channel();
        let sampling = Sampling::greedy(max_new_tokens);
        let chat = Chat { messages: Vec::new(), pictures: Vec::new(), sampling, seed, samples: 1 };
        (Job { chat, bytes, answer }, waiting)
    }

    fn seeds(batch: Option<Vec<Job>>) -> Vec<u64> {
        batch.unwrap_or_default().iter().map(|job| job.chat.seed).collect()
    }

    #[test]
    fn a_batch_holds_the_oldest_and_those_like_it() {
        let queue = Queue::new(8, 100);
        let clients: Vec<Waiting> = [(1, 5), (2, 9), (3, 5), (4, 5)]
            .into_iter()
            .map(|(seed, tokens)| {
                let (job, waiting) = job(seed, tokens, 1);
                queue.push(job).unwrap();
                waiting
            })
            .collect();
        assert_eq!(seeds(queue.take(2)), [1, 3]);
        assert_eq!(seeds(queue.take(2)), [2]);
        assert_eq!(seeds(queue.take(1)), [4]);
        queue.close();
        assert!(queue.take(1).is_none());
        drop(clients);
    }

    #[test]
    fn a_full_line_refuses_by_count_and_by_bytes_until_clients_leave() {
        let queue = Queue::new(2, 10);
        let (first, client) = job(1, 5, 6);
        let (second, other) = job(2, 5, 4);
        queue.push(first).unwrap();
        let (large, large_client) = job(3, 5, 5);
        assert_eq!(queue.push(large), Err(Fault::overloaded()), "too many bytes");
        queue.push(second).unwrap();
        let (third, third_client) = job(3, 5, 0);
        assert_eq!(queue.push(third), Err(Fault::overloaded()), "too many requests");
        drop(client);
        let (fourth, fourth_client) = job(4, 5, 6);
        queue.push(fourth).unwrap();
        assert_eq!(queue.counts(), Counts { waiting: 2, taken: 0, abandoned: 1 });
        assert_eq!(seeds(queue.take(8)), [2, 4], "who has gone away is not answered");
        drop((other, large_client, third_client, fourth_client));
    }

    #[test]
    fn a_closed_line_is_emptied_first() {
        let queue = Queue::new(2, 10);
        let (waiting, client) = job(1, 5, 0);
        queue.push(waiting).unwrap();
        queue.close();
        let (late, late_client) = job(2, 5, 0);
        assert!(queue.push(late).is_err());
        assert_eq!(seeds(queue.take(1)), [1]);
        assert!(queue.take(1).is_none());
        drop((client, late_client));
    }
}
