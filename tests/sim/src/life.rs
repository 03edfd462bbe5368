//! One life of a simulated process. Everything that the process does to the outside passes its gate,
//! so that a crash or a freeze takes hold at whatever the process awaits.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tradewind_broker::Delivery;

use crate::lock;

/// A delivery held by a process; the connection takes it away when it breaks.
pub(crate) type Held = Arc<tokio::sync::Mutex<Option<Delivery>>>;

/// One life of a process.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    /// Killed: no call returns any more, none has an effect.
    pub(crate) dead: CancellationToken,
    /// Asked to end in order.
    pub(crate) shutdown: CancellationToken,
    frozen_until: Mutex<Option<Instant>>,
    /// When it was last frozen.
    last_frozen: Mutex<Option<Instant>>,
    held: Mutex<BTreeMap<u64, Held>>,
    next_held: Mutex<u64>,
    /// Counts broken connections: readers of the inbox compare it.
    breaks: Mutex<u64>,
    pub(crate) registry: prometheus::Registry,
}

impl Life {
    /// A new life.
    pub(crate) fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            dead: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            frozen_until: Mutex::default(),
            last_frozen: Mutex::default(),
            held: Mutex::default(),
            next_held: Mutex::default(),
            breaks: Mutex::default(),
            registry: prometheus::Registry::new(),
        })
    }

    /// Passes while the process lives and moves; waits out a freeze; never returns after a crash.
    pub(crate) async fn gate(&self) {
        loop {
            if self.dead.is_cancelled() {
                std::future::pending::<()>().await;
            }
            let until = *lock(&self.frozen_until);
            match until.filter(|until| *until > Instant::now()) {
                None => return,
                Some(until) => {
                    tokio::select! {
                        biased;
                        () = self.dead.cancelled() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// Runs a call on behalf of the process: begins it only while the process moves, drops it at
    /// whatever it awaits when the process dies, keeps its answer back while the process is frozen.
    pub(crate) async fn call<T>(&self, work: impl Future<Output = T>) -> T {
        self.gate().await;
        let answer = tokio::select! {
            biased;
            () = self.dead.cancelled() => std::future::pending().await,
            answer = work => answer,
        };
        self.gate().await;
        answer
    }

    /// Kills it: connections break.
    pub(crate) fn kill(&self) {
        self.dead.cancel();
        self.disconnect();
    }

    /// Stops it in its tracks.
    pub(crate) fn freeze(&self, until: Instant) {
        *lock(&self.frozen_until) = Some(until);
        *lock(&self.last_frozen) = Some(until);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        *lock(&self.frozen_until) = None;
    }

    /// Whether it was killed or frozen at or after an instant.
    pub(crate) fn suffered_since(&self, since: Instant) -> bool {
        self.dead.is_cancelled() || lock(&self.last_frozen).is_some_and(|at| at >= since)
    }

    /// Notes a delivery; returns its number.
    pub(crate) fn hold(&self, held: &Held) -> u64 {
        let mut next = lock(&self.next_held);
        *next += 1;
        lock(&self.held).insert(*next, Arc::clone(held));
        *next
    }

    /// A delivery has been settled.
    pub(crate) fn settled(&self, number: u64) {
        lock(&self.held).remove(&number);
    }

    /// Breaks its connections: deliveries go back. Returns how many did.
    pub(crate) fn disconnect(&self) -> u64 {
        *lock(&self.breaks) += 1;
        let held = std::mem::take(&mut *lock(&self.held));
        let mut broken = 0;
        for delivery in held.into_values() {
            match delivery.try_lock() {
                Ok(mut delivery) => broken += u64::from(delivery.take().is_some()),
                // Being settled now: the call may win, else the delivery goes back after it.
                Err(_) => {
                    let delivery = Arc::clone(&delivery);
                    tokio::spawn(async move { drop(delivery.lock().await.take()) });
                }
            }
        }
        broken
    }

    /// Rises when connections break.
    pub(crate) fn breaks(&self) -> u64 {
        *lock(&self.breaks)
    }
}
