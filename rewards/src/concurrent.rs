//! Waiting for many things at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// What is waited for, or what came of it.
enum Slot<'a, T> {
    Waiting(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
    Done(T),
}

/// Waits for all futures side by side; the results are in their order.
pub(crate) async fn all<'a, T: Unpin, F: Future<Output = T> + Send + 'a>(futures: Vec<F>) -> Vec<T> {
    let mut slots: Vec<Slot<'a, T>> = futures.into_iter().map(|future| Slot::Waiting(Box::pin(future))).collect();
    poll_fn(|context| {
        let mut pending = false;
        for slot in &mut slots {
            if let Slot::Waiting(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *slot = Slot::Done(value),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let done = slots.into_iter().filter_map(|slot| match slot {
        Slot::Done(value) => Some(value),
        Slot::Waiting(_) => None,
    });
    done.collect()
}
