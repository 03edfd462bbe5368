//! One simulation from its seed to its verdict.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tradewind_proto::clock::{Clock as _, Ids as _};
use tradewind_proto::state::RunType;
use tradewind_store::model::{FileSync, NewRun};
use tradewind_store::{AdminStore as _, DagStore as _, Error, RunStore as _, SqliteStore};
use tradewind_web::{ExecutionOptions, ExecutionService};

use crate::check::{Unfinished, finale, unfinished};
use crate::faults::Fault;
use crate::fleet::{Fleet, RESTART_MAX};
use crate::life::Life;
use crate::rng::Rng;
use crate::time::{SimClock, epoch};
use crate::trace::Event;
use crate::workload::Trigger;
use crate::world::{Options, Violation, World};
use crate::{lock, nemesis};

/// Virtual time without any task instance or run moving, after the last fault, that counts as stuck:
/// the longest task, a lease, a pending republication and some reserve.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// Virtual time to quiescence after the last fault at most.
const QUIET_MAX: Duration = Duration::from_secs(1_800);
/// Pause between two looks whether everything is finished.
const LOOK: Duration = Duration::from_secs(1);

/// What became of one seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Hash over everything that happened, in order and with virtual times.
    pub hash: u64,
    /// What happened, without the most frequent calls.
    pub events: Vec<Event>,
    /// How often each fault class has bitten.
    pub bites: BTreeMap<Fault, u64>,
    /// Consequences that were seen.
    pub tallies: BTreeMap<&'static str, u64>,
    /// Virtual seconds in all.
    pub virtual_seconds: u64,
}

thread_local! {
    /// Panics on this thread: a simulation has one thread, and tokio keeps panics of tasks to itself.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|count| count.set(count.get() + 1));
            before(info);
        }));
    });
}

/// Simulates one seed.
///
/// # Panics
/// When the runtime or an in-memory database cannot be made.
pub fn simulate(seed: u64, options: Options) -> Report {
    count_panics();
    PANICS.with(|count| count.set(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    runtime.block_on(Box::pin(one(seed, options)))
}

async fn one(seed: u64, options: Options) -> Report {
    let rng = Arc::new(Rng::new(seed));
    let store = Arc::new(SqliteStore::in_memory_inline().expect("a database in memory"));
    let world = World::new(rng, SimClock::start(), options, store);
    let fleet = prepare(&world).await;
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let (chaos, quiet) = tokio::select! {
        biased;
        () = world.over.notified() => (false, Ok(())),
        quiet = live(&fleet, &accepted) => (true, quiet),
    };
    if let Err(stuck) = quiet {
        let text = format!("not quiet: {}", stuck.things.join("; "));
        world.violate(Violation { promise: "L2", text });
    } else if chaos && let Err(violation) = finale(&world) {
        world.violate(violation);
    }
    if PANICS.with(Cell::get) > 0 {
        world.violate(Violation { promise: "panic", text: "a task panicked".to_owned() });
    }
    let stale = fleet.counter("tradewind_stale_writes_refused_total");
    world.count("stale writes refused by schedulers", stale);
    Report {
        seed,
        violation: world.violation(),
        hash: world.trace.hash(),
        bites: world.faults.bites(),
        tallies: lock(&world.tallies).clone(),
        virtual_seconds: world.clock.elapsed_us() / 1_000_000,
        events: world.trace.take(),
    }
}

/// The database with its DAGs, and the processes.
async fn prepare(world: &Arc<World>) -> Arc<Fleet> {
    world.store.migrate().await.expect("an empty database can be migrated");
    for (dag_id, spec) in &world.workload.dags {
        let file = FileSync {
            fileloc: format!("{dag_id}.py"),
            dags: vec![spec.as_ref().clone()],
            error: None,
            paused_by_default: false,
        };
        world.store.sync_file(file, epoch()).await.expect("a DAG can be stored");
    }
    let web = Life::new("web".to_owned());
    let store = crate::store::FaultyStore { world: Arc::clone(world), life: Arc::clone(&web) };
    let clock = Arc::new(world.clock);
    let service =
        ExecutionService::new(ExecutionOptions::default(), Arc::new(store), clock, &web.registry)
            .expect("a new registry has no metrics");
    tokio::spawn(crate::web::heartbeat(Arc::clone(world), web));
    Fleet::new(world, service)
}

type Accepted = Arc<Mutex<BTreeSet<(String, String)>>>;

/// Faults and triggers, then calm until everything is finished.
async fn live(fleet: &Arc<Fleet>, accepted: &Accepted) -> Result<(), Unfinished> {
    let world = &fleet.world;
    fleet.start();
    world.faults.switch(true);
    let until = Instant::now() + Duration::from_millis(world.workload.chaos_ms);
    let client = tokio::spawn(offer(Arc::clone(fleet), Arc::clone(accepted)));
    tokio::spawn(nemesis::run(Arc::clone(fleet), until));
    sleep_until(until).await;
    nemesis::heal(fleet);
    let _answered = timeout(RESTART_MAX, client).await;
    settle(world, accepted).await
}

/// Waits until everything is finished, or stuck.
async fn settle(world: &World, accepted: &Accepted) -> Result<(), Unfinished> {
    let end = Instant::now() + QUIET_MAX;
    let mut last = (0, Instant::now());
    loop {
        let open = unfinished(world, &lock(accepted));
        if open.things.is_empty() {
            return Ok(());
        }
        let mut hash = Rng::new(0x5eed).next();
        for byte in open.things.join(";").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if hash != last.0 {
            last = (hash, Instant::now());
        }
        if last.1.elapsed() > STUCK_AFTER || Instant::now() > end {
            return Err(open);
        }
        sleep(LOOK).await;
    }
}

/// The client: asks for runs until each was answered.
async fn offer(fleet: Arc<Fleet>, accepted: Accepted) {
    let world = Arc::clone(&fleet.world);
    let store = fleet.store(&Life::new("client".to_owned()));
    let start = Instant::now();
    for trigger in &world.workload.triggers {
        sleep_until(start + Duration::from_millis(trigger.at_ms)).await;
        loop {
            let answer = store.trigger(new_run(&world, trigger), world.clock.now()).await;
            match answer {
                Ok(_) | Err(Error::Exists { .. }) => break,
                Err(error) if error.is_retryable() => sleep(Duration::from_millis(700)).await,
                Err(error) => {
                    let text = format!("{}: {error}", trigger.run_id);
                    return world.violate(Violation { promise: "S1", text });
                }
            }
        }
        let key = (trigger.dag_id.clone(), trigger.run_id.clone());
        lock(&accepted).insert(key);
    }
}

fn new_run(world: &World, trigger: &Trigger) -> NewRun {
    NewRun {
        id: world.ids().next(),
        dag_id: trigger.dag_id.clone(),
        run_id: trigger.run_id.clone(),
        run_type: RunType::Manual,
        logical_date: trigger.logical_date,
        interval: None,
        run_after: world.clock.now(),
        conf: serde_json::Map::new(),
        trace_parent: String::new(),
    }
}
