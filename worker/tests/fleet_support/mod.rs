//! A queue of a test on one of the brokers, and workers that can be killed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tradewind_broker::{
    Broker, BrokerOptions, Coordinator, MemoryBroker, MemoryResults, ResultBackend, ResultOptions,
    open, open_coordinator, open_results,
};
use tradewind_proto::celery::{Meta, Signature};
use tradewind_proto::clock::SystemClock;
use tradewind_services::shared;
use tradewind_worker::fleet::{FleetState, FleetWorker, Tasks, testing};
use tradewind_worker::{DrainReport, Error};
use uuid::Uuid;

/// Generous: machines of CI may be slow.
const WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Redis,
    RabbitMq,
}

pub(crate) struct Rig {
    kind: Kind,
    pub(crate) queue: String,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) results: Arc<dyn ResultBackend>,
    pub(crate) coordinator: Option<Arc<dyn Coordinator>>,
}

/// A worker with a runtime and connections of its own, so that killing it ends them all.
pub(crate) struct Peer {
    pub(crate) state: Arc<FleetState>,
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<DrainReport, Error>>,
}

impl Rig {
    pub(crate) async fn new(kind: Kind) -> Self {
        let queue = format!("q{}", Uuid::now_v7().simple());
        let clock = Arc::new(SystemClock);
        if kind == Kind::Memory {
            let broker = Arc::new(MemoryBroker::new(clock));
            let results = Arc::new(MemoryResults::new());
            return Self { kind, queue, broker, results, coordinator: None };
        }
        let (broker, results, coordinator) = connect(kind).await;
        broker.declare(std::slice::from_ref(&queue)).await.expect("declare");
        Self { kind, queue, broker, results, coordinator: Some(coordinator) }
    }

    /// Starts a worker with 4 slots and no grace; returns when it takes messages.
    pub(crate) async fn worker(&self, tasks: Tasks) -> Peer {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let (kind, queue, shutdown) = (self.kind, self.queue.clone(), CancellationToken::new());
        let (mut broker, mut results) = (Arc::clone(&self.broker), Arc::clone(&self.results));
        let token = shutdown.clone();
        let (tell, told) = tokio::sync::oneshot::channel();
        let running = runtime.spawn(async move {
            let mut coordinator = None;
            if kind != Kind::Memory {
                let own = connect(kind).await;
                (broker, results, coordinator) = (own.0, own.1, Some(own.2));
            }
            let mut builder = FleetWorker::builder(broker, results)
                .tasks(tasks)
                .queues([queue])
                .concurrency(4)
                .options(|options| {
                    options.grace_seconds = 0;
                    options.heartbeat_interval_ms = 100;
                });
            if let Some(coordinator) = coordinator {
                builder = builder.coordinator(coordinator);
            }
            let worker = builder.build()?;
            let _sent = tell.send((worker.state(), worker.ready()));
            worker.run(token).await
        });
        let (state, mut ready) = told.await.expect("a worker");
        let started = tokio::time::timeout(WAIT, ready.wait_for(|ready| *ready)).await;
        started.expect("in time").expect("it takes messages");
        Peer { state, runtime: Some(runtime), shutdown, running }
    }

    /// A name of this test alone.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.queue)
    }

    pub(crate) async fn send(&self, signature: Signature) -> String {
        let sent = testing::send(&*self.broker, &*self.results, &self.queue, signature).await;
        sent.expect("sent")
    }

    pub(crate) async fn result(&self, id: &str) -> Meta {
        let stored = self.results.wait(id, WAIT).await.expect("results");
        let stored = stored.unwrap_or_else(|| panic!("no result of {id} in time"));
        Meta::from_bytes(&stored.meta).expect("a meta")
    }

    pub(crate) async fn run(&self, signature: Signature) -> Meta {
        let id = self.send(signature).await;
        self.result(&id).await
    }

    pub(crate) async fn has_result(&self, id: &str) -> bool {
        self.results.get(id).await.expect("results").is_some()
    }

    pub(crate) async fn until_state(&self, id: &str, state: &str) {
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let stored = self.results.get(id).await.expect("results");
            if stored.is_some_and(|stored| stored.state == state) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{state} in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + WAIT;
        while !holds() {
            assert!(tokio::time::Instant::now() < deadline, "in time: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn until_ready(&self, count: u64) {
        let deadline = tokio::time::Instant::now() + WAIT;
        while self.broker.stats(&self.queue).await.expect("stats").ready != count {
            assert!(tokio::time::Instant::now() < deadline, "{count} ready in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The reason of the first dead letter.
    pub(crate) async fn dead_reason(&self) -> String {
        let grave = format!("{}{}", self.queue, tradewind_proto::names::DEAD_LETTER_SUFFIX);
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            if let Some(dead) = self.broker.peek(&grave, 1).await.expect("peek").first() {
                return dead.dead_reason().expect("a reason").to_owned();
            }
            assert!(tokio::time::Instant::now() < deadline, "a dead letter in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

type Links = (Arc<dyn Broker>, Arc<dyn ResultBackend>, Arc<dyn Coordinator>);

async fn connect(kind: Kind) -> Links {
    let redis = tokio::task::block_in_place(shared::redis_url);
    let broker = match kind {
        Kind::RabbitMq => tokio::task::block_in_place(shared::amqp_url),
        _ => redis.clone(),
    };
    // What a killed worker held is back soon.
    let options = BrokerOptions { lease_ms: 600, ..BrokerOptions::default() };
    let clock = Arc::new(SystemClock);
    let broker = open(&broker, &options, clock.clone()).await.expect("broker");
    let results = open_results(&redis, &ResultOptions::default(), clock).await.expect("results");
    let coordinator = open_coordinator(&redis, "").await.expect("coordinator");
    (broker, results, coordinator)
}

impl Peer {
    /// As `kill -9`: nothing is settled or said.
    pub(crate) fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) async fn stop(mut self) -> DrainReport {
        self.shutdown.cancel();
        let report = tokio::time::timeout(WAIT, &mut self.running).await;
        let report = report.expect("drained in time").expect("no panic").expect("no error");
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        report
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A failed test ends here; a runtime must not be dropped where one is running.
            runtime.shutdown_background();
        }
    }
}
