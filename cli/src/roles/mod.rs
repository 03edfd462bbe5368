//! The processes: each role builds its components from the configuration and runs until a signal.

pub(crate) mod any_queue;
pub(crate) mod api_heartbeat;
pub(crate) mod beat;
pub(crate) mod embedded;
mod embedded_fleet;
pub(crate) mod fleet_tasks;
pub(crate) mod flower;
pub(crate) mod guard;
pub(crate) mod local_api;
pub(crate) mod ops;
pub(crate) mod options;
pub(crate) mod pulse;
mod remote;
pub(crate) mod scheduler;
pub(crate) mod signals;
pub(crate) mod standalone;
pub(crate) mod web;
pub(crate) mod worker;
