//! Loading plans and deciding on them: everything up to the commit.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, error};
use tradewind_engine::model::Changes;
use tradewind_engine::{CompiledDag, RunPlan, Verdict};
use tradewind_proto::workload::Outcome;
use tradewind_store::Error as StoreError;
use tradewind_store::model::RunCommit;
use uuid::Uuid;

use super::Owner;
use super::work::RunWork;

/// A plan with decisions that are not committed yet.
pub(super) struct Decided {
    pub(super) run: Uuid,
    pub(super) plan: RunPlan,
    pub(super) work: RunWork,
    /// One per outcome of the work.
    pub(super) verdicts: Vec<Verdict>,
    finished: Vec<Outcome>,
    changes: Changes,
}

impl Decided {
    /// What to commit; none when nothing was decided.
    pub(super) fn commit(&mut self) -> Option<RunCommit> {
        if self.finished.is_empty() && self.changes.is_empty() {
            return None;
        }
        Some(RunCommit {
            run: self.run,
            expected_version: self.plan.version(),
            finished: std::mem::take(&mut self.finished),
            changes: std::mem::take(&mut self.changes),
        })
    }

    /// When the oldest outcome was read from the inbox.
    pub(super) fn received(&self) -> Option<Instant> {
        self.work.outcomes.iter().filter_map(|input| input.received).min()
    }
}

/// What became of the work on one run.
pub(super) enum Step {
    /// To be committed.
    Decided(Box<Decided>),
    /// The run does not exist (any more), or cannot be planned.
    Gone(RunWork),
}

impl Owner<'_> {
    /// Decides on one run. A refused outcome is judged again on a freshly loaded plan: another
    /// scheduler may have moved the run on since ours was made.
    pub(super) async fn decide(
        &mut self,
        run: Uuid,
        mut work: RunWork,
    ) -> Result<Step, (RunWork, StoreError)> {
        let cached = if work.reload { None } else { self.plans.take(run) };
        if let Some(plan) = cached {
            let decided = self.apply(run, plan, work, Changes::default());
            if decided.verdicts.iter().all(|verdict| *verdict == Verdict::Applied) {
                return Ok(Step::Decided(Box::new(decided)));
            }
            work = decided.work;
        }
        match self.load(run).await {
            Ok(Some((plan, changes))) => {
                Ok(Step::Decided(Box::new(self.apply(run, plan, work, changes))))
            }
            Ok(None) => Ok(Step::Gone(work)),
            Err(error) => Err((work, error)),
        }
    }

    fn apply(&self, run: Uuid, mut plan: RunPlan, work: RunWork, mut changes: Changes) -> Decided {
        let now = self.duty.clock.now();
        let ids = self.duty.ids.as_ref();
        let mut finished = Vec::new();
        let mut verdicts = Vec::with_capacity(work.outcomes.len());
        for input in &work.outcomes {
            let (verdict, more) = plan.outcome(&input.outcome, now, ids);
            // A duplicate may be the only word on an attempt that was cancelled after its claim: its
            // task had ended by then, and without an end of its own the reaper finds it for ever.
            let told = |f: &Outcome| f.attempt == input.outcome.attempt;
            if verdict == Verdict::Applied
                || (verdict == Verdict::Duplicate && !finished.iter().any(told))
            {
                finished.push(input.outcome.clone());
            }
            verdicts.push(verdict);
            merge(&mut changes, more);
        }
        if work.wake {
            merge(&mut changes, plan.wake(now, ids));
        }
        Decided { run, plan, work, verdicts, finished, changes }
    }

    /// Loads a run and decides what can be decided; none when it is gone or not running.
    pub(super) async fn load(
        &mut self,
        run: Uuid,
    ) -> Result<Option<(RunPlan, Changes)>, StoreError> {
        let Some(snapshot) = self.duty.store.load_run(run).await? else { return Ok(None) };
        let Some(dag) = self.compiled(&snapshot.run.version_hash).await? else {
            error!(%run, version = snapshot.run.version_hash, "run has no usable DAG version");
            return Ok(None);
        };
        let mut plan = RunPlan::new(dag, snapshot, self.duty.plan_options);
        let changes = if plan.is_done() {
            Changes::default()
        } else {
            plan.start(self.duty.clock.now(), self.duty.ids.as_ref())
        };
        Ok(Some((plan, changes)))
    }

    async fn compiled(&mut self, hash: &str) -> Result<Option<Arc<CompiledDag>>, StoreError> {
        if let Some(dag) = self.plans.compiled(hash) {
            return Ok(Some(dag));
        }
        let Some(spec) = self.duty.store.spec(hash).await? else { return Ok(None) };
        match CompiledDag::new(spec) {
            Ok(dag) => {
                let dag = Arc::new(dag);
                self.plans.keep_compiled(hash, Arc::clone(&dag));
                Ok(Some(dag))
            }
            Err(error) => {
                error!(version = hash, %error, "stored DAG version has no usable graph");
                Ok(None)
            }
        }
    }

    /// Ends the work on a run: senders need not keep their outcomes any longer.
    pub(super) fn settle(&self, work: RunWork, verdicts: &[Verdict]) {
        for (input, verdict) in work.outcomes.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Applied => {
                    let state = input.outcome.state();
                    self.duty.metrics.attempts.with_label_values(&[state.as_str()]).inc();
                }
                Verdict::Duplicate => {
                    debug!(attempt = %input.outcome.attempt_id(), "outcome seen before");
                }
                Verdict::Stale => {
                    self.duty.metrics.stale_writes.with_label_values(&["finish"]).inc();
                    debug!(attempt = %input.outcome.attempt_id(), token = input.outcome.token,
                        "refused the outcome of a superseded attempt");
                }
            }
            input.ticket.settle();
        }
    }
}

/// Adds later decisions to earlier ones: a row's last value counts.
fn merge(all: &mut Changes, later: Changes) {
    for change in later.tasks {
        let same = |old: &tradewind_engine::model::TaskChange| {
            old.task.map_index == change.task.map_index && old.task.task_id == change.task.task_id
        };
        match all.tasks.iter_mut().find(|old| same(old)) {
            Some(old) => *old = change,
            None => all.tasks.push(change),
        }
    }
    all.run_state = later.run_state.or(all.run_state);
    all.cancel.extend(later.cancel);
}
