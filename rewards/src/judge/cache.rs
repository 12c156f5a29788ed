//! Verdicts that are known: equal questions are asked once, also when they come at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::Fault;

type Asked = std::result::Result<bool, Fault>;

/// Verdicts by what was asked. One judge has one cache: model, prompt version and sampling are the same within.
#[derive(Default)]
pub(super) struct Cache {
    known: Mutex<BTreeMap<[u8; 32], Arc<OnceCell<Asked>>>>,
    hits: AtomicU64,
}

impl Cache {
    /// The verdict on a message; asks when it is not known. A failure goes to everybody who waits for it, and is not
    /// kept: who asks later asks anew.
    pub(super) async fn get<F: Future<Output = Asked>>(&self, message: &str, ask: impl FnOnce() -> F) -> Asked {
        let key: [u8; 32] = Sha256::digest(message.as_bytes()).into();
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(key).or_default())
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
        } else if verdict.is_err() {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.remove(&key);
        }
        verdict
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}
