//! Celery's events and remote control, and scaling by demand: what `celery inspect`, `celery control`,
//! `celery events` and Flower see of a worker, and how they steer it.
//!
//! [`Remote`] runs beside the run core and shares a [`FleetState`](crate::fleet::FleetState) with it. It is
//! best effort: nothing here ever delays a task, and tasks need none of it. No gossip, no mingle: one
//! broadcast per heartbeat.

mod about;
mod arguments;
mod autoscale;
mod control;
mod descriptions;
mod dispatch;
mod events;
mod inspect;
mod mailbox;
mod options;
mod panel;
mod scrub;
mod service;
mod system;
#[cfg(test)]
mod tests;

pub use about::broker_info;
pub use autoscale::{Range, Scaler};
pub use options::RemoteOptions;
pub use scrub::scrub;
pub use service::{Remote, RemoteDeps, RemoteHandle};
