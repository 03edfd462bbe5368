//! Options of the queue drivers, as they appear under `[broker]` in the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::order::{WEIGHT_MAX, valid_weight};
use crate::{Error, QueueKind, QueueOrder};

/// Options of all queue drivers; each driver reads those that concern it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerOptions {
    /// RabbitMQ: how queues are declared; `?queue_type=quorum` in the URL has precedence.
    pub queue_kind: QueueKind,
    /// RabbitMQ: `x-max-priority` of classic queues. Unset, as in Celery: priorities are ignored.
    pub max_priority: Option<u8>,
    /// In which order the queues of one consumer are served.
    pub queue_order: QueueOrder,
    /// With `queue_order = "weighted"`: the share of each queue; 1 for those left out.
    pub queue_weights: BTreeMap<String, u16>,
    /// RabbitMQ: milliseconds after which an unsettled delivery that is being extended is moved to a
    /// queue of its own, so that the server's consumer timeout (30 minutes unless configured) does
    /// not take it away. 0 turns it off.
    pub hold_ms: u64,
    /// RabbitMQ: milliseconds without renewal after which such a delivery goes back.
    pub hold_lease_ms: u64,
    /// RabbitMQ: declare Celery's topology of delay queues and bind consumed queues to it, so that
    /// messages which Celery's clients delay (they do so on quorum queues) arrive.
    pub native_delayed_delivery: bool,
    /// File with PEM certificates of authorities to trust for TLS: RabbitMQ beside the system's,
    /// Redis instead of them.
    pub ca_file: Option<PathBuf>,
    /// RabbitMQ: AMQP heartbeat in seconds; a silent link is given up after two of them.
    pub heartbeat_s: u16,
    /// Redis: put before every key and channel (Celery's `global_keyprefix`).
    pub global_keyprefix: String,
    /// Redis: priority steps, ascending, the first one 0 (Celery's `priority_steps`).
    pub priority_steps: Vec<u8>,
    /// Redis: milliseconds that a delivery stays reserved without renewal. Renewed three times per
    /// lease; what a dead consumer held is delivered again after at most 4/3 of it.
    pub lease_ms: u64,
    /// Redis: longest pause in milliseconds between two looks at an empty queue. Messages of our
    /// own publishers wake consumers at once; this bounds the delay of Python's.
    pub poll_max_ms: u64,
    /// Milliseconds for one connection attempt.
    pub connect_timeout_ms: u64,
    /// Milliseconds that the server may take to answer or confirm.
    pub response_timeout_ms: u64,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            queue_kind: QueueKind::Classic,
            max_priority: None,
            queue_order: QueueOrder::RoundRobin,
            queue_weights: BTreeMap::new(),
            hold_ms: 600_000,
            hold_lease_ms: 60_000,
            native_delayed_delivery: false,
            ca_file: None,
            heartbeat_s: 3,
            global_keyprefix: String::new(),
            priority_steps: vec![0, 3, 6, 9],
            lease_ms: 10_000,
            poll_max_ms: 20,
            connect_timeout_ms: 4_000,
            response_timeout_ms: 5_000,
        }
    }
}

impl BrokerOptions {
    /// Checks ranges; each driver calls it when it is opened.
    ///
    /// # Errors
    /// [`Error::Config`] with the option, its value and the valid range.
    pub fn validate(&self) -> Result<(), Error> {
        let bad = |option: &str, value: &dyn std::fmt::Debug, valid: &str| {
            Err(Error::Config(format!("broker option {option} = {value:?}: use {valid}")))
        };
        let steps = &self.priority_steps;
        if steps.first() != Some(&0) || !steps.is_sorted_by(|a, b| a < b) {
            return bad("priority_steps", steps, "ascending numbers, the first one 0");
        }
        if !(100..=3_600_000).contains(&self.lease_ms) {
            return bad("lease_ms", &self.lease_ms, "100 to 3600000");
        }
        if !(1..=60_000).contains(&self.poll_max_ms) {
            return bad("poll_max_ms", &self.poll_max_ms, "1 to 60000");
        }
        if self.connect_timeout_ms == 0 || self.response_timeout_ms == 0 {
            let both = (self.connect_timeout_ms, self.response_timeout_ms);
            return bad("connect_timeout_ms, response_timeout_ms", &both, "at least 1");
        }
        if let Some((queue, weight)) = self.queue_weights.iter().find(|(_, w)| !valid_weight(**w)) {
            let range = format!("1 to {WEIGHT_MAX}");
            return bad("queue_weights", &(queue, weight), &range);
        }
        if self.hold_ms != 0 && !(500..=3_600_000).contains(&self.hold_lease_ms) {
            return bad("hold_lease_ms", &self.hold_lease_ms, "500 to 3600000");
        }
        if self.max_priority == Some(0) {
            return bad("max_priority", &0, "1 to 255, or leave it out");
        }
        Ok(())
    }

    /// The certificates of [`Self::ca_file`].
    pub(crate) fn authorities(&self) -> Result<Option<String>, Error> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        let refuse = |reason: String| {
            Error::Config(format!("broker option ca_file = {}: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        if !text.contains("BEGIN CERTIFICATE") {
            return Err(refuse("it has no PEM certificate (BEGIN CERTIFICATE)".to_owned()));
        }
        Ok(Some(text))
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms)
    }
}
