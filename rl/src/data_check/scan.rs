//! All rows of a source, read and looked at on as many threads as there are cores, and handed over in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use sapo_datasets::{Dataset, DatasetError, Example};

use crate::error::{Result, RunError};

/// Rows that a thread takes at once.
const BLOCK: u64 = 32;

/// Looks at the first `rows` rows of a source and hands what was seen to `take`, in order, on this thread. Rows are
/// dropped as soon as they have been looked at.
///
/// # Errors
/// What `take` gives, which ends it; or when a thread died.
pub fn in_order<T: Send>(
    dataset: &Dataset,
    rows: u64,
    look: &(impl Fn(u64, std::result::Result<Example, DatasetError>) -> T + Sync),
    take: &mut dyn FnMut(T) -> Result<()>,
) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, receiver) = sync_channel(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, stopped) = (sender.clone(), &next, &stopped);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let block = next.fetch_add(1, Ordering::Relaxed);
                    let from = block.saturating_mul(BLOCK);
                    if from >= rows {
                        return;
                    }
                    let mut seen = Vec::with_capacity(BLOCK as usize);
                    dataset.visit(from, BLOCK.min(rows - from), &mut |index, example| seen.push(look(index, example)));
                    // Nobody listens any more after an error.
                    if sender.send((block, seen)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut wanted) = (BTreeMap::new(), 0);
        let mut handed = 0;
        for (block, seen) in receiver {
            waiting.insert(block, seen);
            while let Some(seen) = waiting.remove(&wanted) {
                wanted += 1;
                for one in seen {
                    handed += 1;
                    if let Err(error) = take(one) {
                        stopped.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        }
        match handed == rows {
            true => Ok(()),
            false => Err(RunError::Internal(format!("{handed} of {rows} rows were looked at"))),
        }
    })
}

#[cfg(test)]
mod tests {
    use sapo_datasets::{OpenContext, SourceConfig};

    use super::*;

    fn clocks() -> Dataset {
        let source = SourceConfig { source: "synthetic:arith[0:500]".to_owned(), ..SourceConfig::default() };
        Dataset::open("arith", &source, &OpenContext::default()).unwrap()
    }

    #[test]
    fn every_row_comes_once_and_in_order() {
        for rows in [0, 1, 31, 32, 33, 500] {
            let mut seen = Vec::new();
            let look = |index, example: std::result::Result<Example, DatasetError>| (index, example.unwrap().query.id);
            in_order(&clocks(), rows, &look, &mut |one| {
                seen.push(one);
                Ok(())
            })
            .unwrap();
            assert!(seen.iter().map(|(index, _)| *index).eq(0..rows), "{rows}");
            assert!(seen.iter().all(|(index, id)| id.ends_with(&format!("-{index}"))));
        }
    }

    #[test]
    fn an_error_ends_it() {
        let mut seen = 0;
        let done = in_order(&clocks(), 500, &|index, _| index, &mut |index| {
            seen += 1;
            if index == 40 { Err(RunError::User("enough".to_owned())) } else { Ok(()) }
        });
        assert_eq!((done.unwrap_err().to_string().as_str(), seen), ("enough", 41));
    }
}
