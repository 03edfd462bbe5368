//! Wall time and ids of a simulation: tokio's paused clock plus a fixed epoch, and seeded UUIDs.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tradewind_proto::clock::{Clock, Ids};
use uuid::Uuid;

use crate::rng::Rng;

/// Second 0 of every simulation, 2026-01-01T00:00:00Z, in microseconds.
const EPOCH_US: i64 = 1_767_225_600_000_000;

/// The wall clock that everything in one world shares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimClock {
    zero: Instant,
}

impl SimClock {
    /// A clock that reads [`epoch`] now.
    pub(crate) fn start() -> Self {
        Self { zero: Instant::now() }
    }

    /// Virtual microseconds since the start.
    pub(crate) fn elapsed_us(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        at(i64::try_from(self.elapsed_us()).unwrap_or(i64::MAX))
    }
}

/// The instant some microseconds after the epoch.
pub(crate) fn at(us: i64) -> Timestamp {
    Timestamp::from_microsecond(EPOCH_US.saturating_add(us)).unwrap_or(Timestamp::MAX)
}

/// The instant that every simulation starts at; a full minute.
pub(crate) fn epoch() -> Timestamp {
    at(0)
}

/// Time-ordered ids whose random part is drawn from the seed.
#[derive(Debug, Clone)]
pub(crate) struct SimIds {
    pub(crate) rng: Arc<Rng>,
    pub(crate) clock: SimClock,
}

impl Ids for SimIds {
    fn next(&self) -> Uuid {
        let millis = u128::from((self.clock.now().as_microsecond() / 1000).unsigned_abs());
        let random = (u128::from(self.rng.next()) << 64) | u128::from(self.rng.next());
        let bits = (millis << 80) | (random >> 48);
        uuid::Builder::from_u128(bits)
            .with_version(uuid::Version::SortRand)
            .with_variant(uuid::Variant::RFC4122)
            .into_uuid()
    }
}
