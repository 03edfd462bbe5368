//! Attempts, with the defects that can be planted there.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tradewind_proto::execution::{ClaimRequest, HeartbeatRequest, LeaseVerdict};
use tradewind_store::model::{Claim, ClaimedAttempt, ExpiredLease, WorkerRow};
use tradewind_store::{AttemptStore, Error};

use super::FaultyStore;
use crate::lock;
use crate::world::{Bug, World};

#[async_trait]
impl AttemptStore for FaultyStore {
    async fn claim(
        &self,
        request: &ClaimRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claim>, Error> {
        let work = claim(&self.world, request, lease, now);
        self.call("claim", work, |world, claims| claimed(world, request, claims)).await
    }

    async fn heartbeat(
        &self,
        request: &HeartbeatRequest,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeaseVerdict>, Error> {
        let work = heartbeat(&self.world, request, lease, now);
        self.call("heartbeat", work, |world, verdicts| renewed(world, request, verdicts)).await
    }

    async fn expired_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<ExpiredLease>, Error> {
        let work = self.world.store.expired_leases(now, limit);
        self.call("expired_leases", work, |world, expired| {
            lock(&world.checker).expired(expired);
            world.committed(expired.iter().map(|lease| lease.run));
        })
        .await
    }

    async fn extend_leases(&self, until: Timestamp) -> Result<u64, Error> {
        let work = self.world.store.extend_leases(until);
        self.call("extend_leases", work, |world, extended| {
            world.note(format!("{extended} leases extended until {until}"));
            world.count("leases extended", *extended);
        })
        .await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerRow>, Error> {
        self.read("workers", self.world.store.workers(since)).await
    }
}

async fn claim(
    world: &World,
    request: &ClaimRequest,
    lease: Duration,
    now: Timestamp,
) -> Result<Vec<Claim>, Error> {
    let mut claims = world.store.claim(request, lease, now).await?;
    if world.bug == Some(Bug::SecondClaims) {
        for (claim, item) in claims.iter_mut().zip(&request.items) {
            let again = lock(&world.checker).grant_of(item.attempt_id).cloned();
            if let (Claim::Duplicate, Some(granted)) = (&claim, again) {
                *claim = Claim::Granted(granted);
            }
        }
    }
    Ok(claims)
}

fn claimed(world: &World, request: &ClaimRequest, claims: &[Claim]) {
    let mut runs = Vec::new();
    for (item, claim) in request.items.iter().zip(claims) {
        let mut checker = lock(&world.checker);
        match claim {
            Claim::Granted(granted) => {
                runs.push(granted.run.id);
                if let Err(violation) = checker.granted(request, item, granted) {
                    drop(checker);
                    world.violate(violation);
                }
            }
            Claim::Duplicate => world.count("duplicate claims refused", 1),
            Claim::Stale => world.count("stale claims refused", 1),
        }
    }
    world.committed(runs);
}

async fn heartbeat(
    world: &World,
    request: &HeartbeatRequest,
    lease: Duration,
    now: Timestamp,
) -> Result<Vec<LeaseVerdict>, Error> {
    let mut verdicts = world.store.heartbeat(request, lease, now).await?;
    if world.bug == Some(Bug::StaleHeartbeats) {
        verdicts.fill(LeaseVerdict::Continue);
    }
    Ok(verdicts)
}

fn renewed(world: &World, request: &HeartbeatRequest, verdicts: &[LeaseVerdict]) {
    let mut found = Vec::new();
    {
        let checker = lock(&world.checker);
        for (item, verdict) in request.attempts.iter().zip(verdicts) {
            match verdict {
                LeaseVerdict::Continue => found.extend(checker.renewed(item).err()),
                LeaseVerdict::Cancel => world.count("attempts told to cancel", 1),
                LeaseVerdict::Stale => world.count("stale heartbeats refused", 1),
            }
        }
    }
    found.into_iter().for_each(|violation| world.violate(violation));
}

/// What a planted defect hands out a second time.
pub(crate) type Grant = Box<ClaimedAttempt>;
