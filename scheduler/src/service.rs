//! The scheduler as a whole: builds its duties, runs them, and stops them in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tradewind_broker::{Broker, ResultBackend};
use tradewind_engine::PlanOptions;
use tradewind_proto::clock::{SharedClock, SharedIds};
use tradewind_proto::sign::SigningKey;
use tradewind_store::Store;
use tradewind_store::model::Queueing;

use crate::dagfiles::DagFiles;
use crate::dispatch::{DISPATCH_QUEUE_MAX, Dispatcher, Wire};
use crate::duty::{Duty, DutyRunner};
use crate::error::Error;
use crate::gauges::Gauges;
use crate::heartbeat::Heartbeat;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::options::SchedulerOptions;
use crate::planner::{INPUT_QUEUE_MAX, Planner, PlannerSender};
use crate::reap::Reap;
use crate::signals::{Relay, Signals};
use crate::start::Start;
use crate::sweep::Sweep;
use crate::tick::Tick;

/// Task instances queued by one commit; the rest follows at once.
const QUEUED_PER_COMMIT_MAX: u32 = 512;
/// A heartbeat of the API that is later than this is a missed one. Shorter than a lease less a renewal
/// interval, so that a silent API is noticed before the first lease runs out.
const API_LATE: Duration = Duration::from_millis(1500);
/// How often gauges are read from the store.
const GAUGES_INTERVAL: Duration = Duration::from_secs(5);

/// What a scheduler works with.
#[derive(Debug, Clone)]
pub struct SchedulerDeps {
    /// Metadata store.
    pub store: Arc<dyn Store>,
    /// Task queues.
    pub broker: Arc<dyn Broker>,
    /// Where outcomes come from.
    pub results: Arc<dyn ResultBackend>,
    /// Signs workloads; its public half is put into the store.
    pub signing_key: Arc<SigningKey>,
    /// Wall time.
    pub clock: SharedClock,
    /// Ids of runs, attempts and jobs.
    pub ids: SharedIds,
    /// Where metrics are registered; one scheduler per registry.
    pub registry: prometheus::Registry,
}

/// A scheduler, not running yet.
#[derive(Debug)]
pub struct Scheduler {
    duties: Vec<DutyRunner>,
    handle: SchedulerHandle,
}

/// Reaches a scheduler while it runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SchedulerHandle {
    signals: Arc<Signals>,
    scanned: watch::Receiver<bool>,
}

impl SchedulerHandle {
    /// Lets all duties look at the store now: something was written by this very process.
    pub fn wake(&self) {
        self.signals.all();
    }

    /// Waits until the DAGs folder has been read once (at once when this scheduler reads none).
    /// Returns also when the scheduler ends.
    pub async fn scanned(&mut self) {
        let _ended = self.scanned.wait_for(|done| *done).await;
    }
}

impl Scheduler {
    /// Checks the options and lays out the duties. Starts nothing.
    ///
    /// # Errors
    /// [`Error::Options`], or [`Error::Metrics`] when the registry already has a scheduler's metrics.
    pub fn new(options: SchedulerOptions, deps: SchedulerDeps) -> Result<Self, Error> {
        options.validate()?;
        let metrics = Metrics::register(&deps.registry)?;
        let (scan_done, scanned) = watch::channel(!options.dagfiles);
        let layout = Layout { options, deps, metrics, signals: Arc::new(Signals::default()) };
        let handle = SchedulerHandle { signals: Arc::clone(&layout.signals), scanned };
        let duties = layout.duties(scan_done).into_iter().map(DutyRunner::new).collect();
        Ok(Self { duties, handle })
    }

    /// A handle on it.
    pub fn handle(&self) -> SchedulerHandle {
        self.handle.clone()
    }

    /// Runs until `shutdown` is cancelled, then stops all duties; what is under way is finished if
    /// that takes no more than seconds. Dropping the future is safe too: the next scheduler, or this
    /// one started again, goes on where it left off.
    ///
    /// # Errors
    /// [`Error::DutyEnded`] when a duty panicked: restart the process.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        // Not a child of `shutdown`: duties are stopped one by one, producers first.
        let parent = CancellationToken::new();
        for duty in &mut self.duties {
            duty.start(&parent);
        }
        info!(duties = self.duties.len(), "scheduler started");
        let failed = {
            let endings = self.duties.iter_mut().map(|duty| Box::pin(duty.ended_early()));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => None,
                (error, _, _) = futures::future::select_all(endings) => Some(error),
            }
        };
        if let Some(error) = &failed {
            error!(%error, "stopping the scheduler");
        }
        let mut result = failed.map_or(Ok(()), Err);
        for duty in &mut self.duties {
            result = result.and(duty.stop().await);
        }
        info!("scheduler stopped");
        result
    }
}

/// What duties are built from.
struct Layout {
    options: SchedulerOptions,
    deps: SchedulerDeps,
    metrics: Metrics,
    signals: Arc<Signals>,
}

