//! What a judge has to tell its run: notes in passing, and the reason to stop.

use std::sync::{Mutex, PoisonError};

/// Notes that are kept until somebody takes them.
const MOST_NOTES: usize = 32;

/// A judge's word to its run.
#[derive(Debug, Default)]
pub(super) struct Watch {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    notes: Vec<String>,
    stop: Option<String>,
}

impl Watch {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that people should know.
    pub(super) fn note(&self, text: String) {
        let mut told = self.told();
        if told.notes.len() < MOST_NOTES {
            told.notes.push(text);
        }
    }

    /// The notes since the last time.
    pub(super) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.told().notes)
    }

    /// Nothing can be judged any more; the first reason counts.
    pub(super) fn stop(&self, reason: String) {
        self.told().stop.get_or_insert(reason);
    }

    /// Why nothing can be judged any more.
    pub(super) fn stopped(&self) -> Option<String> {
        self.told().stop.clone()
    }
}
