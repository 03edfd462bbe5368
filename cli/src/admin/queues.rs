//! `queues list`.

use std::collections::BTreeSet;

use serde_json::json;
use tradewind_broker::Broker;
use tradewind_proto::names::{DEAD_LETTER_SUFFIX, DEFAULT_QUEUE};
use tradewind_store::Store;

use crate::config::Config;
use crate::failure::Failure;
use crate::output::{Format, print, row};

/// Every queue that a task, a route or this configuration names.
pub(crate) async fn known(store: &dyn Store, config: &Config) -> Result<BTreeSet<String>, Failure> {
    let mut queues: BTreeSet<String> = config.list("worker", "queues").into_iter().collect();
    queues.insert(DEFAULT_QUEUE.to_owned());
    queues.extend(config.routes.iter().map(|(_, queue)| queue.clone()));
    for dag in store.dags(false).await? {
        queues.extend(dag.spec.tasks.iter().map(|task| task.queue.clone()));
    }
    Ok(queues)
}

pub(crate) async fn list(
    store: &dyn Store,
    broker: &dyn Broker,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for queue in known(store, config).await? {
        let stats = broker.stats(&queue).await?;
        let dead = broker.stats(&format!("{queue}{DEAD_LETTER_SUFFIX}")).await?;
        rows.push(row([
            ("queue", json!(queue)),
            ("ready", json!(stats.ready)),
            ("unacked", json!(stats.unacked)),
            ("consumers", json!(stats.consumers)),
            ("dead_letters", json!(dead.ready)),
        ]));
    }
    Ok(print(format, &["queue", "ready", "unacked", "consumers", "dead_letters"], &rows)?)
}
