//! `tradewind beat`: sends periodic tasks when they are due. Any number of them may run.

use std::sync::Arc;

use tracing::info;
use tradewind_worker::beat::{Beat, BeatDeps, BeatEntry, BeatOptions};

use super::signals;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    context.require_broker("beat")?;
    let beat = make(context).await?.ok_or_else(|| {
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

/// The beat of the configuration; none without entries.
pub(crate) async fn make(context: &Context) -> Result<Option<Beat>, Failure> {
    let entries: Vec<(String, BeatEntry)> = context.config.tables("beat")?;
    if entries.is_empty() {
        return Ok(None);
    }
    let options = BeatOptions {
        default_queue: context.config.text("broker", "default_queue").to_owned(),
        entries: entries.into_iter().collect(),
        ..BeatOptions::default()
    };
    let coordinator = context.coordinator().await?;
    let deps = BeatDeps {
        broker: context.broker().await?,
        coordinator,
        clock: Arc::clone(&context.clock),
        ids: Arc::clone(&context.ids),
    };
    Ok(Some(Beat::new(options, deps).map_err(|error| Failure::usage(error.to_string()))?))
}