impl Layout {
    /// All duties in the order in which they are stopped: those that make work first, so that those
    /// that do it can finish.
    fn duties(&self, scan_done: watch::Sender<bool>) -> Vec<Arc<dyn Duty>> {
        let (planner, inputs) = mpsc::channel(INPUT_QUEUE_MAX);
        let (dispatch, jobs) = mpsc::channel(DISPATCH_QUEUE_MAX);
        let mut duties: Vec<Arc<dyn Duty>> = Vec::new();
        if self.options.dagfiles {
            duties.push(Arc::new(self.dag_files(scan_done)));
        }
        duties.push(Arc::new(self.relay()));
        duties.push(Arc::new(self.tick()));
        duties.push(Arc::new(self.start(planner.clone())));
        duties.push(Arc::new(self.reap(planner.clone())));
        duties.push(Arc::new(self.intake(planner)));
        duties.push(Arc::new(self.planner(inputs, dispatch)));
        duties.push(Arc::new(self.dispatcher(jobs)));
        duties.push(Arc::new(self.sweep()));
        duties.push(Arc::new(self.gauges()));
        duties.push(Arc::new(self.heartbeat()));
        duties
    }

    fn wire(&self) -> Wire {
        Wire {
            broker: Arc::clone(&self.deps.broker),
            key: Arc::clone(&self.deps.signing_key),
            inbox: self.options.results_inbox.clone(),
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
        }
    }

    fn dag_files(&self, scan_done: watch::Sender<bool>) -> DagFiles {
        DagFiles::new(
            &self.options,
            Arc::clone(&self.deps.store),
            Arc::clone(&self.deps.clock),
            self.metrics.clone(),
            scan_done,
        )
    }

    fn relay(&self) -> Relay {
        Relay { store: Arc::clone(&self.deps.store), signals: Arc::clone(&self.signals) }
    }

    fn tick(&self) -> Tick {
        Tick {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            ids: Arc::clone(&self.deps.ids),
            signals: Arc::clone(&self.signals),
            interval: self.options.tick,
        }
    }

    fn start(&self, planner: PlannerSender) -> Start {
        Start {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            signals: Arc::clone(&self.signals),
            planner,
            routes: self.options.routes.clone(),
            interval: self.options.tick,
        }
    }

    fn reap(&self, planner: PlannerSender) -> Reap {
        Reap {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            planner,
            metrics: self.metrics.clone(),
            interval: self.options.reaper_interval,
            outage_gap: self.options.outage_gap,
            lease: self.options.lease,
            api_silence: self.options.heartbeat_interval + API_LATE,
            api_outage_max: self.options.api_outage_max,
        }
    }

    fn intake(&self, planner: PlannerSender) -> Intake {
        Intake {
            results: Arc::clone(&self.deps.results),
            inbox: self.options.results_inbox.clone(),
            planner,
            metrics: self.metrics.clone(),
            signals: Arc::clone(&self.signals),
        }
    }

    fn planner(
        &self,
        inputs: mpsc::Receiver<crate::planner::Input>,
        dispatch: mpsc::Sender<crate::dispatch::Job>,
    ) -> Planner {
        Planner {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            ids: Arc::clone(&self.deps.ids),
            signals: Arc::clone(&self.signals),
            metrics: self.metrics.clone(),
            dispatch,
            queueing: Queueing {
                parallelism: (self.options.parallelism > 0).then_some(self.options.parallelism),
                default_pool_slots: self.options.default_pool_slots,
                max: QUEUED_PER_COMMIT_MAX,
            },
            plan_options: PlanOptions { lost_max: self.options.lost_max },
            poll_interval: self.options.tick,
            audit_interval: self.options.audit_interval,
            cached_runs: self.options.cached_runs,
            inputs: Mutex::new(inputs),
        }
    }

    fn dispatcher(&self, jobs: mpsc::Receiver<crate::dispatch::Job>) -> Dispatcher {
        Dispatcher {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            signals: Arc::clone(&self.signals),
            metrics: self.metrics.clone(),
            wire: self.wire(),
            jobs: Mutex::new(jobs),
        }
    }

    fn sweep(&self) -> Sweep {
        Sweep {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            signals: Arc::clone(&self.signals),
            metrics: self.metrics.clone(),
            wire: self.wire(),
            interval: self.options.outbox_sweep,
            republish_base: self.options.republish_base,
        }
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            metrics: self.metrics.clone(),
            interval: GAUGES_INTERVAL,
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let mut job_types = vec!["SchedulerJob"];
        if self.options.dagfiles {
            job_types.push("DagProcessorJob");
        }
        Heartbeat {
            store: Arc::clone(&self.deps.store),
            clock: Arc::clone(&self.deps.clock),
            ids: Arc::clone(&self.deps.ids),
            public_key: self.deps.signing_key.public(),
            hostname: self.options.hostname.clone(),
            interval: self.options.heartbeat_interval,
            job_types,
        }
    }
}

#[cfg(test)]
mod tests;
