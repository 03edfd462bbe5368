//! Breaks processes and servers, one act after another, as the seed says.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::faults::Fault;
use crate::fleet::{Fleet, Role};
use crate::life::Life;
use crate::lock;
use crate::workload::QUEUES;

/// What the nemesis chooses from; the world may lack some.
const ACTS: [Fault; 10] = [
    Fault::SchedulerCrash,
    Fault::SchedulerFrozen,
    Fault::SchedulerStop,
    Fault::WorkerCrash,
    Fault::WorkerFrozen,
    Fault::WorkerDrain,
    Fault::StoreOutage,
    Fault::ApiOutage,
    Fault::MessagesLost,
    Fault::BrokerDisconnect,
];

/// Acts until the time is up.
pub(crate) async fn run(fleet: Arc<Fleet>, until: Instant) {
    let world = Arc::clone(&fleet.world);
    let acts: Vec<Fault> = ACTS.into_iter().filter(|act| world.faults.has(*act)).collect();
    loop {
        sleep(world.rng.millis(300, 6_000)).await;
        if Instant::now() >= until {
            return;
        }
        if let Some(act) = world.rng.pick(&acts) {
            perform(&fleet, *act).await;
        }
    }
}

async fn perform(fleet: &Fleet, act: Fault) {
    let world = &fleet.world;
    match act {
        Fault::SchedulerCrash => crash(fleet, Role::Scheduler, act),
        Fault::WorkerCrash => crash(fleet, Role::Worker, act),
        Fault::SchedulerFrozen => {
            freeze(fleet, Role::Scheduler, act, world.rng.millis(500, 25_000))
        }
        // Longer than a lease of 10 seconds.
        Fault::WorkerFrozen => freeze(fleet, Role::Worker, act, world.rng.millis(10_500, 25_000)),
        Fault::SchedulerStop => stop(fleet, Role::Scheduler, act),
        Fault::WorkerDrain => stop(fleet, Role::Worker, act),
        Fault::StoreOutage | Fault::ApiOutage => {
            let time = world.rng.millis(300, 25_000);
            world.note(format!("{} for {} ms", act.name(), time.as_millis()));
            world.faults.outage(act, Instant::now() + time);
        }
        Fault::MessagesLost => {
            let queues: Vec<String> = QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
            let lost = fleet.hub.forget(&queues).await;
            world.note(format!("the broker restarts without {lost} messages"));
            world.faults.bit(act, lost);
        }
        Fault::BrokerDisconnect => {
            let Some(life) = victim(fleet, Role::Worker) else { return };
            let back = life.disconnect();
            world.note(format!("{} loses its connection and {back} deliveries", life.name));
            world.faults.bit(act, back);
        }
        _ => {}
    }
}

fn victim(fleet: &Fleet, role: Role) -> Option<Arc<Life>> {
    let slots: Vec<_> = fleet.slots.iter().filter(|slot| slot.role == role).collect();
    fleet.world.rng.pick(&slots)?.life()
}

/// Attempts that a life is running now.
fn running(fleet: &Fleet, life: &Arc<Life>) -> u64 {
    let executions = lock(&fleet.world.executions);
    let of_life = executions.values().filter(|e| e.ended.is_none() && Arc::ptr_eq(&e.life, life));
    of_life.count() as u64
}

/// A worker's fault has bitten when it ran something; a scheduler is always at something.
fn bite(fleet: &Fleet, role: Role, life: &Arc<Life>, act: Fault) -> u64 {
    let running = if role == Role::Worker { running(fleet, life) } else { 1 };
    fleet.world.faults.bit(act, running);
    running
}

fn crash(fleet: &Fleet, role: Role, act: Fault) {
    let Some(life) = victim(fleet, role) else { return };
    let running = bite(fleet, role, &life, act);
    fleet.world.note(format!("{} is killed with {running} running", life.name));
    life.kill();
}

fn freeze(fleet: &Fleet, role: Role, act: Fault, time: Duration) {
    let Some(life) = victim(fleet, role) else { return };
    let running = bite(fleet, role, &life, act);
    let ms = time.as_millis();
    fleet.world.note(format!("{} is frozen for {ms} ms with {running} running", life.name));
    life.freeze(Instant::now() + time);
}

fn stop(fleet: &Fleet, role: Role, act: Fault) {
    let Some(life) = victim(fleet, role) else { return };
    let running = bite(fleet, role, &life, act);
    fleet.world.note(format!("{} is asked to stop with {running} running", life.name));
    life.shutdown.cancel();
}

/// Nothing is broken any more.
pub(crate) fn heal(fleet: &Fleet) {
    fleet.world.faults.switch(false);
    for life in fleet.slots.iter().filter_map(|slot| slot.life()) {
        life.thaw();
    }
    fleet.world.note("faults have stopped");
}
