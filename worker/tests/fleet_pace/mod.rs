//! Tasks that end at once are taken beyond the slots; those that do not must not be kept from other workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tradewind_proto::celery::Signature;
use tradewind_worker::fleet::Tasks;

use crate::fleet_support::{Kind, Rig};

/// Slots of a worker of the rig.
const SLOTS: usize = 4;

/// What one worker runs.
#[derive(Clone)]
struct Counted {
    quick: Arc<AtomicUsize>,
    holding: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Counted {
    fn new() -> Self {
        Self { quick: Arc::default(), holding: Arc::default(), most: Arc::default() }
    }

    fn tasks(&self, gate: &Arc<Semaphore>) -> Tasks {
        let mut tasks = Tasks::default();
        let quick = Arc::clone(&self.quick);
        tasks.add("quick", move |_context, (): ()| {
            quick.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let (gate, counted) = (Arc::clone(gate), self.clone());
        tasks.add("hold", move |_context, (): ()| {
            let (gate, counted) = (Arc::clone(&gate), counted.clone());
            async move {
                let now = counted.holding.fetch_add(1, Ordering::SeqCst) + 1;
                counted.most.fetch_max(now, Ordering::SeqCst);
                let _open = gate.acquire().await;
                counted.holding.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        tasks
    }
}

async fn what_has_no_slot_goes_to_others(kind: Kind) {
    const QUICK: usize = 600;
    let (rig, gate) = (Rig::new(kind).await, Arc::new(Semaphore::new(0)));
    let (first, second) = (Counted::new(), Counted::new());
    let mut ids = Vec::new();
    for _ in 0..QUICK {
        rig.send(Signature::new("quick")).await;
    }
    // Behind them: the worker takes these while it believes that all end at once.
    for _ in 0..SLOTS * 4 {
        ids.push(rig.send(Signature::new("hold")).await);
    }
    let one = rig.worker(first.tasks(&gate)).await;
    let quick = Arc::clone(&first.quick);
    rig.until("the quick ones ran", || quick.load(Ordering::SeqCst) == QUICK).await;
    let other = rig.worker(second.tasks(&gate)).await;
    let (of_first, of_second) = (Arc::clone(&first.holding), Arc::clone(&second.holding));
    let full = || [&of_first, &of_second].map(|count| count.load(Ordering::SeqCst)) == [SLOTS; 2];
    rig.until("both have all slots full", full).await;
    gate.close();
    for id in &ids {
        assert_eq!(rig.result(id).await.status, "SUCCESS");
    }
    let most = [&first, &second].map(|counted| counted.most.load(Ordering::SeqCst));
    assert_eq!(most, [SLOTS; 2], "no worker ran more than it has slots");
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_slot_goes_to_others_on_redis() {
    what_has_no_slot_goes_to_others(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_slot_goes_to_others_on_rabbitmq() {
    what_has_no_slot_goes_to_others(Kind::RabbitMq).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_slot_goes_to_others_in_memory() {
    what_has_no_slot_goes_to_others(Kind::Memory).await;
}
