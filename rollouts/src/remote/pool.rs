//! The servers together: who is asked next, who rests, who is gone, and who is not asked any more.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::http::Server;

/// A server that asks for a longer pause is asked again after this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server that has lost its weights so often in a row is not asked any more.
const MOST_STALE: u32 = 3;
/// Notes that are kept until somebody takes them.
const MOST_NOTES: usize = 64;

/// How patiently servers are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Requests that one server is given at a time.
    pub(super) max_in_flight: usize,
    /// The longest pause after the first fault.
    pub(super) base: Duration,
    /// How long no server may answer.
    pub(super) gone: Duration,
}

/// Whether a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is.
    Up,
    /// It went away, and is looked at until it comes back.
    Down,
    /// It is not, for good.
    Out,
}

/// What is known of a server.
#[derive(Clone, Debug)]
struct Seat {
    place: Place,
    in_flight: usize,
    /// Faults in a row.
    faults: u32,
    /// Answers of wrong weights in a row.
    stale: u32,
    rest_until: Option<Instant>,
    last_fault: Option<String>,
}

/// All servers.
#[derive(Debug)]
pub(super) struct Pool {
    servers: Vec<Server>,
    patience: Patience,
    seats: Mutex<Vec<Seat>>,
    /// Since when no server has answered.
    gone_since: Mutex<Option<Instant>>,
    changed: Notify,
    notes: Mutex<Vec<String>>,
}

/// A place at a server, for one request.
pub(super) struct Flight {
    pool: Arc<Pool>,
    /// The number of the server.
    pub(super) index: usize,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.pool.seats()[self.index].in_flight -= 1;
        self.pool.changed.notify_waiters();
    }
}

/// Who can be asked now.
enum Choice {
    Chosen(usize),
    /// Nobody; look again when something changes, or then.
    Wait(Instant),
    Gone(String),
}

impl Pool {
    /// A pool of servers that are all up until they are found not to be.
    pub(super) fn new(servers: Vec<Server>, patience: Patience) -> Self {
        let seat = Seat { place: Place::Up, in_flight: 0, faults: 0, stale: 0, rest_until: None, last_fault: None };
        Self {
            seats: Mutex::new(vec![seat; servers.len()]),
            servers,
            patience,
            gone_since: Mutex::default(),
            changed: Notify::new(),
            notes: Mutex::default(),
        }
    }

    /// The servers.
    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a server is asked.
    pub(super) fn place(&self, index: usize) -> Place {
        self.seats()[index].place
    }

