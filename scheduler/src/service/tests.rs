//! Every duty keeps the contract of [`crate::duty`]: stopped early, twice, and started again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{MemoryBroker, MemoryResults};
use tradewind_proto::clock::{SharedClock, SystemClock, SystemIds};
use tradewind_proto::sign::SigningKey;
use tradewind_store::{AdminStore as _, SqliteStore};

use super::{Layout, Scheduler, SchedulerDeps};
use crate::duty::{Duty, DutyRunner};
use crate::metrics::Metrics;
use crate::options::SchedulerOptions;
use crate::signals::Signals;

/// A stop takes no longer, on the paused clock.
const STOP_MAX: Duration = Duration::from_secs(5);

async fn deps(migrated: bool) -> SchedulerDeps {
    let clock: SharedClock = Arc::new(SystemClock);
    let store = SqliteStore::in_memory_inline().expect("store");
    if migrated {
        store.migrate().await.expect("migrated");
    }
    SchedulerDeps {
        store: Arc::new(store),
        broker: Arc::new(MemoryBroker::new(Arc::clone(&clock))),
        results: Arc::new(MemoryResults::new()),
        signing_key: Arc::new(SigningKey::from_seed(&[1; 32]).expect("key")),
        clock,
        ids: Arc::new(SystemIds),
        registry: prometheus::Registry::new(),
    }
}

async fn duties(migrated: bool) -> Vec<Arc<dyn Duty>> {
    let folder = std::env::temp_dir().join("tradewind-no-such-folder");
    let options = SchedulerOptions { dags_folder: folder, ..SchedulerOptions::default() };
    let deps = deps(migrated).await;
    let metrics = Metrics::register(&deps.registry).expect("metrics");
    let layout = Layout { options, deps, metrics, signals: Arc::new(Signals::default()) };
    layout.duties(watch::channel(false).0)
}

async fn stop(duty: &mut DutyRunner) {
    let name = duty.name();
    tokio::time::timeout(STOP_MAX, duty.stop())
        .await
        .unwrap_or_else(|_| panic!("{name} did not stop"))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Also on a store without tables, where every call fails.
#[tokio::test(start_paused = true)]
async fn every_duty_starts_and_stops_in_any_order() {
    for migrated in [true, false] {
        for duty in duties(migrated).await {
            let mut duty = DutyRunner::new(duty);
            let parent = CancellationToken::new();
            stop(&mut duty).await;
            for pause_ms in [0, 1, 70, 3000, 20_000] {
                duty.start(&parent);
                duty.start(&parent);
                if pause_ms > 0 {
                    let early =
                        tokio::time::timeout(Duration::from_millis(pause_ms), duty.ended_early());
                    assert!(early.await.is_err(), "{} ended by itself", duty.name());
                }
                stop(&mut duty).await;
                stop(&mut duty).await;
            }
            let stopped = CancellationToken::new();
            stopped.cancel();
            duty.start(&stopped);
            stop(&mut duty).await;
            duty.start(&parent);
            drop(duty);
        }
    }
}

#[derive(Debug)]
struct Panics;

#[async_trait::async_trait]
impl Duty for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    async fn run(&self, _stop: CancellationToken) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn a_duty_that_panics_ends_the_scheduler_with_its_name() {
    let options = SchedulerOptions { dagfiles: false, ..SchedulerOptions::default() };
    let mut scheduler = Scheduler::new(options, deps(true).await).expect("scheduler");
    scheduler.duties.push(DutyRunner::new(Arc::new(Panics)));
    let error = scheduler.run(CancellationToken::new()).await.expect_err("ended");
    let text = error.to_string();
    assert!(text.contains("panics") && text.contains("on purpose"), "{text}");
}
