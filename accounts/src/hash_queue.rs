//! The order in which sign-ins from unknown devices get a thread to check their password on.
//!
//! First come, first served would put the owner of an account behind every guess that waits. The attempt with the fewest recent
//! failures around its address is served first, and of equals the newest: when more attempts arrive than can be checked, the order
//! of arrival makes all of them wait until they time out. The number of passwords checked is the same.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Fewest failures first, then the newest.
type Rank = (u32, Reverse<u64>);

/// At most so many checks at the same time, in the order of the module's description.
#[derive(Clone, Debug)]
pub(crate) struct HashQueue {
    state: Arc<Mutex<QueueState>>,
}

#[derive(Debug)]
struct QueueState {
    free: usize,
    arrivals: u64,
    waiting: BTreeMap<Rank, oneshot::Sender<HashTurn>>,
}

/// The right to check one password; the next attempt gets it when this is dropped.
#[derive(Debug)]
pub(crate) struct HashTurn {
    /// `None` once passed on.
    queue: Option<HashQueue>,
}

/// Removes an attempt that is no longer awaited.
struct WaitingAttempt<'a> {
    queue: &'a HashQueue,
    rank: Rank,
}

impl HashQueue {
    /// At most `max` checks at the same time.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(QueueState {
                free: max,
                arrivals: 0,
                waiting: BTreeMap::new(),
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of an attempt with so many recent failures around its address.
    pub(crate) async fn turn(&self, failures_nearby: u32) -> HashTurn {
        let (sender, receiver) = oneshot::channel();
        let rank = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return HashTurn {
                    queue: Some(self.clone()),
                };
            }
            state.arrivals += 1;
            let rank = (failures_nearby, Reverse(state.arrivals));
            state.waiting.insert(rank, sender);
            rank
        };
        let _waiting = WaitingAttempt { queue: self, rank };
        match receiver.await {
            Ok(turn) => turn,
            // A sender is only dropped with the queue or by `WaitingAttempt`.
            Err(_) => std::future::pending().await,
        }
    }

    /// Attempts that wait for their turn.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}

impl Drop for HashTurn {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        loop {
            let mut state = queue.lock();
            let Some((_, next)) = state.waiting.pop_first() else {
                state.free += 1;
                return;
            };
            drop(state);
            let turn = HashTurn {
                queue: Some(queue.clone()),
            };
            match next.send(turn) {
                Ok(()) => return,
                // It stopped waiting; the turn is for another.
                Err(mut turn) => turn.queue = None,
            }
        }
    }
}

impl Drop for WaitingAttempt<'_> {
    fn drop(&mut self) {
        self.queue.lock().waiting.remove(&self.rank);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures::FutureExt;

    use super::*;

    type Turn<'a> = Pin<Box<dyn Future<Output = HashTurn> + 'a>>;

    /// Attempts with these failures, in the order in which they arrived.
    fn arrive<'a>(queue: &'a HashQueue, failures: &[u32]) -> Vec<Option<Turn<'a>>> {
        let arrive = |failures: &u32| {
            let mut turn: Turn<'a> = Box::pin(queue.turn(*failures));
            assert!(turn.as_mut().now_or_never().is_none(), "no turn is free");
            Some(turn)
        };
        failures.iter().map(arrive).collect()
    }

    /// Passes `turn` on until no attempt waits; the places of those that got it.
    fn order(mut turn: HashTurn, mut waiting: Vec<Option<Turn<'_>>>) -> Vec<usize> {
        let mut served = Vec::new();
        while waiting.iter().any(Option::is_some) {
            drop(turn);
            let next = waiting.iter_mut().enumerate().find_map(|(place, slot)| {
                let turn = slot.as_mut()?.as_mut().now_or_never()?;
                *slot = None;
                Some((place, turn))
            });
            let (place, passed) = next.expect("an attempt gets the turn");
            served.push(place);
            turn = passed;
        }
        served
    }

    #[test]
    fn the_fewest_failures_and_then_the_newest_come_first() {
        let queue = HashQueue::new(1);
        let turn = queue.turn(0).now_or_never().unwrap();
        let waiting = arrive(&queue, &[7, 7, 0, 90, 0, 1]);
        assert_eq!(order(turn, waiting), [4, 2, 5, 1, 0, 3]);
        assert!(queue.turn(0).now_or_never().is_some(), "the turn is free");
    }

    #[test]
    fn an_attempt_that_is_given_up_leaves_no_trace() {
        let queue = HashQueue::new(1);
        let turn = queue.turn(0).now_or_never().unwrap();
        let mut waiting = arrive(&queue, &[1, 2, 3]);
        waiting.remove(0);
        assert_eq!(queue.waiting(), 2);
        assert_eq!(order(turn, waiting), [0, 1]);
        // The turn was passed on, but the attempt is given up before it is used.
        let turn = queue.turn(0).now_or_never().unwrap();
        let waiting = arrive(&queue, &[1]);
        drop(turn);
        drop(waiting);
        assert!(queue.turn(0).now_or_never().is_some());
    }

    #[test]
    fn no_more_turns_than_permitted_exist() {
        let queue = HashQueue::new(2);
        let turns = [queue.turn(9), queue.turn(0)].map(|turn| turn.now_or_never().unwrap());
        assert!(queue.turn(0).now_or_never().is_none());
        assert_eq!(queue.waiting(), 0);
        drop(turns);
        let turns = [queue.turn(9), queue.turn(0)].map(|turn| turn.now_or_never().unwrap());
        assert!(queue.turn(0).now_or_never().is_none());
        drop(turns);
    }
}
