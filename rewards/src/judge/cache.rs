//! Verdicts that are known: equal questions are asked once, also when they come at the same time, and in the next run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::Fault;
use super::store::{Key, Store};
use super::watch::Watch;
use crate::verdict::Verdict;

pub(super) type Reply = std::result::Result<Verdict, Fault>;

/// Verdicts by what was asked.
#[derive(Default)]
pub(super) struct Cache {
    known: Mutex<Known>,
    hits: AtomicU64,
}

#[derive(Default)]
struct Known {
    asked: BTreeMap<Key, Arc<OnceCell<Reply>>>,
    /// From earlier runs.
    stored: BTreeMap<Key, Verdict>,
    store: Option<Store>,
}

impl Cache {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what earlier runs have kept in a folder, and keeps verdicts there from now on. Where that is not possible,
    /// they are kept in memory only, and the run is told.
    pub(super) fn open(&self, folder: &Path, name: &str, watch: &Watch) {
        let mut known = self.known();
        match Store::open(folder, name) {
            Ok(opened) => {
                opened.notes.into_iter().for_each(|note| watch.note(format!("judge cache: {note}")));
                known.stored = opened.records;
                known.store = Some(opened.store);
            }
            Err(error) => {
                let place = folder.display();
                watch.note(format!("judge cache: {place}: {error}; verdicts are kept in memory only"));
            }
        }
    }

    /// The verdict under a key; asks when it is not known, or `fits` refuses what was kept. A failure goes to everybody
    /// who waits for it, and is not kept: who asks later asks anew.
    pub(super) async fn get<F: Future<Output = Reply>>(
        &self,
        key: Key,
        watch: &Watch,
        fits: impl FnOnce(&Verdict) -> bool,
        ask: impl FnOnce() -> F,
    ) -> Reply {
        let cell = {
            let mut known = self.known();
            if let Some(verdict) = known.stored.get(&key).filter(|verdict| fits(verdict)) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(verdict.clone());
            }
            Arc::clone(known.asked.entry(key).or_default())
        };
        let mut mine = false;
        let verdict = cell
            .get_or_init(|| {
                mine = true;
                ask()
            })
            .await
            .clone();
        if !mine {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return verdict;
        }
        let mut known = self.known();
        match &verdict {
            Ok(verdict) => {
                if let Some(Err(note)) = known.store.as_mut().map(|store| store.keep(&key, verdict)) {
                    watch.note(format!("judge cache: {note}"));
                }
            }
            Err(_) => {
                known.asked.remove(&key);
            }
        }
        verdict
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Turns the file into another one.
    #[cfg(test)]
    pub(super) fn write_to(&self, file: std::fs::File) {
        let mut known = self.known();
        known.store = known.store.take().map(|store| store.writing_to(file));
    }
}
