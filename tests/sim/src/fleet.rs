//! The processes of a world: real schedulers and workers, each life behind its gate, started again
//! after a crash as a service manager would.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tradewind_broker::MemoryResults;
use tradewind_proto::dag::Runtime as Kind;
use tradewind_proto::sign::SigningKey;
use tradewind_scheduler::{Scheduler, SchedulerDeps, SchedulerOptions};
use tradewind_web::ExecutionService;
use tradewind_worker::fleet::Tasks;
use tradewind_worker::{Runtimes, Worker, WorkerDeps, WorkerOptions};

use crate::api::FaultyApi;
use crate::broker::{FaultyBroker, Hub};
use crate::life::Life;
use crate::lock;
use crate::results::FaultyResults;
use crate::runtime::SimRuntime;
use crate::store::FaultyStore;
use crate::workload::QUEUES;
use crate::world::{Violation, World};

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Scheduler,
    Worker,
}

/// A place for a process: one life after another.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) role: Role,
    index: usize,
    life: Mutex<Option<Arc<Life>>>,
}

impl Slot {
    /// The present life, between two lives none.
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        lock(&self.life).clone().filter(|life| !life.dead.is_cancelled())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) world: Arc<World>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) slots: Vec<Arc<Slot>>,
    results: MemoryResults,
    arrived: Arc<Notify>,
    service: ExecutionService,
    /// All lives so far: their metrics are read at the end.
    lives: Mutex<Vec<Arc<Life>>>,
}

impl Fleet {
    /// Lays out the processes; starts none.
    pub(crate) fn new(world: &Arc<World>, service: ExecutionService) -> Arc<Self> {
        let slot = |role| move |index| Arc::new(Slot { role, index, life: Mutex::default() });
        let schedulers = (0..world.workload.schedulers).map(slot(Role::Scheduler));
        let workers = (0..world.workload.workers).map(slot(Role::Worker));
        Arc::new(Self {
            world: Arc::clone(world),
            hub: Hub::new(world),
            slots: schedulers.chain(workers).collect(),
            results: MemoryResults::new(),
            arrived: Arc::default(),
            service,
            lives: Mutex::default(),
        })
    }

    /// Starts all processes, and keeps them running.
    pub(crate) fn start(self: &Arc<Self>) {
        for slot in &self.slots {
            tokio::spawn(keep(Arc::clone(self), Arc::clone(slot)));
        }
    }

    /// A handle on the store for a process outside the fleet.
    pub(crate) fn store(&self, life: &Arc<Life>) -> FaultyStore {
        FaultyStore { world: Arc::clone(&self.world), life: Arc::clone(life) }
    }

    fn broker(&self, life: &Arc<Life>) -> FaultyBroker {
        FaultyBroker {
            world: Arc::clone(&self.world),
            life: Arc::clone(life),
            hub: Arc::clone(&self.hub),
        }
    }

    fn results(&self, life: &Arc<Life>) -> FaultyResults {
        FaultyResults {
            world: Arc::clone(&self.world),
            life: Arc::clone(life),
            inner: self.results.clone(),
            arrived: Arc::clone(&self.arrived),
        }
    }

    /// Sum of a counter over all lives.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let lives = lock(&self.lives);
        let families = lives.iter().flat_map(|life| life.registry.gather());
        let metrics = families.filter(|family| family.name() == name);
        metrics
            .flat_map(|f| f.get_metric().to_vec())
            .map(|m| m.get_counter().get_value() as u64)
            .sum()
    }
}

