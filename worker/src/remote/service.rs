//! The service: starts the duties of events, remote control and scaling, and ends them with a goodbye.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{Broker, ControlBus, Coordinator};
use tradewind_proto::clock::SharedClock;

use super::autoscale::autoscale;
use super::events::events;
use super::mailbox::{Desk, learn_revoked, mailbox};
use super::panel::Panel;
use super::{Range, RemoteOptions, scrub};
use crate::Error;
use crate::fleet::{FleetState, Tasks};

/// What remote control works with.
#[derive(Clone)]
pub struct RemoteDeps {
    /// Node name, `celery@host`.
    pub node: String,
    /// Where events and commands travel.
    pub bus: Arc<dyn ControlBus>,
    /// The run core's state.
    pub state: Arc<FleetState>,
    /// The registered tasks.
    pub tasks: Tasks,
    /// Where revoked tasks are remembered for the fleet, if anywhere.
    pub coordinator: Option<Arc<dyn Coordinator>>,
    /// Asked how long queues are, when slots follow demand.
    pub broker: Arc<dyn Broker>,
    /// The configuration, for `inspect conf`; credentials are taken out.
    pub conf: Value,
    /// The broker's address, for `inspect stats`; credentials are taken out.
    pub broker_info: Value,
    /// Wall time.
    pub clock: SharedClock,
}

impl fmt::Debug for RemoteDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteDeps")
            .field("node", &self.node)
            .field("bus", &self.bus)
            .field("coordinator", &self.coordinator)
            .finish_non_exhaustive()
    }
}

/// Events, remote control and scaling of one worker.
#[derive(Debug)]
pub struct Remote {
    options: RemoteOptions,
    desk: Desk,
    broker: Arc<dyn Broker>,
}

/// Watches a [`Remote`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RemoteHandle(Arc<Panel>);

impl RemoteHandle {
    /// Whether task events are sent.
    pub fn sends_task_events(&self) -> bool {
        *self.0.task_events.borrow()
    }

    /// Events that were lost: the bus was away or too slow.
    pub fn events_dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// The range of slots, if they follow demand.
    pub fn range(&self) -> Option<Range> {
        self.0.range()
    }

    /// Takes a logical clock that was read from somebody else's message into account.
    pub fn adjust_clock(&self, seen: u64) {
        self.0.adjust(seen);
    }
}

impl Remote {
    /// A service that has not started.
    ///
    /// # Errors
    /// When an option cannot be used.
    pub fn new(options: RemoteOptions, deps: RemoteDeps) -> Result<Self, Error> {
        options.validate()?;
        let panel = Panel {
            node: deps.node,
            pid: std::process::id(),
            started: deps.clock.now(),
            clock: deps.clock,
            state: deps.state,
            tasks: deps.tasks,
            conf: scrub(deps.conf),
            broker: scrub(deps.broker_info),
            task_events: watch::Sender::new(options.events),
            beat: Notify::new(),
            logical: AtomicU64::new(0),
            range: Mutex::new(options.autoscale),
            dropped: AtomicU64::new(0),
        };
        let desk = Desk {
            panel: Arc::new(panel),
            bus: deps.bus,
            coordinator: deps.coordinator,
            revoke_ttl: Duration::from_secs(options.revoke_ttl_seconds),
        };
        Ok(Self { options, desk, broker: deps.broker })
    }

    /// A handle.
    pub fn handle(&self) -> RemoteHandle {
        RemoteHandle(Arc::clone(&self.desk.panel))
    }

    /// Learns what the fleet has revoked. Call it before the first task is taken; a coordinator that does
    /// not answer delays the start by seconds at most, and is asked again later.
    pub async fn prepare(&self) {
        learn_revoked(&self.desk).await;
    }

    /// Works until `stop`, then says goodbye. Cancel `stop` once the last task has ended, so that its events
    /// are sent too.
    pub async fn run(self, stop: CancellationToken) {
        let Self { options, desk, broker } = self;
        let (panel, bus) = (Arc::clone(&desk.panel), Arc::clone(&desk.bus));
        let mut duties = JoinSet::new();
        if options.control {
            duties.spawn(mailbox(desk));
        }
        if options.autoscale.is_some() {
            let keepalive = Duration::from_secs(options.autoscale_keepalive_seconds);
            duties.spawn(autoscale(Arc::clone(&panel), broker, keepalive));
        }
        events(panel, bus, options, stop).await;
        duties.shutdown().await;
    }
}
