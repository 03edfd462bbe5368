//! Duty: creates the runs that schedules ask for, each exactly once.
//!
//! A run and the step of its schedule are one compare-and-set transaction in the store, so that any
//! number of ticking schedulers create each run once. No run is created while its DAG has
//! `max_active_runs` queued or running ones: a catchup of years is a few rows at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use tradewind_engine::timetable::{self, DueRun, LastRun};
use tradewind_proto::clock::{SharedClock, SharedIds};
use tradewind_proto::dag::{DagSpec, Generation, Schedule};
use tradewind_proto::state::RunType;
use tradewind_store::model::{Advance, DueDag, NewRun, NextRun};
use tradewind_store::{Error as StoreError, Store};

use crate::duty::Duty;
use crate::run_span::RunSpan;
use crate::signals::Signals;

/// DAGs looked at in one pass. Larger than the number of DAGs that can sensibly be blocked by
/// `max_active_runs` at once, so that those do not hide others.
const DUE_MAX: u32 = 1024;
/// Passes in a row without going back to wait.
const PASSES_MAX: usize = 64;

/// Creates due runs.
#[derive(Debug)]
pub(crate) struct Tick {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
    pub(crate) ids: SharedIds,
    pub(crate) signals: Arc<Signals>,
    pub(crate) interval: Duration,
}

#[async_trait]
impl Duty for Tick {
    fn name(&self) -> &'static str {
        "tick"
    }

    async fn run(&self, stop: CancellationToken) {
        loop {
            let pause = match self.catch_up().await {
                Ok(pause) => pause,
                Err(error) => {
                    warn!(%error, "could not look for due runs; trying again");
                    self.interval
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.signals.tick.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl Tick {
    /// Creates what is due and says how long nothing more will be.
    async fn catch_up(&self) -> Result<Duration, StoreError> {
        for _ in 0..PASSES_MAX {
            if !self.pass().await? {
                return self.until_next().await;
            }
        }
        Ok(Duration::ZERO)
    }

    /// One look at all due DAGs, one run each. Says whether any schedule moved.
    async fn pass(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut moved = false;
        let mut created = false;
        for due in self.store.due_dags(now, DUE_MAX).await? {
            let Some((advance, run)) = self.decide(&due, now) else { continue };
            if self.store.advance(advance, now).await? {
                moved = true;
                if let Some((run_id, _exported)) = run {
                    created = true;
                    info!(dag_id = due.dag_id, run_id, "run created");
                }
            } else {
                if let Some((_, span)) = run {
                    span.discard();
                }
                debug!(dag_id = due.dag_id, "another scheduler moved this schedule first");
            }
        }
        if created {
            self.signals.start.notify_one();
        }
        Ok(moved)
    }

    /// How to move one schedule; none while the DAG has its fill of runs.
    fn decide(&self, due: &DueDag, now: Timestamp) -> Option<(Advance, Option<(String, RunSpan)>)> {
        let last =
            due.last.map(|(logical_date, interval_end)| LastRun { logical_date, interval_end });
        let next_after = |last: Option<&LastRun>| {
            timetable::next_run(&due.spec, last, now, due.spec.catchup).map(stored)
        };
        let advance = |create, next| Advance {
            dag_id: due.dag_id.clone(),
            schedule_epoch: due.schedule_epoch,
            create,
            next,
        };
        let Some(planned) = due.next else {
            return Some((advance(None, next_after(last.as_ref())), None));
        };
        if due.active_runs >= max_active_runs(&due.spec) {
            return None;
        }
        let next = refresh(&due.spec, planned, next_after(last.as_ref()), now);
        let (run, span) = self.new_run(&due.spec, next);
        let run_id = run.run_id.clone();
        let created = LastRun { logical_date: next.logical_date, interval_end: next.interval_end };
        Some((advance(Some(run), next_after(Some(&created))), Some((run_id, span))))
    }

    fn new_run(&self, spec: &DagSpec, next: NextRun) -> (NewRun, RunSpan) {
        let named_by = match spec.generation {
            Generation::V1 | Generation::V2 => next.logical_date,
            Generation::V3 => next.run_after,
        };
        let run_id = timetable::run_id(RunType::Scheduled, named_by);
        let span = RunSpan::new(&spec.dag_id, &run_id, RunType::Scheduled.as_str());
        let run = NewRun {
            id: self.ids.next(),
            dag_id: spec.dag_id.clone(),
            run_id,
            run_type: RunType::Scheduled,
            logical_date: Some(next.logical_date),
            interval: Some((next.interval_start, next.interval_end)),
            run_after: next.run_after,
            conf: serde_json::Map::new(),
            trace_parent: span.trace_parent(),
        };
        (run, span)
    }

    /// Until the next known due time. A due time that has passed is a DAG that has its fill of runs:
    /// the end of one of them wakes us.
    async fn until_next(&self) -> Result<Duration, StoreError> {
        let now = self.clock.now();
        let next = self.store.next_due().await?;
        let wait = next.filter(|at| *at > now).map(|at| at.duration_since(now).unsigned_abs());
        Ok(wait.map_or(self.interval, |wait| wait.min(self.interval)))
    }
}

/// Runs of a DAG at once. A continuous schedule waits for the end of its last run.
fn max_active_runs(spec: &DagSpec) -> u32 {
    if spec.schedule == Schedule::Continuous { 1 } else { spec.max_active_runs }
}

/// The run to create now. What was planned may be old (we were down, or the DAG was paused): without
/// catchup the newest due run takes its place.
fn refresh(spec: &DagSpec, planned: NextRun, fresh: Option<NextRun>, now: Timestamp) -> NextRun {
    let Some(fresh) = fresh else { return planned };
    let supersedes = fresh.run_after <= now && fresh.logical_date > planned.logical_date;
    if spec.schedule == Schedule::Continuous || (!spec.catchup && supersedes) {
        fresh
    } else {
        planned
    }
}

fn stored(due: DueRun) -> NextRun {
    NextRun {
        logical_date: due.logical_date,
        interval_start: due.interval_start,
        interval_end: due.interval_end,
        run_after: due.run_after,
    }
}