    /// The server with the fewest requests, as soon as one has room; not the one to avoid, if another has as few.
    ///
    /// # Errors
    /// When none has answered for too long: each with its last fault.
    pub(super) async fn choose(self: &Arc<Self>, avoid: Option<usize>) -> Result<Flight, String> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // What changes from here on wakes this one.
            changed.as_mut().enable();
            match self.choice(avoid) {
                Choice::Chosen(index) => return Ok(Flight { pool: Arc::clone(self), index }),
                Choice::Gone(reason) => return Err(reason),
                Choice::Wait(until) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn choice(&self, avoid: Option<usize>) -> Choice {
        let mut seats = self.seats();
        let now = Instant::now();
        let gone_at = self.gone_since().map(|since| since + self.patience.gone);
        // A long answer may still be on its way from a server that has refused another.
        let awaited = seats.iter().any(|seat| seat.place == Place::Up && seat.in_flight > 0);
        let overdue = gone_at.is_some_and(|at| at <= now) && !awaited;
        if overdue || seats.iter().all(|seat| seat.place == Place::Out) {
            return Choice::Gone(self.faults(&seats));
        }
        let open = |seat: &Seat| seat.place == Place::Up && seat.in_flight < self.patience.max_in_flight;
        let rested = |seat: &Seat| seat.rest_until.is_none_or(|until| until <= now);
        let free = seats.iter().enumerate().filter(|(_, seat)| open(seat) && rested(seat));
        if let Some((index, _)) = free.min_by_key(|(index, seat)| (seat.in_flight, Some(*index) == avoid, *index)) {
            seats[index].in_flight += 1;
            return Choice::Chosen(index);
        }
        let rests = seats.iter().filter(|seat| open(seat)).filter_map(|seat| seat.rest_until);
        let gone_at = gone_at.filter(|at| *at > now);
        Choice::Wait(rests.chain(gone_at).min().unwrap_or(now + LONGEST_PAUSE))
    }

    fn gone_since(&self) -> Option<Instant> {
        *self.gone_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps in mind since when nobody answers, and wakes who waits.
    fn settle(&self, seats: &[Seat]) {
        let none = seats.iter().all(|seat| seat.place != Place::Up || seat.faults > 0);
        let mut since = self.gone_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if none { Some(since.unwrap_or_else(Instant::now)) } else { None };
        drop(since);
        self.changed.notify_waiters();
    }

    /// Each server with its last fault.
    fn faults(&self, seats: &[Seat]) -> String {
        let secs = self.gone_since().map_or(0.0, |since| since.elapsed().as_secs_f64());
        let mut text = format!("no server has answered for {secs:.1} s");
        for (server, seat) in self.servers.iter().zip(seats) {
            let fault = seat.last_fault.as_deref().unwrap_or("it is still busy");
            _ = write!(text, "; {}: {fault}", server.base());
        }
        text
    }

    /// A server has answered well.
    pub(super) fn served(&self, index: usize) {
        let mut seats = self.seats();
        let seat = &mut seats[index];
        (seat.faults, seat.stale, seat.rest_until) = (0, 0, None);
        self.settle(&seats);
    }

    /// A server could not serve: it rests, as long as it says or longer with every fault.
    pub(super) fn busy(&self, index: usize, message: &str, after: Option<Duration>) {
        let mut seats = self.seats();
        let seat = &mut seats[index];
        seat.faults += 1;
        seat.last_fault = Some(message.to_owned());
        let pause = after.map_or_else(|| self.pause(index, seat.faults), |after| after.min(LONGEST_PAUSE));
        let until = Instant::now() + pause;
        seat.rest_until = Some(seat.rest_until.map_or(until, |rest| rest.max(until)));
        self.settle(&seats);
    }

    /// A server went away. Says whether it was up before, so that somebody must look when it comes back.
    pub(super) fn lost(&self, index: usize, message: &str) -> bool {
        let mut seats = self.seats();
        let seat = &mut seats[index];
        seat.faults += 1;
        seat.last_fault = Some(message.to_owned());
        let was_up = seat.place == Place::Up;
        if was_up {
            seat.place = Place::Down;
            self.note(format!("the engine {} is away: {message}", self.servers[index].base()));
        }
        self.settle(&seats);
        was_up
    }

    /// A server has answered with weights that are not the policy's: as [`Pool::lost`], but not for ever.
    pub(super) fn stale(&self, index: usize, message: &str) -> bool {
        let mut seats = self.seats();
        seats[index].stale += 1;
        let often = seats[index].stale > MOST_STALE;
        drop(seats);
        if often {
            self.leave(index, message);
            return false;
        }
        self.lost(index, message)
    }

    /// A server is not asked any more.
    pub(super) fn leave(&self, index: usize, message: &str) {
        let mut seats = self.seats();
        let seat = &mut seats[index];
        seat.faults += 1;
        seat.last_fault = Some(message.to_owned());
        if seat.place != Place::Out {
            seat.place = Place::Out;
            self.note(format!("the engine {} is not asked any more: {message}", self.servers[index].base()));
        }
        self.settle(&seats);
    }

    /// A server is there again.
    pub(super) fn back(&self, index: usize) {
        let mut seats = self.seats();
        let seat = &mut seats[index];
        if seat.place == Place::Down {
            seat.place = Place::Up;
            seat.rest_until = None;
            self.note(format!("the engine {} is back", self.servers[index].base()));
        }
        self.settle(&seats);
    }

    /// The pause after so many faults: at random below a bound that doubles, so that clients do not come back together.
    pub(super) fn pause(&self, index: usize, faults: u32) -> Duration {
        let mut hash = Sha256::new();
        hash.update(self.servers[index].base());
        hash.update(std::process::id().to_le_bytes());
        hash.update(faults.to_le_bytes());
        let drawn = hash.finalize();
        let share = f64::from(u16::from_le_bytes([drawn[0], drawn[1]])) / f64::from(u16::MAX);
        let longest = self.patience.base.saturating_mul(1 << faults.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
        longest.mul_f64(share)
    }

    fn note(&self, text: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MOST_NOTES {
            notes.push(text);
        }
    }

    /// What people should know since the last time.
    pub(super) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(servers: usize, patience: Patience) -> Arc<Pool> {
        let server = |port: usize| Server::new(&format!("http://127.0.0.1:{}", port + 1), None).expect("a URL");
        Arc::new(Pool::new((0..servers).map(server).collect(), patience))
    }

    fn patience(gone: u64) -> Patience {
        Patience { max_in_flight: 2, base: Duration::from_secs(8), gone: Duration::from_secs(gone) }
    }

    #[tokio::test]
    async fn the_one_with_the_fewest_requests_is_asked_and_none_has_too_many() {
        let pool = pool(2, patience(60));
        let mut flights = Vec::new();
        for wanted in [0, 1, 0, 1] {
            let flight = pool.choose(None).await.expect("a place");
            assert_eq!(flight.index, wanted);
            flights.push(flight);
        }
        assert!(matches!(pool.choice(None), Choice::Wait(_)), "both are full");
        flights.remove(1);
        assert_eq!(pool.choose(Some(1)).await.expect("a place").index, 1, "the one to avoid is better than none");
    }

    #[tokio::test]
    async fn pauses_double_up_to_a_limit_and_a_server_is_believed() {
        let pool = pool(1, patience(60));
        for faults in 1..40 {
            let longest = Duration::from_secs(8).saturating_mul(1 << (faults - 1).min(20)).min(LONGEST_PAUSE);
            assert!(pool.pause(0, faults) <= longest);
        }
        pool.busy(0, "full", Some(Duration::from_secs(3)));
        let Choice::Wait(until) = pool.choice(None) else { panic!("it rests") };
        let left = until - Instant::now();
        assert!(left > Duration::from_secs(2) && left <= Duration::from_secs(3), "{left:?}");
        pool.served(0);
        assert!(matches!(pool.choice(None), Choice::Chosen(0)));
    }

    #[tokio::test]
    async fn a_server_that_still_answers_another_request_is_not_gone() {
        let pool = pool(1, patience(0));
        let flight = pool.choose(None).await.expect("a place");
        pool.busy(0, "full", None);
        assert!(!matches!(pool.choice(None), Choice::Gone(_)));
        drop(flight);
        // The choice before may have taken the other place.
        pool.seats()[0].in_flight = 0;
        assert!(matches!(pool.choice(None), Choice::Gone(_)));
    }

    #[tokio::test]
    async fn when_nobody_answers_for_too_long_each_is_named_with_its_fault() {
        let pool = pool(2, patience(0));
        assert!(pool.lost(0, "it was switched off"));
        assert!(!pool.lost(0, "it was switched off"), "somebody looks after it already");
        assert!(matches!(pool.choice(None), Choice::Chosen(1)), "the other one is well");
        pool.leave(1, "it lies");
        let Choice::Gone(reason) = pool.choice(None) else { panic!("nobody is left") };
        assert!(reason.contains("127.0.0.1:1: it was switched off") && reason.contains("127.0.0.1:2: it lies"));
        assert_eq!(pool.take_notes().len(), 2);
        pool.back(0);
        assert_eq!((pool.place(0), pool.place(1)), (Place::Up, Place::Out));
        for _ in 0..MOST_STALE {
            assert!(pool.stale(0, "old weights"));
            pool.back(0);
        }
        assert!(!pool.stale(0, "old weights"));
        assert_eq!(pool.place(0), Place::Out, "it never takes the weights");
    }
}
