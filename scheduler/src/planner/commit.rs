//! Committing decisions of many runs in one transaction, and what follows from the answer.

use std::collections::BTreeMap;

use tracing::{debug, error, info, warn};
use tradewind_engine::Verdict;
use tradewind_proto::state::RunState;
use tradewind_store::Error as StoreError;
use tradewind_store::model::{CommitReport, Committed, RunCommit};
use uuid::Uuid;

use super::Owner;
use super::apply::{Decided, Step};
use super::work::RunWork;
use crate::dispatch::Job;

/// Times that the conflicting part of a batch is loaded and decided again before it goes back to
/// the others.
const CONFLICT_TRIES: usize = 4;
/// Times that work is tried whose commit the store refuses, before it is given up.
const FAILURES_MAX: u32 = 3;

impl Owner<'_> {
    /// Works off what is there. On an error everything not committed is kept for the next round.
    pub(super) async fn settle_work(&mut self) -> Result<(), StoreError> {
        let batch = self.work.take();
        if !std::mem::take(&mut self.one_by_one) {
            return self.settle_batch(batch).await;
        }
        let mut last = Ok(());
        for (run, work) in batch {
            let result = self.settle_batch(BTreeMap::from([(run, work)])).await;
            last = result.and(last);
        }
        last
    }

    async fn settle_batch(&mut self, mut batch: BTreeMap<Uuid, RunWork>) -> Result<(), StoreError> {
        for _ in 0..CONFLICT_TRIES {
            if batch.is_empty() && !self.queue {
                return Ok(());
            }
            let decided = self.decide_all(batch).await?;
            batch = self.commit(decided).await?;
        }
        for (run, work) in batch {
            self.work.put_back(run, work);
        }
        Ok(())
    }

    async fn decide_all(
        &mut self,
        batch: BTreeMap<Uuid, RunWork>,
    ) -> Result<Vec<Decided>, StoreError> {
        let mut decided: Vec<Decided> = Vec::with_capacity(batch.len());
        let mut batch = batch.into_iter();
        while let Some((run, work)) = batch.next() {
            match self.decide(run, work).await {
                Ok(Step::Decided(step)) => decided.push(*step),
                Ok(Step::Gone(work)) => {
                    self.plans.forget(run);
                    let verdicts = vec![Verdict::Stale; work.outcomes.len()];
                    self.settle(work, &verdicts);
                }
                Err((work, error)) => {
                    self.work.put_back(run, work);
                    batch.by_ref().for_each(|(run, work)| self.work.put_back(run, work));
                    // Their plans hold decisions that nobody will commit: loaded again next time.
                    decided.into_iter().for_each(|d| self.work.put_back(d.run, reloaded(d.work)));
                    return Err(error);
                }
            }
        }
        Ok(decided)
    }

    /// Commits; returns the work that has to be decided again.
    async fn commit(
        &mut self,
        mut decided: Vec<Decided>,
    ) -> Result<BTreeMap<Uuid, RunWork>, StoreError> {
        let mut commits: Vec<RunCommit> = Vec::with_capacity(decided.len());
        let mut open = Vec::with_capacity(decided.len());
        for mut step in decided.drain(..) {
            match step.commit() {
                Some(commit) => {
                    commits.push(commit);
                    open.push(step);
                }
                None => self.finish(step, None),
            }
        }
        if commits.is_empty() && !self.queue {
            return Ok(BTreeMap::new());
        }
        let ended = run_ends(&commits);
        let store = &self.duty.store;
        match store.commit(commits, &self.duty.queueing, self.duty.clock.now()).await {
            Ok(report) => Ok(self.committed(open, ended, report)),
            Err(error) => Err(self.refused(open, error)),
        }
    }

    fn committed(
        &mut self,
        open: Vec<Decided>,
        ended: Vec<Option<(RunState, &'static str)>>,
        report: CommitReport,
    ) -> BTreeMap<Uuid, RunWork> {
        self.queue = report.more;
        let received = open.iter().filter_map(Decided::received).min();
        if !report.dispatch.is_empty() {
            let job = Job { items: report.dispatch, received };
            if let Err(error) = self.duty.dispatch.try_send(job) {
                debug!(%error, "broker is slow; attempts are left to the outbox sweep");
            }
        }
        let mut again = BTreeMap::new();
        for ((step, end), result) in open.into_iter().zip(ended).zip(report.results) {
            match result {
                Committed::Done { version } => {
                    if let Some((state, why)) = end {
                        self.run_ended(&step, state, why);
                    }
                    self.finish(step, Some(version));
                }
                Committed::Conflict => {
                    debug!(run = %step.run, "another scheduler changed the run first");
                    self.duty.metrics.conflicts.inc();
                    self.plans.contended(step.run);
                    again.insert(step.run, reloaded(step.work));
                }
            }
        }
        again
    }

    /// A run's decisions are in the store (or there were none): the plan is the truth again.
    fn finish(&mut self, step: Decided, version: Option<i64>) {
        let Decided { run, mut plan, work, verdicts, .. } = step;
        if let Some(version) = version {
            plan.committed(version);
            for waiter in self.plans.waiters(&plan.run().dag_id, run) {
                self.work.reload(waiter);
            }
        }
        self.settle(work, &verdicts);
        self.plans.put(run, plan, version.is_some());
    }

    fn run_ended(&self, step: &Decided, state: RunState, why: &'static str) {
        if !state.is_terminal() {
            return;
        }
        let run = step.plan.run();
        info!(dag_id = run.dag_id, run_id = run.run_id, %state, why, "run ended");
        self.duty.metrics.runs_ended.with_label_values(&[state.as_str()]).inc();
        self.duty.signals.run_ended();
    }

    /// The commit failed, or its answer was lost. Either way the plans are loaded again.
    fn refused(&mut self, open: Vec<Decided>, error: StoreError) -> StoreError {
        let alone = open.len() == 1;
        for step in open {
            let run = step.run;
            let mut work = reloaded(step.work);
            if !error.is_retryable() && alone {
                work.failures += 1;
            }
            if work.failures >= FAILURES_MAX {
                error!(%run, outcomes = work.outcomes.len(), %error,
                    "gave up on decisions that the store refuses; they are made again later");
                self.plans.forget(run);
                continue;
            }
            self.work.put_back(run, work);
        }
        if !error.is_retryable() && !alone {
            warn!(%error, "the store refused a commit of many runs; trying one by one");
            self.one_by_one = true;
        }
        error
    }
}

fn reloaded(mut work: RunWork) -> RunWork {
    work.reload = true;
    work
}

fn run_ends(commits: &[RunCommit]) -> Vec<Option<(RunState, &'static str)>> {
    commits.iter().map(|commit| commit.changes.run_state).collect()
}
