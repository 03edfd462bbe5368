//! Connections, made when needed and again after a loss, and errors in our terms.

use std::str::FromStr;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::runtime::default_runtime;
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use crate::{BrokerOptions, Error};

const SERVICE: &str = "RabbitMQ";
/// AMQP reply code of an orderly close.
const REPLY_SUCCESS: u16 = 200;
/// Channels of one connection. The client reuses a number after 2,047 channels, and then answers
/// for the new channel with what ended the old one.
const CHANNELS_MAX: u32 = 1_500;

/// One connection to the server, named for its purpose in the server's own tools.
pub(crate) struct Link {
    uri: AMQPUri,
    name: &'static str,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// Certificates to trust; an error is told at the first connection.
    authorities: Result<Option<String>, Error>,
    connection: Mutex<Option<Opened>>,
}

/// A connection, and how many channels were opened on it.
struct Opened {
    connection: Connection,
    channels: u32,
}

impl Opened {
    fn usable(&self) -> bool {
        self.connection.status().connected() && self.channels < CHANNELS_MAX
    }
}

impl std::fmt::Debug for Link {
    /// Without the URL, which holds a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = &self.uri.authority.host;
        f.debug_struct("Link").field("name", &self.name).field("host", host).finish()
    }
}

/// Reads a broker URL; `pyamqp` is Celery's spelling of `amqp`, and no path means vhost `/`.
pub(crate) fn parse(url: &Url, options: &BrokerOptions) -> Result<AMQPUri, Error> {
    let text = url.as_str();
    let text = text.strip_prefix("py").unwrap_or(text);
    let mut uri = AMQPUri::from_str(text).map_err(|_| {
        Error::Config(
            "the RabbitMQ URL cannot be read; use amqp://user:password@host:5672/vhost, with \
             special characters written as %XX (vhost / as %2F)"
                .to_owned(),
        )
    })?;
    if url.path().is_empty() || url.path() == "/" {
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(options.heartbeat_s);
    Ok(uri)
}

/// How many times the usual wait one for a busy queue is.
const LONG: u32 = 6;

async fn within<T>(
    limit: Duration,
    what: &str,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Error> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|error| convert(what, &error)),
        Err(_) => Err(unavailable(format!("no answer within {limit:?} ({what})"))),
    }
}

impl Link {
    pub(crate) fn new(uri: AMQPUri, name: &'static str, options: &BrokerOptions) -> Self {
        Self {
            uri,
            name,
            connect_timeout: options.connect_timeout(),
            response_timeout: options.response_timeout(),
            authorities: options.authorities(),
            connection: Mutex::new(None),
        }
    }

    /// Opens a channel, connecting first if there is no live connection.
    pub(crate) async fn channel(&self) -> Result<Channel, Error> {
        let mut slot = self.connection.lock().await;
        // One that has no numbers left lives on until its last channel is gone.
        let mut opened = match slot.take().filter(Opened::usable) {
            Some(opened) => opened,
            None => Opened { connection: self.connect().await?, channels: 0 },
        };
        opened.channels += 1;
        let channel = self.limited("open a channel", opened.connection.create_channel()).await;
        if channel.is_ok() {
            *slot = Some(opened);
        }
        channel
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("tradewind {}", self.name).into());
        let trust = OwnedTLSConfig { identity: None, cert_chain: self.authorities.clone()? };
        let runtime = default_runtime().map_err(|error| convert("connect", &error))?;
        let uri = self.uri.clone();
        let connect = Connection::connect_uri_with_config(uri, properties, trust, runtime);
        match timeout(self.connect_timeout, connect).await {
            Ok(result) => result.map_err(|error| convert("connect", &error)),
            Err(_) => Err(unavailable("no answer to a connection attempt")),
        }
    }

    /// Waits for an answer of the server, but not for ever.
    pub(crate) async fn limited<T>(
        &self,
        what: &str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        within(self.response_timeout, what, call).await
    }

    /// As [`Link::limited`], for a queue that may be busy with thousands of messages that were put back.
    pub(crate) async fn limited_long<T>(
        &self,
        what: &str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        within(self.response_timeout * LONG, what, call).await
    }

    /// Drops a connection that does not answer. The farewell may take its time: others connect anew.
    pub(crate) async fn give_up(&self) {
        let taken = self.connection.lock().await.take();
        let limit = self.response_timeout;
        if let Some(opened) = taken {
            tokio::spawn(async move {
                let farewell = opened.connection.close(REPLY_SUCCESS, "no answer".into());
                let _broken = timeout(limit, farewell).await;
            });
        }
    }

    pub(crate) async fn close(&self) {
        let taken = self.connection.lock().await.take();
        if let Some(opened) = taken {
            // A connection that is broken already needs no farewell.
            let farewell = opened.connection.close(REPLY_SUCCESS, "closed".into());
            let _broken = timeout(self.response_timeout, farewell).await;
        }
    }
}

pub(crate) fn unavailable(reason: impl Into<String>) -> Error {
    Error::Unavailable { service: SERVICE, reason: reason.into() }
}

pub(crate) fn refused(what: &str, reason: impl Into<String>) -> Error {
    Error::Refused { service: SERVICE, what: what.to_owned(), reason: reason.into() }
}

/// Whether the server said that a queue does not exist.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    soft(error) == Some(AMQPSoftError::NOTFOUND)
}

/// Whether the server said that a queue exists with other arguments.
pub(super) fn is_mismatch(error: &lapin::Error) -> bool {
    soft(error) == Some(AMQPSoftError::PRECONDITIONFAILED)
}

fn soft(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

pub(crate) fn convert(what: &str, error: &lapin::Error) -> Error {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => match refusal.kind() {
            // Locked: an exclusive queue or a node that is still starting.
            AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) | AMQPErrorKind::Hard(_) => {
                unavailable(refusal.get_message().to_string())
            }
            AMQPErrorKind::Soft(_) => refused(what, refusal.get_message().to_string()),
        },
        ErrorKind::AuthProviderError(_) => refused(what, "authentication failed"),
        ErrorKind::SerialisationError(_) => refused(what, "the message cannot be written as AMQP"),
        _ => unavailable(error.to_string()),
    }
}
