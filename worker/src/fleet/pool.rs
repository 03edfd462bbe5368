//! Slots whose number can change while they are in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tasks that run or whose outcome is not safe yet, as a multiple of the slots: several batches, so that the
/// servers store the outcomes of one while another one runs.
pub(crate) const PLACES_PER_SLOT: u16 = 16;

/// A resizable set of slots. Growing takes effect at once, shrinking as slots become free.
#[derive(Debug)]
pub struct Pool {
    slots: Permits,
    /// For what runs or is to be reported; grows and shrinks with the slots.
    places: Permits,
    busy: AtomicUsize,
}

/// The right to run one task.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Arc<Pool>,
    permit: Option<Permit>,
    occupied: bool,
}

/// The right to hold one task until its outcome is safe.
#[derive(Debug)]
pub(crate) struct Place {
    /// None where the pool has shrunk since the message was asked for.
    _permit: Option<Permit>,
}

impl Pool {
    /// A pool of `size` slots.
    pub fn new(size: usize) -> Self {
        Self {
            slots: Permits::new(size),
            places: Permits::new(size.max(1) * usize::from(PLACES_PER_SLOT)),
            busy: AtomicUsize::new(0),
        }
    }

    /// How many slots there are to be.
    pub fn size(&self) -> usize {
        *self.slots.0.size()
    }

    /// Slots that something runs in. One that is only held ready for the next message is not busy.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Changes the number of slots; at least one stays.
    pub fn resize(&self, wanted: usize) {
        let wanted = wanted.max(1);
        self.places.resize(wanted * usize::from(PLACES_PER_SLOT));
        self.slots.resize(wanted);
    }

    /// Waits for a slot. Cancel-safe. `None` never happens while the pool lives.
    pub(crate) async fn one(self: &Arc<Self>) -> Option<Slot> {
        let permit = self.slots.one().await?;
        Some(self.slot(permit))
    }

    /// A slot, if one is free.
    pub(crate) fn another(self: &Arc<Self>) -> Option<Slot> {
        let permit = self.slots.another()?;
        Some(self.slot(permit))
    }

    /// Waits for a place. As [`Pool::one`].
    pub(crate) async fn place(&self) -> Option<Place> {
        Some(Place { _permit: Some(self.places.one().await?) })
    }

    /// A place for a message that has come.
    pub(crate) fn next_place(&self) -> Place {
        Place { _permit: self.places.another() }
    }

    /// Slots that are free now.
    pub(crate) fn free(&self) -> usize {
        self.slots.0.free.available_permits()
    }

    /// Places that are free now.
    pub(crate) fn free_places(&self) -> usize {
        self.places.0.free.available_permits()
    }

    /// No slot yet: one that is to be had later.
    pub(crate) fn later(self: &Arc<Self>) -> Slot {
        Slot { pool: Arc::clone(self), permit: None, occupied: false }
    }

    fn slot(self: &Arc<Self>, permit: Permit) -> Slot {
        Slot { pool: Arc::clone(self), permit: Some(permit), occupied: false }
    }
}

impl Slot {
    /// Whether it is there, and was not given back.
    pub(crate) fn is_held(&self) -> bool {
        self.permit.is_some()
    }

    /// Takes a free one for a message that has come, if there is one.
    pub(crate) fn claim(&mut self) -> bool {
        if self.permit.is_none() {
            self.permit = self.pool.slots.another();
        }
        self.occupy();
        self.is_held()
    }

    /// Waits for one, for a message that has come. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        if self.permit.is_none() {
            self.permit = self.pool.slots.one().await;
        }
        self.occupy();
    }

    /// Takes it out, for the next message.
    pub(crate) fn pass_on(&mut self) -> Self {
        let pool = Arc::clone(&self.pool);
        let occupied = std::mem::take(&mut self.occupied);
        Self { pool, permit: self.permit.take(), occupied }
    }

    /// A message has come for it.
    pub(crate) fn occupy(&mut self) {
        if self.is_held() && !std::mem::replace(&mut self.occupied, true) {
            self.pool.busy.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives it back; nothing if that was done.
    pub(crate) fn free(&mut self) {
        if std::mem::take(&mut self.occupied) {
            self.pool.busy.fetch_sub(1, Ordering::Relaxed);
        }
        self.permit = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free();
    }
}

/// A semaphore whose size can change while its permits are out.
#[derive(Debug)]
struct Permits(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    free: Arc<Semaphore>,
    size: Mutex<usize>,
    /// Permits in use that are to disappear.
    debt: AtomicUsize,
}

#[derive(Debug)]
struct Permit {
    of: Arc<Counted>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Permits {
    fn new(size: usize) -> Self {
        let free = Arc::new(Semaphore::new(size));
        Self(Arc::new(Counted { free, size: Mutex::new(size), debt: AtomicUsize::new(0) }))
    }

    fn resize(&self, wanted: usize) {
        let mut size = self.0.size();
        if wanted < *size {
            let fewer = *size - wanted;
            let gone = self.0.free.forget_permits(fewer);
            self.0.debt.fetch_add(fewer - gone, Ordering::SeqCst);
        } else {
            let mut more = wanted - *size;
            while more > 0 && self.0.pay_debt() {
                more -= 1;
            }
            self.0.free.add_permits(more);
        }
        *size = wanted;
    }

    async fn one(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.0.free).acquire_owned().await.ok()?;
        Some(Permit { of: Arc::clone(&self.0), permit: Some(permit) })
    }

    fn another(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.0.free).try_acquire_owned().ok()?;
        Some(Permit { of: Arc::clone(&self.0), permit: Some(permit) })
    }
}

impl Counted {
    fn size(&self) -> MutexGuard<'_, usize> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pay_debt(&self) -> bool {
        let less = |debt: usize| debt.checked_sub(1);
        self.debt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.of.pay_debt()
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
