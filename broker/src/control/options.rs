//! Options of the control bus, as they appear under `[control]` in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BrokerOptions, Error};

/// Longest namespace or exchange name: what is built from it must fit an AMQP short string.
const NAME_BYTES_MAX: usize = 100;

/// Options of all drivers; each driver reads those that concern it. Defaults are Celery's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusOptions {
    /// Commands travel on `<namespace>.pidbox` (Celery's `control_exchange`).
    pub namespace: String,
    /// Events travel on this exchange (Celery's `event_exchange`).
    pub event_exchange: String,
    /// Redis: put before every key and channel (Celery's `global_keyprefix`).
    pub global_keyprefix: String,
    /// Milliseconds that a command may wait for a worker that does not read
    /// (Celery's `control_queue_ttl`).
    pub queue_ttl_ms: u32,
    /// Milliseconds that mailboxes and replies outlive their reader (Celery's `control_queue_expires`).
    pub queue_expires_ms: u32,
    /// RabbitMQ: milliseconds that an event may wait for a monitor (Celery's `event_queue_ttl`).
    pub event_queue_ttl_ms: u32,
    /// RabbitMQ: milliseconds that a monitor's queue outlives it (Celery's `event_queue_expires`).
    pub event_queue_expires_ms: u32,
    /// Events that a slow subscriber may leave unread; then the oldest are dropped and counted.
    pub events_buffered_max: usize,
    /// RabbitMQ: AMQP heartbeat in seconds; a silent link is given up after two of them. Redis: half
    /// of the time after which a silent subscription is given up.
    pub heartbeat_s: u16,
    /// Milliseconds for one connection attempt.
    pub connect_timeout_ms: u64,
    /// Milliseconds that the server may take to answer or confirm.
    pub response_timeout_ms: u64,
    /// As [`BrokerOptions::ca_file`].
    pub ca_file: Option<PathBuf>,
}

impl Default for BusOptions {
    fn default() -> Self {
        Self {
            namespace: "celery".to_owned(),
            event_exchange: "celeryev".to_owned(),
            global_keyprefix: String::new(),
            queue_ttl_ms: 300_000,
            queue_expires_ms: 10_000,
            event_queue_ttl_ms: 5_000,
            event_queue_expires_ms: 60_000,
            events_buffered_max: 50_000,
            heartbeat_s: 10,
            connect_timeout_ms: 4_000,
            response_timeout_ms: 5_000,
            ca_file: None,
        }
    }
}

impl BusOptions {
    /// Checks ranges; [`crate::open_bus`] calls it.
    ///
    /// # Errors
    /// [`Error::Config`] with the option, its value and the valid range.
    pub fn validate(&self) -> Result<(), Error> {
        for (option, name) in
            [("namespace", &self.namespace), ("event_exchange", &self.event_exchange)]
        {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(Error::Config(format!(
                    "control option {option} = {name:?}: use 1 to {NAME_BYTES_MAX} bytes"
                )));
            }
        }
        let positive = [
            ("queue_ttl_ms", u64::from(self.queue_ttl_ms)),
            ("queue_expires_ms", u64::from(self.queue_expires_ms)),
            ("event_queue_ttl_ms", u64::from(self.event_queue_ttl_ms)),
            ("event_queue_expires_ms", u64::from(self.event_queue_expires_ms)),
            ("events_buffered_max", self.events_buffered_max as u64),
            ("heartbeat_s", u64::from(self.heartbeat_s)),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("response_timeout_ms", self.response_timeout_ms),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((option, _)) => {
                Err(Error::Config(format!("control option {option} = 0: use at least 1")))
            }
            None => Ok(()),
        }
    }

    /// Name of the exchange of commands.
    pub(crate) fn command_exchange(&self) -> String {
        format!("{}.pidbox", self.namespace)
    }

    /// Name of the exchange of replies.
    pub(crate) fn reply_exchange(&self) -> String {
        format!("reply.{}.pidbox", self.namespace)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(u64::from(self.heartbeat_s))
    }

    /// What the queue drivers' links read.
    pub(crate) fn for_links(&self) -> BrokerOptions {
        BrokerOptions {
            global_keyprefix: self.global_keyprefix.clone(),
            heartbeat_s: self.heartbeat_s,
            connect_timeout_ms: self.connect_timeout_ms,
            response_timeout_ms: self.response_timeout_ms,
            ca_file: self.ca_file.clone(),
            ..BrokerOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_celerys_and_bad_values_are_named() {
        let options = BusOptions::default();
        assert_eq!(options.command_exchange(), "celery.pidbox");
        assert_eq!(options.reply_exchange(), "reply.celery.pidbox");
        options.validate().expect("defaults are valid");
        let bad = BusOptions { heartbeat_s: 0, ..BusOptions::default() };
        assert!(bad.validate().expect_err("refused").to_string().contains("heartbeat_s"));
        let bad = BusOptions { namespace: String::new(), ..BusOptions::default() };
        assert!(bad.validate().expect_err("refused").to_string().contains("namespace"));
    }
}