/// Runs one life after another in a slot.
async fn keep(fleet: Arc<Fleet>, slot: Arc<Slot>) {
    let prefix = if slot.role == Role::Scheduler { "s" } else { "w" };
    for number in 1u32.. {
        let life = Life::new(format!("{prefix}{}.{number}", slot.index));
        *lock(&slot.life) = Some(Arc::clone(&life));
        lock(&fleet.lives).push(Arc::clone(&life));
        let started = match slot.role {
            Role::Scheduler => scheduler(&fleet, &life),
            Role::Worker => worker(&fleet, &life, slot.index),
        };
        match started {
            Ok(mut running) => {
                tokio::select! {
                    biased;
                    () = life.dead.cancelled() => running.abort(),
                    ended = &mut running => report(&fleet.world, &life, ended),
                }
            }
            Err(text) => fleet.world.violate(Violation { promise: "start", text }),
        }
        life.kill();
        sleep(fleet.world.rng.millis(100, 3_000)).await;
    }
}

type Ended = Result<(), String>;

/// A process that ends unasked must have said why, and not by a panic.
fn report(world: &World, life: &Life, ended: Result<Ended, tokio::task::JoinError>) {
    let text = match ended {
        Ok(Ok(())) => "ended".to_owned(),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    };
    world.note(format!("{}: {text}", life.name));
    if text.contains("panic") || text.contains("duty") {
        let text = format!("{}: {text}", life.name);
        world.violate(Violation { promise: "panic", text });
    }
}

fn scheduler(fleet: &Fleet, life: &Arc<Life>) -> Result<JoinHandle<Ended>, String> {
    let world = &fleet.world;
    let seed: Vec<u8> = (0..4).flat_map(|_| world.rng.next().to_le_bytes()).collect();
    let options = SchedulerOptions {
        dagfiles: false,
        default_pool_slots: world.workload.pool_slots,
        parallelism: world.workload.parallelism,
        hostname: life.name.clone(),
        ..SchedulerOptions::default()
    };
    let deps = SchedulerDeps {
        store: Arc::new(fleet.store(life)),
        broker: Arc::new(fleet.broker(life)),
        results: Arc::new(fleet.results(life)),
        signing_key: Arc::new(SigningKey::from_seed(&seed).map_err(|e| e.to_string())?),
        clock: Arc::new(world.clock),
        ids: Arc::new(world.ids()),
        registry: life.registry.clone(),
    };
    let scheduler = Scheduler::new(options, deps).map_err(|e| e.to_string())?;
    let running = scheduler.run(life.shutdown.clone());
    world.note(format!("{} starts", life.name));
    Ok(tokio::spawn(async move { running.await.map_err(|e| e.to_string()) }))
}

fn worker(fleet: &Fleet, life: &Arc<Life>, index: usize) -> Result<JoinHandle<Ended>, String> {
    let world = &fleet.world;
    let mut queues: Vec<String> = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
    if index > 0 && world.rng.chance(400) {
        queues.remove(world.rng.index(queues.len()));
    }
    let options = WorkerOptions {
        name: format!("celery@w{index}"),
        queues,
        concurrency: u16::try_from(world.rng.range(1, 4)).unwrap_or(1),
        grace_seconds: world.rng.range(0, 4),
        flush_seconds: 5,
        guard: false,
        ..WorkerOptions::default()
    };
    let runtime = SimRuntime { world: Arc::clone(world), life: Arc::clone(life) };
    let deps = WorkerDeps {
        broker: Arc::new(fleet.broker(life)),
        results: Arc::new(fleet.results(life)),
        api: Arc::new(FaultyApi {
            world: Arc::clone(world),
            life: Arc::clone(life),
            service: fleet.service.clone(),
        }),
        clock: Arc::new(world.clock),
        ids: Arc::new(world.ids()),
        registry: life.registry.clone(),
        tasks: Tasks::default(),
        coordinator: None,
        client: None,
        runtimes: Runtimes::none().with(Kind::Native, Arc::new(runtime)),
    };
    let worker = Worker::new(options, deps).map_err(|e| e.to_string())?;
    let running = worker.run(life.shutdown.clone());
    world.note(format!("{} starts", life.name));
    Ok(tokio::spawn(async move { running.await.map(drop).map_err(|e| e.to_string()) }))
}

/// How long the fleet may take to be whole again after the last fault.
pub(crate) const RESTART_MAX: Duration = Duration::from_secs(30);
