//! A supervised AMQP connection: opened when needed, opened again after a failure, with backoff.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::protocol::AMQPErrorKind;
use lapin::runtime::default_runtime;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::Error;
use crate::rabbitmq::publish::Turn;

pub(super) const SERVICE: &str = "RabbitMQ";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for an answer or a publisher confirm.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// RabbitMQ takes a silent client for dead after at most three times this long, which keeps the
/// promised redelivery within ten seconds.
const HEARTBEAT_S: u16 = 3;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Longest queue name and correlation id in AMQP.
const SHORT_STRING_BYTES_MAX: usize = 255;

/// One connection with one channel for publishing.
pub(super) struct Link {
    uri: AMQPUri,
    name: &'static str,
    /// PEM certificates to trust beside the system's.
    authorities: Option<String>,
    state: Mutex<State>,
    pub(super) turn: Turn,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    backoff: Duration,
    retry_at: Option<Instant>,
    closed: bool,
}

struct Live {
    connection: Connection,
    publisher: Channel,
    /// Queues known to exist.
    declared: BTreeSet<String>,
}

/// The URI holds a password.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Live {
    fn is_usable(&self) -> bool {
        self.connection.status().connected() && self.publisher.status().connected()
    }
}

/// Parses an AMQP URL; also takes Celery's `pyamqp://`.
pub(super) fn parse(url: &str) -> Result<AMQPUri, Error> {
    let url = url.strip_prefix("py").unwrap_or(url);
    // The parser's own message may quote the URL, and with it a password.
    let mut uri: AMQPUri = url.parse().map_err(|_| {
        Error::Config(
            "broker_url cannot be parsed; rpc:// results need \
             amqp://[user:password@]host[:port][/vhost] (amqps:// for TLS)"
                .to_owned(),
        )
    })?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    Ok(uri)
}

