//! What makes the worker of one process a fleet worker as well: the tasks of `[tasks]`, the beat of `[beat]`,
//! remote control and events, and the monitor that hears them.

use std::sync::Arc;

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, Client, ControlBus, ResultBackend};
use tradewind_web::FlowerHandle;
use tradewind_worker::WorkerHandle;
use tradewind_worker::external::ExternalTasks;
use tradewind_worker::fleet::Tasks;

use super::remote::{self, Links};
use super::{beat, fleet_tasks, flower};
use crate::context::Context;
use crate::failure::Failure;

/// Opened once: an in-process bus or coordinator is shared by holding the same one.
pub(super) struct FleetParts {
    pub(super) tasks: Tasks,
    pub(super) client: Client,
    external: ExternalTasks,
    bus: Arc<dyn ControlBus>,
}

impl FleetParts {
    pub(super) async fn open(
        context: &Context,
        broker: &Arc<dyn Broker>,
        results: &Arc<dyn ResultBackend>,
    ) -> Result<Self, Failure> {
        let (tasks, external) = fleet_tasks::load(context)?;
        let bus = context.bus().await?;
        let client = Client::new(
            Arc::clone(broker),
            Arc::clone(results),
            Arc::clone(&bus),
            context.coordinator().await?,
            context.routes()?,
            Arc::clone(&context.clock),
            Arc::clone(&context.ids),
        );
        Ok(Self { tasks, client, external, bus })
    }

    /// The monitor, watching, unless it is switched off.
    pub(super) fn watch(
        &self,
        context: &Context,
        shutdown: &CancellationToken,
        parts: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<Option<FlowerHandle>, Failure> {
        if !context.config.bool("web", "flower") {
            return Ok(None);
        }
        let monitor = flower::make_with(context, self.client.clone(), Arc::clone(&self.bus))?;
        let handle = monitor.handle();
        let shutdown = shutdown.clone();
        parts.spawn(async move {
            monitor.run(shutdown).await.map_err(|error| Failure::new(error.to_string()))
        });
        Ok(Some(handle))
    }

    /// Sends what is due by `[beat]`, if anything is.
    pub(super) fn beat(
        &self,
        context: &Context,
        shutdown: &CancellationToken,
        parts: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let Some(beat) = beat::make_with(context, &self.client)? else { return Ok(()) };
        let shutdown = shutdown.clone();
        parts.spawn(async move {
            beat.run(shutdown).await.map_err(|error| Failure::new(error.to_string()))
        });
        Ok(())
    }

    /// Starts to answer commands and to tell what happens.
    pub(super) async fn obey(
        self,
        context: &Context,
        worker: &WorkerHandle,
    ) -> Result<Duties, Failure> {
        let links = Links {
            bus: self.bus,
            broker: Arc::clone(self.client.broker()),
            coordinator: Arc::clone(self.client.coordinator()),
        };
        let remote = remote::prepared(context, worker, self.tasks, links).await?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(remote.run(stop.clone()));
        Ok(Duties { external: self.external, stop, running })
    }
}

/// What ends after the worker: the events of its last tasks are to be sent.
pub(super) struct Duties {
    external: ExternalTasks,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Duties {
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.running.await {
            tracing::error!(%error, "remote control ended badly");
        }
        self.external.close().await;
    }
}
