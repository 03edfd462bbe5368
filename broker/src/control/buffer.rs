//! What a subscription has received and its owner has not read yet: bounded, the oldest goes first.
//!
//! A task of the driver fills it, so that a slow reader costs memory only up to the bounds and never
//! holds up the link.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Error;

/// Text of unread items together, as it came over the wire.
const BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Buffer<T> {
    what: &'static str,
    items_max: usize,
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    dropped: u64,
    /// Not told to the reader yet.
    error: Option<Error>,
    closed: bool,
}

impl<T> Buffer<T> {
    pub(super) fn new(what: &'static str, items_max: usize) -> Self {
        let state =
            State { items: VecDeque::new(), bytes: 0, dropped: 0, error: None, closed: false };
        Self { what, items_max, state: Mutex::new(state), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what came in one message of `bytes`.
    pub(super) fn push(&self, items: Vec<T>, bytes: usize) {
        let each = bytes / items.len().max(1);
        let mut state = self.lock();
        for item in items {
            state.items.push_back((item, each));
            state.bytes += each;
        }
        let before = state.dropped;
        while state.items.len() > self.items_max || state.bytes > BYTES_MAX {
            let Some((_, bytes)) = state.items.pop_front() else { break };
            state.bytes -= bytes;
            state.dropped += 1;
        }
        let count = state.dropped;
        drop(state);
        // Once per doubling: a reader that is too slow for long must not fill the log.
        if count.checked_ilog2() != before.checked_ilog2() {
            tracing::warn!(what = self.what, count, "a slow reader lost the oldest items");
        }
        self.changed.notify_one();
    }

    /// Tells the reader what is wrong; the latest error stands.
    pub(super) fn fail(&self, error: Error) {
        self.lock().error = Some(error);
        self.changed.notify_one();
    }

    /// Nothing comes any more; what is here can still be read.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Items lost because the reader was too slow.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Waits for at least one item and takes up to `max`. Cancel-safe. For one reader.
    pub(super) async fn take(&self, max: usize) -> Result<Vec<T>, Error> {
        loop {
            if let Some(ready) = self.take_now(max) {
                return ready;
            }
            self.changed.notified().await;
        }
    }

    fn take_now(&self, max: usize) -> Option<Result<Vec<T>, Error>> {
        let mut state = self.lock();
        if state.items.is_empty() {
            let error = state.error.take();
            return error.or(state.closed.then_some(Error::Closed)).map(Err);
        }
        let count = max.min(state.items.len());
        let taken: Vec<(T, usize)> = state.items.drain(..count).collect();
        state.bytes -= taken.iter().map(|(_, bytes)| bytes).sum::<usize>();
        Some(Ok(taken.into_iter().map(|(item, _)| item).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_are_dropped_and_counted() {
        let buffer = Buffer::new("numbers", 3);
        buffer.push(vec![1, 2], 2);
        buffer.push(vec![3, 4, 5], 3);
        assert_eq!(buffer.take(2).await, Ok(vec![3, 4]));
        assert_eq!(buffer.take(9).await, Ok(vec![5]));
        assert_eq!(buffer.dropped(), 2);
    }

    #[tokio::test]
    async fn large_items_are_bounded_by_their_bytes() {
        let buffer = Buffer::new("texts", 1_000_000);
        for n in 0..40 {
            buffer.push(vec![n], 1024 * 1024);
        }
        assert_eq!(buffer.dropped(), 8);
        assert_eq!(buffer.take(1).await, Ok(vec![8]));
    }

    #[tokio::test]
    async fn errors_come_after_items_and_once_and_the_end_last() {
        let buffer = Buffer::new("numbers", 3);
        let error = Error::Unavailable { service: "Redis", reason: "gone".to_owned() };
        buffer.fail(error.clone());
        buffer.push(vec![1], 1);
        buffer.close();
        assert_eq!(buffer.take(9).await, Ok(vec![1]));
        assert_eq!(buffer.take(9).await, Err(error));
        assert_eq!(buffer.take(9).await, Err(Error::Closed));
    }
}
