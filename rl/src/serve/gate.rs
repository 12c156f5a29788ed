//! How much may be in flight: requests, and the bytes that they hold.

use std::sync::{Arc, Mutex, PoisonError};

use super::fault::Fault;

/// What is in flight.
#[derive(Debug, Default)]
struct Held {
    requests: usize,
    bytes: usize,
}

/// Lets requests in as long as there is room.
#[derive(Debug)]
pub(super) struct Gate {
    held: Mutex<Held>,
    most_requests: usize,
    most_bytes: usize,
}

/// A request that was let in; its room is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Gate {
    /// Room for so many requests and bytes.
    pub(super) fn new(most_requests: usize, most_bytes: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::default(), most_requests, most_bytes })
    }

    /// Lets in a request with a body of so many bytes.
    pub(super) fn enter(self: &Arc<Self>, bytes: usize) -> Result<Pass, Fault> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.requests >= self.most_requests || (held.requests > 0 && held.bytes + bytes > self.most_bytes) {
            return Err(Fault::overloaded());
        }
        held.requests += 1;
        held.bytes += bytes;
        Ok(Pass { gate: Arc::clone(self), bytes })
    }
}

impl Pass {
    /// The request holds so many bytes from now on. One alone may hold more than there is room for.
    pub(super) fn holds(&mut self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.gate.held.lock().unwrap_or_else(PoisonError::into_inner);
        let others = held.bytes - self.bytes;
        if held.requests > 1 && others + bytes > self.gate.most_bytes {
            return Err(Fault::overloaded());
        }
        held.bytes = others + bytes;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut held = self.gate.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.requests -= 1;
        held.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_by_count_and_by_bytes_and_comes_back() {
        let gate = Gate::new(2, 10);
        let mut first = gate.enter(6).unwrap();
        assert_eq!(gate.enter(5).unwrap_err(), Fault::overloaded(), "too many bytes");
        let second = gate.enter(4).unwrap();
        assert_eq!(gate.enter(0).unwrap_err(), Fault::overloaded(), "too many requests");
        assert!(first.holds(7).is_err() && first.holds(2).is_ok());
        drop(second);
        first.holds(100).unwrap();
        assert!(gate.enter(1).is_err(), "one alone may be large, and nobody beside it");
        drop(first);
        drop(gate.enter(10).unwrap());
        assert!(gate.enter(11).is_ok(), "one alone may be large");
    }
}
