//! Durable task queues and results: the seams and their drivers.
//!
//! Drivers: queues on memory, RabbitMQ (lapin) and Redis; results on memory, Redis, Postgres and RPC
//! reply queues. Driver types never leave their folder. Nothing here knows what a task is for.

pub mod bare;
mod canary;
pub mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod control;
pub mod coordination;
mod dead;
mod delivery;
mod error;
mod limits;
mod memory;
mod open;
mod options;
mod order;
mod queue;
mod rabbitmq;
mod redis;
pub mod results;
mod routing;
pub mod sealed;
mod slots;
mod tls;
pub mod trace;

pub use canary::Canary;
pub use client::{Client, ClientError, ClientOptions, Route, Routes, TaskCall, TaskHandle};
pub use control::{BusOptions, ControlBus, EventStream, Mailbox, MemoryBus, Reply, open_bus};
pub use coordination::{Coordinator, CoordinatorOptions, open_coordinator, open_coordinator_with};
pub use dead::{DeadLetter, Selection};
pub use delivery::{Arrived, Delivery, Payload, Settle};
pub use error::Error;
pub use memory::MemoryBroker;
pub use open::open;
pub use options::BrokerOptions;
pub use order::QueueOrder;
pub use queue::{Broker, Capabilities, Consumer, Outgoing, QueueKind, QueueStats};
pub use rabbitmq::RabbitBroker;
pub use redis::RedisBroker;
pub use results::{
    Inbox, InboxItem, Join, JoinPart, MemoryResults, Put, ResultBackend, ResultOptions,
    StoredResult, open_results,
};
pub use routing::{ExchangeType, QueueBinding};
pub use sealed::{SealedBroker, SecurityOptions};
