//! Options of the connections, from the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tradewind_broker::{
    BrokerOptions, BusOptions, CoordinatorOptions, QueueKind, QueueOrder, ResultOptions,
    SecurityOptions,
};
use tradewind_store::Options as StoreOptions;

use crate::config::Config;
use crate::failure::Failure;

/// `[broker]`.
pub(crate) fn broker(config: &Config) -> Result<BrokerOptions, Failure> {
    let seconds = |name| milliseconds(config.seconds("broker", name));
    let max_priority = u8::try_from(config.int("broker", "max_priority")).unwrap_or(u8::MAX);
    Ok(BrokerOptions {
        queue_kind: match config.text("broker", "queue_type") {
            "quorum" => QueueKind::Quorum,
            _ => QueueKind::Classic,
        },
        max_priority: Some(max_priority).filter(|max| *max > 0),
        queue_order: match config.text("broker", "queue_order") {
            "strict" => QueueOrder::Strict,
            "weighted" => QueueOrder::Weighted,
            _ => QueueOrder::RoundRobin,
        },
        queue_weights: weights(config)?,
        hold_ms: seconds("hold"),
        hold_lease_ms: seconds("hold_lease"),
        native_delayed_delivery: config.bool("broker", "native_delayed_delivery"),
        ca_file: ca_file(config, &["broker"]),
        heartbeat_s: u16::try_from(config.int("broker", "heartbeat")).unwrap_or(u16::MAX),
        global_keyprefix: config.text("broker", "key_prefix").to_owned(),
        priority_steps: steps(config)?,
        lease_ms: seconds("lease"),
        poll_max_ms: seconds("poll_max"),
        connect_timeout_ms: seconds("connect_timeout"),
        response_timeout_ms: seconds("response_timeout"),
        security: security(config),
    })
}

/// `[security]`.
fn security(config: &Config) -> SecurityOptions {
    let path = |name| config.optional("security", name).map(|_| config.path("security", name));
    SecurityOptions {
        signing_keys: path("signing_keys"),
        encryption_keys: path("encryption_keys"),
        require_signature: config.bool("security", "require_signature"),
        require_encryption: config.bool("security", "require_encryption"),
    }
}

/// Events and remote control use the broker's server.
pub(crate) fn bus(config: &Config) -> BusOptions {
    let defaults = BusOptions::default();
    let heartbeat = u16::try_from(config.int("broker", "heartbeat")).unwrap_or(u16::MAX);
    BusOptions {
        global_keyprefix: config.text("broker", "key_prefix").to_owned(),
        heartbeat_s: if heartbeat == 0 { defaults.heartbeat_s } else { heartbeat },
        connect_timeout_ms: milliseconds(config.seconds("broker", "connect_timeout")),
        response_timeout_ms: milliseconds(config.seconds("broker", "response_timeout")),
        ca_file: ca_file(config, &["broker"]),
        ..defaults
    }
}

/// `[results]`.
pub(crate) fn results(config: &Config) -> ResultOptions {
    ResultOptions {
        broker_url: Some(config.text("broker", "url").to_owned()),
        key_prefix: prefix(config, "results", &config.results_url()),
        pool_size: usize::try_from(config.int("results", "pool_size")).unwrap_or(1),
        ca_file: ca_file(config, &["results", "broker"]),
        encryption_keys: security(config).encryption_keys,
        ..ResultOptions::default()
    }
}

/// `[state]`.
pub(crate) fn state(config: &Config) -> CoordinatorOptions {
    CoordinatorOptions {
        key_prefix: prefix(config, "state", &config.state_url()),
        ca_file: ca_file(config, &["state", "results", "broker"]),
    }
}

/// `[database]`.
pub(crate) fn store(config: &Config) -> StoreOptions {
    let ca_file = ca_file(config, &["database", "results", "broker"]);
    StoreOptions { ca_file, ..StoreOptions::default() }
}

/// The first of these sections that names authorities: with one authority people set it once.
fn ca_file(config: &Config, sections: &[&str]) -> Option<PathBuf> {
    let mut named = sections.iter().filter(|section| config.optional(section, "ca_file").is_some());
    named.next().map(|section| config.path(section, "ca_file"))
}

/// Celery's prefix is one setting per side; with both on one Redis people set it once.
fn prefix(config: &Config, section: &str, url: &str) -> String {
    let shared = (url == config.text("broker", "url")).then(|| config.text("broker", "key_prefix"));
    config.optional(section, "key_prefix").or(shared).unwrap_or_default().to_owned()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn steps(config: &Config) -> Result<Vec<u8>, Failure> {
    let steps = config.list("broker", "priority_steps");
    let numbers: Result<Vec<u8>, _> = steps.iter().map(|step| step.parse()).collect();
    numbers.map_err(|_| refuse(config, "priority_steps", "numbers from 0 to 255, as in 0,3,6,9"))
}

fn weights(config: &Config) -> Result<BTreeMap<String, u16>, Failure> {
    let pairs = config.list("broker", "queue_weights");
    let read = |pair: &String| {
        let (queue, weight) = pair.rsplit_once('=')?;
        Some((queue.trim().to_owned(), weight.trim().parse().ok()?))
    };
    let weights: Option<_> = pairs.iter().map(read).collect();
    weights
        .ok_or_else(|| refuse(config, "queue_weights", "queue=weight pairs, as in fast=5,slow=1"))
}

fn refuse(config: &Config, name: &str, expected: &str) -> Failure {
    let setting = config.setting("broker", name);
    Failure::usage(format!(
        "[broker] {name} = {:?} (from {}) is not valid: expected {expected}",
        setting.text, setting.source
    ))
}
