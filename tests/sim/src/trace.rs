//! What happened, in order, with virtual times; and a running hash of it, to compare two runs of a
//! seed.

use std::sync::Mutex;

use crate::lock;

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Virtual microseconds since the start.
    pub at_us: u64,
    /// What happened.
    pub text: String,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>4}.{:06} {}", self.at_us / 1_000_000, self.at_us % 1_000_000, self.text)
    }
}

#[derive(Debug)]
struct Inner {
    events: Vec<Event>,
    hash: u64,
    /// Keep every call, too.
    calls: bool,
}

/// The events of one simulation.
#[derive(Debug)]
pub(crate) struct Trace(Mutex<Inner>);

impl Trace {
    /// An empty trace, which keeps every single call if asked.
    pub(crate) fn new(calls: bool) -> Self {
        Self(Mutex::new(Inner { events: Vec::new(), hash: 0xcbf2_9ce4_8422_2325, calls }))
    }

    /// Records an event.
    pub(crate) fn add(&self, at_us: u64, text: String) {
        let mut inner = lock(&self.0);
        inner.mix(at_us, &text);
        inner.events.push(Event { at_us, text });
    }

    /// Records a call that took effect, usually in the hash only: too frequent to keep.
    pub(crate) fn call(&self, at_us: u64, who: &str, what: &str) {
        let mut inner = lock(&self.0);
        inner.mix(at_us, who);
        inner.mix(at_us, what);
        if inner.calls {
            inner.events.push(Event { at_us, text: format!("{who} calls {what}") });
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        lock(&self.0).hash
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.0).events)
    }
}

impl Inner {
    /// FNV-1a.
    fn mix(&mut self, at_us: u64, text: &str) {
        for byte in at_us.to_le_bytes().iter().chain(text.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
