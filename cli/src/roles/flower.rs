//! `tradewind flower`: the monitor of the fleet on a port of its own.

use std::sync::Arc;

use tracing::{info, warn};
use tradewind_broker::{Client, ControlBus};
use tradewind_web::{Credentials, FlowerDeps, FlowerError, FlowerOptions, FlowerService};

use super::signals;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    context.require_broker("flower")?;
    let service = make(context).await?;
    let handle = service.handle();
    let server = handle.bind().await.map_err(|error| failed(&error))?;
    let shutdown = signals::shutdown()?;
    info!("flower ready on http://{}", server.local_addr());
    let watching = tokio::spawn(service.run(shutdown.clone()));
    let served = server.run(shutdown.clone()).await;
    shutdown.cancel();
    let watched = watching.await.map_err(|error| Failure::new(error.to_string()))?;
    served.map_err(|error| Failure::new(error.to_string()))?;
    watched.map_err(|error| failed(&error))
}

/// The monitor of the configuration; it does not watch yet.
pub(crate) async fn make(context: &Context) -> Result<FlowerService, Failure> {
    let client = context.client(context.coordinator().await?).await?;
    make_with(context, client, context.bus().await?)
}

/// The same on what is open already.
pub(super) fn make_with(
    context: &Context,
    client: Client,
    bus: Arc<dyn ControlBus>,
) -> Result<FlowerService, Failure> {
    let options = options(context);
    if options.basic_auth.is_empty() && options.unauthenticated_api {
        warn!("everybody who reaches this port may use the API ([flower] unauthenticated_api)");
    }
    let deps = FlowerDeps {
        broker: Arc::clone(client.broker()),
        results: Some(Arc::clone(client.results())),
        bus,
        client,
        clock: Arc::clone(&context.clock),
        ids: Arc::clone(&context.ids),
    };
    FlowerService::new(options, deps).map_err(|error| failed(&error))
}

fn options(context: &Context) -> FlowerOptions {
    let config = &context.config;
    let size = |name| usize::try_from(config.int("flower", name)).unwrap_or(usize::MAX);
    FlowerOptions {
        host: config.text("flower", "host").to_owned(),
        port: u16::try_from(config.int("flower", "port")).unwrap_or(0),
        url_prefix: config.text("flower", "url_prefix").to_owned(),
        basic_auth: Credentials::new(config.list("flower", "basic_auth")),
        unauthenticated_api: config.bool("flower", "unauthenticated_api"),
        read_only: config.bool("flower", "read_only"),
        max_tasks: size("max_tasks"),
        max_workers: size("max_workers"),
        purge_offline_workers: config.seconds("flower", "purge_offline_workers").as_secs(),
        enable_events: config.bool("flower", "enable_events"),
        history: Some(config.path("flower", "data")),
        queues: config.queues().into_iter().collect(),
        refresh_seconds: config.seconds("flower", "refresh").as_secs(),
        ..FlowerOptions::default()
    }
}

fn failed(error: &FlowerError) -> Failure {
    match error {
        FlowerError::Option { .. } => Failure::usage(error.to_string()),
        _ => Failure::new(error.to_string()),
    }
}
