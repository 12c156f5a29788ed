//! Samples that wait for somebody else's turn, such as the result of a tool; others are decoded meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use sapo_policies::Context;

use super::row::Row;
use crate::request::{Follow, Next};

/// What was said after a turn of a sample: request, sample, and what follows.
type Said = (usize, usize, Next);

/// Samples that wait, by request and number.
pub(super) struct Following {
    waiting: BTreeMap<(usize, usize), Row>,
    say: Sender<Said>,
    heard: Receiver<Said>,
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Default for Following {
    fn default() -> Self {
        let (say, heard) = channel();
        Self { waiting: BTreeMap::new(), say, heard }
    }
}

impl Following {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Asks what follows the turns of a sample, on a thread of its own.
    pub(super) fn ask(&mut self, row: Row, follow: &Arc<dyn Follow>) {
        let (request, sample, turns) = (row.request, row.sample, row.turns().to_vec());
        let (follow, say) = (Arc::clone(follow), self.say.clone());
        let work = move || {
            // A fault of whoever follows must not leave its sample waiting for ever.
            let next = catch_unwind(AssertUnwindSafe(|| follow.follow(sample, &turns)));
            let next = next.unwrap_or_else(|_| Next::Fail("what follows the turn failed".to_owned()));
            // An error means that nobody listens any more.
            drop(say.send((request, sample, next)));
        };
        if let Err(error) = thread::Builder::new().name("turn".to_owned()).spawn(work) {
            drop(self.say.send((request, sample, Next::Fail(format!("no thread for what follows: {error}")))));
        }
        self.waiting.insert((request, sample), row);
    }

    /// What was said since; with `wait`, and when somebody waits, at least one.
    pub(super) fn heard(&mut self, wait: bool) -> Vec<(Row, Next)> {
        let mut all = Vec::new();
        while !self.waiting.is_empty() {
            let said = match wait && all.is_empty() {
                true => self.heard.recv().ok(),
                false => self.heard.try_recv().ok(),
            };
            let Some((request, sample, next)) = said else { break };
            // A request that was forgotten meanwhile has nobody who waits.
            all.extend(self.waiting.remove(&(request, sample)).map(|row| (row, next)));
        }
        all
    }

    /// Takes the samples of a request out.
    pub(super) fn forget(&mut self, request: usize) -> Vec<Row> {
        let of_request = self.waiting.extract_if((request, 0)..=(request, usize::MAX), |_, _| true);
        of_request.map(|(_, row)| row).collect()
    }

    /// What one of those who wait has read; it reads it again when it goes on.
    pub(super) fn forget_one(&mut self) -> Option<Context> {
        self.waiting.values_mut().rev().find_map(Row::forget)
    }
}
