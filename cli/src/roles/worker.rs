//! `tradewind worker`.

use std::sync::Arc;

use tracing::info;
use tradewind_worker::fleet::Tasks;
use tradewind_worker::{HttpExecutionApi, Runtimes, Worker, WorkerDeps};

use super::{ops, options, signals};
use crate::args::WorkerArgs;
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context, _args: &WorkerArgs) -> Result<(), Failure> {
    context.require_shared("worker", false)?;
    let token = context.execution_token()?;
    let api = HttpExecutionApi::new(context.config.text("execution", "api_url"), &token)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let registry = prometheus::Registry::new();
    let worker_options = options::worker(context)?;
    let tasks = Tasks::default();
    let deps = WorkerDeps {
        broker: context.broker().await?,
        results: context.results().await?,
        api: Arc::new(api),
        clock: Arc::clone(&context.clock),
        ids: Arc::clone(&context.ids),
        registry: registry.clone(),
        runtimes: Runtimes::real(&worker_options, &tasks),
        tasks,
        coordinator: None,
    };
    let worker =
        Worker::new(worker_options, deps).map_err(|error| Failure::usage(error.to_string()))?;
    let shutdown = signals::shutdown()?;
    let mut handle = worker.handle();
    ops::serve(context, "worker", registry, handle_readiness(&handle), shutdown.clone()).await?;
    let queues = context.config.worker_queues().join(",");
    tokio::spawn(async move {
        if handle.ready().await {
            info!(queues, "worker ready");
        }
    });
    let report = worker.run(shutdown).await.map_err(|error| Failure::new(error.to_string()))?;
    info!(?report, "worker stopped");
    Ok(())
}

/// Ready while the worker consumes.
fn handle_readiness(handle: &tradewind_worker::WorkerHandle) -> tradewind_web::Readiness {
    let handle = handle.clone();
    Arc::new(move || {
        let handle = handle.clone();
        Box::pin(
            async move { if handle.is_ready() { Ok(()) } else { Err("not consuming".to_owned()) } },
        )
    })
}
