//! The connection, and errors in our terms.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, Script, ScriptInvocation,
    ServerErrorKind, TlsCertificates,
};
use url::Url;

use crate::{BrokerOptions, Error};

const SERVICE: &str = "Redis";
/// Attempts of the manager within one command; callers have back-offs of their own.
const CONNECT_RETRIES: usize = 2;
const CONNECT_DELAY_MIN: Duration = Duration::from_millis(50);
const CONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// Commands that may wait for the socket.
const PIPELINE_BUFFER: usize = 1_000;

/// One multiplexed connection, made at the first use and again after each loss.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    config: ConnectionManagerConfig,
    connect_timeout: Duration,
    manager: Mutex<Option<ConnectionManager>>,
}

impl Link {
    pub(crate) fn new(url: &Url, options: &BrokerOptions) -> Result<Self, Error> {
        let mut url = url.clone();
        // Query parameters are Python's (`ssl_cert_reqs`, …); the client would refuse some.
        url.set_query(None);
        let unusable = |error: RedisError| {
            Error::Config(format!("the Redis URL cannot be used: {}", describe(&error)))
        };
        let client = match options.authorities()? {
            Some(authorities) if url.scheme() == "rediss" => {
                let root_cert = Some(authorities.into_bytes());
                Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
            }
            _ => Client::open(url),
        }
        .map_err(unusable)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(CONNECT_RETRIES)
            .set_min_delay(CONNECT_DELAY_MIN)
            .set_max_delay(CONNECT_DELAY_MAX)
            .set_connection_timeout(Some(options.connect_timeout()))
            .set_response_timeout(Some(options.response_timeout()))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let connect_timeout = options.connect_timeout();
        Ok(Self { client, config, connect_timeout, manager: Mutex::new(None) })
    }

    pub(crate) fn db(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }

    fn slot(&self) -> MutexGuard<'_, Option<ConnectionManager>> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manager(&self) -> Result<ConnectionManager, Error> {
        let mut slot = self.slot();
        if let Some(manager) = &*slot {
            return Ok(manager.clone());
        }
        let made =
            ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
        let made = made.map_err(|error| convert("connection", &error))?;
        *slot = Some(made.clone());
        Ok(made)
    }

    /// An error in our terms. A link that gave no answer is given up: the client itself connects
    /// again only when it is told of a loss, and a half-open link never tells.
    fn failed(&self, what: &str, error: &RedisError) -> Error {
        if error.is_timeout() {
            self.slot().take();
        }
        convert(what, error)
    }

    /// A connection of its own for subscriptions.
    pub(crate) async fn pubsub(&self) -> Result<redis::aio::PubSub, Error> {
        let connect = self.client.get_async_pubsub();
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(result) => result.map_err(|error| convert("subscription", &error)),
            Err(_) => Err(unavailable("no answer to a connection attempt")),
        }
    }

    /// A connection of its own for commands that block; they have no time limit but the caller's.
    pub(crate) async fn blocking(&self) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(None);
        let connect = self.client.get_multiplexed_async_connection_with_config(&config);
        connect.await.map_err(|error| convert("connection", &error))
    }

    /// Runs a script by its hash.
    pub(crate) async fn run<T: redis::FromRedisValue>(
        &self,
        what: &str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        let mut manager = self.manager()?;
        script.invoke_async(&mut manager).await.map_err(|error| self.failed(what, &error))
    }

    /// Runs one command.
    pub(crate) async fn command<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, Error> {
        let mut manager = self.manager()?;
        command.query_async(&mut manager).await.map_err(|error| self.failed("command", &error))
    }
}

impl Link {
    /// Runs several commands in one round trip.
    pub(crate) async fn pipeline<T: redis::FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, Error> {
        let mut manager = self.manager()?;
        commands.query_async(&mut manager).await.map_err(|error| self.failed("commands", &error))
    }
}

/// Our scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) pop: Script,
    pub(super) ack: Script,
    pub(super) moves: Script,
    pub(super) renew: Script,
    pub(super) sweep: Script,
    pub(super) publish: Script,
    pub(super) bury: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            pop: Script::new(include_str!("pop.lua")),
            ack: Script::new(include_str!("ack.lua")),
            moves: Script::new(include_str!("move.lua")),
            renew: Script::new(include_str!("renew.lua")),
            sweep: Script::new(include_str!("sweep.lua")),
            publish: Script::new(include_str!("publish.lua")),
            bury: Script::new(include_str!("bury.lua")),
        }
    }
}

pub(crate) fn unavailable(reason: impl Into<String>) -> Error {
    Error::Unavailable { service: SERVICE, reason: reason.into() }
}

fn describe(error: &RedisError) -> String {
    error.to_string().replace('\n', " ")
}

pub(crate) fn convert(what: &str, error: &RedisError) -> Error {
    let passing = match error.kind() {
        ErrorKind::Io => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
        ),
        // Memory or disk is full, or a script blocks the server: an operator can clear these while
        // we keep trying.
        _ => matches!(error.code(), Some("OOM" | "MISCONF" | "BUSY")),
    };
    if passing || error.is_connection_dropped() || error.is_timeout() {
        return unavailable(describe(error));
    }
    Error::Refused { service: SERVICE, what: what.to_owned(), reason: describe(error) }
}
