//! `tradewind scheduler`.

use std::sync::Arc;

use tracing::info;
use tradewind_proto::sign::SigningKey;
use tradewind_scheduler::{Scheduler, SchedulerDeps};
use tradewind_web::always_ready;

use super::{ops, options, signals};
use crate::context::Context;
use crate::failure::Failure;

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    context.require_shared("scheduler", true)?;
    let store = context.store().await?;
    let registry = prometheus::Registry::new();
    let deps = SchedulerDeps {
        store,
        broker: context.broker().await?,
        results: context.results().await?,
        signing_key: signing_key()?,
        clock: Arc::clone(&context.clock),
        ids: Arc::clone(&context.ids),
        registry: registry.clone(),
    };
    let scheduler = Scheduler::new(options::scheduler(context)?, deps)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let shutdown = signals::shutdown()?;
    ops::serve(context, "scheduler", registry, always_ready(), shutdown.clone()).await?;
    info!("scheduler ready");
    scheduler.run(shutdown).await.map_err(|error| Failure::new(error.to_string()))
}

/// A fresh key; its public half goes to the store when the scheduler starts.
pub(crate) fn signing_key() -> Result<Arc<SigningKey>, Failure> {
    SigningKey::generate().map(Arc::new).map_err(|error| Failure::new(error.to_string()))
}
