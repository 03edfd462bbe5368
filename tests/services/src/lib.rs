//! Private real servers for tests: Redis, RabbitMQ and PostgreSQL on 127.0.0.1, in temp folders.
//!
//! Each handle owns its process and stops it by its own pid; a guard process does so when the test
//! process dies first. Nothing here touches a server that it did not start.
#![expect(clippy::disallowed_methods, reason = "servers of others give no signal to await")]

pub mod error;
mod guard;
mod handle;
mod ports;
mod postgres;
mod proxy;
mod rabbit;
mod redis;
mod server;
pub mod shared;
mod tls;
mod wait;

pub use error::Error;
pub use postgres::{Postgres, PostgresOptions};
pub use proxy::Proxy;
pub use rabbit::{Rabbit, RabbitOptions};
pub use redis::{Redis, RedisOptions};
pub use tls::Tls;
pub use wait::eventually;

/// A name that no other test uses: `prefix` and 12 random hex digits.
pub fn unique(prefix: &str) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &id[..12])
}
