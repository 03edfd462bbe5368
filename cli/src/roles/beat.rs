//! `tradewind beat`: sends periodic tasks when they are due. Any number of them may run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;
use tradewind_broker::{Broker, Client, Coordinator};
use tradewind_worker::beat::{Beat, BeatDeps, BeatEntry, BeatOptions};

use super::signals;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    context.require_broker("beat")?;
    let beat = make(context, &context.coordinator().await?).await?.ok_or_else(|| {
        Failure::usage(
            "there is nothing to send: add entries to the configuration file, as in \
             [beat.\"nightly\"] with task = \"reports.nightly\" and schedule = \"0 3 * * *\"",
        )
    })?;
    let shutdown = signals::shutdown()?;
    let handle = beat.handle();
    info!("beat ready");
    let ended = beat.run(shutdown).await;
    info!(sent = handle.sent(), lost = handle.lost(), "beat stopped");
    ended.map_err(|error| Failure::new(error.to_string()))
}

/// The beat of the configuration, with a connection of its own to the broker; none without entries.
pub(super) async fn make(
    context: &Context,
    coordinator: &Arc<dyn Coordinator>,
) -> Result<Option<Beat>, Failure> {
    let entries = entries(context)?;
    if entries.is_empty() {
        return Ok(None);
    }
    with(context, entries, context.broker().await?, Arc::clone(coordinator)).map(Some)
}

/// The beat of the configuration, on what is open already; none without entries.
pub(super) fn make_with(context: &Context, client: &Client) -> Result<Option<Beat>, Failure> {
    let entries = entries(context)?;
    if entries.is_empty() {
        return Ok(None);
    }
    let (broker, coordinator) = (Arc::clone(client.broker()), Arc::clone(client.coordinator()));
    with(context, entries, broker, coordinator).map(Some)
}

fn entries(context: &Context) -> Result<BTreeMap<String, BeatEntry>, Failure> {
    Ok(context.config.tables("beat")?.into_iter().collect())
}

fn with(
    context: &Context,
    entries: BTreeMap<String, BeatEntry>,
    broker: Arc<dyn Broker>,
    coordinator: Arc<dyn Coordinator>,
) -> Result<Beat, Failure> {
    let options = BeatOptions {
        default_queue: context.config.text("broker", "default_queue").to_owned(),
        entries,
        ..BeatOptions::default()
    };
    let (clock, ids) = (Arc::clone(&context.clock), Arc::clone(&context.ids));
    let deps = BeatDeps { broker, coordinator, clock, ids };
    Beat::new(options, deps).map_err(|error| Failure::usage(error.to_string()))
}
