//! Chooses a coordinator by URL.

use std::path::PathBuf;
use std::sync::Arc;

use super::Coordinator;
use super::memory::MemoryCoordinator;
use super::postgres::PostgresCoordinator;
use super::redis::RedisCoordinator;
use crate::Error;
use crate::results::is_postgres;

const FORMS: &str = "redis://[user:password@]host[:port][/db] (rediss:// for TLS), \
     postgresql://user:password@host[:port]/database, memory://";

/// Options of a coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoordinatorOptions {
    /// Redis: put before every key.
    pub key_prefix: String,
    /// File with PEM certificates of authorities to trust for TLS, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// As [`open_coordinator_with`], with nothing but a prefix.
///
/// # Errors
/// As [`open_coordinator_with`].
pub async fn open_coordinator(url: &str, key_prefix: &str) -> Result<Arc<dyn Coordinator>, Error> {
    let key_prefix = key_prefix.to_owned();
    open_coordinator_with(url, &CoordinatorOptions { key_prefix, ca_file: None }).await
}

/// Opens the coordinator that `url` names: usually the result backend's URL, else the broker's. A URL
/// that has no such facts (`memory://`, `rpc://`, `amqp://`) gives one of this process alone, whose
/// [`Coordinator::shared`] says so.
///
/// # Errors
/// [`Error::Config`] for a URL that cannot be used, without credentials; else the server's.
pub async fn open_coordinator_with(
    url: &str,
    options: &CoordinatorOptions,
) -> Result<Arc<dyn Coordinator>, Error> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("memory" | "rpc" | "amqp" | "amqps" | "pyamqp") => {
            Ok(Arc::new(MemoryCoordinator::new()))
        }
        Some("redis" | "rediss") => Ok(Arc::new(RedisCoordinator::open(url, options).await?)),
        Some(scheme) if is_postgres(scheme) => {
            let plain = format!("postgresql{}", &url[scheme.len()..]);
            Ok(Arc::new(PostgresCoordinator::open(&plain, options).await?))
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
