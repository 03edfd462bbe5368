//! What the cross-crate tests share: real processes of the binary, real servers, real DAG files.

pub mod amqp_recorder;
pub mod celery;
pub mod celery_suite;
pub mod cli;
pub mod collector;
pub mod dags;
pub mod fleet;
pub mod fleet_tasks;
pub mod fleet_worker;
pub mod fuzz;
pub mod http;
pub mod ledger;
pub mod poll;
pub mod soak;
pub mod suite_tasks;
