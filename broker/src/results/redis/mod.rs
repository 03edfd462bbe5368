//! Results in Celery's Redis layout (`celery-task-meta-<id>`, announced on a channel of that name),
//! inboxes as lists with leased readers.
//!
//! Redis keeps what its persistence settings keep: without an append-only file a restart of the
//! server loses results and inbox items. Never reads or writes task queues.

mod hub;
mod inbox;
mod joins;
mod putter;
mod scripts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{ErrorKind, RedisError, TlsCertificates};
use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reader::Reader;
use super::waiting::wait_terminal;
use super::watchers::Watchers;
use super::{
    Inbox, Join, JoinPart, Put, ResultBackend, ResultOptions, StoredResult, check_result, meta,
};
use crate::Error;
use hub::Hub;
use inbox::RedisSource;
use joins::JoinScripts;
use putter::Putter;
use scripts::Scripts;

const SERVICE: &str = "Redis";
/// Longest wait for one reply or one connection attempt.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A command on a broken link tries to reconnect this often, this far apart at most.
const RECONNECT_TRIES: usize = 3;
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// The redis driver.
#[derive(Debug)]
pub(super) struct RedisResults {
    shared: Arc<Shared>,
    _alive: DropGuard,
}

/// What readers keep after the backend itself is dropped.
#[derive(Debug)]
struct Shared {
    link: Link,
    scripts: Scripts,
    putter: Putter,
    joins: JoinScripts,
    keys: KeySpace,
    watchers: Watchers,
    hub: Hub,
}

/// The command connection; `ConnectionManager` is no `Debug`.
#[derive(Clone)]
struct Link(ConnectionManager);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// Key and channel names.
#[derive(Debug)]
struct KeySpace {
    prefix: String,
}

impl KeySpace {
    fn meta(&self, task_id: &str) -> String {
        format!("{}celery-task-meta-{task_id}", self.prefix)
    }

    /// A part of what Celery keeps of a group (`j`, `s`, …).
    fn group(&self, group: &str, part: &str) -> String {
        format!("{}celery-taskset-meta-{group}.{part}", self.prefix)
    }

    /// The list of an inbox, and the channel on which arrivals are announced.
    fn inbox(&self, inbox: &str) -> String {
        format!("{}tradewind:inbox:{inbox}", self.prefix)
    }
}

impl RedisResults {
    /// Connects. `url` is a Redis URL.
    pub(super) async fn open(url: &str, options: &ResultOptions) -> Result<Self, Error> {
        let (client, manager) = connect(url, options.ca_file.as_deref()).await?;
        let watchers = Watchers::default();
        let cancel = CancellationToken::new();
        let shared = Shared {
            putter: Putter::start(manager.clone()),
            link: Link(manager),
            scripts: Scripts::new(),
            joins: JoinScripts::new(),
            keys: KeySpace { prefix: options.key_prefix.clone() },
            hub: Hub::new(client, watchers.clone(), cancel.clone()),
            watchers,
        };
        let backend = Self { shared: Arc::new(shared), _alive: cancel.drop_guard() };
        backend.health().await?;
        backend.warn_if_volatile().await;
        Ok(backend)
    }
}

/// A client and a connection that mends itself. `url` is a Redis URL.
pub(crate) async fn connect(
    url: &str,
    ca_file: Option<&Path>,
) -> Result<(::redis::Client, ConnectionManager), Error> {
    let secure = url.starts_with("rediss");
    let authorities = if secure { crate::tls::authorities(ca_file)? } else { None };
    if secure {
        crate::tls::install_provider();
    }
    // The parser's own message may quote the URL, and with it a password.
    let client = match authorities {
        Some(authorities) => {
            let root_cert = Some(authorities.into_bytes());
            let certificates = TlsCertificates { client_tls: None, root_cert };
            ::redis::Client::build_with_tls(url, certificates)
        }
        None => ::redis::Client::open(url),
    };
    let client = client.map_err(|_| {
        Error::Config(
            "the Redis URL cannot be parsed; use redis://[user:password@]host[:port][/db] \
             (rediss:// for TLS)"
                .to_owned(),
        )
    })?;
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(REPLY_LIMIT))
        .set_connection_timeout(Some(CONNECT_LIMIT))
        .set_number_of_retries(RECONNECT_TRIES)
        .set_max_delay(RECONNECT_MAX);
    let manager = ConnectionManager::new_with_config(client.clone(), config)
        .await
        .map_err(|e| redis_error("connection", &e))?;
    Ok((client, manager))
}

