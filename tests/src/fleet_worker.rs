//! A worker as a Rust service would write one: what real Celery clients, Flower, Prometheus and Celery's own
//! suite are pointed at. Everything is set by the variables of `tests/python/fleet_app.py`.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tradewind_broker::{
    BrokerOptions, BusOptions, ResultOptions, open, open_bus, open_coordinator, open_results,
};
use tradewind_proto::clock::{SharedClock, SystemClock};
use tradewind_worker::fleet::{FleetWorker, Tasks};
use tradewind_worker::remote::{Remote, RemoteDeps, RemoteOptions, broker_info};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    variable(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a worker of these tasks until SIGTERM. `name` is what its errors begin with.
pub async fn main(name: &str, tasks: Tasks) -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match run(tasks).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Setup {
    broker: String,
    results: ResultOptions,
    results_url: String,
    queue: String,
    node: String,
    clock: SharedClock,
}

impl Setup {
    fn read() -> Result<Self, Box<dyn std::error::Error>> {
        let broker = variable("FLEET_BROKER").ok_or("FLEET_BROKER is not set")?;
        let results_url = variable("FLEET_RESULTS").ok_or("FLEET_RESULTS is not set")?;
        let results = ResultOptions { broker_url: Some(broker.clone()), ..Default::default() };
        Ok(Self {
            broker,
            results,
            results_url,
            queue: variable("FLEET_QUEUE").unwrap_or_else(|| "celery".to_owned()),
            node: variable("FLEET_NODE").unwrap_or_else(|| "celery@rust".to_owned()),
            clock: Arc::new(SystemClock),
        })
    }
}

async fn run(tasks: Tasks) -> Result<(), Box<dyn std::error::Error>> {
    let setup = Setup::read()?;
    let clock = &setup.clock;
    let options =
        BrokerOptions { lease_ms: number("FLEET_LEASE_MS", 10_000), ..Default::default() };
    let broker = open(&setup.broker, &options, Arc::clone(clock)).await?;
    let results = open_results(&setup.results_url, &setup.results, Arc::clone(clock)).await?;
    let coordinator = open_coordinator(&setup.results_url, "").await?;
    let bus = open_bus(&setup.broker, &BusOptions::default(), Arc::clone(clock)).await?;
    let worker = FleetWorker::builder(Arc::clone(&broker), results)
        .tasks(tasks.clone())
        .name(setup.node.clone())
        .queues(setup.queue.split(',').map(str::to_owned))
        .concurrency(number("FLEET_CONCURRENCY", 8))
        .coordinator(Arc::clone(&coordinator))
        .build()?;
    let remote = Remote::new(
        RemoteOptions { events: number("FLEET_EVENTS", 1) == 1, ..Default::default() },
        RemoteDeps {
            node: setup.node.clone(),
            bus,
            state: worker.state(),
            tasks,
            coordinator: Some(coordinator),
            broker,
            conf: json!({"broker_url": setup.broker, "task_default_queue": setup.queue}),
            broker_info: broker_info(&setup.broker, 4.0, 10),
            clock: Arc::clone(clock),
        },
    )?;
    remote.prepare().await;
    let ended = CancellationToken::new();
    let remote = tokio::spawn(remote.run(ended.clone()));
    let shutdown = CancellationToken::new();
    let (mut term, stop) = (signal(SignalKind::terminate())?, shutdown.clone());
    tokio::spawn(async move {
        term.recv().await;
        stop.cancel();
    });
    let report = worker.run(shutdown).await;
    ended.cancel();
    remote.await?;
    println!("{:?}", report?);
    Ok(())
}
