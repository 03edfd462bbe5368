//! Talking to the fleet's workers: `inspect`, `control`, `status`, `events`. Texts and exit codes are
//! Celery's, so that scripts and health checks work unchanged.

mod ask;
mod commands;
mod events;
mod reply;

pub(crate) use ask::{control, inspect, status};
pub(crate) use events::events;
