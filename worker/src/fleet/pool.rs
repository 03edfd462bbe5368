//! Slots whose number can change while they are in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A resizable set of slots. Growing takes effect at once, shrinking as slots become free.
#[derive(Debug)]
pub struct Pool {
    slots: Arc<Semaphore>,
    size: Mutex<usize>,
    /// Slots in use that are to disappear.
    debt: AtomicUsize,
    busy: AtomicUsize,
}

/// The right to run one task.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
    occupied: bool,
}

impl Pool {
    /// A pool of `size` slots.
    pub fn new(size: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(size)),
            size: Mutex::new(size),
            debt: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        }
    }

    /// How many slots there are to be.
    pub fn size(&self) -> usize {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slots that something runs in. One that is only held ready for the next message is not busy.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Changes the number of slots; at least one stays.
    pub fn resize(&self, wanted: usize) {
        let wanted = wanted.max(1);
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted < *size {
            let fewer = *size - wanted;
            let gone = self.slots.forget_permits(fewer);
            self.debt.fetch_add(fewer - gone, Ordering::SeqCst);
        } else {
            let mut more = wanted - *size;
            while more > 0 && self.pay_debt() {
                more -= 1;
            }
            self.slots.add_permits(more);
        }
        *size = wanted;
    }

    /// Waits for a slot. Cancel-safe. `None` never happens while the pool lives.
    pub(crate) async fn one(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        Some(self.slot(permit))
    }

    /// A slot, if one is free.
    pub(crate) fn another(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(self.slot(permit))
    }

    fn slot(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Slot {
        Slot { pool: Arc::clone(self), permit: Some(permit), occupied: false }
    }

    fn pay_debt(&self) -> bool {
        let less = |debt: usize| debt.checked_sub(1);
        self.debt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl Slot {
    /// A message has come for it.
    pub(crate) fn occupy(&mut self) {
        if !std::mem::replace(&mut self.occupied, true) {
            self.pool.busy.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.occupied {
            self.pool.busy.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(permit) = self.permit.take()
            && self.pool.pay_debt()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Pool;

    #[test]
    fn shrinking_waits_for_busy_slots_and_growing_takes_it_back() {
        let pool = Arc::new(Pool::new(3));
        let mut held: Vec<_> = (0..3).map(|_| pool.another().expect("a slot")).collect();
        pool.resize(1);
        assert_eq!((pool.size(), pool.busy()), (1, 0), "held ready, not busy");
        held.iter_mut().for_each(super::Slot::occupy);
        assert_eq!((pool.size(), pool.busy()), (1, 3));
        held.pop();
        assert!(pool.another().is_none());
        pool.resize(2);
        assert!(pool.another().is_none(), "two are busy");
        held.pop();
        held.push(pool.another().expect("the second slot"));
        assert!(pool.another().is_none());
        pool.resize(3);
        assert!(pool.another().is_some());
        drop(held);
        let all: Vec<_> = std::iter::from_fn(|| pool.another()).collect();
        assert_eq!(all.len(), 3);
    }
}
