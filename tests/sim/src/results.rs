//! The results seam: faults around the real memory driver, and readers of the inbox that die with
//! unacked items.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tradewind_broker::{Error, Inbox, InboxItem, MemoryResults, Put, ResultBackend, StoredResult};

use crate::faults::{Fate, Fault, RESULTS};
use crate::life::Life;
use crate::world::World;

/// A look at the inbox without having been woken.
const POLL: Duration = Duration::from_secs(2);

fn unavailable(reason: &str) -> Error {
    Error::Unavailable { service: "simulated results", reason: reason.to_owned() }
}

/// A process's handle on the result backend.
#[derive(Debug, Clone)]
pub(crate) struct FaultyResults {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
    pub(crate) inner: MemoryResults,
    /// Wakes readers in a fixed order (the driver's own wake-ups come in a random one).
    pub(crate) arrived: Arc<Notify>,
}

impl FaultyResults {
    async fn call<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let call = async {
            let World { faults, rng, .. } = &*self.world;
            let delay = faults.delay(RESULTS, rng);
            sleep(delay / 2).await;
            self.life.gate().await;
            let fate = faults.fate(RESULTS, rng);
            self.world.call(&self.life, what);
            if fate == Fate::Refused {
                return Err(unavailable("failure before the effect"));
            }
            let answer = work.await;
            sleep(delay / 2).await;
            if fate == Fate::AnswerLost { Err(unavailable("answer lost")) } else { answer }
        };
        self.life.call(call).await
    }
}

#[async_trait]
impl ResultBackend for FaultyResults {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn put(&self, result: StoredResult, ttl: Duration) -> Result<Put, Error> {
        self.call("put", self.inner.put(result, ttl)).await
    }

    async fn get(&self, task_id: &str) -> Result<Option<StoredResult>, Error> {
        self.call("get", self.inner.get(task_id)).await
    }

    async fn wait(&self, task_id: &str, limit: Duration) -> Result<Option<StoredResult>, Error> {
        self.call("wait", self.inner.wait(task_id, limit)).await
    }

    async fn forget(&self, task_id: &str) -> Result<(), Error> {
        self.call("forget", self.inner.forget(task_id)).await
    }

    async fn send(&self, inbox: &str, bodies: Vec<Vec<u8>>) -> Result<(), Error> {
        let work = async {
            let World { faults, rng, .. } = &*self.world;
            if faults.strikes(Fault::OutcomeLost, rng) {
                self.world.note(format!("{} {} outcomes lost", self.life.name, bodies.len()));
                return Ok(());
            }
            if faults.strikes(Fault::OutcomeDoubled, rng) {
                self.inner.send(inbox, bodies.clone()).await?;
            }
            self.inner.send(inbox, bodies).await?;
            self.arrived.notify_waiters();
            Ok(())
        };
        self.call("send", work).await
    }

    async fn open_inbox(&self, inbox: &str) -> Result<Box<dyn Inbox>, Error> {
        let inner = self.call("open inbox", self.inner.open_inbox(inbox)).await?;
        Ok(Box::new(FaultyInbox {
            handle: self.clone(),
            name: inbox.to_owned(),
            inner: Some(inner),
            unacked: BTreeSet::new(),
        }))
    }

    async fn sweep(&self) -> Result<u64, Error> {
        self.call("sweep", self.inner.sweep()).await
    }

    async fn health(&self) -> Result<(), Error> {
        self.call("results health", self.inner.health()).await
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct FaultyInbox {
    handle: FaultyResults,
    name: String,
    inner: Option<Box<dyn Inbox>>,
    unacked: BTreeSet<String>,
}

impl FaultyInbox {
    /// The server thinks that the reader is dead: its items go to others, or come to it again.
    async fn die(&mut self) -> Result<(), Error> {
        self.unacked.clear();
        self.inner = None;
        self.handle.arrived.notify_waiters();
        self.inner = Some(self.handle.inner.open_inbox(&self.name).await?);
        Err(unavailable("the server took this reader for dead"))
    }

    async fn batch(&mut self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let (world, arrived) = (Arc::clone(&self.handle.world), Arc::clone(&self.handle.arrived));
        if world.faults.fate(RESULTS, &world.rng) != Fate::Works {
            return Err(unavailable("failure while waiting"));
        }
        loop {
            if !self.unacked.is_empty() && world.faults.strikes(Fault::InboxReaderDied, &world.rng)
            {
                self.die().await?;
            }
            let mut woken = std::pin::pin!(arrived.notified());
            woken.as_mut().enable();
            self.handle.life.gate().await;
            let inner = self.inner.as_mut().ok_or(Error::Closed)?;
            if let Some(batch) = inner.next_batch(max).now_or_never() {
                let mut batch = batch?;
                world.rng.shuffle(&mut batch);
                self.unacked.extend(batch.iter().map(|item| item.tag.clone()));
                return Ok(batch);
            }
            let _woken_or_not = timeout(POLL, woken).await;
        }
    }

    async fn settle(&mut self, tags: &[String]) -> Result<(), Error> {
        let world = Arc::clone(&self.handle.world);
        sleep(world.faults.delay(RESULTS, &world.rng)).await;
        self.handle.life.gate().await;
        let fate = world.faults.fate(RESULTS, &world.rng);
        if fate == Fate::Refused {
            return Err(unavailable("failure before the effect"));
        }
        self.inner.as_mut().ok_or(Error::Closed)?.ack(tags).await?;
        for tag in tags {
            self.unacked.remove(tag);
        }
        if fate == Fate::AnswerLost { Err(unavailable("answer lost")) } else { Ok(()) }
    }
}

#[async_trait]
impl Inbox for FaultyInbox {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let life = Arc::clone(&self.handle.life);
        // Nothing is awaited between taking items and returning them, so that cancelling this
        // future loses none.
        tokio::select! {
            biased;
            () = life.dead.cancelled() => std::future::pending().await,
            batch = self.batch(max) => batch,
        }
    }

    async fn ack(&mut self, tags: &[String]) -> Result<(), Error> {
        let life = Arc::clone(&self.handle.life);
        life.call(self.settle(tags)).await
    }
}

impl Drop for FaultyInbox {
    fn drop(&mut self) {
        self.inner = None;
        self.handle.arrived.notify_waiters();
    }
}
