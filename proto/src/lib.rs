//! What crosses a process boundary: ids, task messages, outcomes, serialized DAGs, execution-API
//! bodies, codecs, names and size limits.
//!
//! Nothing here does I/O or is async, and nothing here decides: rules live in `tradewind-engine`.

pub mod celery;
pub mod clock;
pub mod codec;
pub mod dag;
pub mod execution;
pub mod headers;
pub mod ids;
pub mod labels;
pub mod limits;
pub mod message;
pub mod names;
pub mod seal;
pub mod sign;
pub mod state;
pub mod workload;

pub use clock::{Clock, Ids};
pub use ids::{AttemptId, TaskKey};
pub use jiff::Timestamp;
