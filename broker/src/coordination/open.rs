//! Chooses a coordinator by URL.

use std::sync::Arc;

use super::Coordinator;
use super::memory::MemoryCoordinator;
use super::postgres::PostgresCoordinator;
use super::redis::RedisCoordinator;
use crate::Error;
use crate::results::is_postgres;

const FORMS: &str = "redis://[user:password@]host[:port][/db] (rediss:// for TLS), \
     postgresql://user:password@host[:port]/database, memory://";

/// Opens the coordinator that `url` names: usually the result backend's URL, else the broker's.
/// `key_prefix` goes before every key on Redis. A URL that has no such facts (`memory://`, `rpc://`,
/// `amqp://`) gives one of this process alone, whose [`Coordinator::shared`] says so.
///
/// # Errors
/// [`Error::Config`] for a URL that cannot be used, without credentials; else the server's.
pub async fn open_coordinator(url: &str, key_prefix: &str) -> Result<Arc<dyn Coordinator>, Error> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("memory" | "rpc" | "amqp" | "amqps" | "pyamqp") => {
            Ok(Arc::new(MemoryCoordinator::new()))
        }
        Some("redis" | "rediss") => Ok(Arc::new(RedisCoordinator::open(url, key_prefix).await?)),
        Some(scheme) if is_postgres(scheme) => {
            let plain = format!("postgresql{}", &url[scheme.len()..]);
            Ok(Arc::new(PostgresCoordinator::open(&plain).await?))
        }
        Some(scheme) => {
            Err(Error::Config(format!("no coordinator serves scheme {scheme:?}; valid: {FORMS}")))
        }
        None => Err(Error::Config(format!("the coordinator's URL is no URL; valid: {FORMS}"))),
    }
}

/// A rate that fills no bucket would make its callers wait for ever.
pub(super) fn check_rate(key: &str, per_second: f64) -> Result<(), Error> {
    if per_second.is_finite() && per_second > 0.0 {
        return Ok(());
    }
    Err(Error::Config(format!("rate limit {key:?}: {per_second} per second; use a number above 0")))
}
