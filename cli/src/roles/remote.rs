//! Remote control and events of the worker in this process: how they are set up, for every role that has
//! a worker.

use std::sync::Arc;

use tradewind_broker::{Broker, ControlBus, Coordinator};
use tradewind_worker::WorkerHandle;
use tradewind_worker::fleet::Tasks;
use tradewind_worker::remote::{Remote, RemoteDeps};

use super::options;
use crate::context::Context;
use crate::failure::Failure;

/// What the worker works with.
pub(super) struct Links {
    pub(super) bus: Arc<dyn ControlBus>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) coordinator: Arc<dyn Coordinator>,
}

/// Remote control of a worker, prepared: whoever asks from now on is heard once it runs.
pub(super) async fn prepared(
    context: &Context,
    worker: &WorkerHandle,
    tasks: Tasks,
    links: Links,
) -> Result<Remote, Failure> {
    let deps = RemoteDeps {
        node: worker.name().to_owned(),
        bus: links.bus,
        state: Arc::clone(worker.fleet()),
        tasks,
        coordinator: Some(links.coordinator),
        broker: links.broker,
        conf: options::shown(&context.config),
        broker_info: options::broker_shown(&context.config),
        clock: Arc::clone(&context.clock),
    };
    let remote = Remote::new(options::remote(context), deps)
        .map_err(|error| Failure::usage(error.to_string()))?;
    remote.prepare().await;
    Ok(remote)
}
