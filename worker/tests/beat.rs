//! Periodic tasks: two beats on one coordinator, restarts, and a queue that is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tradewind_broker::coordination::MemoryCoordinator;
use tradewind_broker::{
    Broker, Capabilities, Consumer, Coordinator, Error, MemoryBroker, Outgoing, QueueStats,
    open_coordinator,
};
use tradewind_proto::Timestamp;
use tradewind_proto::celery::Request;
use tradewind_proto::clock::{Clock, SystemIds, from_micros};
use tradewind_proto::message::TaskMessage;
use tradewind_services::{shared, unique};
use tradewind_worker::beat::{Beat, BeatDeps, BeatEntry, BeatHandle, BeatOptions};

/// Generous: CI machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Distance between two ticks.
const STEP: i64 = 200_000;

/// A wall clock that the test sets.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        from_micros(self.0.load(Ordering::SeqCst))
    }
}

struct Stage {
    clock: Arc<SetClock>,
    broker: MemoryBroker,
}

struct Running {
    handle: BeatHandle,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Stage {
    fn new() -> Self {
        // Between two ticks.
        let clock = Arc::new(SetClock(AtomicI64::new(1_000_000 * STEP + STEP / 2)));
        let broker = MemoryBroker::new(Arc::clone(&clock) as Arc<dyn Clock>);
        Self { clock, broker }
    }

    fn advance(&self, steps: i64) {
        self.clock.0.fetch_add(steps * STEP, Ordering::SeqCst);
    }

    async fn start(&self, coordinator: Arc<dyn Coordinator>) -> Running {
        self.start_on(Arc::new(self.broker.clone()), coordinator)
    }

    fn start_on(&self, broker: Arc<dyn Broker>, coordinator: Arc<dyn Coordinator>) -> Running {
        let entry: BeatEntry = serde_json::from_value(json!({
            "task": "report", "every": 0.2, "args": [1], "queue": "periodic", "expires": 3600,
        }))
        .expect("entry");
        let options = BeatOptions {
            entries: BTreeMap::from([("e".to_owned(), entry)]),
            lease_ms: 1_000,
            ..BeatOptions::default()
        };
        let deps = BeatDeps {
            broker,
            coordinator,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            ids: Arc::new(SystemIds),
        };
        let beat = Beat::new(options, deps).expect("options");
        let (handle, stop) = (beat.handle(), CancellationToken::new());
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { beat.run(stop).await.expect("runs") }
        });
        Running { handle, stop, task }
    }

    async fn clock_is_known(&self, coordinator: &dyn Coordinator) {
        let deadline = Instant::now() + PATIENCE;
        while coordinator.last_sent("beat:e").await.expect("an answer").is_none() {
            assert!(Instant::now() < deadline, "the entry is known");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn sent(&self) -> Vec<Request> {
        let messages = self.broker.peek("periodic", 10_000).await.expect("peek");
        messages.iter().map(|message| Request::decode(message).expect("a request")).collect()
    }

    async fn until_sent(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.sent().await.len() < count {
            assert!(Instant::now() < deadline, "{count} tasks are sent");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Running {
    async fn end(self) -> BeatHandle {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends").expect("no panic");
        self.handle
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_beats_send_each_tick_once() {
    let url = tokio::task::block_in_place(shared::redis_url);
    let prefix = unique("beat");
    let stage = Stage::new();
    stage.broker.declare(&["periodic".to_owned()]).await.expect("declared");
    let one = stage.start(open_coordinator(&url, &prefix).await.expect("coordinator")).await;
    let two = stage.start(open_coordinator(&url, &prefix).await.expect("coordinator")).await;
    const TICKS: usize = 20;
    for tick in 1..=TICKS {
        stage.advance(1);
        stage.until_sent(tick).await;
    }
    let (one, two) = (one.end().await, two.end().await);
    let sent = stage.sent().await;
    assert_eq!((sent.len(), one.sent() + two.sent()), (TICKS, TICKS as u64));
    assert_eq!(one.lost() + two.lost(), 0);
    let mut expiries: Vec<_> =
        sent.iter().map(|request| request.expires.expect("expires")).collect();
    expiries.sort();
    expiries.dedup();
    assert_eq!(expiries.len(), TICKS, "each tick once");
    let span = expiries[TICKS - 1].duration_since(expiries[0]);
    assert_eq!(span.as_micros(), i128::from(STEP) * (TICKS as i128 - 1), "no tick is missing");
    assert_eq!((sent[0].task.as_str(), &sent[0].args), ("report", &vec![json!(1)]));
}

#[tokio::test]
async fn a_restart_after_a_long_time_sends_one_and_not_a_burst() {
    let coordinator = MemoryCoordinator::new();
    let stage = Stage::new();
    let first = stage.start(Arc::new(coordinator.clone())).await;
    stage.broker.declare(&["periodic".to_owned()]).await.expect("declared");
    stage.advance(1);
    stage.until_sent(1).await;
    first.end().await;
    stage.advance(100_000);
    let second = stage.start(Arc::new(coordinator.clone())).await;
    stage.until_sent(2).await;
    stage.advance(1);
    stage.until_sent(3).await;
    let handle = second.end().await;
    assert_eq!((stage.sent().await.len(), handle.sent(), handle.lost()), (3, 2, 0));
}

#[tokio::test]
async fn a_tick_that_cannot_be_sent_is_counted_and_not_piled_up() {
    let stage = Stage::new();
    let beat = stage.start(Arc::new(MemoryCoordinator::new())).await;
    stage.broker.close().await;
    stage.advance(5);
    let deadline = Instant::now() + PATIENCE;
    while beat.handle.lost() == 0 {
        assert!(Instant::now() < deadline, "the loss is counted");
        stage.advance(1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(beat.handle.sent(), 0);
    beat.end().await;
}

/// Dies over each publication: before the broker has it, or just after.
#[derive(Debug)]
struct Deadly {
    inner: MemoryBroker,
    after: bool,
    dying: tokio::sync::Notify,
}

#[async_trait]
impl Broker for Deadly {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn declare(&self, queues: &[String]) -> Result<(), Error> {
        self.inner.declare(queues).await
    }

    async fn publish(&self, queue: &str, message: TaskMessage) -> Result<(), Error> {
        if self.after {
            self.inner.publish(queue, message).await?;
        }
        self.dying.notify_one();
        std::future::pending().await
    }

    async fn publish_many(&self, _batch: Vec<Outgoing>) -> Vec<Result<(), Error>> {
        Vec::new()
    }

    async fn consume(&self, queues: &[String], prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        self.inner.consume(queues, prefetch).await
    }

    async fn stats(&self, queue: &str) -> Result<QueueStats, Error> {
        self.inner.stats(queue).await
    }

    async fn peek(&self, queue: &str, max: usize) -> Result<Vec<TaskMessage>, Error> {
        self.inner.peek(queue, max).await
    }

    async fn purge(&self, queue: &str) -> Result<u64, Error> {
        self.inner.purge(queue).await
    }

    async fn incarnation(&self) -> Result<String, Error> {
        self.inner.incarnation().await
    }

    async fn health(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) {}
}

/// The tick of a beat that dies between its claim and the publication is sent by the next one; and if it
/// died after the publication, the second message has the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tick_of_a_dead_beat_is_sent_by_the_next_one() {
    let url = tokio::task::block_in_place(shared::redis_url);
    for after in [false, true] {
        let prefix = unique("beat");
        let coordinator = async || open_coordinator(&url, &prefix).await.expect("coordinator");
        let stage = Stage::new();
        stage.broker.declare(&["periodic".to_owned()]).await.expect("declared");
        let inner = stage.broker.clone();
        let deadly = Arc::new(Deadly { inner, after, dying: tokio::sync::Notify::new() });
        let dead = stage.start_on(Arc::clone(&deadly) as Arc<dyn Broker>, coordinator().await);
        // The first beat has seen the entry; a restarted one would begin to count from its own start.
        stage.clock_is_known(&*coordinator().await).await;
        stage.advance(1);
        tokio::time::timeout(PATIENCE, deadly.dying.notified()).await.expect("it dies");
        dead.task.abort();
        let heir = stage.start(coordinator().await).await;
        stage.until_sent(if after { 2 } else { 1 }).await;
        stage.advance(1);
        stage.until_sent(if after { 3 } else { 2 }).await;
        assert_eq!(heir.end().await.sent(), 2);
        let mut ids: Vec<_> = stage.sent().await.into_iter().map(|request| request.id).collect();
        assert_eq!(ids.len(), if after { 3 } else { 2 });
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2, "one id per tick");
    }
}
