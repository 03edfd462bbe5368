//! `tradewind web`.

use std::sync::Arc;

use tracing::info;
use tradewind_web::{ExecutionService, FlowerHandle, FlowerService, WebDeps, WebServer};

use super::{api_heartbeat, flower, options, signals};
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    context.require_shared("web", true)?;
    let store = context.store().await?;
    let registry = prometheus::Registry::new();
    let execution = ExecutionService::new(
        options::execution(context)?,
        Arc::clone(&store),
        Arc::clone(&context.clock),
        &registry,
    )
    .map_err(|error| Failure::new(error.to_string()))?;
    let flower = match context.config.bool("web", "flower") {
        true => Some(flower::make(context).await?),
        false => None,
    };
    let handle = flower.as_ref().map(FlowerService::handle);
    let registries = [registry].into_iter().chain(handle.as_ref().map(FlowerHandle::registry));
    let registries = registries.collect();
    let deps = WebDeps {
        store: Arc::clone(&store),
        broker: Some(context.broker().await?),
        execution,
        clock: Arc::clone(&context.clock),
        ids: Arc::clone(&context.ids),
        registries,
        queues: context.config.list("worker", "queues"),
    };
    let failed = |error: tradewind_web::Error| Failure::new(error.to_string());
    let server = WebServer::new(options::web(context)?, deps).map_err(failed)?;
    let server = match &handle {
        Some(flower) => server.mount("/flower", flower.router()).map_err(failed)?,
        None => server,
    };
    let server = server.bind().await.map_err(failed)?;
    let shutdown = signals::shutdown()?;
    info!("web ready on http://{}", server.local_addr());
    let beat = tokio::spawn(api_heartbeat::run(context.clone(), store, shutdown.clone()));
    let watching = flower.map(|flower| tokio::spawn(flower.run(shutdown.clone())));
    let served = server.run(shutdown.clone()).await.map_err(failed);
    shutdown.cancel();
    if let Some(watching) = watching {
        let ended = watching.await.map_err(|error| Failure::new(error.to_string()))?;
        ended.map_err(|error| Failure::new(error.to_string()))?;
    }
    let ended = beat.await.map_err(|error| Failure::new(error.to_string()));
    served.and(ended)
}
