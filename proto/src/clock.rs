//! The two sources of non-determinism that every component takes as an argument: wall time and ids.
//!
//! Sleeping is not here: components sleep on tokio's clock, which tests pause and advance.

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

/// Wall-clock time, UTC.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present instant. May step backwards when the host's clock does.
    fn now(&self) -> Timestamp;
}

/// New unique ids.
pub trait Ids: Debug + Send + Sync + 'static {
    /// A fresh id; time-ordered (UUID version 7) outside tests.
    fn next(&self) -> Uuid;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Random time-ordered ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A clock handle shared by the parts of one process.
pub type SharedClock = Arc<dyn Clock>;
/// An id source shared by the parts of one process.
pub type SharedIds = Arc<dyn Ids>;

/// Microseconds since the Unix epoch, the unit of every time in wire structs and databases.
pub fn to_micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The inverse of [`to_micros`]; out-of-range values are clamped to the representable range.
pub fn from_micros(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(if us < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
