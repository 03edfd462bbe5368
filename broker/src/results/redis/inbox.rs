//! One leased reader of a Redis inbox list.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::super::InboxItem;
use super::super::reader::{LEASE, Source};
use super::{Shared, redis_error};
use crate::Error;

/// A take stops after this many bytes, so that one reply stays small beside the memory of a process.
const TAKE_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct RedisSource {
    shared: Arc<Shared>,
    list: String,
    reader: String,
    gate: Mutex<Gate>,
    /// Returned and not acked.
    held: StdMutex<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    /// A reply got lost: the server may hold items for us that we never saw.
    in_doubt: bool,
}

impl RedisSource {
    pub(super) fn new(shared: Arc<Shared>, list: String) -> Self {
        Self {
            shared,
            list,
            reader: Uuid::new_v4().simple().to_string(),
            gate: Mutex::default(),
            held: StdMutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers_key(&self) -> String {
        format!("{}:readers", self.list)
    }

    fn held_prefix(&self) -> String {
        format!("{}:held:", self.list)
    }

    fn held_key(&self) -> String {
        format!("{}{}", self.held_prefix(), self.reader)
    }

    fn lease_ms() -> u64 {
        LEASE.as_millis() as u64
    }

    /// What the server holds for this reader and the reader was never given.
    async fn unseen(&self) -> Result<Vec<InboxItem>, Error> {
        let all: Vec<(String, Vec<u8>)> = ::redis::cmd("HGETALL")
            .arg(self.held_key())
            .query_async(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("inbox items", &e))?;
        let held = self.held();
        let mut unseen: Vec<_> = all
            .into_iter()
            .filter(|(tag, _)| !held.contains(tag))
            .map(|(tag, body)| InboxItem { tag, body })
            .collect();
        unseen.sort_by_key(|item| item.tag.parse::<u64>().unwrap_or(u64::MAX));
        Ok(unseen)
    }

    async fn take_new(&self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let taken: Vec<(String, Vec<u8>)> = self
            .shared
            .scripts
            .take
            .key(&self.list)
            .key(self.readers_key())
            .key(self.held_key())
            .arg(&self.reader)
            .arg(Self::lease_ms())
            .arg(max)
            .arg(TAKE_BYTES_MAX)
            .arg(self.held_prefix())
            .invoke_async(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("inbox items", &e))?;
        Ok(taken.into_iter().map(|(tag, body)| InboxItem { tag, body }).collect())
    }
}

#[async_trait]
impl Source for RedisSource {
    async fn take(&self, max: usize) -> Result<Vec<InboxItem>, Error> {
        let mut gate = self.gate.lock().await;
        if gate.closed {
            return Err(Error::Closed);
        }
        let mut items = Vec::new();
        if gate.in_doubt {
            items = self.unseen().await?;
            gate.in_doubt = false;
        }
        if items.is_empty() {
            gate.in_doubt = true;
            items = self.take_new(max).await?;
            gate.in_doubt = false;
        }
        self.held().extend(items.iter().map(|item| item.tag.clone()));
        Ok(items)
    }

    async fn ack(&self, tags: &[String]) -> Result<(), Error> {
        ::redis::cmd("HDEL")
            .arg(self.held_key())
            .arg(tags)
            .query_async::<()>(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("an inbox ack", &e))?;
        let mut held = self.held();
        for tag in tags {
            held.remove(tag);
        }
        Ok(())
    }

    async fn renew(&self) -> Result<(), Error> {
        let _renewed: i64 = self
            .shared
            .scripts
            .renew
            .key(self.readers_key())
            .arg(&self.reader)
            .arg(Self::lease_ms())
            .invoke_async(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("an inbox lease", &e))?;
        Ok(())
    }

    async fn release(&self) -> Result<(), Error> {
        self.gate.lock().await.closed = true;
        let _released: i64 = self
            .shared
            .scripts
            .release
            .key(&self.list)
            .key(self.readers_key())
            .key(self.held_key())
            .arg(&self.reader)
            .arg(&self.list)
            .invoke_async(&mut self.shared.connection())
            .await
            .map_err(|e| redis_error("an inbox release", &e))?;
        Ok(())
    }
}
