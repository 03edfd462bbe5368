//! Leases of what this process holds: renewing them, and putting back what dead processes held.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use super::envelope;
use super::keys::Keys;
use super::link::{Link, Scripts};
use super::settle::{How, Move, Op, Settler};
use crate::Error;

/// Leases renewed by one script call.
const RENEW_BATCH: usize = 500;
/// Expired leases taken over by one script call.
const SWEEP_BATCH: usize = 100;
/// Passes per lease: two may fail before it runs out.
const PASSES_PER_LEASE: u32 = 3;

/// Lease members of unsettled deliveries.
#[derive(Debug, Default)]
pub(super) struct Held {
    members: Mutex<BTreeSet<String>>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, member: &str) {
        self.lock().insert(member.to_owned());
    }

    pub(super) fn remove(&self, member: &str) {
        self.lock().remove(member);
    }

    fn all(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }
}

#[derive(Debug)]
pub(super) struct Leases {
    pub(super) link: Arc<Link>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) keys: Keys,
    pub(super) held: Arc<Held>,
    pub(super) settler: Settler,
    pub(super) lease: Duration,
}

impl Leases {
    /// Renews and sweeps until stopped.
    pub(super) async fn run(self, stop: CancellationToken) {
        let every = self.lease / PASSES_PER_LEASE;
        // However long the last sweep took, the next renewal is on time.
        let mut passes = interval_at(Instant::now() + every, every);
        passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _at = passes.tick() => {}
            }
            if let Err(error) = self.renew_all().await {
                warn!(%error, "leases of reserved messages could not be renewed");
            } else if let Err(error) = self.sweep().await {
                warn!(%error, "expired leases could not be swept");
            }
        }
    }

    async fn renew_all(&self) -> Result<(), Error> {
        for members in self.held.all().chunks(RENEW_BATCH) {
            for (member, held) in members.iter().zip(self.renew(members).await?) {
                if held == 0 {
                    // Settling it will answer `Stale`.
                    self.held.remove(member);
                }
            }
        }
        Ok(())
    }

    /// Renews some leases; 1 per member that is still ours.
    pub(super) async fn renew(&self, members: &[String]) -> Result<Vec<u8>, Error> {
        let mut script = self.scripts.renew.prepare_invoke();
        script.key(&self.keys.reserved()[..]).arg(self.lease.as_secs_f64()).arg(members);
        self.link.run("renewal of leases", &script).await
    }

    /// Puts messages with expired leases back to where they are next: a worker may have died with thousands.
    /// Ends in time for the next renewal; the rest is for the next pass.
    async fn sweep(&self) -> Result<(), Error> {
        let until = Instant::now() + self.lease / PASSES_PER_LEASE / 2;
        while self.sweep_batch().await? == SWEEP_BATCH && Instant::now() < until {}
        Ok(())
    }

    /// Says how many there were.
    async fn sweep_batch(&self) -> Result<usize, Error> {
        let mut script = self.scripts.sweep.prepare_invoke();
        script.key(&self.keys.reserved()[..]).arg(self.lease.as_secs_f64());
        script.arg(Uuid::new_v4().simple().to_string()).arg(SWEEP_BATCH);
        let expired: Vec<(Vec<u8>, Vec<u8>)> = self.link.run("sweep of leases", &script).await?;
        let count = expired.len();
        let back = expired.into_iter().map(|(member, value)| self.give_back(member, value));
        try_join_all(back).await?;
        Ok(count)
    }

    async fn give_back(&self, member: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        let Ok(member) = String::from_utf8(member) else {
            warn!("a reserved message has a name that is no text");
            return Ok(());
        };
        let Some(to) = self.target(&member, &value) else {
            warn!(member, "a reserved message cannot be read back");
            return Ok(());
        };
        debug!(key = to.key, "a message whose consumer is gone goes back");
        match self.settler.settle(member, Op::Move(to)).await {
            Ok(()) | Err(Error::Stale) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn target(&self, member: &str, value: &[u8]) -> Option<Move> {
        if member.starts_with('!') {
            let (key, raw) = split_unreadable(value)?;
            return Some(Move { how: How::Next, key, text: raw, wake: None });
        }
        let (raw, queue, priority) = envelope::from_unacked(value)?;
        let key = self.keys.list_for(&queue, priority);
        let text = envelope::mark_redelivered(&raw);
        Some(Move { how: How::Next, key, text, wake: Some(self.keys.wake(&queue)) })
    }
}

/// Takes `<length>:<key><bytes>` apart.
fn split_unreadable(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&value[..colon]).ok()?.parse().ok()?;
    let rest = &value[colon + 1..];
    let key = String::from_utf8(rest.get(..length)?.to_vec()).ok()?;
    Some((key, rest.get(length..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::split_unreadable;

    #[test]
    fn an_unreadable_entry_comes_apart_again() {
        let entry = b"5:a:b:cgarbage";
        assert_eq!(split_unreadable(entry), Some(("a:b:c".to_owned(), b"garbage".to_vec())));
        assert_eq!(split_unreadable(b"9:abc"), None);
        assert_eq!(split_unreadable(b"x"), None);
    }
}
