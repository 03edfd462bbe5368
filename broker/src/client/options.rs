//! Options of a client.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tradewind_proto::names;

use super::Route;
use crate::{BrokerOptions, ResultOptions};

/// How long a revocation is remembered, as in Celery.
pub const REVOKE_TTL: Duration = Duration::from_secs(10_800);

/// How messages are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendOptions {
    /// Further attempts to publish what the broker did not confirm; each may send a message twice.
    pub publish_retries: u32,
    /// Seconds that the parts of a chord are kept while others are missing.
    pub join_ttl_s: u64,
    /// Who sends, in the header `origin`.
    pub origin: String,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { publish_retries: 3, join_ttl_s: 86_400, origin: origin() }
    }
}

/// `gen<pid>@<host>`, as Celery's clients call themselves.
fn origin() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.as_deref().map_or("localhost", str::trim);
    format!("gen{}@{host}", std::process::id())
}

/// What [`super::Client::connect`] opens.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientOptions {
    /// Where tasks go.
    #[serde(skip_serializing)]
    pub broker_url: String,
    /// Where results are. Default: the same Redis, `rpc://` beside RabbitMQ, else memory.
    #[serde(default, skip_serializing)]
    pub result_url: Option<String>,
    /// Where the fleet's facts are. Default: the result backend if it can, else the broker.
    #[serde(default, skip_serializing)]
    pub coordinator_url: Option<String>,
    /// Options of the broker.
    #[serde(default)]
    pub broker: BrokerOptions,
    /// Options of the result backend.
    #[serde(default)]
    pub results: ResultOptions,
    /// Queue of a task that no route names.
    #[serde(default = "default_queue")]
    pub default_queue: String,
    /// Routes by pattern, tried in order; see [`super::Routes::add`].
    #[serde(default)]
    pub routes: Vec<(String, Route)>,
    /// How messages are sent.
    #[serde(default)]
    pub send: SendOptions,
}

/// The URLs may hold passwords.
impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("default_queue", &self.default_queue)
            .field("routes", &self.routes)
            .field("send", &self.send)
            .finish_non_exhaustive()
    }
}

fn default_queue() -> String {
    names::DEFAULT_QUEUE.to_owned()
}

impl ClientOptions {
    /// Defaults around a broker.
    pub fn new(broker_url: impl Into<String>) -> Self {
        Self {
            broker_url: broker_url.into(),
            result_url: None,
            coordinator_url: None,
            broker: BrokerOptions::default(),
            results: ResultOptions::default(),
            default_queue: default_queue(),
            routes: Vec::new(),
            send: SendOptions::default(),
        }
    }

    pub(super) fn result_url(&self) -> String {
        self.result_url.clone().unwrap_or_else(|| {
            let scheme = self.broker_url.split("://").next().unwrap_or_default();
            match scheme {
                "redis" | "rediss" => self.broker_url.clone(),
                "amqp" | "amqps" | "pyamqp" => "rpc://".to_owned(),
                _ => "memory://".to_owned(),
            }
        })
    }

    pub(super) fn coordinator_url(&self) -> String {
        self.coordinator_url.clone().unwrap_or_else(|| {
            let results = self.result_url();
            if results.starts_with("rpc") || results.starts_with("memory") {
                self.broker_url.clone()
            } else {
                results
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ClientOptions;

    #[test]
    fn what_is_not_said_follows_from_the_broker() {
        for (broker, results, coordinator) in [
            ("redis://h/1", "redis://h/1", "redis://h/1"),
            ("amqp://h", "rpc://", "amqp://h"),
            ("memory://", "memory://", "memory://"),
        ] {
            let options = ClientOptions::new(broker);
            assert_eq!(options.result_url(), results);
            assert_eq!(options.coordinator_url(), coordinator);
        }
        let mut options = ClientOptions::new("amqp://h");
        options.result_url = Some("postgresql://h/db".to_owned());
        assert_eq!(options.coordinator_url(), "postgresql://h/db");
    }
}