/// Sorts a client error.
pub(super) fn sort_error(what: &str, error: &lapin::Error) -> Error {
    let refused = match error.kind() {
        // A connection-forced close is how a server says that it stops.
        ErrorKind::ProtocolError(e) => {
            matches!(e.kind(), AMQPErrorKind::Soft(_)) || e.get_id() == 403 || e.get_id() == 530
        }
        ErrorKind::AuthProviderError(_) => true,
        _ => false,
    };
    if refused {
        Error::Refused { service: SERVICE, what: what.to_owned(), reason: error.to_string() }
    } else {
        Error::Unavailable { service: SERVICE, reason: error.to_string() }
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn answered<T>(
    what: &str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Error> {
    match timeout(ANSWER_LIMIT, work).await {
        Ok(answer) => answer.map_err(|e| sort_error(what, &e)),
        Err(_) => Err(Error::Unavailable {
            service: SERVICE,
            reason: format!("{what}: no answer within {} s", ANSWER_LIMIT.as_secs()),
        }),
    }
}

/// AMQP names are short; a longer one is refused here, with its name.
pub(super) fn short(what: &str, text: &str) -> Result<lapin::types::ShortString, Error> {
    if text.len() > SHORT_STRING_BYTES_MAX {
        return Err(Error::Refused {
            service: SERVICE,
            what: what.to_owned(),
            reason: format!(
                "{} bytes, AMQP takes {SHORT_STRING_BYTES_MAX}: {text:.40}…",
                text.len()
            ),
        });
    }
    Ok(text.into())
}

impl Link {
    pub(super) fn new(uri: AMQPUri, name: &'static str, authorities: Option<String>) -> Self {
        Self { uri, name, authorities, state: Mutex::default(), turn: Turn::default() }
    }

    /// Makes the connection live. While a failed attempt is fresh it fails at once.
    async fn ensure<'a>(&self, state: &'a mut State) -> Result<&'a mut Live, Error> {
        if state.closed {
            return Err(Error::Closed);
        }
        if !state.live.as_ref().is_some_and(Live::is_usable) {
            state.live = None;
            if state.retry_at.is_some_and(|at| Instant::now() < at) {
                return Err(Error::Unavailable {
                    service: SERVICE,
                    reason: "the connection is being restored".to_owned(),
                });
            }
            match self.connect().await {
                Ok(live) => {
                    state.live = Some(live);
                    state.backoff = Duration::ZERO;
                    state.retry_at = None;
                }
                Err(error) => {
                    state.backoff = (state.backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
                    state.retry_at = Some(Instant::now() + state.backoff);
                    return Err(error);
                }
            }
        }
        state.live.as_mut().ok_or(Error::Closed)
    }

    async fn connect(&self) -> Result<Live, Error> {
        let properties =
            ConnectionProperties::default().with_connection_name(self.name.to_owned().into());
        let trust = OwnedTLSConfig { identity: None, cert_chain: self.authorities.clone() };
        let connecting = async {
            let (uri, runtime) = (self.uri.clone(), default_runtime()?);
            let connection =
                Connection::connect_uri_with_config(uri, properties, trust, runtime).await?;
            let publisher = connection.create_channel().await?;
            publisher.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(Live { connection, publisher, declared: BTreeSet::new() })
        };
        match timeout(CONNECT_LIMIT, connecting).await {
            Ok(live) => live.map_err(|e: lapin::Error| sort_error("a connection", &e)),
            Err(_) => Err(Error::Unavailable {
                service: SERVICE,
                reason: format!("no connection within {} s", CONNECT_LIMIT.as_secs()),
            }),
        }
    }

    /// The confirming channel.
    pub(super) async fn publisher(&self) -> Result<Channel, Error> {
        let mut state = self.state.lock().await;
        Ok(self.ensure(&mut state).await?.publisher.clone())
    }

    /// The confirming channel, with a durable queue known to exist.
    pub(super) async fn publisher_to(&self, queue: &str) -> Result<Channel, Error> {
        let mut state = self.state.lock().await;
        let live = self.ensure(&mut state).await?;
        if !live.declared.contains(queue) {
            declare_durable(&live.publisher, queue).await?;
            live.declared.insert(queue.to_owned());
        }
        Ok(live.publisher.clone())
    }

    /// Forgets that a queue exists: it came back unroutable.
    pub(super) async fn undeclared(&self, queue: &str) {
        if let Some(live) = self.state.lock().await.live.as_mut() {
            live.declared.remove(queue);
        }
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, Error> {
        let mut state = self.state.lock().await;
        let live = self.ensure(&mut state).await?;
        answered("a channel", live.connection.create_channel()).await
    }

    /// Closes for good.
    pub(super) async fn close(&self) {
        let mut state = self.state.lock().await;
        state.closed = true;
        if let Some(live) = state.live.take() {
            let closing = live.connection.close(200, "closed by its owner".into());
            if let Err(error) = answered("closing", closing).await {
                tracing::debug!(%error, "AMQP connection not closed properly");
            }
        }
    }
}

/// Makes a durable queue exist.
pub(super) async fn declare_durable(channel: &Channel, queue: &str) -> Result<(), Error> {
    let declaring = channel.queue_declare(
        short("an inbox name", queue)?,
        QueueDeclareOptions::durable(),
        FieldTable::default(),
    );
    answered(&format!("queue {queue:?}"), declaring).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Link, parse, short};

    #[test]
    fn celerys_scheme_is_taken_and_the_password_stays_inside() {
        let uri = parse("pyamqp://guest:hunter2@rabbit:5672//").expect("a URI");
        assert_eq!(uri.authority.host, "rabbit");
        let shown = format!("{:?}", Link::new(uri, "test", None));
        assert!(!shown.contains("hunter2"), "{shown}");
        let text = parse("amqp://guest:hunter2@rabbit:nope").expect_err("a refusal").to_string();
        assert!(text.contains("amqp://") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn long_names_are_refused_by_name() {
        assert!(short("a task id", &"x".repeat(255)).is_ok());
        let text = short("a task id", &"ü".repeat(200)).expect_err("a refusal").to_string();
        assert!(text.contains("a task id") && text.contains("400 bytes"), "{text}");
    }
}