impl RedisResults {
    /// Says once what the server's settings cannot promise; a server that hides them is not asked.
    async fn warn_if_volatile(&self) {
        let settings: Result<Vec<String>, _> = ::redis::cmd("CONFIG")
            .arg("GET")
            .arg("appendonly")
            .query_async(&mut self.shared.connection())
            .await;
        if settings.is_ok_and(|pair| pair.get(1).is_some_and(|value| value == "no")) {
            tracing::warn!(
                "this Redis keeps no append-only file: results and inbox items are lost when it \
                 restarts; set appendonly yes"
            );
        }
    }
}

impl Shared {
    fn connection(&self) -> ConnectionManager {
        self.link.0.clone()
    }
}

/// Sorts a client error; its text never holds the URL.
pub(crate) fn redis_error(what: &str, error: &RedisError) -> Error {
    let server_is_busy = matches!(
        error.code(),
        Some("LOADING" | "BUSY" | "TRYAGAIN" | "READONLY" | "MASTERDOWN" | "OOM" | "MISCONF")
    );
    let refused = error.code().is_some() || error.kind() == ErrorKind::AuthenticationFailed;
    if refused && !server_is_busy {
        Error::Refused { service: SERVICE, what: what.to_owned(), reason: error.to_string() }
    } else {
        Error::Unavailable { service: SERVICE, reason: error.to_string() }
    }
}

fn bad_meta(task_id: &str, reason: String) -> Error {
    Error::Refused { service: SERVICE, what: format!("result of task {task_id}"), reason }
}

#[async_trait]
impl ResultBackend for RedisResults {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn put(&self, result: StoredResult, ttl: Duration) -> Result<Put, Error> {
        check_result(&result)?;
        let key = self.shared.keys.meta(&result.task_id);
        self.shared.putter.put(key, &result, ttl).await
    }

    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error> {
        let stored: Option<Vec<u8>> = ::redis::cmd("GET")
            .arg(self.shared.keys.meta(task_id))
            .query_async(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("reading a result", &e))?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let (token, meta) = meta::split_token(&stored);
        let state = meta::status_of(&meta).map_err(|reason| bad_meta(task_id, reason))?;
        Ok(Some(StoredResult { task_id: task_id.to_owned(), token, state, meta, reply_to: None }))
    }

    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error> {
        self.shared.hub.start();
        let watch = self.shared.watchers.watch(&self.shared.keys.meta(task_id));
        wait_terminal(watch, limit, || self.get(task_id)).await
    }

    async fn forget(&self, task_id: &str) -> Result<(), Error> {
        ::redis::cmd("DEL")
            .arg(self.shared.keys.meta(task_id))
            .query_async(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("forgetting a result", &e))
    }

    async fn begin_join(&self, group: &str, size: u64, ttl: Duration) -> Result<(), Error> {
        joins::begin(&self.shared, group, size, ttl).await
    }

    async fn extend_join(&self, group: &str, task_id: &str, ttl: Duration) -> Result<(), Error> {
        joins::extend(&self.shared, &self.shared.joins, group, task_id, ttl).await
    }

    async fn join(&self, part: JoinPart, ttl: Duration) -> Result<Join, Error> {
        joins::join(&self.shared, &self.shared.joins, part, ttl).await
    }

    async fn finish_join(&self, group: &str, claim: &str) -> Result<(), Error> {
        joins::finish(&self.shared, &self.shared.joins, group, claim).await
    }

    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error> {
        if bodies.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        let list = shared.keys.inbox(inbox);
        let mut call = shared.scripts.send.key(&list);
        call.key(format!("{list}:last")).arg(&list);
        for body in &bodies {
            call.arg(body.as_slice());
        }
        let _sent: i64 = call
            .invoke_async(&mut shared.connection())
            .await
            .map_err(|e| redis_error("inbox items", &e))?;
        Ok(())
    }

    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error> {
        self.shared.hub.start();
        let list = self.shared.keys.inbox(inbox);
        let watch = self.shared.watchers.watch(&list);
        let source = RedisSource::new(Arc::clone(&self.shared), list);
        Ok(Box::new(Reader::start(Arc::new(source), watch)))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        Ok(0)
    }

    async fn health(&self) -> Result<(), Error> {
        ::redis::cmd("PING")
            .query_async::<String>(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("a ping", &e))?;
        Ok(())
    }

    async fn close(&self) {
        self.shared.hub.stop();
    }
}
