//! Planning, with the defects that can be planted there.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tradewind_engine::model::RunSnapshot;
use tradewind_proto::AttemptId;
use tradewind_store::model::{CommitReport, Committed, Dispatch, Queueing, RunCommit};
use tradewind_store::{Error, PlanStore};
use uuid::Uuid;

use super::FaultyStore;
use crate::world::{Bug, World};

#[async_trait]
impl PlanStore for FaultyStore {
    async fn running_runs(&self) -> Result<Vec<Uuid>, Error> {
        self.read("running_runs", self.world.store.running_runs()).await
    }

    async fn load_run(&self, run: Uuid) -> Result<Option<RunSnapshot>, Error> {
        self.read("load_run", self.world.store.load_run(run)).await
    }

    async fn commit(
        &self,
        commits: Vec<RunCommit>,
        queueing: &Queueing,
        now: Timestamp,
    ) -> Result<CommitReport, Error> {
        let runs: Vec<Uuid> = commits.iter().map(|commit| commit.run).collect();
        let work = commit(&self.world, commits, queueing, now);
        self.call("commit", work, |world, report| {
            let conflicts = report.results.iter().filter(|r| **r == Committed::Conflict).count();
            world.count("commits refused by version", conflicts as u64);
            let queued = report.dispatch.iter().map(|dispatch| dispatch.run);
            world.committed(queued.chain(runs).collect::<std::collections::BTreeSet<_>>());
        })
        .await
    }

    async fn mark_sent(&self, attempts: &[AttemptId], now: Timestamp) -> Result<(), Error> {
        self.read("mark_sent", self.world.store.mark_sent(attempts, now)).await
    }

    async fn unsent(&self, before: Timestamp, limit: u32) -> Result<Vec<Dispatch>, Error> {
        if self.world.bug == Some(Bug::ForgottenOutbox) {
            return Ok(Vec::new());
        }
        self.read("unsent", self.world.store.unsent(before, limit)).await
    }

    async fn republishable(
        &self,
        base: Duration,
        all: bool,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Dispatch>, Error> {
        if self.world.bug == Some(Bug::ForgottenOutbox) {
            return Ok(Vec::new());
        }
        let work = self.world.store.republishable(base, all, limit, now);
        self.call("republishable", work, |world, again| {
            world.count("messages republished", again.len() as u64);
        })
        .await
    }
}

async fn commit(
    world: &World,
    commits: Vec<RunCommit>,
    queueing: &Queueing,
    now: Timestamp,
) -> Result<CommitReport, Error> {
    let mut queueing = queueing.clone();
    if world.bug == Some(Bug::NoPoolLimit) {
        queueing.default_pool_slots = -1;
    }
    let mut report = world.store.commit(commits.clone(), &queueing, now).await?;
    if world.bug != Some(Bug::StaleCommits) {
        return Ok(report);
    }
    for (result, mut old) in report.results.iter_mut().zip(commits) {
        if *result == Committed::Conflict
            && let Some(run) = world.store.load_run(old.run).await?
        {
            old.expected_version = run.run.version;
            let again = world.store.commit(vec![old], &queueing, now).await?;
            *result = again.results.into_iter().next().unwrap_or_default();
        }
    }
    Ok(report)
}
