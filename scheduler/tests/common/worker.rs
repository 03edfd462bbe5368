//! A worker that is test code: takes messages, verifies and claims them, and sends outcomes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tradewind_broker::{Broker as _, Payload, ResultBackend as _};
use tradewind_proto::execution::{ClaimItem, ClaimRequest};
use tradewind_proto::message::TaskMessage;
use tradewind_proto::sign::{KeyRing, seal_outcome};
use tradewind_proto::state::OutcomeState;
use tradewind_proto::workload::{Outcome, OutcomeHead, Workload};
use tradewind_store::AttemptStore as _;
use tradewind_store::model::{Claim, ClaimedAttempt};
use uuid::Uuid;

use super::World;

/// What becomes of an attempt: an outcome, or silence.
pub type Script = Arc<dyn Fn(&Workload) -> Option<OutcomeState> + Send + Sync>;

/// A granted attempt.
#[derive(Debug, Clone)]
pub struct Ran {
    pub workload: Workload,
    pub queue: String,
    pub message: TaskMessage,
    pub outcome: Option<Outcome>,
}

pub struct Worker {
    pub ran: mpsc::UnboundedReceiver<Ran>,
    task: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Worker {
    /// Everything that was run so far, as `task_id#try`.
    pub fn log(&mut self) -> Vec<String> {
        let mut log = Vec::new();
        while let Ok(ran) = self.ran.try_recv() {
            log.push(format!("{}#{}", ran.workload.task_id, ran.workload.try_number));
        }
        log
    }
}

impl World {
    /// A worker whose tasks all succeed.
    pub fn worker(&self) -> Worker {
        self.worker_with(&["default"], Arc::new(|_| Some(OutcomeState::Success)))
    }

    pub fn worker_with(&self, queues: &[&str], script: Script) -> Worker {
        let (tell, ran) = mpsc::unbounded_channel();
        let queues: Vec<String> = queues.iter().map(|q| (*q).to_owned()).collect();
        let task = tokio::spawn(work(self.clone(), queues, script, tell));
        Worker { ran, task }
    }

    /// Claims one attempt.
    pub async fn claim(&self, workload: &Workload) -> Option<ClaimedAttempt> {
        let request = ClaimRequest {
            worker: "celery@test".to_owned(),
            instance: Uuid::from_u128(9),
            hostname: "test".to_owned(),
            items: vec![ClaimItem {
                attempt_id: workload.attempt_id(),
                token: workload.token,
                nonce: Uuid::new_v4(),
            }],
        };
        loop {
            match self.store.claim(&request, Duration::from_secs(10), self.now()).await {
                Ok(mut claims) => {
                    return match claims.pop() {
                        Some(Claim::Granted(claimed)) => Some(*claimed),
                        _ => None,
                    };
                }
                // As a real worker: the API is away, try again.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub async fn send(&self, outcome: &Outcome) {
        let body = seal_outcome(outcome).unwrap();
        self.results.send("tradewind.results", vec![body]).await.unwrap();
    }

    pub fn outcome(&self, w: &Workload, claimed: &ClaimedAttempt, state: OutcomeState) -> Outcome {
        let head = OutcomeHead {
            attempt_id: w.attempt_id(),
            token: w.token,
            run: claimed.run.id,
            task_id: w.task_id.clone(),
            map_index: w.map_index,
            worker: "celery@test".to_owned(),
        };
        Outcome::new(head, state, self.now(), self.now())
    }
}

async fn work(world: World, queues: Vec<String>, script: Script, tell: mpsc::UnboundedSender<Ran>) {
    let mut ring = KeyRing::default();
    ring.insert(world.key.public());
    let mut consumer = world.broker.consume(&queues, 64).await.unwrap();
    loop {
        for mut delivery in consumer.next_batch(64).await.unwrap() {
            let Payload::Message(message) = delivery.payload().clone() else { panic!("garbage") };
            let workload = ring.open(&message.body).unwrap();
            assert_eq!(message.reply_to.as_deref(), Some("tradewind.results"));
            let claimed = world.claim(&workload).await;
            delivery.ack().await.unwrap();
            let Some(claimed) = claimed else { continue };
            let outcome = script(&workload).map(|state| world.outcome(&workload, &claimed, state));
            if let Some(outcome) = &outcome {
                world.send(outcome).await;
            }
            let queue = delivery.queue.clone();
            let _ = tell.send(Ran { workload, queue: queue.to_string(), message, outcome });
        }
    }
}
